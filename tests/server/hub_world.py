"""Alice's bridge with one agent, Bob's questions to it, and what a bridge says about them."""

import asyncio
from types import SimpleNamespace

import psycopg
from asgiref.sync import sync_to_async

from composer.models import Prompt
from gateway import bridge_auth, invocations
from gateway.models import Bridge, Invocation
from tests.server import people
from tests.server.gateway_process import database_url


class World:
    def __init__(self):
        self.bob = people.make_user("bob")
        self.alice = people.make_user("alice")
        self.room = people.make_room("backend", members=(self.bob,))
        self.bridge = people.make_bridge(owner=self.alice, is_online=False)
        self.agent = people.make_agent(owner=self.alice, bridge=self.bridge, parallel=2)
        self.token = self.give_token(self.bridge)
        self._locker: psycopg.Connection | None = None

    def give_token(self, bridge):
        token = bridge_auth.new_bridge_token()
        Bridge.objects.filter(pk=bridge.pk).update(token_digest=bridge_auth.digest_of(token))
        return token

    def second_bridge(self):
        """Dora's, with an agent of her own."""
        dora = people.make_user("dora")
        bridge = people.make_bridge("dora-laptop", owner=dora, is_online=False)
        agent = people.make_agent("claude-dora", owner=dora, bridge=bridge)
        return SimpleNamespace(bridge=bridge, agent=agent, token=self.give_token(bridge))

    def open(self, text="why is CI red?", *, thread=""):
        return people.ask(self.room, self.bob, self.agent, text, thread=thread).pk

    def compose(self, pk):
        """As the composer leaves it."""
        claim = invocations.claim_next(invocation_id=pk)
        if claim is None:
            return None
        text = f"mrk # Question\nmrk Bob: {Invocation.objects.get(pk=claim.invocation_id).message.text}"
        Prompt.objects.update_or_create(
            invocation_id=claim.invocation_id,
            defaults={"fence": claim.fence, "text": text, "token_count": 3, "budget": 8000},
        )
        assert invocations.composed(invocation_id=claim.invocation_id, fence=claim.fence)
        return claim.invocation_id

    def ask(self, text="why is CI red?", *, thread=""):
        """Opened, composed and offered."""
        pk = self.compose(self.open(text, thread=thread))
        assert pk is not None
        assert invocations.offer(invocation_id=pk)
        return pk

    def row(self, pk):
        return Invocation.objects.get(pk=pk)

    def lock_rows(self):
        """Nobody else writes invocations until `unlock_rows`."""
        self._locker = psycopg.connect(database_url())
        self._locker.execute("LOCK TABLE invocations IN SHARE ROW EXCLUSIVE MODE")

    def unlock_rows(self):
        assert self._locker is not None
        self._locker.close()


async def until_state(world, pk, state, within_s=10.0):
    async with asyncio.timeout(within_s):
        while True:
            row = await sync_to_async(world.row)(pk)
            if row.state == state:
                return row
            await asyncio.sleep(0.02)


async def offered(world, bridge, **words):
    pk = await sync_to_async(world.ask)(**words)
    return await bridge.until("prompt", invocation=pk)


def text(word):
    return f'{{"kind":"text","delta":"{word}"}}'


def chunk(seq, payload, kind="text"):
    return {"seq": seq, "kind": kind, "payload": payload}
