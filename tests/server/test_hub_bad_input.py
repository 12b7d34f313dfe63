"""Does whoever knocks or speaks wrongly get a named answer, and nobody else a worse one?"""

import asyncio
import json

import httpx
import pytest
from asgiref.sync import sync_to_async
from websockets.exceptions import InvalidStatus

from gateway import bridge_auth
from gateway.doctor import Grade, sockets
from gateway.models import AuditEntry, Bridge, State
from nexus_bridge.protocol import output_digest
from runtime.models import Chunk
from tests.server.gateway_process import hello, raw_bridge, raw_socket, running_gateway
from tests.server.hub_world import World, chunk, offered, text, until_state

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), running_gateway(tmp_path_factory.mktemp("gateway")) as process:
        yield process


@pytest.fixture
def world(transactional_db):
    return World()


async def refusal(gateway, token, **options):
    with pytest.raises(InvalidStatus) as refused:
        async with raw_socket(gateway, token, **options):
            pass
    return refused.value.response.status_code


async def test_a_token_that_nobody_was_given_is_401(gateway, world):
    assert await refusal(gateway, bridge_auth.new_bridge_token()) == 401


def test_the_doctor_reaches_the_hub_and_misses_it_where_a_proxy_keeps_the_upgrade_to_itself(gateway, settings, world):
    settings.NEXUS_PUBLIC_URL = gateway.url

    reached = sockets.judge_upgrade(sockets.read_upgrade())
    cut_off = sockets.judge_upgrade(httpx.get(f"{gateway.url}/ws/bridge/").status_code)

    assert (reached.grade, cut_off.grade) == (Grade.OK, Grade.WARNING)


async def test_a_revoked_token_is_401(gateway, world):
    await sync_to_async(Bridge.objects.update)(revoked_at="2026-01-01T00:00Z")

    assert await refusal(gateway, world.token) == 401


async def test_a_page_in_a_browser_is_403_even_with_a_good_token(gateway, world):
    assert await refusal(gateway, world.token, origin="https://evil.example") == 403


async def test_a_first_frame_that_is_no_hello_closes_4401(gateway, world):
    async with raw_socket(gateway, world.token) as bridge:
        await bridge.send(type="heartbeat", at=1.0)

        assert await bridge.close_code() == 4401
        assert bridge.socket.close_reason == "hello_required"


async def test_a_version_nobody_speaks_closes_4426_and_names_the_supported(gateway, world):
    async with raw_socket(gateway, world.token) as bridge:
        await bridge.send(**hello(world.agent) | {"versions": [99]})

        bye = await bridge.until("bye")
        assert (bye["reason"], bye["reconnect"]) == ("upgrade_required", False)
        assert bye["message"].endswith("1")
        assert await bridge.close_code() == 4426


async def test_an_agent_of_another_cli_kind_is_an_identity_mismatch(gateway, world):
    async with raw_socket(gateway, world.token) as bridge:
        frame = hello(world.agent)
        frame["agents"][0]["cli_kind"] = "codex"
        await bridge.send(**frame)

        assert (await bridge.until("error"))["code"] == "identity_mismatch"
        assert (await bridge.until("bye"))["reconnect"] is False


async def test_somebody_elses_agent_is_an_identity_mismatch(gateway, world):
    stranger = await sync_to_async(world.second_bridge)()
    async with raw_socket(gateway, world.token) as bridge:
        await bridge.send(**hello(world.agent, stranger.agent))

        assert (await bridge.until("error"))["code"] == "identity_mismatch"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("no json", "bad_json"),
        ("[]", "bad_json"),
        ("{}", "bad_field"),
        ('{"type":"dance"}', "unknown_type"),
        ('{"type":"heartbeat","at":1,"mood":"good"}', "bad_field"),
        ('{"type":"accepted","invocation":true,"fence":1}', "bad_field"),
        ('{"type":"accepted","invocation":1,"fence":0}', "bad_field"),
        ('{"type":"accepted","invocation":9223372036854775808,"fence":1}', "bad_field"),
        ('{"type":"chunks","invocation":1,"fence":1,"chunks":[]}', "bad_field"),
        ('{"type":"chunks","invocation":1,"fence":1,"chunks":[{"seq":1.5,"kind":"text","payload":""}]}', "bad_field"),
        (
            '{"type":"chunks","invocation":1,"fence":1,"chunks":[{"seq":1,"kind":"text","payload":"\\u0000"}]}',
            "bad_field",
        ),
        (
            json.dumps(
                {"type": "chunks", "invocation": 1, "fence": 1, "chunks": [chunk(1, "{}"), chunk(3, "{}")]},
            ),
            "bad_field",
        ),
        ('{"type":"welcome","version":1,"session":""}', "unknown_type"),
        (json.dumps({"type": "accepted", "invocation": 424242, "fence": 1}), "not_yours"),
    ],
)
async def test_a_frame_that_is_wrong_is_answered_by_name_and_the_connection_goes_on(gateway, world, frame, code):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        await bridge.socket.send(frame)

        assert (await bridge.until("error"))["code"] == code
        await bridge.send(type="heartbeat", at=2.0)
        assert (await bridge.until("heartbeat"))["at"] == 2.0


