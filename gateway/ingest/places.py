"""Rooms and who is in them, as the chat tells it: rows for rooms, members, and when an agent joined.

`now` is the chat's time everywhere, for it is compared with the times of messages and memberships.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from gateway import mentions, nudges
from gateway.ingest import rows
from gateway.ingest.asking import JOIN_SLACK, Question, absent_chat_id, open_one
from gateway.ingest.rows import Person
from gateway.models import Agent, Message, Notice, NoticeKind, Room, RoomCursor, RoomKind, RoomMember, User
from gateway.rocketchat.events import ChatMember, ChatMessage, ChatRoom, ChatSubscription, moment

KINDS: Final = {"c": RoomKind.CHANNEL, "p": RoomKind.PRIVATE, "d": RoomKind.DM}
MAX_WAITING: Final = 200
BACKFILL: Final = timedelta(minutes=1)
"""A room is read from this long before its first agent joined, for clocks differ."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What an account found out about a room it is in. `members` None: the chat would not say."""

    room: ChatRoom
    subscription: ChatSubscription
    members: Sequence[ChatMember] | None
    owners: frozenset[str]


def learn(*, agent_id: int | None, found: Learned, now: datetime) -> None:
    """A room with all its people in one step: a message that is stored before they are known would be judged wrongly."""
    if found.room.kind not in KINDS:
        return
    with transaction.atomic():
        room = _note(found.room)
        _begin(room, since=found.subscription.since, now=now)
        if agent_id is not None:
            _join(room=room, agent_id=agent_id, subscription=found.subscription, now=now)
        if found.members is not None:
            _set_people(room, members=found.members, owners=found.owners)


def note_room(*, room: ChatRoom) -> None:
    """The room's own facts, if it has a row."""
    if room.kind in KINDS:
        Room.objects.filter(rid=room.rid).update(**_facts(room))


def note_memberships(*, agent_id: int | None, subscriptions: Iterable[ChatSubscription], now: datetime) -> list[str]:
    """The account is in these rooms and in no others. Returns those that have no row yet, to be learned."""
    wanted = {one.rid: one for one in subscriptions if one.kind in KINDS}
    with transaction.atomic():
        found = {room.rid: room for room in Room.objects.filter(rid__in=wanted).order_by("rid")}
        for rid, room in found.items():
            _begin(room, since=wanted[rid].since, now=now)
            if agent_id is not None:
                _join(room=room, agent_id=agent_id, subscription=wanted[rid], now=now)
        if agent_id is not None:
            RoomMember.objects.filter(agent_id=agent_id).exclude(room__rid__in=wanted).delete()
    return sorted(wanted.keys() - found.keys())


def left_room(*, agent_id: int | None, rid: str) -> None:
    if agent_id is not None:
        RoomMember.objects.filter(agent_id=agent_id, room__rid=rid).delete()


def sync_members(*, rid: str, members: Sequence[ChatMember], owners: frozenset[str]) -> None:
    """The people of a room, completely: who is not listed is not in it. Agents come from their own subscriptions."""
    with transaction.atomic():
        room = Room.objects.select_for_update(no_key=True).filter(rid=rid).first()
        if room is not None:
            _set_people(room, members=members, owners=owners)


def place_membership(*, message_id: int, agent_id: int, now: datetime) -> bool:
    """An agent was asked before it was known to be in the room: open now if it is, else the room hears that it is not."""
    with transaction.atomic(durable=True):
        row = Message.objects.select_related("room", "user").filter(pk=message_id, user__isnull=False).first()
        notice = Notice.objects.filter(chat_id=absent_chat_id(message_id=message_id, agent_id=agent_id)).first()
        if row is None or notice is None or row.user is None:
            return False
        member = RoomMember.objects.filter(room=row.room, agent_id=agent_id).first()
        if member is None or row.ts < member.joined_at - JOIN_SLACK:
            nudges.chat(agent_id=notice.agent_id, room_id=row.room_id)
            return False
        _take_back(notice)
        agent = Agent.objects.get(pk=agent_id)
        question = Question(row.pk, row.room_id, row.room.kind, row.user.pk, _said(row, user=row.user))
        is_encrypted = row.room.is_encrypted or row.system_type == mentions.ENCRYPTED
        return open_one(question=question, agent=agent, now=now, is_encrypted=is_encrypted)


