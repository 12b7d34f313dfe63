"""What has a bot account still to say, and what is recorded once it stands in the chat: every database step of the poster.

Synchronous; each function is one visit to the database. What records holds the account's lease in its transaction, so
that a poster whose lease has gone changes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from gateway.chat import handover
from gateway.ingest import store_reply
from gateway.invocations import chat_message_id
from gateway.models import FINAL, LIVE, BotAccount, Invocation, Message, Notice, NoticeKind, State
from gateway.rocketchat.events import moment
from runtime.models import Chunk, ReplyPart
from runtime.reply import Names, Spent

LOOK_ROWS: Final = 200
LOOK_CHUNKS: Final = 2_000
"""Rows of one look; the rest come with the next one, so that a backlog never fills the memory."""

WRITTEN: Final = (State.RUNNING, *FINAL)


class LeaseLostError(Exception):
    """Another chat process holds this bot account now; everything here is out of date."""


@dataclass(frozen=True, slots=True)
class Account:
    """The bot account a poster speaks for. `agent_id` None: `nexus` itself, which has notices only."""

    id: int
    agent_id: int | None
    username: str
    lease_owner: str


@dataclass(frozen=True, slots=True)
class Row:
    """An invocation whose room does not have its last word yet."""

    id: int
    state: str
    room_id: int
    rid: str
    is_quiet: bool
    thread: str
    hop: int
    running_at: datetime | None
    spent: Spent


@dataclass(frozen=True, slots=True)
class PostedPart:
    number: int
    chat_id: str
    digest: str
    revision: int
    is_gone: bool


@dataclass(frozen=True, slots=True)
class Opening:
    """What is needed once per invocation: the names its text may contain, and what was posted before a restart."""

    names: Names
    parts: tuple[PostedPart, ...]


@dataclass(frozen=True, slots=True)
class DueNotice:
    id: int
    chat_id: str
    rid: str
    room_id: int
    thread: str
    text: str
    kind: str
    invocation_id: int | None
    revision: int
    posted_revision: int


@dataclass(frozen=True, slots=True)
class Look:
    """`chunks` in the order of their seq per invocation; `is_cut`: there are more than fitted into one look."""

    rows: list[Row]
    openings: Mapping[int, Opening]
    chunks: list[tuple[int, int, str]]
    notices: list[DueNotice]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class SettledPart:
    number: int
    chat_id: str
    digest: str
    revision: int
    text: str
    ts: int
    updated: int


def look(*, agent_id: int | None, seen: Mapping[int, int]) -> Look:
    """Everything due for an account; `seen` is the last seq read of each invocation that is known already."""
    rows = [] if agent_id is None else _rows(agent_id)
    fresh = [row for row in rows if row.id not in seen]
    chunks = _chunks({row.id: seen.get(row.id, 0) for row in rows if row.state in WRITTEN and row.running_at})
    return Look(
        rows=rows,
        openings=_openings(fresh, agent_id=agent_id),
        chunks=chunks,
        notices=_notices(agent_id),
        is_cut=len(chunks) >= LOOK_CHUNKS or len(rows) >= LOOK_ROWS,
    )


def _rows(agent_id: int) -> list[Row]:
    found = (
        Invocation.objects.filter(agent_id=agent_id, reply_settled_at=None, state__in=(*LIVE, *FINAL))
        .order_by("id")
        .values_list(
            "id",
            "state",
            "room_id",
            "room__rid",
            "room__is_quiet",
            "thread",
            "hop",
            "running_at",
            "ended_at",
            "input_tokens",
            "output_tokens",
            "cost_usd",
        )[:LOOK_ROWS]
    )
    rows = []
    for pk, state, room_id, rid, is_quiet, thread, hop, running_at, ended_at, tokens_in, tokens_out, cost in found:
        seconds = (ended_at - running_at).total_seconds() if ended_at and running_at else 0.0
        spent = Spent(seconds=seconds, input_tokens=tokens_in, output_tokens=tokens_out, cost_usd=cost)
        rows.append(Row(pk, state, room_id, rid, is_quiet, thread, hop, running_at, spent))
    return rows


def _openings(rows: list[Row], *, agent_id: int | None) -> dict[int, Opening]:
    if not rows or agent_id is None:
        return {}
    posted: dict[int, list[PostedPart]] = {row.id: [] for row in rows}
    parts = ReplyPart.objects.filter(invocation__in=posted).order_by("invocation_id", "part")
    deleted = set(
        Message.objects.filter(rc_id__in=[part.chat_id for part in parts], deleted_at__isnull=False).values_list(
            "rc_id", flat=True
        )
    )
    for part in parts:
        is_gone = part.is_gone or part.chat_id in deleted
        posted[part.invocation_id].append(
            PostedPart(part.part, part.chat_id, part.text_sha256, part.revision, is_gone)
        )
    names = {hop: handover.names(agent_id=agent_id, hop=hop) for hop in {row.hop for row in rows}}
    return {row.id: Opening(names=names[row.hop], parts=tuple(posted[row.id])) for row in rows}


def _chunks(after: Mapping[int, int]) -> list[tuple[int, int, str]]:
    """One query per invocation: the primary key answers each in one range, which a condition over all of them would not."""
    found: list[tuple[int, int, str]] = []
    for invocation_id, seq in after.items():
        rows = Chunk.objects.filter(invocation_id=invocation_id, seq__gt=seq).order_by("seq")
        found.extend(rows.values_list("invocation_id", "seq", "payload")[: LOOK_CHUNKS - len(found)])
        if len(found) >= LOOK_CHUNKS:
            break
    return found


def _notices(agent_id: int | None) -> list[DueNotice]:
    mine = Notice.objects.filter(agent=None) if agent_id is None else Notice.objects.filter(agent_id=agent_id)
    due = mine.filter(posted_revision__lt=F("revision")).order_by("id")
    rows = due.values_list(
        "id",
        "chat_id",
        "room__rid",
        "room_id",
        "thread",
        "text",
        "kind",
        "invocation_id",
        "revision",
        "posted_revision",
    )
    return [DueNotice(*row) for row in rows[:LOOK_ROWS]]


def record_parts(*, account: Account, invocation_id: int, parts: Iterable[PostedPart], has_said: bool) -> None:
    """These messages exist, or are gone for good: a restart edits them and never posts them again."""
    with transaction.atomic(durable=True):
        _hold(account)
        for part in parts:
            ReplyPart.objects.update_or_create(
                invocation_id=invocation_id,
                part=part.number,
                defaults={
                    "chat_id": part.chat_id,
                    "text_sha256": part.digest,
                    "revision": part.revision,
                    "is_gone": part.is_gone,
                },
                create_defaults={
                    "chat_id": part.chat_id,
                    "text_sha256": part.digest,
                    "revision": part.revision,
                    "is_gone": part.is_gone,
                    "posted_at": Now(),
                },
            )
        if has_said:
            Invocation.objects.filter(pk=invocation_id, first_text_at=None).update(first_text_at=Now())


def settle(
    *, account: Account, invocation_id: int, state: str, parts: list[SettledPart], mentions: tuple[str, ...]
) -> bool:
    """The room has the last word: the reply becomes messages, hand-overs open, the row is done with. All or nothing.

    False: it was settled before, or the row is not what this poster thinks.
    """
    with transaction.atomic(durable=True):
        _hold(account)
        rows = Invocation.objects.select_for_update(of=("self",), no_key=True)
        row = rows.filter(pk=invocation_id, state=state, reply_settled_at=None).first()
        if row is None:
            return False
        _finish_parts(invocation_id=invocation_id, parts=parts)
        stored = [
            store_reply(
                invocation=row,
                rc_id=part.chat_id,
                text=part.text,
                ts=moment(part.ts),
                updated_at=moment(part.updated),
            )
            for part in parts
        ]
        if stored and state == State.DONE:
            handover.open_handovers(row=row, message=stored[-1], mentions=mentions)
        Invocation.objects.filter(pk=invocation_id).update(reply_settled_at=Now())
        return True


def _finish_parts(*, invocation_id: int, parts: list[SettledPart]) -> None:
    for part in parts:
        values = {
            "chat_id": part.chat_id,
            "text_sha256": part.digest,
            "revision": part.revision,
            "is_final": True,
            "posted_at": Now(),
        }
        ReplyPart.objects.update_or_create(invocation_id=invocation_id, part=part.number, defaults=values)


def give_up_reply(*, account: Account, invocation_id: int, reason: str) -> None:
    """The room does not take it (archived, read-only, we are out): kept in our rows with the reason, never tried again."""
    with transaction.atomic(durable=True):
        _hold(account)
        row = Invocation.objects.filter(pk=invocation_id, reply_settled_at=None).first()
        if row is None or row.state not in FINAL:
            return
        Invocation.objects.filter(pk=row.pk).update(reply_settled_at=Now())
        Notice.objects.update_or_create(
            invocation=row,
            kind=NoticeKind.WARNING,
            defaults={"failed_reason": reason[:300], "posted_revision": F("revision")},
            create_defaults={
                "room_id": row.room_id,
                "agent_id": row.agent_id,
                "thread": row.thread,
                "chat_id": chat_message_id(f"notice:{row.pk}:{NoticeKind.WARNING}"),
                "failed_reason": reason[:300],
                "posted_revision": 1,
            },
        )


def record_notice(*, account: Account, notice: DueNotice, failed_reason: str = "") -> None:
    with transaction.atomic(durable=True):
        _hold(account)
        rows = Notice.objects.filter(pk=notice.id, posted_revision__lt=notice.revision)
        rows.update(posted_revision=notice.revision, posted_at=Now(), failed_reason=failed_reason[:300])


def mark_broken(*, account: Account, reason: str) -> None:
    """The chat refuses this account's token: nobody tries again before an admin has given it a new one."""
    BotAccount.objects.filter(pk=account.id, lease_owner=account.lease_owner).update(
        is_broken=True, broken_reason=reason[:300]
    )


def _hold(account: Account) -> None:
    held = BotAccount.objects.select_for_update(no_key=True).filter(
        pk=account.id, lease_owner=account.lease_owner, lease_until__gt=Now()
    )
    if held.values_list("pk", flat=True).first() is None:
        raise LeaseLostError(account.username)
