"""`!quiet`, `!eyes`, `!serial` and `!project`: how a room wants its agents, and what it belongs to."""

from typing import Final

from gateway import audit
from gateway.commands.registry import Order, command
from gateway.models import Project, Room, RoomKind, RoomMember

_SWITCH: Final = {"": None, "on": True, "off": False}
_NOT_YOURS: Final = "Only an owner of this room or an admin may change that."


@command("quiet", usage="[on | off]", help="on: agents post their answer only, no live card")
def quiet(order: Order) -> str:
    return _switch(
        order,
        field="is_quiet",
        on="This room is quiet: agents post their answer and nothing before it.",
        off="This room sees agents at work: a card, then the answer as it is written.",
    )


@command("eyes", usage="[on | off]", help="on: 👀 on a question as soon as an agent has taken it")
def eyes(order: Order) -> str:
    return _switch(
        order,
        field="has_eyes",
        on="A question gets 👀 as soon as an agent has taken it.",
        off="Questions get no 👀.",
    )


@command("serial", usage="[on | off]", help="on: the agents of this room work one at a time")
def serial(order: Order) -> str:
    return _switch(
        order,
        field="is_serial",
        on="The agents of this room work one at a time.",
        off="The agents of this room work beside each other.",
    )


@command("project", usage="[name | none]", help="shows or sets the project whose knowledge this room shares")
def project(order: Order) -> str:
    room = Room.objects.select_related("project").get(pk=order.place.room_id)
    wanted = order.command.text.strip().lower()
    if not wanted:
        return _project_of(room)
    if room.kind == RoomKind.DM:
        return "A direct chat belongs to no project; it knows the projects of the person in it."
    if not RoomMember.objects.filter(room=room, user=order.user, is_owner=True).exists():
        return "Only an owner of this room may tag it to a project."
    return _untag(order, room=room) if wanted == "none" else _tag(order, room=room, slug=wanted)


def _project_of(room: Room) -> str:
    if room.project is None:
        return "This room belongs to no project. An owner of it who manages one tags it with `!project name`."
    return f"This room belongs to the project {room.project.title} (`{room.project.slug}`)."


def _tag(order: Order, *, room: Room, slug: str) -> str:
    managed = Project.objects.filter(managers=order.user)
    found = managed.filter(slug=slug).first()
    if found is None:
        # Whether a project of that name exists is nobody's business who does not manage it.
        known = ", ".join(f"`{one}`" for one in managed.order_by("slug").values_list("slug", flat=True)[:20])
        return f"You manage no project `{slug}`." + (f" Yours are {known}." if known else " An admin names managers.")
    if room.project_id is not None and room.project_id != found.pk and not _manages(order, room.project):
        return "Only who manages its present project may take this room out of it."
    Room.objects.filter(pk=room.pk).update(project=found)
    audit.record(actor=f"user:{order.user.pk}", action="room_tagged", target=f"room:{room.pk} project:{found.slug}")
    return (
        f"This room now belongs to the project {found.title} (`{found.slug}`): its agents share what is known there."
    )


def _untag(order: Order, *, room: Room) -> str:
    if room.project is None:
        return "This room belongs to no project."
    if not _manages(order, room.project):
        return "Only who manages its project may take this room out of it."
    Room.objects.filter(pk=room.pk).update(project=None)
    audit.record(actor=f"user:{order.user.pk}", action="room_untagged", target=f"room:{room.pk}")
    return f"This room no longer belongs to the project {room.project.title}."


def _manages(order: Order, project: Project | None) -> bool:
    return project is not None and project.managers.filter(pk=order.user.pk).exists()


def _switch(order: Order, *, field: str, on: str, off: str) -> str:
    word = order.command.text.strip().lower()
    if word not in _SWITCH:
        return f"I know `!{order.command.name} on` and `!{order.command.name} off`."
    room = Room.objects.get(pk=order.place.room_id)
    wanted = _SWITCH[word]
    if wanted is None:
        return on if getattr(room, field) else off
    if not _may_set(order, room=room):
        return _NOT_YOURS
    Room.objects.filter(pk=room.pk).update(**{field: wanted})
    audit.record(
        actor=f"user:{order.user.pk}", action="room_set", target=f"room:{room.pk} {field}={'on' if wanted else 'off'}"
    )
    return on if wanted else off


def _may_set(order: Order, *, room: Room) -> bool:
    """In a direct chat the person himself; else who owns the room, and admins."""
    if order.user.role == "admin":
        return True
    members = RoomMember.objects.filter(room=room, user=order.user)
    return members.exists() if room.kind == RoomKind.DM else members.filter(is_owner=True).exists()
