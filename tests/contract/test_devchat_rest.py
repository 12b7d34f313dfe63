"""Do logins, tokens, users and refusals over REST read as Rocket.Chat's do?"""

import hashlib
import json
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from gateway.devchat.app import create_app
from gateway.devchat.nine import REMOVED_METHODS
from gateway.devchat.store import Store
from gateway.devchat.workspace import Admin, Workspace
from tests.contract.conftest import ADMIN_PASSWORD, PASSWORD, Clock, Devchat, Person


def test_the_version_is_full_for_the_privileged_only(devchat: Devchat, alice: Person) -> None:
    assert devchat.http.get("/api/info").json() == {"version": "8.8", "success": True}
    assert alice.ok_get("info")["version"] == "8.8"
    assert devchat.admin.ok_get("info")["version"] == "8.8.1"


def test_a_login_answers_with_token_and_user(devchat: Devchat, alice: Person) -> None:
    answer = devchat.http.post("/api/v1/login", json={"username": "alice", "password": PASSWORD})

    body = answer.json()
    assert answer.status_code == 200
    assert body["status"] == "success"
    assert "success" not in body
    assert body["data"]["userId"] == body["data"]["me"]["_id"] == alice.id
    assert body["data"]["me"]["roles"] == ["user"]


def test_bad_credentials_are_unauthorized(devchat: Devchat, alice: Person) -> None:
    answer = devchat.http.post("/api/v1/login", json={"user": "alice", "password": "wrong"})

    assert answer.status_code == 401
    assert answer.json() == {
        "success": False,
        "status": "error",
        "error": "Unauthorized",
        "message": "Unauthorized",
    }


def test_a_token_resumes_by_rest_too(devchat: Devchat, alice: Person) -> None:
    answer = devchat.http.post("/api/v1/login", json={"resume": alice.token})

    assert answer.json()["data"]["userId"] == alice.id


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-Auth-Token": "wrong", "X-User-Id": "wrong"}, {"X-User-Id": "admin"}],
    ids=["none", "wrong", "half"],
)
def test_callers_without_login_are_told_so(devchat: Devchat, headers: dict[str, str]) -> None:
    answer = devchat.http.get("/api/v1/me", headers=headers)

    assert answer.status_code == 401
    assert answer.json()["error"] == "You must be logged in to do this."


def test_a_token_with_another_user_id_is_no_login(devchat: Devchat, alice: Person, bob: Person) -> None:
    answer = devchat.http.get("/api/v1/me", headers={"X-Auth-Token": alice.token, "X-User-Id": bob.id})

    assert answer.status_code == 401


def test_missing_permissions_are_forbidden(alice: Person) -> None:
    answer = alice.post("users.create", username="x", name="x", email="x@example.org", password="x")

    assert answer.status_code == 403
    assert answer.json() == {
        "success": False,
        "error": "User does not have the permissions required for this action [error-unauthorized]",
    }


def test_unknown_endpoints_are_not_found(alice: Person) -> None:
    assert alice.get("no.such.endpoint").status_code == 404


@pytest.mark.parametrize(
    ("route", "body", "complaint"),
    [
        ("chat.postMessage", {"roomId": "GENERAL", "text": "x", "bot": True}, "must NOT have additional properties"),
        ("chat.postMessage", {"roomId": "GENERAL", "channel": "#general", "text": "x"}, "oneOf"),
        ("chat.postMessage", {"roomId": "GENERAL", "text": ["x"]}, "must be string"),
        ("chat.sendMessage", {}, "must have required property 'message'"),
        ("chat.sendMessage", {"message": {"rid": "GENERAL"}, "more": 1}, "must NOT have additional properties"),
        ("chat.update", {"roomId": "GENERAL", "msgId": "x"}, "must have required property 'text'"),
        ("subscriptions.read", {}, "must have required property 'rid'"),
        ("chat.react", {"emoji": "eyes"}, "must have required property 'messageId'"),
        ("users.create", {"username": "x", "name": "x", "email": "x@example.org"}, "required property 'password'"),
        ("integrations.create", {"type": "webhook-outgoing"}, "must have required property 'username'"),
    ],
)
def test_bodies_are_checked_strictly(devchat: Devchat, route: str, body: dict[str, Any], complaint: str) -> None:
    answer = devchat.admin.post(route, **body)

    assert answer.status_code == 400
    assert answer.json()["errorType"] == "invalid-params"
    assert complaint in answer.json()["error"]
    assert answer.json()["error"].endswith("[invalid-params]")


def test_bodies_that_are_no_json_are_refused(devchat: Devchat, alice: Person) -> None:
    headers = {**alice.headers, "Content-Type": "application/json"}

    answer = devchat.http.post("/api/v1/chat.postMessage", content=b"{not json", headers=headers)

    assert answer.status_code == 400
    assert "Invalid JSON" in answer.json()["error"]


