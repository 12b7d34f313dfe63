"""What the poster records once it stands in the chat; each function is one transaction, which holds the account's lease in its transaction, so
that a poster whose lease has gone changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from gateway.chat import handover
from gateway.chat.due import DueNotice, PostedPart
from gateway.ingest import store_reply
from gateway.invocations import chat_message_id
from gateway.models import FINAL, BotAccount, Invocation, Notice, NoticeKind, State
from gateway.rocketchat.events import moment
from runtime.models import ReplyPart


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


def record_parts(*, account: Account, invocation_id: int, parts: Iterable[PostedPart], has_said: bool) -> None:
    """These messages exist, or are gone for good: a restart edits them and never posts them again."""
    with transaction.atomic(durable=True):
        _hold(account)
        _write_parts(invocation_id=invocation_id, parts=parts)
        if has_said:
            Invocation.objects.filter(pk=invocation_id, first_text_at=None).update(first_text_at=Now())


def _write_parts(*, invocation_id: int, parts: Iterable[PostedPart]) -> None:
    ReplyPart.objects.bulk_create(
        [
            ReplyPart(
                invocation_id=invocation_id,
                part=part.number,
                chat_id=part.chat_id,
                text_sha256=part.digest,
                revision=part.revision,
                is_gone=part.is_gone,
                posted_at=Now(),
            )
            for part in parts
        ],
        update_conflicts=True,
        unique_fields=["invocation", "part"],
        update_fields=["chat_id", "text_sha256", "revision", "is_gone"],
    )


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
        if gone:
            _write_parts(invocation_id=invocation_id, parts=gone)
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
        first_text_at = Coalesce("first_text_at", Now()) if parts else F("first_text_at")
        Invocation.objects.filter(pk=invocation_id).update(reply_settled_at=Now(), first_text_at=first_text_at)
        return True


def _finish_parts(*, invocation_id: int, parts: list[SettledPart]) -> None:
    ReplyPart.objects.bulk_create(
        [
            ReplyPart(
                invocation_id=invocation_id,
                part=part.number,
                chat_id=part.chat_id,
                text_sha256=part.digest,
                revision=part.revision,
                is_final=True,
                posted_at=Now(),
            )
            for part in parts
        ],
        update_conflicts=True,
        unique_fields=["invocation", "part"],
        update_fields=["chat_id", "text_sha256", "revision", "is_final"],
    )


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
