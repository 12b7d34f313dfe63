"""Which agents do new messages ask, and are they asked? Opens rows in the transaction that stored the messages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, LiteralString

from django.conf import settings

from gateway import mentions, sql
from gateway.ingest import attachments
from gateway.ingest.rows import Bots
from gateway.invocations import Asking, chat_message_id, open_row, wording
from gateway.invocations.transitions import fail_unsent
from gateway.models import (
    Agent,
    Invocation,
    Message,
    Notice,
    NoticeKind,
    Purpose,
    RoomKind,
    RoomMember,
    State,
)
from gateway.rocketchat.events import ChatMessage, moment

JOIN_SLACK: Final = timedelta(seconds=5)
"""A message this much older than an agent's membership may still ask it; what is older was not said to it."""

_AGENTS: LiteralString = (
    "SELECT x.room_id, a.id, a.slug, a.owner_id, a.who_may_ask, a.is_enabled, m.joined_at, r.is_encrypted"
    " FROM unnest(%s::bigint[], %s::bigint[]) AS x(room_id, agent_id) JOIN agents a ON a.id = x.agent_id"
    " JOIN rooms r ON r.id = x.room_id"
    " LEFT JOIN room_members m ON m.room_id = x.room_id AND m.agent_id = a.id"
)
_MEMBERS: LiteralString = (
    "WITH written AS (SELECT room_id, user_id FROM unnest(%s::bigint[], %s::bigint[]) AS x(room_id, user_id)),"
    " made AS (INSERT INTO room_members (room_id, user_id, is_owner)"
    " SELECT room_id, user_id, false FROM written ON CONFLICT DO NOTHING)"
    " SELECT id FROM users WHERE is_foreign_bot AND id IN (SELECT user_id FROM written)"
)
_ANSWERING: Final = (State.RUNNING, State.DONE, State.INTERRUPTED)


@dataclass(frozen=True, slots=True)
class Question:
    """A new message of a person that may ask somebody. `pk`, `room_id`, `user_id` are row ids."""

    pk: int
    room_id: int
    room_kind: str
    user_id: int
    said: ChatMessage


@dataclass(frozen=True, slots=True)
class Asked:
    """An agent that a question asks. `is_named`: by a mention, so that it need not be in the room yet."""

    question: Question
    agent_id: int
    is_named: bool


@dataclass(slots=True)
class Opening:
    opened: int
    unplaced: list[tuple[int, int]]


def find_asked(questions: Sequence[Question], *, bots: Bots) -> list[Asked]:
    """Who is asked by what; at most three queries for the whole batch."""
    direct = _direct_agents({one.room_id for one in questions if one.room_kind == RoomKind.DM})
    owners = _thread_owners({one.said.thread for one in questions if one.said.thread and not one.said.mentions})
    found = []
    for one in questions:
        agents = mentions.addressed(
            one.said,
            agents=bots.agents,
            usernames=bots.usernames,
            direct=direct.get(one.room_id),
            thread_owner=owners.get((one.room_id, one.said.thread)),
        )
        is_named = bool(mentions.mentioned(one.said, usernames=bots.usernames))
        found += [Asked(one, agent_id, is_named) for agent_id in agents]
    return found


def may_matter(message: ChatMessage, *, room_kind: str, bots: Bots) -> bool:
    """Cheap and early: whether a new message of a person could ask an agent at all."""
    if room_kind == RoomKind.DM or (message.thread and not message.mentions):
        return True
    return any(user_id in bots.agents for user_id in message.mentions)


def open_asked(found: Sequence[Asked], *, now: datetime) -> Opening:
    """One row per asked agent, in the order of the messages; those not known to be in the room are `unplaced`."""
    opening = Opening(0, [])
    # It makes who writes a member, so nobody's membership is looked up again.
    agents, programs = _standing(found)
    for asked in sorted(found, key=lambda asked: (asked.question.said.ts, asked.question.pk)):
        one = asked.question
        if (one.room_id, asked.agent_id) not in agents or one.user_id in programs:
            continue
        agent, since, is_encrypted = agents[one.room_id, asked.agent_id]
        at = moment(one.said.ts)
        if since is None:
            _say_absent(one, agent=agent)
            opening.unplaced.append((one.pk, agent.pk))
        elif at >= since - JOIN_SLACK:
            opening.opened += open_one(question=one, agent=agent, now=now, is_encrypted=is_encrypted, is_member=True)
    return opening


