"""Do real Rocket.Chat clients log in, subscribe, send and receive against the devchat?"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
from rocketchat_API.APIExceptions.RocketExceptions import RocketAuthenticationException
from rocketchat_API.rocketchat import RocketChat

from tests.contract.conftest import PASSWORD, Devchat, Person
from tests.contract.npm import SCRIPTS, npm_modules
from tests.contract.python_client import python_with


@pytest.fixture
def python_client(devchat: Devchat, alice: Person) -> Any:
    with requests.Session() as session:
        yield RocketChat(alice.username, PASSWORD, server_url=devchat.url, session=session)


def test_the_python_client_logs_in_posts_edits_reacts_and_reads(python_client: RocketChat, room: str) -> None:
    posted = python_client.chat_post_message("first words", room_id=room)["message"]
    sent = python_client.chat_send_message({"rid": room, "msg": "second words"})["message"]

    python_client.chat_update(room, posted["_id"], "better words")
    python_client.chat_react(sent["_id"], emoji="eyes")

    assert python_client.me()["username"] == "alice"
    assert python_client.chat_get_message(posted["_id"])["message"]["msg"] == "better words"
    assert python_client.chat_get_message(sent["_id"])["message"]["reactions"] == {":eyes:": {"usernames": ["alice"]}}
    texts = [message["msg"] for message in python_client.groups_history(room)]
    assert texts == ["second words", "better words"]


def test_the_python_client_manages_rooms_and_files(python_client: RocketChat, bob: Person, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("what we decided")

    channel = python_client.channels_create("deploys")["channel"]
    python_client.channels_invite(channel["_id"], bob.id)
    python_client.channels_set_topic(channel["_id"], "releases")
    with file.open("rb") as content:
        uploaded = python_client.rooms_media(channel["_id"], ("notes.txt", content, "text/plain"))["file"]
    python_client.rooms_media_confirm(channel["_id"], uploaded["_id"], msg="minutes")
    direct = python_client.dm_create("bob")["room"]

    assert {member["username"] for member in python_client.channels_members(room_id=channel["_id"])} == {
        "alice",
        "bob",
    }
    newest = next(python_client.channels_history(channel["_id"]))
    assert newest["file"]["name"] == "notes.txt"
    assert set(direct["usernames"]) == {"alice", "bob"}
    assert [room["name"] for room in python_client.channels_list_joined()] == ["deploys"]


def test_the_python_client_is_told_about_bad_credentials(devchat: Devchat, alice: Person) -> None:
    with requests.Session() as session, pytest.raises(RocketAuthenticationException):
        RocketChat("alice", "wrong", server_url=devchat.url, session=session)


@pytest.fixture(scope="session")
def sdk_modules() -> Path:
    return npm_modules("rocketchat-sdk", {"@rocket.chat/sdk": "1.0.0-alpha.42"})


@pytest.mark.timeout(150)
def test_the_javascript_sdk_logs_in_subscribes_sends_hears_edits_and_reacts(
    devchat: Devchat, alice: Person, bob: Person, room: str, sdk_modules: Path
) -> None:
    environment = {**os.environ, "NODE_PATH": str(sdk_modules), "HOST": devchat.url, "ROOM": room}

    ran = subprocess.run(
        ["node", str(SCRIPTS / "sdk_round_trip.js")],
        env={**environment, "SDK_USER": "alice", "SDK_PASSWORD": PASSWORD, "OTHER": json.dumps(bob.headers)},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr + ran.stdout
    seen = json.loads(ran.stdout.strip().splitlines()[-1])
    assert seen["heard"] == ["from the sdk", "from the sdk, edited", "from bob", "from bob"]
    assert seen["reactions"] == {":eyes:": {"usernames": ["alice"]}}
    assert seen["activity"] == ["bob", ["user-typing"]]
    assert seen["deleted"] is True


def round_trip(command: list[str], *, devchat: Devchat, other: Person, room: str, **more: str) -> dict[str, Any]:
    """Alice through a client, Bob by REST; what the client saw."""
    environment = {"HOST": devchat.url, "ROOM": room, "OTHER": json.dumps(other.headers)}
    environment |= {"CLIENT_USER": "alice", "CLIENT_PASSWORD": PASSWORD, "PATH": os.environ["PATH"]}
    ran = subprocess.run(command, env=environment | more, capture_output=True, text=True, timeout=40, check=False)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return dict(json.loads(ran.stdout.strip().splitlines()[-1]))


@pytest.mark.timeout(260)
def test_rocketchats_own_ddp_client_logs_in_sends_hears_edits_and_reacts(
    devchat: Devchat, alice: Person, bob: Person, room: str
) -> None:
    packages = {"@rocket.chat/ddp-client": "1.1.2", "@rocket.chat/emitter": "0.33.0", "ws": "8.18.0"}
    # One dependency of theirs is published in a form that only their own package manager reads.
    overrides = {"typia": "9.7.2"}
    modules = npm_modules("rocketchat-ddp", packages, overrides=overrides, flags=("--legacy-peer-deps",))
    command = ["node", str(SCRIPTS / "ddp_client_round_trip.cjs")]

    seen = round_trip(command, devchat=devchat, other=bob, room=room, NODE_PATH=str(modules))

    assert (seen["user"], seen["rest"]) == (alice.id, "alice")
    assert seen["heard"] == ["from the client", "from the client, edited", "from bob", "from bob"]
    assert seen["reactions"] == {":eyes:": {"usernames": ["alice"]}}


@pytest.mark.timeout(150)
@pytest.mark.parametrize("is_updated_first", [False, True])
def test_the_sdk_that_most_bots_use_logs_in_sends_hears_edits_and_reacts(
    devchat: Devchat, alice: Person, bob: Person, room: str, is_updated_first: bool
) -> None:
    # Its own fork of asteroid is hosted where npm does not look; the published one does as well.
    modules = npm_modules("rocketchat-old-sdk", {"@rocket.chat/sdk": "0.2.9"}, overrides={"asteroid": "0.6.1"})
    devchat.switch(updated_before_result=is_updated_first)
    command = ["node", str(SCRIPTS / "old_sdk_round_trip.js")]

    seen = round_trip(command, devchat=devchat, other=bob, room=room, NODE_PATH=str(modules))

    assert seen["user"] == alice.id
    assert seen["heard"] == ["from the sdk", "from the sdk, edited", "from bob", "from bob"]
    assert seen["reactions"] == {":eyes:": {"usernames": ["alice"]}}
    assert seen["meta"] == {"roomParticipant": True, "roomType": "p"}


@pytest.mark.timeout(150)
def test_the_asynchronous_python_client_logs_in_sends_hears_and_reacts(
    devchat: Devchat, alice: Person, bob: Person, room: str
) -> None:
    command = [str(python_with("rocketchat-async==4.3.0")), str(SCRIPTS / "async_round_trip.py")]

    seen = round_trip(command, devchat=devchat, other=bob, room=room)

    assert (seen["user"], seen["rooms"]) == (alice.id, True)
    assert seen["heard"] == ["from the client", "from bob", "from bob, edited", "from bob, edited"]
    assert seen["reactions"] == {":eyes:": {"usernames": ["alice"]}}
