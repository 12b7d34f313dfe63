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
def test_the_javascript_sdk_logs_in_subscribes_sends_and_receives(
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
    assert seen["heard"] == ["from the sdk", "from bob", "from bob, edited", "from bob, edited"]
    assert seen["reactions"] == {":eyes:": {"usernames": ["alice"]}}
    assert seen["activity"] == ["bob", ["user-typing"]]
    assert seen["deleted"] is True
