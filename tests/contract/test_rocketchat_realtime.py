"""Does the realtime conversation do what Rocket.Chat expects, and survive whatever it is sent?"""

import json
import random

import pytest

from gateway.rocketchat.realtime import (
    ByRoom,
    Conversation,
    Ended,
    Gone,
    LoggedIn,
    Membership,
    Pong,
    Ready,
    Returned,
    RoomSeen,
    Said,
    Skipped,
    Watched,
    WatchRefused,
)

MESSAGE = {
    "_id": "pT5",
    "rid": "GENERAL",
    "msg": "hello",
    "ts": {"$date": 1795310819074},
    "_updatedAt": {"$date": 1795310819101},
    "u": {"_id": "uidAlice", "username": "alice", "name": "Alice A"},
}


def _start() -> Conversation:
    return Conversation(user_id="uidBot", username="bot", token="secret")


def _frames(conversation: Conversation) -> list[dict]:
    return [json.loads(frame) for frame in conversation.take()]


def _feed(conversation: Conversation, frame) -> list:
    return conversation.feed(frame if isinstance(frame, str | bytes) else json.dumps(frame))


def _ready() -> Conversation:
    conversation = _start()
    _feed(conversation, {"server_id": "0"})
    _feed(conversation, {"msg": "connected", "session": "x"})
    login = _frames(conversation)[-1]
    _feed(conversation, {"msg": "result", "id": login["id"], "result": {"id": "uidBot"}})
    subs = [frame["id"] for frame in _frames(conversation)]
    for sub in subs:
        _feed(conversation, {"msg": "ready", "subs": [sub]})
    assert conversation.is_ready
    return conversation


def _said(message=None, meta=None) -> dict:
    args = [
        MESSAGE if message is None else message,
        meta or {"roomParticipant": True, "roomType": "c", "roomName": "general"},
    ]
    return {
        "msg": "changed",
        "collection": "stream-room-messages",
        "id": "id",
        "fields": {"eventName": "__my_messages__", "args": args},
    }


def test_it_connects_logs_in_by_resume_and_subscribes():
    conversation = _start()

    assert _frames(conversation) == [{"msg": "connect", "version": "1", "support": ["1", "pre2", "pre1"]}]
    assert _feed(conversation, {"server_id": "0"}) == []
    _feed(conversation, {"msg": "connected", "session": "x"})
    login = _frames(conversation)[0]
    assert (login["method"], login["params"]) == ("login", [{"resume": "secret"}])
    # The server may say `updated` first, and leaves the result out when it is empty.
    assert _feed(conversation, {"msg": "updated", "methods": [login["id"]]}) == []
    assert _feed(conversation, {"msg": "result", "id": login["id"]}) == [LoggedIn()]
    subs = _frames(conversation)
    assert [(sub["name"], sub["params"][0]) for sub in subs] == [
        ("stream-room-messages", "__my_messages__"),
        ("stream-notify-user", "uidBot/subscriptions-changed"),
        ("stream-notify-user", "uidBot/rooms-changed"),
    ]
    assert _feed(conversation, {"msg": "ready", "subs": [subs[0]["id"], subs[1]["id"]]}) == []
    assert _feed(conversation, {"msg": "ready", "subs": [subs[2]["id"]]}) == [Ready()]


def test_a_ping_is_answered_with_its_id_only_if_it_has_one():
    conversation = _ready()

    assert _feed(conversation, {"msg": "ping"}) == [Pong()]
    _feed(conversation, {"msg": "ping", "id": "7"})

    assert _frames(conversation) == [{"msg": "pong"}, {"msg": "pong", "id": "7"}]


def test_a_message_is_read_with_its_room():
    (event,) = _feed(_ready(), _said())

    assert isinstance(event, Said)
    assert (event.message.rc_id, event.message.text, event.message.updated) == ("pT5", "hello", 1795310819101)
    assert (event.kind, event.room_name, event.is_member) == ("c", "general", True)


def test_a_room_that_the_account_is_not_in_is_told_apart():
    (event,) = _feed(_ready(), _said(meta={"roomParticipant": False, "roomType": "c"}))

    assert isinstance(event, Said)
    assert not event.is_member


