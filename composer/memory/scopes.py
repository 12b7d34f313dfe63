"""Under which scope is something kept, and which scopes may a prompt read? A prompt never reads a scope not named here."""

from gateway import sql
from gateway.models import RoomKind

GLOBAL = "global"


def of_room(*, rid: str) -> str:
    return f"room:{rid}"


def of_dm(*, user: str, agent: str) -> str:
    """A direct chat of one user (chat id) and one agent (slug)."""
    return f"dm:{user}:{agent}"


def of_profile(*, user: str) -> str:
    """What this user (chat id) set about himself."""
    return f"profile:{user}"


def of_project(*, project_id: int) -> str:
    return f"project:{project_id}"


def of_talk(*, room_id: int, rid: str, kind: str) -> str:
    """Where what is said in this room is kept. A direct chat of one user and one agent has a scope of its own."""
    if kind != RoomKind.DM:
        return of_room(rid=rid)
    members = sql.rows(
        "SELECT u.rocketchat_id, a.slug FROM room_members m LEFT JOIN users u ON u.id = m.user_id"
        " LEFT JOIN agents a ON a.id = m.agent_id WHERE m.room_id = %s LIMIT 3",
        [room_id],
    )
    users = [user for user, _ in members if user]
    agents = [agent for _, agent in members if agent]
    if len(users) == 1 and len(agents) == 1:
        return of_dm(user=users[0], agent=agents[0])
    return of_room(rid=rid)
