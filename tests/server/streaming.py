"""Running invocations in rooms of a devchat: output is said into them, and the real poster brings it into the rooms."""

from django.db.models import QuerySet
from django.db.models.functions import Now

from gateway.invocations import open_invocation
from gateway.models import Bridge, Invocation, Message, Room, RoomMember, User
from nexus_bridge import events
from tests.server import posting
from tests.server.chat_world import Chat


def make_running(chat: Chat, *, agents: int, rooms: int) -> list[Invocation]:
    """One running invocation of each agent in each of its rooms."""
    bridge = Bridge.objects.create(
        name="laptop", token_digest="0" * 64, session="s", journal="j", lease_until=Now() + posting._MINUTE
    )
    asker = User.objects.create(rocketchat_id="asker", username="asker")
    rows = []
    for number in range(agents):
        slug = f"agent-{number}"
        agent = chat.agent(slug, bridge=bridge, parallel=rooms)
        for place in range(rooms):
            rid = chat.room(f"room-{number}-{place}", slug)
            room = Room.objects.create(rid=rid, kind="private", name=rid)
            RoomMember.objects.create(room=room, user=asker)
            question = Message.objects.create(
                rc_id=f"q{number:08d}{place:08d}", room=room, user=asker, text="?", ts=Now(), rc_updated_at=Now()
            )
            question.refresh_from_db()
            row = open_invocation(message=question, room=room, agent=agent, root_asker=asker)
            assert row is not None
            rows.append(posting.start(row))
    return rows


def say(rows: list[Invocation], text: str) -> None:
    for row in rows:
        posting.output(row, text)


def finish(rows: list[Invocation]) -> None:
    for row in rows:
        posting.output(row, "the end", events.Done(status="ok"))
        posting.end(row)


def settled(rows: list[Invocation]) -> "QuerySet[Invocation]":
    return Invocation.objects.filter(pk__in=[row.pk for row in rows], reply_settled_at__isnull=False)


def shown(chat: Chat, text: str) -> list[str]:
    """Every message of the server that has this text in it, oldest first."""
    found = [one for one in chat.control("state", method="GET")["messages"] if text in one["msg"]]
    return [one["msg"] for one in sorted(found, key=lambda one: one["ts"])]
