"""The same people in every test: Alice owns a bridge, Bob asks, Charlie is not in the room."""

import itertools
from datetime import UTC, datetime, timedelta

from django.db.models.functions import Now

from gateway.invocations import open_invocation
from gateway.models import Agent, BotAccount, Bridge, Invocation, Message, Room, RoomMember, User

_numbers = itertools.count(1)
START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def make_user(name: str) -> User:
    return User.objects.get_or_create(rocketchat_id=f"uid-{name}", defaults={"username": name})[0]


def make_room(name: str = "backend", *, members: tuple[User, ...] = (), **values) -> Room:
    room = Room.objects.create(rid=f"rid-{name}", kind=values.pop("kind", "channel"), name=name, **values)
    for user in members:
        RoomMember.objects.create(room=room, user=user)
    return room


def make_bridge(name: str = "alice-laptop", *, owner: User | None = None, is_online: bool = True) -> Bridge:
    number = next(_numbers)
    return Bridge.objects.create(
        name=f"{name}-{number}",
        owner=owner,
        token_digest=f"{number:064x}",
        session=f"session-{number}" if is_online else "",
        journal=f"{number:032x}" if is_online else "",
        lease_until=Now() + timedelta(seconds=60) if is_online else None,
    )


def make_agent(
    slug: str = "claude-alice", *, owner: User | None = None, bridge: Bridge | None = None, **values
) -> Agent:
    values = {"cli_kind": "claude", "who_may_ask": "room"} | values
    agent = Agent.objects.create(slug=slug, owner=owner, bridge=bridge, **values)
    BotAccount.objects.create(agent=agent, rocketchat_id=f"uid-{slug}", username=slug)
    return agent


def say(room: Room, user: User, text: str, *, thread: str = "") -> Message:
    number = next(_numbers)
    at = START + timedelta(seconds=number)
    return Message.objects.create(
        rc_id=f"message{number:010d}", room=room, user=user, text=text, thread=thread, ts=at, rc_updated_at=at
    )


def ask(room: Room, user: User, agent: Agent, text: str = "why is CI red?", *, thread: str = "") -> Invocation:
    message = say(room, user, f"@{agent.slug} {text}", thread=thread)
    row = open_invocation(message=message, room=room, agent=agent, root_asker=user)
    assert row is not None
    row.refresh_from_db()
    return row