async def test_a_binary_frame_is_answered_by_name(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        await bridge.socket.send(b"\x00\x01")

        assert (await bridge.until("error"))["code"] == "bad_frame"


async def test_a_second_hello_is_a_protocol_error(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        await bridge.send(**hello(world.agent))

        assert (await bridge.until("error"))["code"] == "protocol_error"


async def test_five_bad_frames_in_a_minute_close_4400(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        for _ in range(5):
            await bridge.socket.send("nonsense")

        assert (await bridge.until("bye"))["reason"] == "protocol_error"
        assert await bridge.close_code() == 4400


async def test_a_frame_above_64_kib_closes_1009(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        await bridge.socket.send(json.dumps({"type": "heartbeat", "at": 1, "pad": "x" * 70_000}))

        assert await bridge.close_code() == 1009


async def test_heartbeats_in_a_hurry_are_told_to_slow_down(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        for at in range(8):
            await bridge.send(type="heartbeat", at=float(at))

        assert (await bridge.until("error"))["code"] == "rate_limited"


async def test_output_for_another_bridges_run_is_refused_and_audited(gateway, world):
    stranger = await sync_to_async(world.second_bridge)()
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        async with raw_bridge(gateway, stranger.token, stranger.agent) as thief:
            run = {"invocation": prompt["invocation"], "fence": prompt["fence"]}
            await thief.send(type="chunks", chunks=[chunk(1, text("stolen"))], **run)

            assert (await thief.until("error"))["code"] == "not_yours"

    assert await sync_to_async(AuditEntry.objects.filter(action="frame_not_yours").count)() == 1
    assert not await sync_to_async(Chunk.objects.exists)()


async def test_an_old_fence_is_dropped(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        await bridge.send(type="accepted", invocation=prompt["invocation"], fence=prompt["fence"] + 1)

        assert (await bridge.until("drop"))["invocation"] == prompt["invocation"]


async def test_a_gap_is_rewound_and_a_repeat_is_acked(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        run = {"invocation": prompt["invocation"], "fence": prompt["fence"]}
        await bridge.send(type="accepted", **run)
        await bridge.send(type="chunks", chunks=[chunk(2, text("b"))], **run)
        assert (await bridge.until("rewind"))["seq"] == 1

        await bridge.send(type="chunks", chunks=[chunk(1, text("a")), chunk(2, text("b"))], **run)
        assert (await bridge.until("ack"))["seq"] == 2
        await bridge.send(type="chunks", chunks=[chunk(1, text("a"))], **run)
        assert (await bridge.until("ack"))["seq"] == 2

    assert await sync_to_async(Chunk.objects.count)() == 2


async def test_a_wrong_digest_is_asked_for_once_more_and_then_told_to_the_room(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        run = {"invocation": prompt["invocation"], "fence": prompt["fence"]}
        await bridge.send(type="accepted", **run)
        for _ in range(2):
            await bridge.send(type="chunks", chunks=[chunk(1, text("a"))], **run)
            await bridge.send(type="end", seq=2, outcome="done", sha256="0" * 64, **run)
        assert (await bridge.until("rewind"))["seq"] == 1
        await bridge.until("ack", seq=2)

    row = await until_state(world, prompt["invocation"], State.FAILED)
    assert row.reason == "output_corrupt"


async def test_the_right_digest_after_a_wrong_one_is_a_good_answer(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        run = {"invocation": prompt["invocation"], "fence": prompt["fence"]}
        await bridge.send(type="accepted", **run)
        await bridge.send(type="chunks", chunks=[chunk(1, text("a"))], **run)
        await bridge.send(type="end", seq=2, outcome="done", sha256="0" * 64, **run)
        assert (await bridge.until("rewind"))["seq"] == 1
        await bridge.send(type="chunks", chunks=[chunk(1, text("a"))], **run)
        await bridge.send(type="end", seq=2, outcome="done", sha256=output_digest([text("a")]), **run)
        await bridge.until("ack", seq=2)

    await until_state(world, prompt["invocation"], State.DONE)


async def test_an_end_that_comes_twice_is_acked_twice_and_counts_once(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        run = {"invocation": prompt["invocation"], "fence": prompt["fence"]}
        await bridge.send(type="accepted", **run)
        for _ in range(2):
            await bridge.send(type="end", seq=1, outcome="done", sha256=output_digest([]), **run)
            assert (await bridge.until("ack"))["seq"] == 1

        await bridge.send(type="chunks", chunks=[chunk(2, text("late"))], **run)
        await bridge.until("drop")


async def test_numbers_that_no_column_holds_are_cut_and_the_run_still_ends(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        run = {"invocation": prompt["invocation"], "fence": prompt["fence"]}
        usage = {"input_tokens": 2**62, "cost_usd": 1e300}
        await bridge.send(type="accepted", **run)
        await bridge.send(
            type="end",
            seq=1,
            outcome="failed",
            reason="r" * 200,
            sha256=output_digest([]),
            exit_code=2**40,
            usage=usage,
            **run,
        )
        await bridge.until("ack", seq=1)

    await until_state(world, prompt["invocation"], State.FAILED)


async def test_a_refused_prompt_tells_the_room_why(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        await bridge.send(
            type="refused",
            invocation=prompt["invocation"],
            fence=prompt["fence"],
            reason="not_allowed_here",
            message="not in this room",
        )

        row = await until_state(world, prompt["invocation"], State.REFUSED)
    notice = await sync_to_async(lambda: row.notices.get(kind="ended").text)()
    assert "not in this room" in notice


async def test_a_bridge_that_floods_is_sent_away_as_slow(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        run = {"invocation": prompt["invocation"], "fence": prompt["fence"]}
        await bridge.send(type="accepted", **run)
        await sync_to_async(world.lock_rows)()
        try:
            for seq in range(1, 40):
                await bridge.send(type="chunks", chunks=[chunk(seq, text("x" * 30_000))], **run)
            assert (await bridge.until("bye"))["reason"] == "slow"
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            await sync_to_async(world.unlock_rows)()
        assert await bridge.close_code() == 4008
