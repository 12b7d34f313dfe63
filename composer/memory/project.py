"""What do the room, its project and the whole team know, apart from what was said?"""

from composer.asked import Asked
from composer.memory import scopes
from composer.memory.profiles import Known, of_scopes
from gateway import sql


def read(*, asked: Asked, talk_scope: str) -> list[Known]:
    """Facts of the talk's own scope, of the room's project and of the team; in a direct chat, of the asker's projects."""
    names = {talk_scope: "", scopes.GLOBAL: "team"}
    for project_id, slug in _projects(asked):
        names[scopes.of_project(project_id=project_id)] = slug
    return of_scopes(names=names)


def _projects(asked: Asked) -> list[tuple[int, str]]:
    if not asked.is_direct:
        return [asked.project] if asked.project is not None else []
    rows = sql.rows(
        "SELECT DISTINCT p.id, p.slug FROM projects p JOIN rooms r ON r.project_id = p.id"
        " JOIN room_members m ON m.room_id = r.id WHERE m.user_id = %s ORDER BY p.slug LIMIT 20",
        [asked.asker.id],
    )
    return [(pk, slug) for pk, slug in rows]
