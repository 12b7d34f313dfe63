"""Rooms and who is in them, as the chat tells it: rows for rooms, members, and when an agent joined."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from gateway import nudges
from gateway.ingest import rows
from gateway.ingest.asking import JOIN_SLACK, Question, absent_chat_id, open_one
from gateway.ingest.rows import Person
from gateway.models import Agent, BotAccount, Message, Notice, Room, RoomCursor, RoomKind, RoomMember, User
from gateway.rocketchat.events import ChatMember, ChatMessage, ChatRoom, ChatSubscription, moment

KINDS: Final = {"c": RoomKind.CHANNEL, "p": RoomKind.PRIVATE, "d": RoomKind.DM}
BACKFILL: Final = timedelta(minutes=1)
"""A room is read from this long before its first agent joined, for clocks differ."""


def note_room(*, room: ChatRoom) -> None:
    """The room's own facts; nothing happens to kinds that Nexus does not serve."""
    if room.kind not in KINDS:
        return
    facts = {
        "kind": KINDS[room.kind],
        "name": room.name,
        "title": room.title,
        "topic": room.topic,
        "is_archived": room.is_archived,
        "is_read_only": room.is_read_only,
        "is_encrypted": room.is_encrypted,
    }
    Room.objects.update_or_create(rid=room.rid, defaults=facts)


def sync_subscriptions(*, agent_id: int | None, subscriptions: Iterable[ChatSubscription], is_all: bool) -> list[str]:
    """The rooms an account is in. With `is_all` it is in no other. Returns the rids that are new to it."""
    wanted = {one.rid: one for one in subscriptions if one.kind in KINDS}
    fresh = []
    with transaction.atomic():
        for one in sorted(wanted.values(), key=lambda one: one.rid):
            room, _ = Room.objects.get_or_create(
                rid=one.rid,
                defaults={"kind": KINDS[one.kind], "name": "" if one.kind == "d" else one.name, "title": one.title},
            )
            since = moment(one.since) if one.since else timezone.now()
            RoomCursor.objects.get_or_create(
                room=room, defaults={"updated_to": since - BACKFILL, "deleted_to": since - BACKFILL}
            )
            if agent_id is not None and _join(room=room, agent_id=agent_id, subscription=one):
                fresh.append(one.rid)
        if is_all and agent_id is not None:
            RoomMember.objects.filter(agent_id=agent_id).exclude(room__rid__in=wanted).delete()
    return fresh


def left_room(*, agent_id: int | None, rid: str) -> None:
    if agent_id is not None:
        RoomMember.objects.filter(agent_id=agent_id, room__rid=rid).delete()


def sync_members(*, rid: str, members: Iterable[ChatMember], owners: frozenset[str]) -> None:
    """The people of a room, completely: who is not listed is not in it. Agents come from their own subscriptions."""
    with transaction.atomic():
        room = Room.objects.select_for_update(no_key=True).filter(rid=rid).first()
        if room is None:
            return
        bots = rows.bots()
        people = [one for one in members if one.user_id not in bots.usernames]
        ids = rows.users(
            [Person(one.user_id, one.username, one.name) for one in people], programs=rows.PROGRAM_ACCOUNTS
        )
        RoomMember.objects.filter(room=room, user__isnull=False).exclude(user_id__in=ids.values()).delete()
        RoomMember.objects.bulk_create(
            [RoomMember(room=room, user_id=pk, is_owner=user_id in owners) for user_id, pk in sorted(ids.items())],
            update_conflicts=True,
            unique_fields=["room", "user"],
            update_fields=["is_owner"],
        )


def place_membership(*, message_id: int, agent_id: int) -> bool:
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
        agent = Agent.objects.select_related("owner", "bridge").get(pk=agent_id)
        question = Question(row.pk, row.room_id, row.room.kind, row.user.pk, _said(row, user=row.user))
        return open_one(question=question, agent=agent, user=row.user, room=row.room, now=timezone.now())


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
    )


def _take_back(notice: Notice) -> None:
    """Not yet posted it just goes; posted it is emptied, which takes it out of the room."""
    if not Notice.objects.filter(pk=notice.pk, posted_revision=0, posted_at=None).delete()[0]:
        Notice.objects.filter(pk=notice.pk).update(text="", revision=notice.revision + 1)
        nudges.chat(agent_id=notice.agent_id, room_id=notice.room_id)


def _join(*, room: Room, agent_id: int, subscription: ChatSubscription) -> bool:
    defaults = {"is_owner": "owner" in subscription.roles}
    if subscription.since:
        defaults |= {"joined_at": moment(subscription.since)}  # type: ignore[dict-item]  # a time beside a switch
    _, is_new = RoomMember.objects.update_or_create(room=room, agent_id=agent_id, defaults=defaults)
    return is_new


def account_ids() -> set[str]:
    return set(BotAccount.objects.values_list("rocketchat_id", flat=True))
