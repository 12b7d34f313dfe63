"""Does a prompt reach the bridge, and does its output arrive once, in order, and to the last byte?"""

import asyncio

import httpx
import pytest
from asgiref.sync import sync_to_async
from websockets.exceptions import InvalidStatus

from gateway.models import Notice, State
from nexus_bridge.protocol import output_digest
from runtime.models import Chunk
from tests.server.gateway_process import raw_bridge, raw_socket, running_gateway
from tests.server.hub_world import World, chunk, offered, text, until_state

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), running_gateway(tmp_path_factory.mktemp("gateway")) as process:
        yield process


@pytest.fixture
def world(transactional_db):
    return World()


async def test_a_prompt_is_answered_and_every_chunk_is_stored(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        run = {"invocation": prompt["invocation"], "fence": prompt["fence"]}
        payloads = [text("one "), text("two\\n\\t"), text("drei ü 🎉")]

        await bridge.send(type="accepted", **run)
        await bridge.send(type="chunks", chunks=[chunk(1, payloads[0])], **run)
        await bridge.send(type="chunks", chunks=[chunk(2, payloads[1]), chunk(3, payloads[2])], **run)
        await bridge.send(type="end", seq=4, outcome="done", sha256=output_digest(payloads), **run)
        await bridge.until("ack", seq=4)

    row = await until_state(world, run["invocation"], State.DONE)
    assert row.last_seq == 4
    assert row.first_text_at is not None
    stored = await sync_to_async(lambda: list(Chunk.objects.filter(invocation=row).values_list("seq", "payload")))()
    assert stored == list(enumerate(payloads, start=1))
    assert prompt["prompt"] == "mrk # Question\nmrk Bob: @claude-alice why is CI red?"
    assert prompt["asker"]["username"] == "bob"
    assert prompt["tools_token"].startswith("nxt_")
    assert not await sync_to_async(Notice.objects.filter(kind="ended").exists)()


async def test_a_run_ends_whatever_the_clis_last_words_were(gateway, world):
    async with raw_bridge(gateway, world.token, world.agent) as bridge:
        prompt = await offered(world, bridge)
        run = {"invocation": prompt["invocation"], "fence": prompt["fence"]}
        await bridge.send(type="accepted", **run)
        sha256 = output_digest([])
        await bridge.send(
            type="end", seq=1, outcome="failed", sha256=sha256, reason="auth", message="no\0 login", **run
        )
        await bridge.until("ack", seq=1)

    row = await until_state(world, run["invocation"], State.FAILED)
    assert row.detail == "no\N{REPLACEMENT CHARACTER} login"


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_a_gateway_that_stops_says_so(world, tmp_path, server):
    with running_gateway(tmp_path, server=server) as gateway:
        async with (
            httpx.AsyncClient(base_url=gateway.url) as browser,  # keeps its connection, as browsers do
            raw_bridge(gateway, world.token, world.agent) as bridge,
        ):
            await browser.get("/healthz")
            await asyncio.sleep(1.5)  # daphne looks once a second
            gateway.process.terminate()

            assert await bridge.close_code() in (4012, 1012)
    assert "Traceback" not in gateway.log.read_text()


async def test_the_other_server_refuses_in_the_same_way(world, tmp_path):
    with running_gateway(tmp_path, server="uvicorn") as gateway:
        for token, options, status in (("nxb_wrong", {}, 401), (world.token, {"origin": "https://evil.example"}, 403)):
            with pytest.raises(InvalidStatus) as refused:
                async with raw_socket(gateway, token, **options):
                    pass
            assert refused.value.response.status_code == status
        async with raw_bridge(gateway, world.token, world.agent) as bridge:
            await bridge.socket.send("x" * 70_000)
            assert await bridge.close_code() == 1009
