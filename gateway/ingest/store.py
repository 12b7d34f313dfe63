"""Stores a batch of what the chat says in one transaction: rows, edits, deletions, questions, commands, reactions.

A batch that fails is split until the bad item stands alone; that one is set aside with its reason and the rest goes on.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec
from django.db import InterfaceError, OperationalError, connection, transaction

from composer.memory import working
from composer.memory.lines import MAX_LINE_CHARS, Line
from gateway import commands, nudges, pipeline, sql
from gateway.ingest import asking, keeping, rows, wishes
from gateway.ingest.batches import Batch, Outcome, Versions, fold
from gateway.ingest.rows import Bots, Person, Stored
from gateway.invocations import OPEN, replies, request_cancel
from gateway.models import Invocation, SetAside
from gateway.rocketchat.events import ChatMessage, Document
from gateway.watch import figures

logger = logging.getLogger(__name__)

MOVES: Final = frozenset({"uj", "ul", "ur", "au", "ru", "ut", "ult", "user-banned", "added-user-to-team"})
ROLE_CHANGES: Final = frozenset({"subscription-role-added", "subscription-role-removed", "new-owner", "owner-removed"})
MAX_CACHED: Final = 50_000
"""People and rooms whose row ids are kept; above it all are forgotten and looked up again."""

MAX_BODY: Final = 50_000


class Ingest:
    """Stores batches on one database connection, one after the other. Keeps row ids that never change."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._rooms: dict[str, tuple[int, str]] = {}
        self._users: dict[str, tuple[int, Person]] = {}

    def store(self, batch: Batch) -> Outcome:
        """All of the batch, or all but what was set aside. Raises OperationalError while the database is away."""
        try:
            with transaction.atomic(durable=True):
                return self._store(batch)
        except (OperationalError, InterfaceError):
            raise
        # Any other failure is due to something in the batch, or to a row that somebody removed below our caches:
        # it is tried again in halves, with nothing cached, until the one item at fault stands alone.
        except Exception as error:
            self._rooms.clear()
            self._users.clear()
            if len(batch) > 1:
                return self._store_halves(batch)
            logger.exception("a chat event was set aside")
            return self._set_aside_only(batch, reason=f"{type(error).__name__}: {error}")

    def _store_halves(self, batch: Batch) -> Outcome:
        if len(batch.messages) <= 1:
            parts: Sequence[Batch] = (
                Batch(messages=batch.messages),
                *(Batch(deleted=(rc_id,)) for rc_id in batch.deleted),
                *(Batch(bad=(item,)) for item in batch.bad),
            )
        else:
            parts = batch.halves()
        outcome = Outcome()
        for part in parts:
            if len(part):
                outcome.add(self.store(part))
        return outcome

    def _set_aside_only(self, batch: Batch, *, reason: str) -> Outcome:
        documents: list[Document] = [msgspec.to_builtins(message) for message in batch.messages]
        documents += [document for document, _ in batch.bad] + [{"_id": rc_id} for rc_id in batch.deleted]
        with transaction.atomic(durable=True):
            for document in documents:
                _set_aside(document, reason=reason)
        return Outcome(set_aside=len(documents))

    def _store(self, batch: Batch) -> Outcome:
        outcome = Outcome()
        known = self._known_rooms({message.rid for message in batch.messages})
        held, waiting = rows.bots(), replies.rooms_that_wait(room_ids=[pk for pk, _ in known.values()])
        sql.together(held, waiting)
        bots = held.answer()
        found = fold(message for message in batch.messages if not message.is_ephemeral)
        outcome.unknown = {one.newest.rid for one in found} - known.keys()
        found = [one for one in found if one.newest.rid in known]
        people = self._people(found, bots=bots)
        stored = self._upsert(found, known=known, people=people, bots=bots)
        outcome.stored = len(stored)
        figures.MESSAGES.inc(len(stored))
        outcome.new = sum(one.is_new for one in stored.values())
        outcome.moved = {
            one.newest.rid
            for one in found
            if one.newest.system_type in MOVES | ROLE_CHANGES and _is_new(stored, one.newest)
        }
        for document, reason in batch.bad:
            _set_aside(document, reason=reason)
        outcome.set_aside = len(batch.bad)
        gone = self._bury(batch.deleted, found=found, stored=stored)
        # A message that came late, together with its deletion, asks nobody.
        there = {rc_id: row for rc_id, row in stored.items() if row.pk not in gone}
        self._act(
            found, stored=there, known=known, people=people, bots=bots, waiting=waiting.answer(), outcome=outcome
        )
        tombs = {one.newest.rc_id: stored[one.newest.rc_id] for one in found if _is_buried(one, stored)}
        self._append(found, stored=there | tombs, known=known, people=people, bots=bots)
        if outcome.stored or batch.deleted:
            pipeline.remember()
        return outcome

    # Rows

    def _known_rooms(self, rids: set[str]) -> dict[str, tuple[int, str]]:
        missing = rids - self._rooms.keys()
        if missing:
            if len(self._rooms) > MAX_CACHED:
                self._rooms.clear()
                missing = rids
            self._rooms |= rows.rooms(missing)
        return {rid: self._rooms[rid] for rid in rids if rid in self._rooms}

    def _people(self, found: Sequence[Versions], *, bots: Bots) -> dict[str, int]:
        """Row ids of the senders that are people; agents are none, `nexus` itself counts as a foreign program."""
        senders: dict[str, Person] = {}
        for one in found:
            said = one.newest
            if said.user_id not in bots.agents:
                senders[said.user_id] = Person(said.user_id, said.username, said.name)
        if len(self._users) > MAX_CACHED:
            self._users.clear()
        fresh = [one for one in senders.values() if self._users.get(one.user_id, (0, None))[1] != one]
        if fresh:
            programs = rows.PROGRAM_ACCOUNTS | bots.usernames.keys()
            for user_id, pk in rows.users(fresh, programs=programs).items():
                self._users[user_id] = (pk, senders[user_id])
        return {user_id: self._users[user_id][0] for user_id in senders}

    def _upsert(
        self, found: Sequence[Versions], *, known: dict[str, tuple[int, str]], people: dict[str, int], bots: Bots
    ) -> dict[str, Stored]:
        follow: list[Document] = []
        keep: list[Document] = []
        for one in found:
            said = one.newest
            agent_id = bots.agents.get(said.user_id)
            document = rows.row(
                said,
                place=one.place,
                room_id=known[said.rid][0],
                user_id=people.get(said.user_id),
                agent_id=agent_id,
            )
            is_own_edit = agent_id is not None and said.edited_by in ("", said.user_id)
            (keep if is_own_edit else follow).append(document)
        return rows.upsert(follow, keeps_replies=False) | rows.upsert(keep, keeps_replies=True)

    def _append(
        self,
        found: Sequence[Versions],
        *,
        stored: dict[str, Stored],
        known: dict[str, tuple[int, str]],
        people: dict[str, int],
        bots: Bots,
    ) -> None:
        """After commit, and after the chains have started: the lines are in working memory before a composer asks for them."""
        lines: dict[int, list[Line]] = {}
        for one in found:
            said = one.newest
            row = stored.get(said.rc_id)
            if row is None or (said.system_type and not said.is_tombstone):
                continue
            agent_id = bots.agents.get(said.user_id, 0)
            line = Line(
                row.pk,
                said.rc_id,
                0 if agent_id else people[said.user_id],
                agent_id,
                said.username,
                said.ts * 1000,
                said.updated * 1000,
                said.thread,
                row.text[:MAX_LINE_CHARS],
            )
            lines.setdefault(known[said.rid][0], []).append(line)
        if lines:
            nudges.later(act=partial(working.append_rooms, lines=lines))

    def _bury(self, rc_ids: Sequence[str], *, found: Sequence[Versions], stored: dict[str, Stored]) -> set[int]:
        """Deletions: the text goes, and the open questions they asked are stopped. The rows that are gone now."""
        buried = rows.bury(rc_ids)
        gone = {pk for pk, *_ in buried}
        gone |= {stored[one.newest.rc_id].pk for one in found if _is_buried(one, stored)}
        if not gone:
            return gone
        lines: dict[int, list[Line]] = {}
        for pk, room_id, rc_id, revision in buried:
            lines.setdefault(room_id, []).append(Line(pk, rc_id, 0, 0, "", 0, revision, "", ""))
        if lines:
            nudges.later(act=partial(working.append_rooms, lines=lines))
        for invocation_id in (
            Invocation.objects.filter(message_id__in=gone, state__in=OPEN).order_by("pk").values_list("pk", flat=True)
        ):
            request_cancel(invocation_id=invocation_id, reason="message_deleted")
        return gone

    # What messages ask for

    def _act(
        self,
        found: Sequence[Versions],
        *,
        stored: dict[str, Stored],
        known: dict[str, tuple[int, str]],
        people: dict[str, int],
        bots: Bots,
        waiting: Collection[int],
        outcome: Outcome,
    ) -> None:
        now = datetime.fromtimestamp(self._clock(), tz=UTC)
        programs = rows.PROGRAM_ACCOUNTS | bots.usernames.keys()
        questions, orders = wishes.find(found, stored=stored, known=known, people=people, bots=bots, programs=programs)
        keeping.keep(found, stored=stored, known=known, bots=bots, programs=programs)
        # An open question of an agent takes the next fitting reply before the queue does.
        questions = [one for one in questions if not (one.room_id in waiting and wishes.is_reply(one, bots=bots))]
        asked = asking.find_asked(questions, bots=bots) if questions else []
        if asked:
            opening = asking.open_asked(asked, now=now)
            outcome.opened = opening.opened
            outcome.unplaced = opening.unplaced
            outcome.may_want_files = any(one.question.said.attachments or one.question.said.thread for one in asked)
        # After the questions: a "!stop" that comes in the same batch must find what it stops.
        for command, place in sorted(orders, key=lambda order: (order[1].ts, order[1].message_id)):
            commands.obey(command, place=place, now=now)
        for one in found:
            row = stored.get(one.newest.rc_id)
            if row is not None and one.newest.reactions:
                commands.react(one.newest.reactions, message_id=row.pk, rc_id=one.newest.rc_id, bots=bots.usernames)


def _is_buried(one: Versions, stored: dict[str, Stored]) -> bool:
    return one.newest.is_tombstone and one.newest.rc_id in stored


def _is_new(stored: dict[str, Stored], said: ChatMessage) -> bool:
    row = stored.get(said.rc_id)
    return row is not None and row.is_new


def _set_aside(document: Document, *, reason: str) -> None:
    """Kept as it came, without what Postgres can't hold; the same document only once."""
    body = msgspec.json.encode(document, enc_hook=str).decode().replace("\\u0000", "")[:MAX_BODY]
    rc_id = document.get("_id") or document.get("rc_id")
    rid = document.get("rid")
    key = rc_id if isinstance(rc_id, str) and rc_id else hashlib.sha256(body.encode()).hexdigest()
    _, is_new = SetAside.objects.get_or_create(
        rc_id=_clean(key), defaults={"rid": _clean(rid), "reason": _clean(reason)[:500], "body": body}
    )
    if is_new:
        logger.warning("chat document set aside", extra={"rc_id": _clean(key), "reason": reason[:200]})


def _clean(value: object) -> str:
    return value.replace("\x00", "")[:200] if isinstance(value, str) else ""


def close() -> None:
    """The thread that stored is done with its connection."""
    connection.close()
