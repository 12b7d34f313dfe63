"""One room of the product to ask in: messages come in by ingest, a question is a message, its prompt is what compose stores."""

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import django

BATCH = 500
AGENT = "claude"
ASKER = "bob"


@contextmanager
def database() -> Iterator[None]:
    """An empty database of our own, with Valkey beside it and nobody who serves memory. Once in a process."""
    from tests.services import start_services

    stop = start_services()
    try:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nexus_project.settings")
        # Without a model memory knows little that the words do not; nothing here may depend on it.
        os.environ["NEXUS_MEM0_URL"] = "http://127.0.0.1:9"
        django.setup()
        from django.test.utils import setup_databases, teardown_databases

        databases = setup_databases(0, False)
        try:
            yield
        finally:
            teardown_databases(databases, 0)
    finally:
        stop()


class Product:
    """A builder as the shared judge wants it."""

    def __init__(self, room: Any, *, has_threads: bool = False, dump: Path | None = None) -> None:
        from gateway.ingest import Ingest

        # It is always just now: a question that is years old would not be answered.
        self._ingest = Ingest(clock=lambda: self._at / 1000)
        self._rid = f"bench-{room.id}"[:60]
        self._has_threads = has_threads
        self._dump = dump
        self._said: list[Any] = []
        self._roots: dict[int, str] = {}
        self._questions: Iterator[str] = iter(())
        self._budget = 0
        self._at = 0
        self._number = 0
        self.took: dict[int, list[float]] = defaultdict(list)
        _set_scene(self._rid)

    def announced(self, questions: Sequence[Any], rounds: int) -> Sequence[Any]:
        """The same questions; their ids name the dumped prompts."""
        self._questions = iter([question.id for _ in range(rounds) for question in questions])
        return questions

    def add(self, message: Any) -> None:
        self._said.append(self._chat_message(message))
        if len(self._said) >= BATCH:
            self._store()

    def ready(self) -> None:
        from composer.retrieval.rooms import searched
        from gateway.models import Room

        self._store()
        room_id = Room.objects.get(rid=self._rid).pk
        with searched.fresh(room_id=room_id) as room:
            pass
        room.is_whole.wait(120)

    def build(self, _room: str, question: str, budget: int) -> str:
        from composer.compose import compose
        from composer.models import Prompt
        from gateway.ingest import Batch
        from gateway.models import Agent, Invocation

        if budget != self._budget:
            Agent.objects.filter(slug=AGENT).update(prompt_budget=budget)
            self._budget = budget
        asked = self._question(question)
        self._ingest.store(Batch(messages=[asked]))
        invocation_id = Invocation.objects.values_list("pk", flat=True).get(message__rc_id=asked.rc_id)
        began = time.perf_counter()
        if compose(invocation_id=invocation_id) != invocation_id:
            raise RuntimeError(f"not composed: {question}")
        self.took[budget].append(time.perf_counter() - began)
        text = Prompt.objects.values_list("text", flat=True).get(invocation_id=invocation_id)
        # A question that is deleted stops its run and leaves the room as it was.
        self._ingest.store(Batch(deleted=[asked.rc_id]))
        self._keep(text, budget)
        return text

    def close(self) -> None:
        from composer.retrieval.rooms import searched

        searched.forget()

    def _store(self) -> None:
        from gateway.ingest import Batch

        outcome = self._ingest.store(Batch(messages=self._said))
        if outcome.new != len(self._said):
            raise RuntimeError(f"{outcome.new} of {len(self._said)} messages were stored: {outcome}")
        self._said = []

    def _chat_message(self, message: Any) -> Any:
        from gateway.rocketchat.events import ChatMessage

        at = int(message.at.replace(tzinfo=UTC).timestamp() * 1000)
        self._at = max(self._at, at)
        rc_id = hashlib.sha256(f"{self._rid} {message.id}".encode()).hexdigest()[:17]
        thread = ""
        if self._has_threads:
            thread = self._roots.setdefault(message.session, rc_id)
        return ChatMessage(
            rc_id=rc_id,
            rid=self._rid,
            user_id=f"uid-{message.speaker}",
            username=message.speaker,
            name=message.speaker,
            text=message.text,
            ts=at,
            updated=at,
            thread="" if thread == rc_id else thread,
        )

    def _question(self, text: str) -> Any:
        from gateway.rocketchat.events import ChatMessage

        self._number += 1
        self._at += 3_600_000 if self._number == 1 else 1
        return ChatMessage(
            rc_id=f"{self._rid}-{self._number}"[-60:],
            rid=self._rid,
            user_id=f"uid-{ASKER}",
            username=ASKER,
            name="",
            text=f"@{AGENT} {text}",
            ts=self._at,
            updated=self._at,
            mentions=(f"uid-{AGENT}",),
        )

    def _keep(self, text: str, budget: int) -> None:
        name = next(self._questions, "")
        if self._dump is not None and name:
            self._dump.mkdir(parents=True, exist_ok=True)
            (self._dump / f"{name.replace('/', '_')}.{budget}.txt").write_text(text, encoding="utf-8")


def _set_scene(rid: str) -> None:
    """The room with its asker and an agent that everybody in it may ask."""
    from django.db.models.functions import Now

    from gateway.models import Agent, BotAccount, Bridge, Room, RoomMember, User

    bob, _ = User.objects.get_or_create(rocketchat_id=f"uid-{ASKER}", defaults={"username": ASKER})
    agent = Agent.objects.filter(slug=AGENT).first()
    if agent is None:
        bridge = Bridge.objects.create(
            name="bench",
            owner=bob,
            token_digest="0" * 64,
            session="s",
            journal="j" * 32,
            lease_until=Now() + (datetime(2100, 1, 1, tzinfo=UTC) - datetime.now(tz=UTC)),
        )
        agent = Agent.objects.create(slug=AGENT, cli_kind="claude", bridge=bridge, owner=bob, who_may_ask="room")
        BotAccount.objects.create(agent=agent, rocketchat_id=f"uid-{AGENT}", username=AGENT)
    room = Room.objects.create(rid=rid, kind="channel", name=rid)
    since = datetime(2000, 1, 1, tzinfo=UTC)
    RoomMember.objects.create(room=room, user=bob, joined_at=since)
    RoomMember.objects.create(room=room, agent=agent, joined_at=since)
