"""What do the room, its project and the whole team know, apart from what was said?"""

from collections.abc import Sequence

from composer.asked import Asked
from composer.memory import scopes
from composer.memory.profiles import Known, of_scopes
from gateway import sql
from gateway.sql import Ask


def read(*, asked: Asked, talk_scope: str) -> Ask[list[Known]]:
    """Facts of the talk's own scope, of the projects it may read, and of the team."""
    names = {talk_scope: "", scopes.GLOBAL: "team"}
    for project_id, slug in projects(
        room_id=asked.room_id, is_direct=asked.is_direct, tagged=asked.project, user_id=asked.asker.id
    ):
        names[scopes.of_project(project_id=project_id)] = slug
    return of_scopes(names=names)


def projects(
    *, room_id: int, is_direct: bool, tagged: tuple[int, str] | None, user_id: int
) -> Sequence[tuple[int, str]]:
    """A room's own project; in a direct chat, the projects of the user, as far as they are those of all who are in it."""
    if not is_direct:
        return [tagged] if tagged is not None else []
    rows = sql.rows(
        "SELECT DISTINCT p.id, p.slug FROM projects p JOIN rooms r ON r.project_id = p.id"
        " JOIN room_members m ON m.room_id = r.id WHERE m.user_id = %s"
        # A direct chat may have several users: none of them may read there what he could not read elsewhere.
        " AND NOT EXISTS (SELECT 1 FROM room_members d WHERE d.room_id = %s AND d.user_id <> %s AND NOT EXISTS"
        "  (SELECT 1 FROM rooms o JOIN room_members om ON om.room_id = o.id"
        "   WHERE o.project_id = p.id AND om.user_id = d.user_id))"
        " ORDER BY p.slug LIMIT 20",
        [user_id, room_id, user_id],
    )
    return [(pk, slug) for pk, slug in rows]
