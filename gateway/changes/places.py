"""What may be changed of rooms and projects."""

import re
from collections.abc import Collection
from typing import Any, Final

from django.db import IntegrityError, transaction

from composer.memory import scopes
from composer.models import Fact
from gateway import audit
from gateway.changes.errors import BadValueError, ConflictError, GoneError
from gateway.changes.texts import checked
from gateway.invocations import wake
from gateway.models import Project, Room, User

SLUG: Final = re.compile(r"[a-z][a-z0-9-]{1,63}\Z")
NAMED_ROOMS: Final = 5


def change_room(*, room_id: int, actor: str, values: dict[str, Any]) -> bool:
    """`is_quiet`, `is_serial` and `project` (an id or None). Raises ChangeError."""
    with transaction.atomic():
        room = Room.objects.select_for_update(no_key=True).filter(pk=room_id).first()
        if room is None:
            raise GoneError(f"there is no room {room_id}")
        told = {
            column: values[name]
            for name, column in (("is_quiet", "is_quiet"), ("is_serial", "is_serial"), ("project", "project_id"))
            if name in values and values[name] != getattr(room, column)
        }
        if told.get("project_id") is not None and not _stays(told["project_id"]):
            raise BadValueError(f"there is no project {told['project_id']}", field="project")
        if told:
            Room.objects.filter(pk=room.pk).update(**told)
            audit.record(actor=actor, action="room_changed", target=room.rid, **told)
        if told.get("is_serial") is False:
            wake(serial_room_id=room.pk)
        return bool(told)


def add_project(*, actor: str, slug: str, title: str, managers: Collection[int] = ()) -> Project:
    """Raises ChangeError."""
    slug, title = _slug(slug), checked(title, field="title", at_most=200, is_line=True)
    try:
        with transaction.atomic():
            project = Project.objects.create(slug=slug, title=title or slug)
            project.managers.set(_people(managers))
            audit.record(actor=actor, action="project_created", target=slug)
            return project
    except IntegrityError:
        raise ConflictError(f"there is a project {slug!r} already; choose another slug", field="slug") from None


def change_project(*, project_id: int, actor: str, values: dict[str, Any]) -> bool:
    """`slug`, `title` and `managers` (ids). Raises ChangeError."""
    try:
        with transaction.atomic():
            project = Project.objects.select_for_update(no_key=True).filter(pk=project_id).first()
            if project is None:
                raise GoneError(f"there is no project {project_id}")
            told: dict[str, Any] = {}
            if "slug" in values and values["slug"] != project.slug:
                told["slug"] = _slug(values["slug"])
            if "title" in values:
                title = checked(values["title"], field="title", at_most=200, is_line=True)
                told |= {"title": title} if title != project.title else {}
            if told:
                Project.objects.filter(pk=project.pk).update(**told)
            if "managers" in values:
                people = _people(values["managers"])
                if people != set(project.managers.values_list("pk", flat=True)):
                    project.managers.set(people)
                    told["managers"] = sorted(people)
            if told:
                audit.record(actor=actor, action="project_changed", target=project.slug, **told)
            return bool(told)
    except IntegrityError:
        raise ConflictError(f"there is a project {values.get('slug')!r} already", field="slug") from None


def remove_project(*, project_id: int, actor: str) -> None:
    """With what is known of it. Raises ChangeError while rooms belong to it."""
    with transaction.atomic():
        # The whole row's lock: whoever is giving it a room has done so before, or finds it gone.
        project = Project.objects.select_for_update().filter(pk=project_id).first()
        if project is None:
            raise GoneError(f"there is no project {project_id}")
        names = [str(room) for room in project.rooms.order_by("pk")[: NAMED_ROOMS + 1]]
        if names:
            told = ", ".join(names[:NAMED_ROOMS]) + (" and others" if len(names) > NAMED_ROOMS else "")
            raise ConflictError(f"rooms belong to project {project.slug}: {told}; give them another project, or none")
        facts, _ = Fact.objects.filter(scope=scopes.of_project(project_id=project_id)).delete()
        project.delete()
        audit.record(actor=actor, action="project_removed", target=project.slug, facts=facts)


def _stays(project_id: int) -> bool:
    """Whether it is there, and will be until this transaction ends."""
    return Project.objects.select_for_update(no_key=True).filter(pk=project_id).first() is not None


def _slug(slug: str) -> str:
    if not SLUG.match(slug):
        raise BadValueError("slug starts with a letter and has 2 to 64 of a-z, 0-9 and -", field="slug")
    return slug


def _people(ids: Collection[int]) -> set[int]:
    wanted = set(ids)
    missing = wanted - set(User.objects.filter(pk__in=wanted).values_list("pk", flat=True))
    if missing:
        raise BadValueError(f"managers names user {min(missing)}, who is not there", field="managers")
    return wanted
