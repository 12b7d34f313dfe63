"""Under which scope is something kept, and which scopes may a prompt read? A prompt never reads a scope not named here."""

from gateway.models import Agent, Project, Room, RoomKind, RoomMember, User

GLOBAL = "global"


def of_room(*, rid: str) -> str:
    return f"room:{rid}"


def of_dm(*, user: User, agent: Agent) -> str:
    return f"dm:{user.rocketchat_id}:{agent.slug}"


def of_profile(*, user: User) -> str:
    return f"profile:{user.rocketchat_id}"


def of_project(*, project: Project) -> str:
    return f"project:{project.pk}"


def of_talk(*, room: Room) -> str:
    """Where what is said in this room is kept. A DM of one user and one agent has a scope of its own."""
    if room.kind != RoomKind.DM:
        return of_room(rid=room.rid)
    members = list(RoomMember.objects.filter(room=room).select_related("user", "agent")[:3])
    users = [member.user for member in members if member.user is not None]
    agents = [member.agent for member in members if member.agent is not None]
    if len(users) == 1 and len(agents) == 1:
        return of_dm(user=users[0], agent=agents[0])
    return of_room(rid=room.rid)