def test_users_are_created_once(devchat: Devchat) -> None:
    body = {"username": "dora", "name": "Dora", "email": "dora@example.org", "password": "pw", "verified": False}

    user = devchat.admin.ok_post("users.create", **body, roles=["user", "bot"])["user"]
    again = devchat.admin.post("users.create", **body)
    invalid = devchat.admin.post("users.create", **{**body, "username": "do ra", "email": "other@example.org"})

    assert (user["username"], user["type"], user["roles"]) == ("dora", "user", ["user", "bot"])
    assert again.status_code == 400
    assert again.json()["errorType"] == "error-field-unavailable"
    assert again.json()["error"] == "dora is already in use :( [error-field-unavailable]"
    assert invalid.json()["errorType"] == "error-input-is-not-a-valid-field"


def test_default_rooms_are_joined_unless_told_otherwise(devchat: Devchat) -> None:
    joined = devchat.add_user("joiner", joinDefaultChannels=True)
    loner = devchat.add_user("loner", joinDefaultChannels=False)

    assert [each["rid"] for each in joined.ok_get("subscriptions.get")["update"]] == ["GENERAL"]
    assert loner.ok_get("subscriptions.get")["update"] == []


def test_roles_and_mail_addresses_are_shown_to_the_privileged_only(
    devchat: Devchat, alice: Person, bob: Person
) -> None:
    seen_by_bob = bob.ok_get("users.info", username="alice")["user"]
    seen_by_admin = devchat.admin.ok_get("users.info", userId=alice.id)["user"]
    missing = bob.get("users.info", username="nobody")

    assert not {"roles", "emails"} & set(seen_by_bob)
    assert seen_by_admin["roles"] == ["user"]
    assert (missing.status_code, missing.json()["error"]) == (400, "User not found.")


def test_a_personal_token_works_until_it_is_removed(devchat: Devchat, alice: Person) -> None:
    token = alice.ok_post("users.generatePersonalAccessToken", tokenName="nexus", bypassTwoFactor=True)["token"]
    taken = alice.post("users.generatePersonalAccessToken", tokenName="nexus")
    holder = Person("alice", alice.id, token, devchat.http)

    assert holder.ok_get("me")["username"] == "alice"
    assert taken.json()["errorType"] == "error-token-already-exists"
    listed = alice.ok_get("users.getPersonalAccessTokens")["tokens"]
    assert [(each["name"], each["bypassTwoFactor"]) for each in listed] == [("nexus", True)]
    assert token not in str(listed)
    alice.ok_post("users.removePersonalAccessToken", tokenName="nexus")
    assert holder.get("me").status_code == 401


def test_bots_get_personal_tokens_only_after_the_grant(devchat: Devchat) -> None:
    bot = devchat.add_user("robot", roles=("bot",))

    refused = bot.post("users.generatePersonalAccessToken", tokenName="nexus")
    devchat.admin.ok_post(
        "permissions.update",
        permissions=[{"_id": "create-personal-access-tokens", "roles": ["admin", "user", "bot"]}],
    )

    assert refused.json()["errorType"] == "not-authorized"
    assert bot.ok_post("users.generatePersonalAccessToken", tokenName="nexus")["token"]


def test_logging_out_ends_the_token(devchat: Devchat, alice: Person) -> None:
    body = alice.ok_post("logout")

    assert body == {"status": "success", "data": {"message": "You've been logged out!"}}
    assert alice.get("me").status_code == 401


def test_tokens_for_others_need_the_servers_secret(devchat: Devchat, alice: Person) -> None:
    wrong = devchat.admin.post("users.createToken", userId=alice.id, secret="guess")
    right = devchat.admin.ok_post("users.createToken", userId=alice.id, secret="token secret")

    assert wrong.status_code == 400
    assert right["data"]["userId"] == alice.id
    assert Person("alice", alice.id, right["data"]["authToken"], devchat.http).ok_get("me")["_id"] == alice.id


def test_the_mail_trap_asks_for_a_code_after_the_password(devchat: Devchat) -> None:
    devchat.switch(enrolls_email_two_factor=True)
    body = {"name": "Dora", "password": PASSWORD}
    devchat.admin.ok_post("users.create", username="dora", email="dora@example.org", verified=True, **body)
    devchat.admin.ok_post("users.create", username="emil", email="emil@example.org", verified=False, **body)

    trapped = devchat.http.post("/api/v1/login", json={"user": "dora", "password": PASSWORD})
    with_code = devchat.http.post("/api/v1/login", json={"user": "dora", "password": PASSWORD, "code": "424242"})
    free = devchat.http.post("/api/v1/login", json={"user": "emil", "password": PASSWORD})

    assert trapped.status_code == 401
    assert trapped.json()["error"] == "totp-required"
    assert trapped.json()["details"]["availableMethods"] == ["email"]
    assert with_code.status_code == 200
    assert free.status_code == 200


