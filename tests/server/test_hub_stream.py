"""Does a prompt reach the bridge, and does its output arrive once, in order, and to the last byte?"""

import asyncio

import pytest
from asgiref.sync import sync_to_async

from composer.models import Prompt
from gateway import bridge_auth, invocations
from gateway.models import Bridge, Invocation, Notice, State
from nexus_bridge.protocol import output_digest
from runtime.models import Chunk
from tests.server import people
from tests.server.gateway_process import raw_bridge, running_gateway

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), running_gateway(tmp_path_factory.mktemp("gateway")) as process:
        yield process


class World:
    """Alice's bridge with one agent; Bob asks in a room."""

    def __init__(self):
        self.bob = people.make_user("bob")
        self.alice = people.make_user("alice")
        self.room = people.make_room("backend", members=(self.bob,))
        self.bridge = people.make_bridge(owner=self.alice, is_online=False)
        self.agent = people.make_agent(owner=self.alice, bridge=self.bridge)
        self.token = bridge_auth.new_bridge_token()
        Bridge.objects.filter(pk=self.bridge.pk).update(token_digest=bridge_auth.digest_of(self.token))

    def ask(self, text="why is CI red?", agent=None, thread=""):
        """A row that is composed, as the composer leaves it."""
        row = people.ask(self.room, self.bob, agent or self.agent, text, thread=thread)
        claim = invocations.claim_next(invocation_id=row.pk)
        assert claim is not None
        Prompt.objects.create(
            invocation_id=claim.invocation_id, fence=claim.fence, text=f"Bob: {text}", token_count=3, budget=8000
        )
        assert invocations.composed(invocation_id=claim.invocation_id, fence=claim.fence)
        return claim.invocation_id

    def offer(self, pk):
        return invocations.offer(invocation_id=pk)

    def row(self, pk):
        return Invocation.objects.get(pk=pk)


@pytest.fixture
def world(transactional_db):
    return World()


async def until_state(world, pk, state, within_s=8.0):
    async with asyncio.timeout(within_s):
        while True:
            row = await sync_to_async(world.row)(pk)
            if row.state == state:
                return row
            await asyncio.sleep(0.02)


def text(word):
    return f'{{"kind":"text","delta":"{word}"}}'


def chunk(seq, payload, kind="text"):
    return {"seq": seq, "kind": kind, "payload": payload}


async def offered(world, bridge):
    pk = await sync_to_async(world.ask)()
    assert await sync_to_async(world.offer)(pk)
    return await bridge.until("prompt", invocation=pk)


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
    assert prompt["prompt"] == "Bob: why is CI red?"
    assert prompt["asker"]["username"] == "bob"
    assert prompt["tools_token"].startswith("nxt_")
    assert not await sync_to_async(Notice.objects.filter(kind="ended").exists)()