def test_subscriptions_rooms_and_deletions_are_read():
    conversation = _ready()
    conversation.watch(rid="r1")
    (sub,) = _frames(conversation)
    assert (sub["name"], sub["params"][0]) == ("stream-notify-room", "r1/deleteMessage")

    def user_event(name, *args):
        fields = {"eventName": f"uidBot/{name}", "args": list(args)}
        return {"msg": "changed", "collection": "stream-notify-user", "id": "id", "fields": fields}

    inserted = {"rid": "r1", "t": "c", "name": "dev", "ts": {"$date": 5}, "roles": ["owner"]}
    (came,) = _feed(conversation, user_event("subscriptions-changed", "inserted", inserted))
    (went,) = _feed(conversation, user_event("subscriptions-changed", "removed", {"_id": "s", "rid": "r1"}))
    (seen,) = _feed(
        conversation, user_event("rooms-changed", "updated", {"_id": "r1", "t": "c", "name": "dev", "ro": True})
    )
    gone = {"eventName": "r1/deleteMessage", "args": [{"_id": "m1"}]}
    (lost,) = _feed(conversation, {"msg": "changed", "collection": "stream-notify-room", "id": "id", "fields": gone})

    assert isinstance(came, Membership)
    assert came.subscription is not None
    assert (came.subscription.since, came.subscription.roles) == (5, ("owner",))
    assert went == Membership("removed", "r1", None)
    assert isinstance(seen, RoomSeen)
    assert seen.room.is_read_only
    assert lost == Gone("r1", "m1")


def test_typing_names_the_account_and_the_thread():
    conversation = _ready()

    conversation.typing(rid="r1", is_typing=True, thread="root")

    (frame,) = _frames(conversation)
    assert frame["params"] == ["r1/user-activity", "bot", ["user-typing"], {"tmid": "root"}]
    (event,) = _feed(conversation, {"msg": "result", "id": frame["id"], "error": {"error": "too-many-requests"}})
    assert event == Returned(frame["id"], "stream-notify-room", frozenset({"too-many-requests"}))


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        ({"error": 403, "reason": "You've been logged out by the server. Please log in again."}, True),
        ({"error": "totp-required", "details": {"method": "email"}}, True),
        ({"error": "too-many-requests", "details": {"timeToReset": 100}}, False),
        ({"error": 500, "reason": "Internal server error"}, False),
        ("strange", False),
    ],
)
def test_a_refused_login_ends_the_conversation_with_its_reason(error, is_final):
    conversation = _start()
    _feed(conversation, {"msg": "connected", "session": "x"})
    login = _frames(conversation)[-1]

    (event,) = _feed(conversation, {"msg": "result", "id": login["id"], "error": error})

    assert isinstance(event, Ended)
    assert event.is_final is is_final
    assert "login refused" in event.reason


def test_a_version_that_is_not_spoken_ends_it_for_good():
    (event,) = _feed(_start(), {"msg": "failed", "version": "2"})

    assert isinstance(event, Ended)
    assert event.is_final


def _logged_in() -> tuple[Conversation, list[dict]]:
    """With the subscriptions that it has asked for."""
    conversation = _start()
    _feed(conversation, {"msg": "connected", "session": "x"})
    _feed(conversation, {"msg": "result", "id": _frames(conversation)[-1]["id"]})
    return conversation, _frames(conversation)


@pytest.mark.parametrize(("index", "code"), [(1, "not-allowed"), (2, "404"), (0, "too-many-requests")])
def test_a_refused_subscription_ends_it_and_a_refused_watch_does_not(index, code):
    conversation, subs = _logged_in()
    (ended,) = _feed(conversation, {"msg": "nosub", "id": subs[index]["id"], "error": {"error": code}})
    other = _ready()
    other.watch(rid="r1")
    watch = _frames(other)[0]["id"]
    (refused,) = _feed(other, {"msg": "nosub", "id": watch, "error": {"error": "too-many-requests"}})

    assert isinstance(ended, Ended)
    assert not ended.is_final
    assert refused == WatchRefused("r1", is_limit=True)


@pytest.mark.parametrize("code", ["not-allowed", "404", "invalid-event-name"])
@pytest.mark.parametrize("is_last", [False, True])
def test_without_the_stream_of_all_messages_each_watched_room_is_asked_for_its_own(code, is_last):
    conversation, (mine, *others) = _logged_in()
    assert mine["params"][0] == "__my_messages__"
    refusal = {"msg": "nosub", "id": mine["id"], "error": {"error": code}}
    ready = {"msg": "ready", "subs": [sub["id"] for sub in others]}

    events = [
        event for frame in ((ready, refusal) if is_last else (refusal, ready)) for event in _feed(conversation, frame)
    ]
    conversation.watch(rid="r1")
    asked = _frames(conversation)
    watched = [event for frame in asked for event in _feed(conversation, {"msg": "ready", "subs": [frame["id"]]})]
    said = _said(MESSAGE | {"rid": "r1"})
    said["fields"] = {"eventName": "r1", "args": [MESSAGE | {"rid": "r1"}]}
    (heard,) = _feed(conversation, said)
    conversation.watch(rid="r1")
    again = _frames(conversation)
    conversation.unwatch(rid="r1")

    assert events == [ByRoom(), Ready()]
    assert [(frame["name"], frame["params"][0]) for frame in asked] == [
        ("stream-notify-room", "r1/deleteMessage"),
        ("stream-room-messages", "r1"),
    ]
    assert watched == [Watched("r1")] * 2
    assert isinstance(heard, Said)
    assert (heard.message.rid, heard.is_member) == ("r1", True)
    assert again == []
    assert [frame["id"] for frame in _frames(conversation)] == [frame["id"] for frame in asked]


