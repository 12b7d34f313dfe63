"""What does the webhook's door let in, and what does it answer?"""

import json

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from gateway import webhook
from gateway.models import BotAccount, Message, Room
from tests.server.people import make_agent, make_room

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]

TOKEN = "the webhook's token"
BODY = {
    "token": TOKEN,
    "message_id": "m1",
    "channel_id": "rid-backend",
    "user_id": "uid-bob",
    "text": "hi",
    "bot": False,
}


@pytest.fixture(autouse=True)
def token(settings):
    settings.NEXUS_WEBHOOK_TOKEN = TOKEN


async def _call(body, *, method="POST", query=b"", kind=b"application/json"):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = []

    async def receive():
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(event):
        sent.append(event)

    scope = {"type": "http", "method": method, "query_string": query, "headers": [(b"content-type", kind)]}
    await webhook.application(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


async def test_a_known_room_becomes_dirty_and_nothing_of_the_body_is_kept():
    room = await sync_to_async(make_room)()

    status, answer = await _call(BODY)

    await room.arefresh_from_db()
    assert (status, answer) == (200, {"ok": True})
    assert room.dirty_at is not None
    assert not await Message.objects.aexists()


async def test_an_unknown_room_and_our_own_words_are_ignored():
    room = await sync_to_async(make_room)()
    await sync_to_async(make_agent)("echo")

    assert (await _call(BODY | {"channel_id": "elsewhere"}))[1] == {"ok": True, "ignored": "unknown_room"}
    assert (await _call(BODY | {"user_id": "uid-echo"}))[1] == {"ok": True, "ignored": "own_bot"}

    await room.arefresh_from_db()
    assert room.dirty_at is None
    assert await BotAccount.objects.acount() == 1


async def test_an_edit_is_read_again_like_a_message():
    await sync_to_async(make_room)()

    assert (await _call(BODY | {"isEdited": True}))[1] == {"ok": True, "updated": True}
    assert await Room.objects.filter(dirty_at__isnull=False).aexists()


@pytest.mark.parametrize(
    ("body", "options", "status", "code"),
    [
        (BODY | {"token": "other"}, {}, 401, "bad_token"),
        (BODY | {"token": None}, {}, 401, "bad_token"),
        (BODY | {"token": ["x"]}, {}, 401, "bad_token"),
        (BODY | {"token": "ü\ud800"}, {}, 401, "bad_token"),
        (BODY, {"query": b"a=1&token=x"}, 401, "token_in_url"),
        (BODY, {"method": "GET"}, 405, "method_not_allowed"),
        (BODY, {"kind": b"text/plain"}, 415, "bad_content_type"),
        (b"{", {}, 400, "bad_json"),
        (b"\xff\xfe", {}, 400, "bad_json"),
        (b"[]", {}, 400, "bad_json"),
        (b'{"token":"a","token":"b"}', {}, 400, "bad_json"),
        (b'{"token":NaN}', {}, 400, "bad_json"),
        (b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", {}, 400, "bad_json"),
        (b"[" * 200_000, {}, 400, "bad_json"),
        (b" " * (256 * 1024 + 1), {}, 413, "too_large"),
        ({key: value for key, value in BODY.items() if key != "message_id"}, {}, 422, "missing_field:message_id"),
        ({key: value for key, value in BODY.items() if key != "channel_id"}, {}, 422, "missing_field:channel_id"),
        ({key: value for key, value in BODY.items() if key != "user_id"}, {}, 422, "missing_field:user_id"),
        (BODY | {"channel_id": "a b"}, {}, 422, "bad_id"),
        (BODY | {"channel_id": 5}, {}, 422, "bad_id"),
        (BODY | {"user_id": "x" * 65}, {}, 422, "bad_id"),
        (BODY | {"text": 5}, {}, 422, "bad_text"),
        (BODY | {"text": "x" * 20_001}, {}, 422, "bad_text"),
    ],
)
async def test_bad_input_is_refused_by_name(body, options, status, code):
    found, answer = await _call(body, **options)

    assert (found, answer["error"]["code"]) == (status, code)
    assert set(answer["error"]) == {"code", "message", "hint", "request_id"}


async def test_without_a_token_of_our_own_nothing_is_let_in(settings):
    settings.NEXUS_WEBHOOK_TOKEN = ""

    assert (await _call(BODY | {"token": ""}))[0] == 401


async def test_a_database_that_is_away_is_no_reason_to_give_up(monkeypatch):
    def fail(*_args):
        raise OperationalError("away")

    monkeypatch.setattr(webhook, "_mark_row", fail)

    status, answer = await _call(BODY)

    assert (status, answer["error"]["code"]) == (503, "retry_later")
