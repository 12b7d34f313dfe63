"""What does a return, a rival, a lost journal or a revoked token do to the runs of a bridge?"""

import asyncio
import time
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from gateway import bridges, invocations
from gateway.invocations import approvals
from gateway.models import Agent, Approval, Bridge, Invocation, Notice, State
from nexus_bridge.protocol import output_digest
from runtime.models import Chunk
from tests.server.gateway_process import hello, kick_gateways_out, raw_bridge, raw_socket, running_gateway
from tests.server.hub_world import World, chunk, offered, text, until_state

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]

OTHER_JOURNAL = "f" * 32


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), running_gateway(tmp_path_factory.mktemp("gateway")) as process:
        yield process


@pytest.fixture
def world(transactional_db):
    return World()


def listed(prompt, *, state="running", last_seq=0):
    return {"invocation": prompt["invocation"], "fence": prompt["fence"], "state": state, "last_seq": last_seq}


def run_of(prompt):
    return {"invocation": prompt["invocation"], "fence": prompt["fence"]}


async def started(gateway, world, *, chunks=1):
    """A run with some output, whose bridge has gone again."""
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        await bridge.send(type="accepted", **run_of(prompt))
        for seq in range(1, chunks + 1):
            await bridge.send(type="chunks", chunks=[chunk(seq, text("a"))], **run_of(prompt))
        await bridge.until("ack", seq=chunks)
    return prompt


async def test_a_run_goes_on_where_the_hub_has_it(gateway, world):
    prompt = await started(gateway, world, chunks=3)

    async with raw_socket(gateway, world.token) as bridge:
        await bridge.send(**hello(world.agent, runs=[listed(prompt, last_seq=4)]))
        welcome = await bridge.until("welcome")
        assert welcome["resume"] == [{"invocation": prompt["invocation"], "next_seq": 4}]
        payloads = [text("a")] * 3 + [text("b")]
        await bridge.send(type="chunks", chunks=[chunk(4, text("b"))], **run_of(prompt))
        await bridge.send(type="end", seq=5, outcome="done", sha256=output_digest(payloads), **run_of(prompt))
        await bridge.until("ack", seq=5)

    await until_state(world, prompt["invocation"], State.DONE)
    assert await sync_to_async(Chunk.objects.count)() == 4