BAD = [
    ("not json", "not_json"),
    ("[1]", "frame_not_object"),
    (b"\x00\x01", "binary_frame"),
    ("{" + " " * (1024 * 1024) + "}", "frame_too_large"),
    ({"nothing": 1}, "unknown_msg"),
    ({"msg": "surprise"}, "unknown_msg"),
    ({"msg": "error", "reason": "Bad request"}, "server_says_error"),
    ({"msg": "result", "id": "999"}, "result_without_call"),
    ({"msg": "result", "id": 5}, "result_without_call"),
    ({"msg": "ready"}, "ready_without_subs"),
    ({"msg": "nosub"}, "nosub_without_id"),
    ({"msg": "changed"}, "changed_without_args"),
    ({"msg": "changed", "collection": "stream-room-messages", "fields": {"eventName": "x"}}, "changed_without_args"),
    ({"msg": "changed", "collection": "stream-room-messages", "fields": {"args": {}}}, "changed_without_args"),
    ({"msg": "changed", "collection": "stream-room-messages", "fields": {"args": [1]}}, "changed_without_event"),
    (
        {
            "msg": "changed",
            "collection": "stream-notify-room",
            "fields": {"eventName": "r9/deleteMessage", "args": [{}]},
        },
        "event_not_asked_for",
    ),
    (_said("text"), "message_not_object"),
    (_said({**MESSAGE, "u": None}), "message_without_u"),
    (_said({**MESSAGE, "u": {"username": "x"}}), "without_u_id"),
    (_said({key: value for key, value in MESSAGE.items() if key != "_id"}), "without_id"),
    (_said({**MESSAGE, "_id": "a b"}), "bad_id"),
    (_said({key: value for key, value in MESSAGE.items() if key != "rid"}), "without_rid"),
    (_said({key: value for key, value in MESSAGE.items() if key != "ts"}), "bad_ts"),
    (_said({**MESSAGE, "ts": {"$date": "soon"}}), "bad_ts"),
    (_said({**MESSAGE, "ts": {"$date": -5}}), "bad_ts"),
    (_said({**MESSAGE, "ts": {"$date": True}}), "bad_ts"),
    (_said({**MESSAGE, "ts": {"$date": 10**18}}), "bad_ts"),
    (_said({**MESSAGE, "_updatedAt": "never"}), "bad_updated_at"),
    (_said({**MESSAGE, "msg": 7}), "text_not_string"),
]


@pytest.mark.parametrize(
    ("frame", "reason"), BAD, ids=[f"{number}-{reason}" for number, (_, reason) in enumerate(BAD)]
)
def test_bad_input_is_skipped_with_its_reason(frame, reason):
    conversation = _ready()

    (event,) = _feed(conversation, frame)

    assert isinstance(event, Skipped)
    assert event.reason == reason
    assert isinstance(_feed(conversation, _said())[0], Said)


def test_a_lone_surrogate_and_a_nul_do_no_harm():
    (event,) = _feed(_ready(), json.dumps(_said({**MESSAGE, "msg": "a\x00b"})).replace('b"', '\\ud800"'))

    assert isinstance(event, Said)
    event.message.text.encode()
    assert "\x00" not in event.message.text


def _anything(dice: random.Random, depth: int = 0):
    """Any JSON, often with the protocol's own words in wrong places."""
    plain = [
        None,
        True,
        False,
        0,
        -1,
        2**70,
        1e308,
        "",
        "text",
        "\x00",
        "\ud800",
        "changed",
        "ready",
        "result",
        "failed",
    ]
    kind = dice.random()
    if depth > 4 or kind < 0.4:
        return dice.choice(plain)
    if kind < 0.6:
        return [_anything(dice, depth + 1) for _ in range(dice.randrange(4))]
    keys = [
        "msg",
        "id",
        "fields",
        "args",
        "eventName",
        "collection",
        "subs",
        "error",
        "_id",
        "rid",
        "u",
        "ts",
        "t",
        "$date",
    ]
    return {dice.choice(keys): _anything(dice, depth + 1) for _ in range(dice.randrange(6))}


@pytest.mark.parametrize("seed", range(5))
def test_nothing_that_arrives_raises(seed):
    dice = random.Random(seed)
    conversation = _ready()

    for _ in range(300):
        value = _anything(dice)
        fields = {name: _anything(dice) for name in ("mentions", "reactions", "files", "t", "editedBy", "u", "tmid")}
        for frame in (value, _said(value), _said({**MESSAGE, **fields})):
            _feed(conversation, frame)
