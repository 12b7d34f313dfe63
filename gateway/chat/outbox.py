"""What the poster records once it stands in the chat; each function is one transaction, which holds the account's lease in its transaction, so
that a poster whose lease has gone changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from gateway.chat import handover
from gateway.chat.due import DueNotice, PostedPart
from gateway.ingest import store_reply
from gateway.invocations import chat_message_id
from gateway.models import FINAL, BotAccount, Invocation, Notice, NoticeKind, State
from gateway.rocketchat.events import moment
from gateway.watch import traces

_LEASE: Final = """
SELECT 1 FROM bot_accounts WHERE id = %s AND lease_owner = %s AND lease_until > now() FOR NO KEY UPDATE
"""
_PART: Final = """
INSERT INTO reply_parts (invocation_id, part, chat_id, text_sha256, revision, is_gone, is_final, posted_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, now())
ON CONFLICT (invocation_id, part) DO UPDATE SET chat_id = EXCLUDED.chat_id, text_sha256 = EXCLUDED.text_sha256,
    revision = EXCLUDED.revision, is_gone = EXCLUDED.is_gone, is_final = EXCLUDED.is_final
"""


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
class SettledPart:
    number: int
    chat_id: str
    digest: str
    revision: int
    text: str
    ts: int
    updated: int

    @property
    def as_posted(self) -> PostedPart:
        return PostedPart(self.number, self.chat_id, self.digest, self.revision, is_gone=False)


def record_parts(*, account: Account, invocation_id: int, parts: Iterable[PostedPart]) -> None:
    """These messages exist, or are gone for good: a restart edits them and never posts them again."""
    with transaction.atomic(durable=True):
        _hold(account)
        _write_parts(invocation_id=invocation_id, parts=parts, is_final=False)


def settle(
    *,
    account: Account,
    invocation_id: int,
    state: str,
    parts: list[SettledPart],
    gone: list[PostedPart],
    mentions: tuple[str, ...],
) -> bool:
    """The room has the last word: the reply becomes messages, hand-overs open, the row is done with. All or nothing.

    False: it was settled before, or the row is not what this poster thinks.
    """
    with transaction.atomic(durable=True):
        _hold(account)
        rows = Invocation.objects.select_for_update(of=("self",), no_key=True).select_related("agent")
        row = rows.filter(pk=invocation_id, state=state, reply_settled_at=None).first()
        if row is None:
            return False
        _write_parts(invocation_id=invocation_id, parts=gone, is_final=False)
        _write_parts(invocation_id=invocation_id, parts=[part.as_posted for part in parts], is_final=True)
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
        _run("UPDATE invocations SET reply_settled_at = now() WHERE id = %s", [invocation_id])
        over = partial(traces.finish, invocation_id=invocation_id, began_at=row.opened_at.timestamp(), state=state)
        transaction.on_commit(over, robust=True)
        return True


def _write_parts(*, invocation_id: int, parts: Iterable[PostedPart], is_final: bool) -> None:
    for part in parts:
        values = [invocation_id, part.number, part.chat_id, part.digest, part.revision, part.is_gone, is_final]
        _run(_PART, values)


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


def record_notice(*, account: Account, notice: DueNotice, part_count: int = 1, failed_reason: str = "") -> None:
    with transaction.atomic(durable=True):
        _hold(account)
        rows = Notice.objects.filter(pk=notice.id, posted_revision__lt=notice.revision)
        rows.update(
            posted_revision=notice.revision,
            posted_at=Now(),
            part_count=part_count,
            failed_reason=failed_reason[:300],
        )


def mark_broken(*, account: Account, reason: str) -> None:
    """The chat refuses this account's token: nobody tries again before an admin has given it a new one."""
    BotAccount.objects.filter(pk=account.id, lease_owner=account.lease_owner).update(
        is_broken=True, broken_reason=reason[:300]
    )


def _hold(account: Account) -> None:
    if not _run(_LEASE, [account.id, account.lease_owner]):
        raise LeaseLostError(account.username)


def _run(statement: str, params: list[Any]) -> int:
    """How many rows it met."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return int(cursor.rowcount)
