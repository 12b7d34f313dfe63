"""What do the room, its project and the whole team know, apart from what was said?"""

from composer.memory import scopes
from composer.memory.profiles import Known, read_scopes
from gateway.models import Project, Room, RoomKind, User


def read(*, room: Room, talk_scope: str, asker: User) -> list[Known]:
    """Facts of the room's own scope, of its project and of the team; in a DM, of the asker's projects."""
    names = {talk_scope: "", scopes.GLOBAL: "team"}
    for project in _projects(room=room, asker=asker):
        names[scopes.of_project(project=project)] = project.slug
    return read_scopes(names=names)


def _projects(*, room: Room, asker: User) -> list[Project]:
    if room.kind == RoomKind.DM:
        return list(Project.objects.filter(rooms__members__user=asker).distinct().order_by("slug")[:20])
    return [room.project] if room.project is not None else []