def place_waiting(*, agent_id: int, now: datetime) -> int:
    """After an agent's rooms were read: what it was asked there before that was known. Returns how many rows it opened."""
    since = Now() - timedelta(seconds=settings.NEXUS_MENTION_MAX_AGE_S)
    in_rooms = RoomMember.objects.filter(agent_id=agent_id).values("room_id")
    notices = Notice.objects.filter(
        room_id__in=in_rooms, kind=NoticeKind.WARNING, about__isnull=False, invocation=None, created_at__gt=since
    ).exclude(text="")
    waiting = [
        message_id
        for message_id, chat_id in notices.values_list("about_id", "chat_id")[:MAX_WAITING]
        if message_id is not None and chat_id == absent_chat_id(message_id=message_id, agent_id=agent_id)
    ]
    return sum(place_membership(message_id=message_id, agent_id=agent_id, now=now) for message_id in waiting)


def _said(row: Message, *, user: User) -> ChatMessage:
    ms = round(row.ts.timestamp() * 1000)
    return ChatMessage(
        rc_id=row.rc_id,
        rid=row.room.rid,
        user_id=user.rocketchat_id,
        username=user.username,
        name=user.display_name,
        text=row.text,
        ts=ms,
        updated=ms,
        thread=row.thread,
        attachments=tuple(row.attachments),
    )


def _take_back(notice: Notice) -> None:
    """Not yet posted it just goes; posted it is emptied, which takes it out of the room."""
    if not Notice.objects.filter(pk=notice.pk, posted_revision=0, posted_at=None).delete()[0]:
        Notice.objects.filter(pk=notice.pk).update(text="", revision=notice.revision + 1)
        nudges.chat(agent_id=notice.agent_id, room_id=notice.room_id)


def _note(room: ChatRoom) -> Room:
    row, _ = Room.objects.update_or_create(rid=room.rid, defaults=_facts(room))
    return row


def _facts(room: ChatRoom) -> dict[str, str | bool]:
    return {
        "kind": KINDS[room.kind],
        "name": room.name,
        "title": room.title,
        "topic": room.topic,
        "is_archived": room.is_archived,
        "is_read_only": room.is_read_only,
        "is_encrypted": room.is_encrypted,
    }


def _begin(room: Room, *, since: int, now: datetime) -> None:
    """What was said before the first agent came is not read."""
    start = (moment(since) if since else now) - BACKFILL
    RoomCursor.objects.get_or_create(room=room, defaults={"updated_to": start, "deleted_to": start})


def _set_people(room: Room, *, members: Sequence[ChatMember], owners: frozenset[str]) -> None:
    bots = rows.bots().answer()
    people = [Person(one.user_id, one.username, one.name) for one in members if one.user_id not in bots.usernames]
    ids = rows.users(people, programs=rows.PROGRAM_ACCOUNTS)
    RoomMember.objects.filter(room=room, user__isnull=False).exclude(user_id__in=ids.values()).delete()
    RoomMember.objects.bulk_create(
        [RoomMember(room=room, user_id=pk, is_owner=user_id in owners) for user_id, pk in sorted(ids.items())],
        update_conflicts=True,
        unique_fields=["room", "user"],
        update_fields=["is_owner"],
    )


def _join(*, room: Room, agent_id: int, subscription: ChatSubscription, now: datetime) -> None:
    """Since when the agent hears this room decides what may ask it, so the chat's own time counts."""
    joined_at = moment(subscription.since) if subscription.since else now
    RoomMember.objects.update_or_create(
        room=room,
        agent_id=agent_id,
        defaults={"is_owner": "owner" in subscription.roles},
        create_defaults={"is_owner": "owner" in subscription.roles, "joined_at": joined_at},
    )
