"""Does each resource of the API, and its page, give what it is there for?"""

import asyncio
import json
import tomllib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import AsyncClient

from composer.memory import client as memory
from composer.models import Fact, Memory
from gateway.api import stream
from gateway.api.urls import router
from gateway.models import AuditEntry, Invocation, Message, State
from runtime.models import Chunk
from tests.admin import rows
from tests.admin.asking import path, send

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.timeout(60)]

LATE, EARLY = "2999-01-01T00:00:00Z", "1999-01-01T00:00:00Z"


@pytest.fixture
def it():
    return rows.everything()


def filters(it):
    """By list and filter: a value that finds the one row of `everything`, and one that finds none."""
    room, none = str(it.room.pk), str(2**60)
    server, message = str(it.server.pk), str(it.row.message_id)
    return {
        "agents": {"slug": ("claude-alice", "x"), "cli_kind": ("claude", "codex"), "owner": ("alice", "bob"),
                   "bridge": (str(it.bridge.pk), none), "is_enabled": ("true", "false")},
        "bridges": {"owner": ("alice", "bob"), "agent": ("claude-alice", "x"), "name": (it.bridge.name, "x"),
                    "is": ("online", "revoked"), "token_version": ("1", "2")},
        "users": {"username": ("bob", "x"), "role": (None, "admin"), "is_foreign_bot": (None, "true")},
        "rooms": {"kind": ("channel", "dm"), "name": ("backend", "x"), "q": ("BACK", "nowhere"),
                  "project": (str(it.project.pk), none), "is_serial": ("false", "true"), "is_archived": ("false", "true")},
        "projects": {"slug": ("shop", "x")},
        "messages": {"room": (room, none), "rc_id": (it.row.message.rc_id, "x"), "thread": (None, "x"),
                     "user": ("bob", "alice"), "since": (EARLY, LATE), "until": (LATE, EARLY)},
        "invocations": {"state": ("composed", "done"), "agent": ("claude-alice", "x"), "room": (room, none),
                        "asker": ("bob", "alice"), "reason": (None, "stopped"), "purpose": ("answer", "summary"), "opened_after": (EARLY, LATE),
                        "opened_before": (LATE, EARLY)},
        "grants": {"agent": ("claude-alice", "x"), "room": (room, none)},
        "mcp-servers": {"name": ("tracker", "x"), "is_enabled": (None, "true")},
        "tool-leaves": {"room": (room, none), "server": (server, none), "tool": ("search", "x"),
                        "needs_approval": ("true", "false")},
        "facts": {"scope": ("room:rid-backend", "x"), "key": ("database", "x"), "source_message": (message, none)},
        "landmarks": {"kind": ("decision", "spec"), "room": (room, none), "is_pinned": ("true", "false")},
        "memories": {"scope": ("room:rid-backend", "x")},
        "audit": {"action": ("test", "x"), "actor": (rows.EVIL, "x"), "target": (rows.EVIL, "x"), "since": (EARLY, LATE)},
    }  # fmt: skip


def test_every_filter_of_every_list_finds_what_it_names_and_nothing_else(api, it):
    known = filters(it)
    views: dict[str, Any] = {prefix: view for prefix, view, _ in router.registry}
    assert {prefix: set(view.filters) for prefix, view in views.items()} == {
        prefix: set(found) for prefix, found in known.items()
    }

    wrong = []
    for prefix, found in known.items():
        for name, (there, nothing) in found.items():
            hits = [api.get(path(prefix), {name: value}).json()["results"] for value in (there, nothing) if value]
            if hits[-1] or (there and not hits[0]):
                wrong.append((prefix, name, [len(one) for one in hits]))

    assert wrong == []


def test_a_join_link_is_good_for_a_day_unless_told_otherwise(api, operator, it):
    now = datetime.now(UTC)

    ends = [
        datetime.fromisoformat(send(api, "POST", f"bridges/{it.bridge.pk}/join-link", body).json()["expires_at"])
        for body in ({}, {"hours": 2})
    ]
    page = operator.post(f"/admin/bridges/{it.bridge.pk}/join/").content.decode()

    assert [round((end - now) / timedelta(hours=1)) for end in ends] == [24, 2]
    assert "/join#nxj_" in page
    assert it.bridge.join_codes.count() == 1


def test_the_configuration_is_downloaded_without_the_token(api, operator, onlooker, it):
    told = api.get(path(f"bridges/{it.bridge.pk}/config")).json()["config"]
    page = operator.get(f"/admin/bridges/{it.bridge.pk}/bridge.toml")

    assert page["Content-Disposition"] == 'attachment; filename="bridge.toml"'
    assert page.content.decode() == told
    assert tomllib.loads(told)["agent"][0]["slug"] == "claude-alice"
    assert "nxb_" not in told
    assert onlooker.get(f"/admin/bridges/{it.bridge.pk}/bridge.toml").status_code == 403


def test_the_page_of_a_bridge_says_how_strict_its_owner_is(onlooker, it):
    row = onlooker.get(f"/admin/gateway/bridge/{it.bridge.pk}/change/").content.decode()
    listed = onlooker.get("/admin/gateway/bridge/").content.decode()

    assert "It is <strong>online</strong>, version " in row
    assert "2 deny (Bash, &lt;b&gt;); else ask" in row
    assert "people by name: 1" in row
    assert "claude-alice: 2 deny; else ask" in listed


