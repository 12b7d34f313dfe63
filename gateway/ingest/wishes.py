"""What do new messages of people want: ask an agent, command Nexus, answer what an agent asked?"""

from collections.abc import Collection, Sequence

from gateway import commands, mentions
from gateway.ingest import asking
from gateway.ingest.asking import Question
from gateway.ingest.batches import Versions
from gateway.ingest.rows import Bots, Stored
from gateway.invocations import replies
from gateway.models import RoomKind
from gateway.rocketchat.events import moment


def find(
    found: Sequence[Versions],
    *,
    stored: dict[str, Stored],
    known: dict[str, tuple[int, str]],
    people: dict[str, int],
    bots: Bots,
    programs: Collection[str],
) -> tuple[list[Question], list[tuple[commands.Command, commands.Place]]]:
    """What new messages of people may ask of agents, and what they command."""
    questions: list[Question] = []
    orders: list[tuple[commands.Command, commands.Place]] = []
    for one in found:
        row = stored.get(one.newest.rc_id)
        if row is None or not row.is_new or one.newest.is_tombstone:
            continue
        if not mentions.may_ask(one.first, programs=programs):
            continue
        room_id, kind = known[one.newest.rid]
        question = Question(row.pk, room_id, kind, people[one.newest.user_id], one.first)
        text = "" if one.first.is_encrypted else one.first.text
        command = commands.parse(text, usernames=bots.usernames)
        if command is not None:
            orders.append((command, _place(question)))
        elif asking.may_matter(one.first, room_kind=kind, bots=bots):
            questions.append(question)
    return questions, orders


def is_reply(question: Question, *, bots: Bots) -> bool:
    """Whether the message answers an open question of an agent; then it is told so, and asks nobody."""
    said = question.said
    answer = replies.take(
        room_id=question.room_id,
        thread=said.thread,
        user_id=question.user_id,
        is_dm=question.room_kind == RoomKind.DM,
        named=frozenset(bots.agents[user_id] for user_id in said.mentions if user_id in bots.agents),
        text=said.text,
        at=moment(said.ts),
    )
    if answer:
        commands.answer(place=_place(question), text=answer)
    return answer is not None


def _place(question: Question) -> commands.Place:
    said = question.said
    return commands.Place(
        message_id=question.pk,
        rc_id=said.rc_id,
        room_id=question.room_id,
        thread=said.thread,
        user_id=question.user_id,
        ts=said.ts,
    )
