"""Who may open the live console, and does it tell what happens, also after the gateway was away?"""

import asyncio
import contextlib
import json

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.test import Client

from admin_ui import live
from gateway.invocations import request_cancel
from runtime.models import Chunk
from tests.admin import rows
from tests.admin.conftest import PASSWORD

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

OURS = "https://nexus.example:8443"
HOSTILE = [
    "", "null", "https://evil.example", "http://nexus.example:8443", "https://nexus.example", "https://nexus.example:443",
    "https://nexus.example:84430", "https://nexus.example:8443.evil.example", "https://evil-nexus.example:8443",
    "https://nexus.example.evil.example:8443", "https://sub.nexus.example:8443", "https://nexus.example:8443/",
    "https://nexus.example:8443@evil.example", "https://user@nexus.example:8443", "https://NEXUS.example:8443",
    "https://nexus.example:8443\x00", " https://nexus.example:8443", "https://nexus.example:8443 ", "wss://nexus.example:8443",
    "file://", "data:text/html", "https://127.0.0.1:8443", "https://localhost:8443", "https://[::1]:8443",
    "https://nexus.example%2eevil:8443", "https://nexus。example:8443", "//nexus.example:8443", "nexus.example:8443",
    "https://nexus.example:08443", "https://nexus.example:8443, https://evil.example", "*",
]  # fmt: skip


class Socket:
    """One console as a server would run it."""

    def __init__(self, *, cookie="", origin=OURS):
        self.sent: asyncio.Queue = asyncio.Queue()
        self.given: asyncio.Queue = asyncio.Queue()
        self.given.put_nowait({"type": "websocket.connect"})
        headers = [(b"origin", origin.encode())] if origin else []
        self.scope = {"type": "websocket", "headers": [*headers, (b"cookie", cookie.encode())]}

    async def __aenter__(self):
        self.running = asyncio.create_task(live.console(self.scope, self.given.get, self.sent.put))
        return self

    async def __aexit__(self, *_):
        self.given.put_nowait({"type": "websocket.disconnect", "code": 1001})
        async with asyncio.timeout(10):
            with contextlib.suppress(asyncio.CancelledError):
                await self.running

    async def next(self):
        async with asyncio.timeout(10):
            return await self.sent.get()

    async def until(self, kind, test=lambda _: True):
        while True:
            message = await self.next()
            if message["type"] == "websocket.send":
                told = json.loads(message["text"])
                if told["type"] == kind and test(told):
                    return told

    def ask(self, text):
        self.given.put_nowait({"type": "websocket.receive", "text": text})


@pytest.fixture(autouse=True)
def ours(settings):
    settings.NEXUS_PUBLIC_URL = OURS


@pytest.fixture
def cookie(transactional_db):
    get_user_model().objects.create_user("olga", password=PASSWORD, is_staff=True, is_superuser=True)
    client = Client()
    client.post("/admin/login/", {"username": "olga", "password": PASSWORD})
    return f"sessionid={client.cookies['sessionid'].value}"


async def test_only_our_own_origin_opens_it(cookie):
    for origin in HOSTILE:
        async with Socket(cookie=cookie, origin=origin) as socket:
            assert (await socket.next())["status"] == 403, origin


@pytest.mark.parametrize("given", ["", "sessionid=guess", "sessionid=", "=;=", 'sessionid="\\777"'])
async def test_without_a_session_it_stays_shut(cookie, given):
    async with Socket(cookie=given) as socket:
        assert (await socket.next())["status"] == 403


def test_a_session_of_somebody_who_is_no_staff_does_not_open_it(transactional_db):
    mallory = get_user_model().objects.create_user("mallory", password=PASSWORD)
    client = Client()
    client.force_login(mallory)

    assert not live.may_look(f"sessionid={client.cookies['sessionid'].value}".encode())


def test_on_loopback_each_of_its_names_is_ours(settings):
    settings.NEXUS_PUBLIC_URL = "http://127.0.0.1:4000"

    assert live.origins() == {"http://127.0.0.1:4000", "http://localhost:4000", "http://[::1]:4000"}


async def test_rows_and_chunks_come_as_they_happen_and_after_a_break(cookie):
    it = await sync_to_async(rows.everything)()
    pk = it.row.pk
    async with Socket(cookie=cookie) as socket:
        assert (await socket.next())["type"] == "websocket.accept"
        told = await socket.until("rows")
        assert [(row["id"], row["state"]) for row in told["rows"]] == [(pk, "composed")]
        for nonsense in ("{", "[]", '{"type": "watch"}', '{"type": "watch", "invocation": -1}', "x" * 5_000):
            socket.ask(nonsense)
        socket.ask(json.dumps({"type": "watch", "invocation": pk}))
        assert (await socket.until("chunks"))["chunks"] == [{"seq": 1, "text": "<b>hi</b>"}]
        await sync_to_async(more)(pk, 2, "and more")
        assert (await socket.until("chunks"))["chunks"] == [{"seq": 2, "text": "and more"}]
    await sync_to_async(more)(pk, 3, "said meanwhile")

    async with Socket(cookie=cookie) as again:
        again.ask(json.dumps({"type": "watch", "invocation": pk, "after": 2}))
        assert (await again.until("chunks"))["chunks"] == [{"seq": 3, "text": "said meanwhile"}]
        await sync_to_async(request_cancel)(invocation_id=pk, reason="stopped")
        ended = await again.until("rows", lambda told: told["rows"][0]["state"] == "cancelled")

    assert ended["rows"][0]["reason"] == "stopped"


async def test_a_session_that_ends_closes_its_console(cookie, monkeypatch):
    monkeypatch.setattr(live, "SESSION_EVERY_S", 0.0)
    async with Socket(cookie=cookie) as socket:
        assert (await socket.next())["type"] == "websocket.accept"
        await sync_to_async(get_user_model().objects.filter(username="olga").update)(is_active=False)

        while (message := await socket.next())["type"] == "websocket.send":
            pass

    assert message == {"type": "websocket.close", "code": live.SESSION_OVER}


def more(pk, seq, text):
    Chunk.objects.create(invocation_id=pk, seq=seq, kind="text", payload=json.dumps({"kind": "text", "delta": text}))