@pytest.mark.parametrize("door", ["api", "site"])
def test_a_memory_is_forgotten_by_the_service_that_keeps_it(api, operator, it, monkeypatch, door):
    asked = []

    def service(method, where, **_):
        asked.append((method, where))
        return b"{}"

    monkeypatch.setattr(memory, "call", service)
    pk = Memory.objects.get().pk

    if door == "api":
        assert api.delete(path(f"memories/{pk}")).status_code == 204
    else:
        operator.post(f"/admin/composer/memory/{pk}/delete/", {"post": "yes"})

    assert asked == [("DELETE", f"/memories?msg={it.row.message_id}")]
    assert AuditEntry.objects.get(action="memory_forgotten").target == str(pk)


@pytest.mark.parametrize("door", ["api", "site"])
def test_a_corrected_memory_is_a_fact_that_prompts_carry_with_its_message_as_source(api, operator, it, door):
    pk = Memory.objects.get().pk

    for text in ("We deploy on Mondays.", "We deploy on Tuesdays."):
        if door == "api":
            answer = send(api, "PATCH", f"memories/{pk}", {"text": text})
            assert (answer.status_code, answer.json()["value"]) == (200, text)
        else:
            page = operator.post(f"/admin/composer/memory/{pk}/change/", {"correction": text}, follow=True)
            assert "says so now" in page.content.decode()

    fact = Fact.objects.exclude(key="database").get(source_message=it.row.message)
    assert (fact.scope, fact.value, fact.confidence) == ("room:rid-backend", "We deploy on Tuesdays.", 1.0)
    assert not Memory.objects.filter(payload__data=fact.value).exists()
    assert AuditEntry.objects.filter(action="memory_corrected", target=str(pk)).count() == 2


def test_correcting_a_learned_memory_corrects_its_fact(api, it):
    pk = Memory.objects.get().pk
    learned = Fact.objects.create(
        scope="room:rid-backend", key=f"learned-{pk}", value="Fridays", confidence=0.6, memory_id=pk,
        source_message=it.row.message,
    )  # fmt: skip

    answer = send(api, "PATCH", f"memories/{pk}", {"text": "Mondays"})

    learned.refresh_from_db()
    assert answer.json()["id"] == learned.pk
    assert (learned.value, learned.confidence) == ("Mondays", 1.0)


@pytest.mark.parametrize("text", ["", "  ", "x" * 1_001, "\u0000"])
def test_a_correction_that_says_nothing_usable_is_refused_with_a_sentence(api, it, text):
    answer = send(api, "PATCH", f"memories/{Memory.objects.get().pk}", {"text": text})

    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "bad_value"


def test_a_memory_whose_message_is_gone_is_not_corrected(api, operator, it):
    Message.objects.filter(pk=it.row.message_id).update(text="", deleted_at=Now())
    pk = Memory.objects.get().pk

    answer = send(api, "PATCH", f"memories/{pk}", {"text": "Mondays"})
    page = operator.post(f"/admin/composer/memory/{pk}/change/", {"correction": "Mondays"}, follow=True)

    assert answer.status_code == 409
    assert "Nothing was changed: the message of memory" in page.content.decode()


def test_a_landmark_is_taken_down_and_pinned_again(api, it):
    where = f"landmarks/{it.row.message.landmark.pk}"

    down = send(api, "PATCH", where, {"is_pinned": False}).json()
    up = send(api, "PATCH", where, {"is_pinned": True}).json()

    assert down["unpinned_at"] is not None
    assert up["unpinned_at"] is None


@pytest.mark.django_db(transaction=True)
async def test_a_stream_goes_on_behind_the_last_seq_and_ends_with_the_state(settings):
    from channels.db import database_sync_to_async

    it = await database_sync_to_async(rows.everything)()
    await database_sync_to_async(_end)(it.row.pk)
    headers = {"Authorization": f"Bearer {settings.NEXUS_ADMIN_TOKEN}", "Accept": "text/event-stream"}
    where = path(f"invocations/{it.row.pk}/stream")

    answer: Any = await AsyncClient().get(where, headers={**headers, "Last-Event-ID": "1"})
    told = b"".join([part async for part in answer.streaming_content]).decode()
    gone = await AsyncClient().get(path("invocations/999999/stream"), headers=headers)

    assert (answer.status_code, answer["Content-Type"]) == (200, "text/event-stream")
    assert told.startswith("id: 2\nevent: chunk\n")
    assert told.endswith('event: state\ndata: {"state": "cancelled"}\n\n')
    assert (gone.status_code, json.loads(gone.content)["error"]["code"]) == (404, "not_found")


@pytest.mark.django_db(transaction=True)
async def test_a_stream_tells_chunks_as_they_come_and_ends_with_the_state():
    from channels.db import database_sync_to_async

    it = await database_sync_to_async(rows.everything)()
    told = stream.events(pk=it.row.pk, after=0)

    first = await anext(told)
    assert first.startswith("id: 1\nevent: chunk\n")
    await database_sync_to_async(_end)(it.row.pk)
    async with asyncio.timeout(10):
        rest = [event async for event in told if not event.startswith(":")]

    assert rest[0].startswith("id: 2\nevent: chunk\n")
    assert rest[-1] == 'event: state\ndata: {"state": "cancelled"}\n\n'


def _end(pk):
    from gateway.invocations import request_cancel

    Chunk.objects.create(invocation_id=pk, seq=2, kind="text", payload='{"kind":"text","delta":"more"}')
    assert request_cancel(invocation_id=pk, reason="stopped")
    assert Invocation.objects.get(pk=pk).state == State.CANCELLED
