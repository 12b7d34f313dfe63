"""Does each answer of the REST API become the right value or the right error?"""

import json

import httpx
import pytest

from gateway.rocketchat import calls
from gateway.rocketchat.calls import RateLimitedError, RefusedError, UnauthorizedError, UnreachableError
from gateway.rocketchat.rest import RestClient


def _answer(status, body, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return calls.answer(
        status=status, headers={key.replace("_", "-"): value for key, value in headers.items()}, content=content
    )


def test_success_is_flat_or_by_status():
    assert _answer(200, {"success": True, "a": 1})["a"] == 1
    assert _answer(200, {"status": "success", "data": {}})["data"] == {}


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        (
            {"success": False, "error": "text here [error-not-allowed]", "errorType": "error-not-allowed"},
            {"error-not-allowed"},
        ),
        ({"success": False, "error": "restricted-workspace"}, {"restricted-workspace"}),
        ({"success": False, "error": "two codes [b]", "errorType": "a"}, {"a", "b"}),
        ({"success": False, "error": "You see [brackets] inside"}, set()),
        ({"success": False}, set()),
        ({"success": False, "error": {"not": "text"}}, set()),
    ],
)
def test_a_refusal_carries_every_code(body, codes):
    with pytest.raises(RefusedError) as caught:
        _answer(400, body)

    assert caught.value.codes == codes


def test_a_refused_token_is_told_from_a_missing_right():
    with pytest.raises(UnauthorizedError):
        _answer(401, {"success": False, "status": "error", "message": "You must be logged in to do this."})
    for said in ("You must be logged in to do this.", "You must be logged in to do this [error-unauthorized]"):
        with pytest.raises(UnauthorizedError):
            _answer(401, {"success": False, "error": said})
    with pytest.raises(RefusedError):
        _answer(401, {"success": False, "error": "no permission [error-unauthorized]"})
    with pytest.raises(RefusedError):
        _answer(403, {"success": False, "error": "unauthorized"})
    with pytest.raises(RefusedError):
        _answer(401, {"success": False, "error": "unauthorized"})


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"X_RateLimit_Reset": "1795310859000", "Date": "Sun, 22 Nov 2026 01:27:09 GMT"}, 30.0),
        ({"Retry_After": "7"}, 7.0),
        ({"X_RateLimit_Reset": "soon", "Date": "never"}, 59.0),
        ({}, 59.0),
    ],
)
def test_a_limit_says_how_long_to_wait(headers, wait_s):
    body = {
        "success": False,
        "error": "Error, too many requests. You must wait 59 seconds before. [error-too-many-requests]",
    }

    with pytest.raises(RateLimitedError) as caught:
        _answer(429, body, **headers)

    assert caught.value.wait_s == pytest.approx(wait_s)


def test_a_limit_whose_answer_is_no_json_still_is_one():
    with pytest.raises(RateLimitedError) as caught:
        _answer(429, b"<html>slow down</html>")

    assert caught.value.wait_s == calls.DEFAULT_WAIT_S


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (502, b"<html>bad gateway</html>"),
        (504, b"{}"),
        (200, b"<html>hello</html>"),
        (200, b"[]"),
        (200, b""),
    ],
)
def test_what_is_no_answer_is_unreachable(status, body):
    with pytest.raises(UnreachableError):
        _answer(status, body)


def test_success_false_with_200_is_a_refusal():
    with pytest.raises(RefusedError):
        _answer(200, {"success": False, "error": "no"})


def _client(handle) -> RestClient:
    http = httpx.AsyncClient(transport=httpx.MockTransport(handle), base_url="http://chat")
    return RestClient(http=http, user_id="u", token="t")


MESSAGE = {
    "_id": "m1",
    "rid": "r1",
    "msg": "x",
    "ts": "2026-11-22T01:26:49.539Z",
    "_updatedAt": "2026-11-22T01:26:50.000Z",
    "u": {"_id": "u"},
}


async def test_posting_the_same_id_again_finds_the_first_message():
    def handle(request):
        if request.url.path.endswith("chat.getMessage"):
            return httpx.Response(200, json={"success": True, "message": MESSAGE})
        return httpx.Response(400, json={"success": False, "error": "Cannot read properties of undefined"})

    posted = await _client(handle).send_message(rid="r1", rc_id="m1", text="x")

    assert (posted.rc_id, posted.ts, posted.updated) == ("m1", 1795310809539, 1795310810000)


async def test_a_post_that_was_refused_and_is_not_there_stays_refused():
    def handle(request):
        return httpx.Response(
            400, json={"success": False, "errorType": "error-not-allowed", "error": "no [error-not-allowed]"}
        )

    with pytest.raises(RefusedError) as caught:
        await _client(handle).send_message(rid="r1", rc_id="m1", text="x")

    assert "error-not-allowed" in caught.value.codes


async def test_a_page_tells_messages_from_what_cannot_be_read():
    updated = [MESSAGE, {"_id": "bad", "rid": "r1"}, "nonsense"]
    result = {"updated": updated, "deleted": [], "cursor": {"next": "1795310810000", "previous": None}}

    page = await _client(lambda _: httpx.Response(200, json={"success": True, "result": result})).changed(
        rid="r1", after_ms=0, count=3
    )

    assert [one.rc_id for one in page.messages] == ["m1"]
    assert [reason for _, reason in page.bad] == ["message_without_u", "message_not_object"]
    assert page.next == 1795310810000


@pytest.mark.parametrize("error", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x")])
async def test_a_chat_that_does_not_answer_is_unreachable(error):
    def handle(request):
        raise error

    with pytest.raises(UnreachableError):
        await _client(handle).me()