def open_one(*, question: Question, agent: Agent, now: datetime, is_encrypted: bool, is_member: bool = False) -> bool:
    """Open the row. One of an encrypted room fails, and one that comes too late to be answered unasked, with the way to
    ask again.
    """
    said, at = question.said, moment(question.said.ts)
    invocation_id = open_row(
        Asking(
            message_id=question.pk,
            agent=agent,
            room_id=question.room_id,
            rid=said.rid,
            thread=said.thread,
            root_asker_id=question.user_id,
            is_member=is_member,
        )
    )
    if invocation_id is None:
        return False
    if is_encrypted or said.is_encrypted:
        fail_unsent(invocation_id=invocation_id, reason="encrypted")
    elif (now - at).total_seconds() > settings.NEXUS_MENTION_MAX_AGE_S:
        fail_unsent(invocation_id=invocation_id, reason="too_old", detail=wording.age(since=at, now=now))
    elif said.attachments or said.thread:
        attachments.want(
            invocation_id=invocation_id,
            message_id=question.pk,
            room_id=question.room_id,
            thread=said.thread,
            said=said.attachments,
        )
    return True


def _direct_agents(room_ids: Iterable[int]) -> dict[int, int]:
    """The agent of each direct room that is one person and one agent, and nobody else."""
    members: dict[int, list[tuple[int | None, int | None]]] = {}
    wanted = list(room_ids)
    if not wanted:
        return {}
    rows = RoomMember.objects.filter(room_id__in=wanted).values_list("room_id", "user_id", "agent_id")
    for room_id, user_id, agent_id in rows:
        members.setdefault(room_id, []).append((user_id, agent_id))
    direct = {}
    for room_id, pairs in members.items():
        agents = [agent_id for _, agent_id in pairs if agent_id is not None]
        if len(pairs) == 2 and len(agents) == 1:
            direct[room_id] = agents[0]
    return direct


def _thread_owners(roots: Iterable[str]) -> dict[tuple[int, str], int]:
    """By (room, root): the agent that wrote the thread's root, or the only one that the root asked and that took it."""
    wanted = list(roots)
    if not wanted:
        return {}
    owners: dict[tuple[int, str], int] = {}
    for rc_id, room_id, agent_id in Message.objects.filter(rc_id__in=wanted, agent__isnull=False).values_list(
        "rc_id", "room_id", "agent_id"
    ):
        if agent_id is not None:
            owners[room_id, rc_id] = agent_id
    asked: dict[tuple[int, str], set[int]] = {}
    taken: set[tuple[int, str]] = set()
    rows = Invocation.objects.filter(message__rc_id__in=wanted, message__agent__isnull=True, purpose=Purpose.ANSWER)
    for rc_id, room_id, agent_id, state in rows.values_list("message__rc_id", "room_id", "agent_id", "state"):
        asked.setdefault((room_id, rc_id), set()).add(agent_id)
        if state in _ANSWERING:
            taken.add((room_id, rc_id))
    return owners | {key: next(iter(agents)) for key, agents in asked.items() if len(agents) == 1 and key in taken}


def _standing(found: Sequence[Asked]) -> tuple[dict[tuple[int, int], tuple[Agent, datetime | None, bool]], set[int]]:
    """By (room, agent): what rights ask of an agent, since when it is in the room, whether that is encrypted. And the
    senders that are no people but other programs, which may be in a room but ask nobody.

    Who has just written in a room is made a member, even if the list of its members was read before he came.
    """
    asked = sorted({(one.question.room_id, one.agent_id) for one in found})
    writers = sorted({(one.question.room_id, one.question.user_id) for one in found})
    agents, programs = sql.batch([(_AGENTS, _columns(asked)), (_MEMBERS, _columns(writers))])
    return {
        (room_id, pk): (
            Agent(pk=pk, slug=slug, owner_id=owner_id, who_may_ask=who_may_ask, is_enabled=is_enabled),
            joined_at,
            is_encrypted,
        )
        for room_id, pk, slug, owner_id, who_may_ask, is_enabled, joined_at, is_encrypted in agents
    }, {int(pk) for (pk,) in programs}


def _columns(pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    return [[first for first, _ in pairs], [second for _, second in pairs]]


def absent_chat_id(*, message_id: int, agent_id: int) -> str:
    return chat_message_id(f"absent:{message_id}:{agent_id}")


def _say_absent(question: Question, *, agent: Agent) -> None:
    """Without a nudge: whoever finds out that the agent is in the room after all takes it back first."""
    speaker = RoomMember.objects.filter(room_id=question.room_id, agent__isnull=False).order_by("agent_id").first()
    Notice.objects.get_or_create(
        chat_id=absent_chat_id(message_id=question.pk, agent_id=agent.pk),
        defaults={
            "room_id": question.room_id,
            "agent_id": None if speaker is None else speaker.agent_id,
            "about_id": question.pk,
            "kind": NoticeKind.WARNING,
            "thread": question.said.thread,
            "text": wording.absent(agent=agent.slug),
        },
    )