def test_sensitive_calls_want_the_password_again_once_the_grace_is_over(two_factor: "TwoFactor") -> None:
    fresh = two_factor.generate("first")
    two_factor.age_by(1_800_001)
    late = two_factor.generate("second")
    digest = hashlib.sha256(ADMIN_PASSWORD.encode()).hexdigest()
    confirmed = two_factor.generate("third", **{"x-2fa-method": "password", "x-2fa-code": digest})

    assert fresh.status_code == 200
    assert late.status_code == 400
    assert late.json()["error"] == "TOTP Required [totp-required]"
    assert late.json()["errorType"] == "totp-required"
    assert late.json()["details"]["method"] == "password"
    assert confirmed.status_code == 200


class TwoFactor:
    """The REST door in this process, with a clock that can be turned."""

    def __init__(self, client: Any, clock: Any) -> None:
        self.client, self.clock = client, clock
        data = client.post("/api/v1/login", json={"user": "admin", "password": ADMIN_PASSWORD}).json()["data"]
        self.headers = {"X-User-Id": data["userId"], "X-Auth-Token": data["authToken"]}

    def age_by(self, ms: int) -> None:
        self.clock.now_ms += ms

    def generate(self, name: str, **headers: str) -> httpx.Response:
        body = {"tokenName": name}
        answer: httpx.Response = self.client.post(
            "/api/v1/users.generatePersonalAccessToken", json=body, headers={**self.headers, **headers}
        )
        return answer


@pytest.fixture
async def two_factor(tmp_path):
    clock = Clock()
    workspace = Workspace(folder=tmp_path, store=Store(clock=clock), admin=Admin("admin", ADMIN_PASSWORD))
    with TestClient(create_app(workspace)) as client:
        yield TwoFactor(client, clock)


def test_status_and_avatar_can_be_set(devchat: Devchat, alice: Person, bob: Person) -> None:
    png = b"\x89PNG\r\n\x1a\n not really a picture"

    alice.ok_post("users.setStatus", status="busy", message="deploying")
    drawn = devchat.http.get("/avatar/alice")
    uploaded = devchat.http.post(
        "/api/v1/users.setAvatar", files={"image": ("me.png", png, "image/png")}, headers=alice.headers
    )
    foreign = devchat.http.post(
        "/api/v1/users.setAvatar",
        files={"image": ("me.png", png, "image/png")},
        data={"username": "alice"},
        headers=bob.headers,
    )

    assert bob.ok_get("users.getStatus", username="alice")["message"] == "deploying"
    assert drawn.headers["content-type"] == "image/svg+xml"
    assert ">A</text>" in drawn.text
    assert uploaded.json() == {"success": True}
    assert devchat.http.get("/avatar/alice").content == png
    assert foreign.status_code == 400


def test_deactivated_users_are_out_at_once(devchat: Devchat, alice: Person) -> None:
    devchat.admin.ok_post("users.setActiveStatus", userId=alice.id, activeStatus=False)

    assert alice.get("me").status_code == 401
    assert devchat.http.post("/api/v1/login", json={"user": "alice", "password": PASSWORD}).status_code == 401


def test_settings_tell_the_largest_message(devchat: Devchat, alice: Person) -> None:
    public = alice.ok_get("settings.public", _id="Message_MaxAllowedSize")["settings"]

    assert public == [{"_id": "Message_MaxAllowedSize", "value": 5000}]
    assert devchat.admin.ok_get("settings/Message_MaxAllowedSize")["value"] == 5000
    assert alice.get("settings/Message_MaxAllowedSize").status_code == 403


def test_from_9_on_missing_permissions_are_401_and_bodies_are_shorter(devchat: Devchat, alice: Person) -> None:
    room = devchat.add_room("elsewhere")
    devchat.switch(version="9.0.0")

    missing = alice.post("users.create", username="x", name="x", email="x@example.org", password="x")
    stranger = devchat.http.get("/api/v1/me")
    elsewhere = devchat.http.post(f"/api/v1/rooms.media/{room}", headers=alice.headers)

    assert missing.status_code == 401
    assert missing.json()["error"].endswith("[error-unauthorized]")
    assert (stranger.status_code, stranger.json()) == (
        401,
        {"success": False, "error": "You must be logged in to do this."},
    )
    assert (elsewhere.status_code, elsewhere.json()["error"]) == (403, "forbidden")
    devchat.switch(version="8.8.1")
    again = devchat.http.post(f"/api/v1/rooms.media/{room}", headers=alice.headers)
    assert (again.status_code, again.json()["error"]) == (403, "unauthorized")


@pytest.mark.parametrize("name", sorted(REMOVED_METHODS))
async def test_methods_that_9_removes_are_gone_there_on_both_doors(devchat: Devchat, alice: Person, name: str) -> None:
    frame = json.dumps({"msg": "method", "id": "1", "method": name, "params": []})
    found = []

    for version in ("8.8.1", "9.0.0"):
        devchat.switch(version=version)
        async with devchat.realtime(alice) as client:
            over_socket = await client.call(name)
        over_rest = json.loads(alice.ok_post(f"method.call/{name}", message=frame)["message"])
        found.append([(one.get("error") or {}).get("error") == 404 for one in (over_socket, over_rest)])

    assert found == [[False, False], [True, True]]
