"""Does the devchat accept, refuse and parse what the schemas and the parser that Rocket.Chat publishes do?"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.devchat.accounts import create_user
from gateway.devchat.mentions import find_mentions
from gateway.devchat.store import Store
from gateway.rocketchat import admin_calls, calls
from tests.contract.conftest import Devchat
from tests.contract.npm import SCRIPTS, npm_modules

pytestmark = pytest.mark.timeout(260)

VALIDATORS = {
    "chat.postMessage": "isChatPostMessageProps",
    "chat.sendMessage": "isChatSendMessageProps",
    "chat.update": "isChatUpdateProps",
    "chat.react": "isChatReactProps",
    "chat.delete": "isChatDeleteProps",
    "users.create": "isUserCreateParamsPOST",
    "users.update": "isUsersUpdateParamsPOST",
    "users.setActiveStatus": "isUserSetActiveStatusParamsPOST",
    "integrations.create": "isIntegrationsCreateProps",
    "channels.create": "isChannelsCreateProps",
    "groups.create": "isGroupsCreateProps",
    "groups.invite": "isGroupsInviteProps",
    "im.create": "isDmCreateProps",
    "rooms.join": "isRoomsJoinProps",
    "rooms.createDiscussion": "isRoomsCreateDiscussionProps",
    "subscriptions.read": "isSubscriptionsReadProps",
}
USER = {"email": "a@example.org", "name": "n", "password": "p", "username": "u"}
HOOK: dict[str, Any] = {
    "type": "webhook-outgoing",
    "username": "rocket.cat",
    "channel": "#general",
    "event": "sendMessage",
    "scriptEnabled": False,
    "name": "n",
    "enabled": True,
    "urls": ["http://127.0.0.1:9/"],
}
ALL_OF_HOOK = {
    "token": "t",
    "triggerWords": ["a"],
    "triggerWordAnywhere": True,
    "runOnEdits": False,
    "retryCount": 6,
    "retryFailedCalls": True,
    "retryDelay": "powers-of-ten",
    "impersonateUser": False,
    "alias": "",
    "emoji": "",
}


def without(body: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != key}


CORPUS: dict[str, list[dict[str, Any]]] = {
    "chat.postMessage": [
        {"roomId": "GENERAL", "text": "x"},
        {"channel": "#general", "text": "x"},
        {"channel": ["#general"], "text": "x"},
        {"roomId": "GENERAL", "channel": "#general", "text": "x"},
        {"text": "x"},
        {"roomId": "GENERAL", "text": "x", "bot": {}},
        {"roomId": "GENERAL", "text": "x", "_id": "i"},
        {"roomId": "GENERAL", "text": "x", "groupable": False},
        {"roomId": "GENERAL", "text": "x", "username": "u"},
        {"roomId": "GENERAL", "text": "x", "icon_url": "u"},
        {"roomId": "GENERAL", "text": 1},
        {"roomId": "GENERAL", "text": "x", "attachments": [{"text": "y"}]},
        {"roomId": "GENERAL", "text": "x", "attachments": []},
        {"roomId": "GENERAL", "text": "x", "tmid": "t"},
        {"channel": "#general", "text": "x", "tmid": "t"},
        {"roomId": "GENERAL", "text": "x", "emoji": ":x:", "parseUrls": True},
    ],
    "chat.sendMessage": [
        {"message": {"rid": "GENERAL", "msg": "x"}},
        {"message": {"rid": "GENERAL", "msg": "x", "_id": "publishedSchemaId"}},
        {"message": {"rid": "GENERAL", "msg": "x", "roomId": "GENERAL", "more": 1}},
        {"message": {"rid": "GENERAL", "msg": "x", "tshow": True, "tmid": "t", "blocks": []}},
        {"message": {"rid": "GENERAL"}, "previewUrls": []},
        {"message": {"rid": "GENERAL"}, "more": 1},
        {"message": {"msg": "x"}},
        {},
    ],
    "chat.update": [
        {"roomId": "r", "msgId": "m", "text": "t"},
        {"roomId": "r", "msgId": "m", "text": "t", "previewUrls": ["x"]},
        {"roomId": "r", "msgId": "m", "text": "t", "customFields": {}},
        {"roomId": "r", "msgId": "m", "text": "t", "asUser": True},
        {"roomId": "r", "msgId": "m"},
        {"msgId": "m", "text": "t"},
    ],
    "chat.react": [
        {"messageId": "m", "emoji": "eyes"},
        {"messageId": "m", "reaction": "eyes", "shouldReact": False},
        {"messageId": "m", "emoji": "eyes", "reaction": "eyes"},
        {"messageId": "m", "emoji": "eyes", "more": 1},
        {"messageId": "m"},
        {"emoji": "eyes"},
    ],
    "chat.delete": [
        {"msgId": "m", "roomId": "r"},
        {"msgId": "m", "roomId": "r", "asUser": True},
        {"msgId": "m", "roomId": "r", "more": 1},
        {"msgId": "m"},
    ],
    "users.create": [
        USER,
        {**USER, "roles": ["bot"], "joinDefaultChannels": False, "requirePasswordChange": False, "verified": False},
        {**USER, "active": True, "customFields": {}, "bio": "", "nickname": "", "statusText": ""},
        {**USER, "type": "bot"},
        {**USER, "roles": "bot"},
        *(without(USER, key) for key in USER),
    ],
    "users.update": [
        {"userId": "u", "data": {}},
        {"userId": "u", "data": {"name": "x", "password": "p", "roles": ["user"], "verified": True}},
        {"userId": "u", "data": {"colour": "red"}},
        {"userId": "u", "data": {}, "more": 1},
        {"userId": "u"},
    ],
    "users.setActiveStatus": [
        {"userId": "u", "activeStatus": True},
        {"userId": "u", "activeStatus": True, "confirmRelinquish": True},
        {"username": "u", "activeStatus": True},
        {"userId": "u"},
    ],
    "integrations.create": [
        HOOK,
        {**HOOK, **ALL_OF_HOOK},
        {**HOOK, "urls": [""]},
        {**HOOK, "more": 1},
        *(without(HOOK, key) for key in ("username", "channel", "event", "scriptEnabled", "name", "enabled")),
    ],
    **{
        f"{family}.create": [
            {"name": "n"},
            {"name": "n", "members": ["u"], "readOnly": True},
            {"name": "n", "extraData": {"broadcast": False}},
            {"name": "n", "more": 1},
            {},
        ]
        for family in ("channels", "groups")
    },
    "groups.invite": [
        {"roomId": "r", "userId": "u"},
        {"roomName": "r", "username": "u"},
        {"roomId": "r", "usernames": ["u"]},
        {"roomId": "r", "userId": "u", "more": 1},
    ],
    "im.create": [
        {"username": "u"},
        {"usernames": "a,b", "excludeSelf": True},
        {"username": "u", "usernames": "a"},
        {"username": "u", "more": 1},
        {},
    ],
    "rooms.join": [
        {"roomId": "r"},
        {"roomName": "r"},
        {"roomId": "r", "joinCode": "x"},
        {"roomId": "r", "more": 1},
        {},
    ],
    "rooms.createDiscussion": [
        {"prid": "r", "t_name": "n"},
        {"prid": "r", "t_name": "n", "users": ["u"], "reply": "x", "encrypted": False, "topic": "t"},
        {"prid": "r", "t_name": "n", "pmid": "m"},
        {"prid": "r", "t_name": "n", "more": 1},
        {"prid": "r"},
        {"t_name": "n"},
    ],
    "subscriptions.read": [
        {"rid": "r"},
        {"roomId": "r"},
        {"rid": "r", "readThreads": True},
        {"rid": "r", "more": 1},
        {},
    ],
}
TEXTS = [
    "@bob",
    "hello @bob, and (@alice)!",
    "mail bob@alice.org now",
    "`@bob` and ``@bob``",
    "```\n@bob\n```",
    "```python\n@bob\n```\nthen @alice",
    "> @bob said so",
    "*@bob* _@alice_ ~@bob~",
    "@claude-alice-backend: why?",
    "see https://example.org/@bob",
    "[@bob](https://example.org)",
    "@bob.",
    "@all look",
    "- @bob\n- @alice",
    "# @bob",
    "@\u200bbob",
    "x@bob",
    "1@bob",
    "@bob@alice",
    "...@bob",
    "/@bob",
    "\u00e9@bob",
    "@BOB",
    "@bob's plan",
    ">@bob",
    '"@bob"',
    "|@bob|",
    "<https://example.org|@bob>",
    "@bob:server",
    "_@bob_",
    "!@bob",
    "\u65e5\u672c@bob",
]


@pytest.fixture(scope="module")
def modules() -> Path:
    packages = {"@rocket.chat/rest-typings": "8.8.1", "@rocket.chat/message-parser": "0.32.0"}
    # One dependency of theirs is published in a form that only their own package manager reads.
    return npm_modules("rocketchat-typings", packages, overrides={"typia": "9.7.2"}, flags=("--legacy-peer-deps",))


def ask_node(script: str, modules: Path, question: object) -> list[Any]:
    ran = subprocess.run(
        ["node", str(SCRIPTS / script)],
        input=json.dumps(question),
        env={**os.environ, "MODULES": str(modules)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return list(json.loads(ran.stdout))


def test_bodies_are_accepted_and_refused_as_the_published_schemas_do(devchat: Devchat, modules: Path) -> None:
    bodies = [(route, body) for route, examples in CORPUS.items() for body in examples]
    published = ask_node("published_schemas.mjs", modules, [(VALIDATORS[route], body) for route, body in bodies])

    answers = [devchat.admin.post(route, **body) for route, body in bodies]

    accepted = [answer.json().get("errorType") != "invalid-params" for answer in answers]
    differences = [
        (route, body, f"published: {theirs}, devchat: {ours}")
        for (route, body), theirs, ours in zip(bodies, published, accepted, strict=True)
        if theirs != ours
    ]
    assert differences == []


def test_what_nexus_sends_fits_the_published_schemas(modules: Path) -> None:
    sent = [
        ("isChatSendMessageProps", calls.send(rid="r", rc_id="m", text="x", thread="t", attachments=({"text": "y"},))),
        ("isChatUpdateProps", calls.update(rid="r", rc_id="m", text="x")),
        ("isChatDeleteProps", calls.delete(rid="r", rc_id="m")),
        ("isChatReactProps", calls.react(rc_id="m", emoji=":eyes:", is_on=True)),
        ("isChatGetMessageProps", calls.get(rc_id="m")),
        ("isChatSyncMessagesProps", calls.changed(rid="r", after_ms=1, count=50)),
        ("isChatSyncMessagesProps", calls.deleted(rid="r", after_ms=1, count=50)),
        ("isChatSyncMessagesProps", calls.changed_since(rid="r", since="2026-01-01T00:00:00.000Z")),
        ("isGroupsHistoryProps", calls.history(rid="r", kind="p", latest="2026-01-01T00:00:00.000Z", count=50)),
        ("isChannelsHistoryProps", calls.history(rid="r", kind="c", latest="2026-01-01T00:00:00.000Z", count=50)),
        ("isSubscriptionsReadProps", calls.read(rid="r")),
        ("isSubscriptionsGetProps", calls.subscriptions()),
        ("isRoomsInfoProps", calls.room_info(rid="r")),
        ("isRoomsInfoProps", admin_calls.room_named(name="r")),
        ("isUsersInfoParamsGetProps", admin_calls.user_info(username="u")),
        (
            "isUserCreateParamsPOST",
            admin_calls.create_user(username="u", name="n", email="u@example.org", password="p", roles=("bot",)),
        ),
        ("isUsersUpdateParamsPOST", admin_calls.set_password(user_id="u", password="p")),
        ("isChannelsCreateProps", admin_calls.create_room(kind="c", name="r", members=("u",))),
        ("isGroupsCreateProps", admin_calls.create_room(kind="p", name="r", members=("u",))),
        ("isGroupsInviteProps", admin_calls.invite(rid="r", kind="p", user_id="u")),
        ("isDmCreateProps", calls.open_direct(username="u")),
        ("isIntegrationsRemoveProps", admin_calls.remove_webhook(integration_id="i")),
        ("isIntegrationsListProps", admin_calls.integrations(offset=100)),
        ("isSettingsPublicWithPaginationProps", admin_calls.public_settings(names=("a", "b"))),
        ("isRoomsAdminRoomsProps", admin_calls.any_room(name="r")),
        (
            "isIntegrationsCreateProps",
            admin_calls.create_webhook(name="n", url="http://127.0.0.1:9/", token="t", username="rocket.cat"),
        ),
    ]

    verdicts = ask_node(
        "published_schemas.mjs",
        modules,
        [(validator, call.body if call.method == "POST" else dict(call.params)) for validator, call in sent],
    )

    assert [call.path for (_, call), fits in zip(sent, verdicts, strict=True) if not fits] == []


def test_mentions_are_found_as_the_published_parser_finds_them(modules: Path) -> None:
    store = Store()
    for username in ("alice", "bob", "claude-alice-backend"):
        create_user(store, username=username, name=username, email="", password="x")
    known = {"alice", "bob", "claude-alice-backend", "all", "here"}
    parsed = ask_node("published_mentions.cjs", modules, TEXTS)

    theirs = {
        text: list(dict.fromkeys(name for name in names if name in known))
        for text, names in zip(TEXTS, parsed, strict=True)
    }

    ours = {text: [mention["username"] for mention in find_mentions(store, text)] for text in TEXTS}
    assert ours == theirs