async def test_an_offer_that_the_journal_does_not_know_is_queued_again(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
    async with raw_bridge(gateway, world.token, world.agent):
        row = await until_state(world, prompt["invocation"], State.QUEUED)

    assert row.lane is None


async def test_an_offer_that_was_stopped_and_that_the_journal_does_not_know_is_not_made_again(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
    await sync_to_async(invocations.request_cancel)(invocation_id=prompt["invocation"], reason="message_deleted")
    async with raw_bridge(gateway, world.token, world.agent):
        row = await until_state(world, prompt["invocation"], State.CANCELLED)

    assert (row.lane, row.reason) == (None, "message_deleted")


async def test_an_offer_that_the_journal_knows_is_running(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
    async with raw_bridge(gateway, world.token, world.agent, runs=[listed(prompt, state="accepted")]) as bridge:
        await until_state(world, prompt["invocation"], State.RUNNING)
        await bridge.send(type="end", seq=1, outcome="done", sha256=output_digest([]), **run_of(prompt))
        await bridge.until("ack", seq=1)


@pytest.mark.parametrize(
    ("journal", "state", "reason"),
    [
        (None, None, "run_lost"),
        (None, "lost", "run_lost"),
        (OTHER_JOURNAL, None, "journal_lost"),
        (OTHER_JOURNAL, "running", "journal_lost"),
    ],
)
async def test_a_run_that_is_lost_ends_interrupted_with_what_it_had_said(gateway, world, journal, state, reason):
    prompt = await started(gateway, world, chunks=2)
    runs = [listed(prompt, state=state)] if state else []
    options = {"journal": journal} if journal else {}

    async with raw_bridge(gateway, world.token, world.agent, runs=runs, **options):
        row = await until_state(world, prompt["invocation"], State.INTERRUPTED)

    assert row.reason == reason
    assert await sync_to_async(Chunk.objects.count)() == 2
    assert await sync_to_async(Notice.objects.filter(kind="ended", text__contains="!retry").exists)()


async def test_a_run_the_hub_has_ended_is_dropped(gateway, world):
    prompt = await started(gateway, world)
    await sync_to_async(invocations.interrupt)(
        invocation_id=prompt["invocation"], fence=prompt["fence"], reason="bridge_gone"
    )

    async with raw_bridge(gateway, world.token, world.agent, runs=[listed(prompt)]) as bridge:
        assert bridge.seen[0]["drop"] == [prompt["invocation"]]


async def test_the_newest_of_two_wins_and_the_older_is_told(gateway, world):
    async with (
        raw_bridge(gateway, world.token, world.agent) as older,
        raw_bridge(gateway, world.token, world.agent, journal=OTHER_JOURNAL) as newer,
    ):
        bye = await older.until("bye")
        assert (bye["reason"], bye["reconnect"]) == ("replaced", False)
        assert await older.close_code() == 4409
        prompt = await offered(world, newer)
        assert prompt["fence"] == 1


async def test_a_program_overtaken_by_its_own_late_hello_is_asked_to_come_again(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as alive, raw_bridge(gateway, world.token, world.agent):
        bye = await alive.until("bye")
        assert (bye["reason"], bye["reconnect"]) == ("silent", True)


def loads():
    return [bridge.load_words for bridge in Bridge.objects.order_by("pk")]


async def test_bridges_of_two_protocol_versions_work_at_one_hub_each_with_its_load(gateway, world):
    other = await sync_to_async(world.second_bridge)()
    async with raw_bridge(gateway, world.token, world.agent) as older, raw_socket(gateway, other.token) as newer:
        await newer.send(**hello(other.agent, journal=OTHER_JOURNAL) | {"versions": [2, 1]})
        assert (await newer.until("welcome"))["version"] == 2
        for bridge, running in ((older, 1), (newer, 2)):
            await bridge.send(type="heartbeat", at=1.0, load={"running": running, "memory_mib": 40})
            await bridge.until("heartbeat")

        # A lease that is half spent is renewed, and what its bridge said of itself is stored with it.
        await sync_to_async(Bridge.objects.update)(lease_until=timezone.now() + timedelta(seconds=1))
        async with asyncio.timeout(20):
            while await sync_to_async(loads)() != ["1 running, 0 CLIs live, 40 MiB", "2 running, 0 CLIs live, 40 MiB"]:
                await asyncio.sleep(0.05)
        prompt = await offered(world, older)
        await older.send(type="accepted", **run_of(prompt))
        await until_state(world, prompt["invocation"], State.RUNNING)


async def test_frames_of_a_replaced_session_change_nothing(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as older:
        prompt = await offered(world, older)
        await older.send(type="accepted", **run_of(prompt))
        await until_state(world, prompt["invocation"], State.RUNNING)
        await sync_to_async(Invocation.objects.filter(pk=prompt["invocation"]).update)(bridge_session="another")

        await older.send(type="chunks", chunks=[chunk(1, text("late"))], **run_of(prompt))
        await older.until("drop")

    assert not await sync_to_async(Chunk.objects.exists)()


async def test_what_waited_for_the_bridge_is_queued_when_it_comes(gateway, world):
    pk = await sync_to_async(world.open)()
    assert await sync_to_async(world.compose)(pk) is None
    assert (await sync_to_async(world.row)(pk)).state == State.WAITING

    async with raw_bridge(gateway, world.token, world.agent):
        await until_state(world, pk, State.QUEUED)

    assert not await sync_to_async(Notice.objects.exclude(text="").exists)()


async def test_a_stop_reaches_the_bridge_and_decides_the_end(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        await bridge.send(type="accepted", **run_of(prompt))
        await until_state(world, prompt["invocation"], State.RUNNING)
        await sync_to_async(invocations.request_cancel)(invocation_id=prompt["invocation"], reason="stopped")

        assert (await bridge.until("cancel"))["invocation"] == prompt["invocation"]
        await bridge.send(type="end", seq=1, outcome="interrupted", sha256=output_digest([]), **run_of(prompt))
        await bridge.until("ack", seq=1)

    await until_state(world, prompt["invocation"], State.CANCELLED)


def permission(id_="p1"):
    return f'{{"kind":"permission","id":"{id_}","name":"Bash","detail":"rm -rf build"}}'


async def test_a_permission_becomes_a_card_and_the_owners_word_a_decision(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        await bridge.send(type="accepted", **run_of(prompt))
        await bridge.send(type="chunks", chunks=[chunk(1, permission(), kind="permission")], **run_of(prompt))
        await bridge.until("ack", seq=1)
        card = await sync_to_async(Notice.objects.get)(kind="card")
        assert "rm -rf build" in card.text

        decide = sync_to_async(approvals.decide)
        assert (
            await decide(invocation_id=prompt["invocation"], user=world.bob, allow=True)
            == approvals.Verdict.NOT_ALLOWED
        )
        assert (
            await decide(invocation_id=prompt["invocation"], user=world.alice, allow=True) == approvals.Verdict.DECIDED
        )

        decision = await bridge.until("decision")
        assert (decision["permission"], decision["allow"], decision["by"]) == ("p1", True, "alice")


async def test_a_question_nobody_answers_is_denied(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        await bridge.send(type="accepted", **run_of(prompt))
        await bridge.send(type="chunks", chunks=[chunk(1, permission(), kind="permission")], **run_of(prompt))
        await bridge.until("ack", seq=1)
        await sync_to_async(Approval.objects.update)(expires_at="2026-01-01T00:00Z")

        assert await sync_to_async(approvals.expire_due)() in (0, 1)  # the hub's own round may have been first
        decision = await bridge.until("decision")
        assert decision["allow"] is False


async def test_a_revoked_token_closes_its_socket_and_ends_its_runs(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        await bridge.send(type="accepted", **run_of(prompt))
        await until_state(world, prompt["invocation"], State.RUNNING)

        await sync_to_async(bridges.revoke)(bridge_id=world.bridge.pk, actor="alice")

        bye = await bridge.until("bye")
        assert (bye["reason"], bye["reconnect"]) == ("revoked", False)
        assert await bridge.close_code() == 4403
    assert (await until_state(world, prompt["invocation"], State.INTERRUPTED)).reason == "bridge_revoked"


async def test_a_revoked_token_closes_its_socket_without_any_nudge_within_ten_seconds(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        asked_at = time.monotonic()
        await sync_to_async(Bridge.objects.filter(pk=world.bridge.pk).update)(revoked_at="2026-01-01T00:00Z")

        bye = await bridge.until("bye")

    assert bye["reason"] == "revoked"
    assert time.monotonic() - asked_at < 10


async def test_a_rotated_token_has_its_overlap(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        fresh = await sync_to_async(bridges.rotate)(bridge_id=world.bridge.pk, actor="alice", overlap_s=60)
        await bridge.send(type="heartbeat", at=1.0)
        await bridge.until("heartbeat")
        async with raw_bridge(gateway, fresh, world.agent, journal=OTHER_JOURNAL):
            assert (await bridge.until("bye"))["reason"] == "replaced"
        await sync_to_async(bridges.rotate)(bridge_id=world.bridge.pk, actor="alice", overlap_s=0)


async def test_a_restart_of_postgres_loses_no_chunk_and_no_socket(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        await bridge.send(type="accepted", **run_of(prompt))
        payloads = []
        for seq in range(1, 21):
            payloads.append(text(f"word {seq} "))
            await bridge.send(type="chunks", chunks=[chunk(seq, payloads[-1])], **run_of(prompt))
            if seq % 7 == 0:
                await sync_to_async(kick_gateways_out)()
        await bridge.send(type="end", seq=21, outcome="done", sha256=output_digest(payloads), **run_of(prompt))
        await bridge.until("ack", seq=21)

    await until_state(world, prompt["invocation"], State.DONE)


async def test_a_bridge_that_has_gone_is_offline_some_seconds_later(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent):
        assert await sync_to_async(Agent.objects.online().exists)()

    async with asyncio.timeout(8):
        while await sync_to_async(Agent.objects.online().exists)():
            await asyncio.sleep(0.1)
