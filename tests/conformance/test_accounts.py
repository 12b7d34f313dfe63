"""What Nexus takes for granted of accounts, tokens and limits."""

from gateway.bootstrap.avatar import avatar
from tests.conformance.conftest import Target
from tests.contract.conftest import Person


def test_the_server_says_its_version(target: Target) -> None:
    assert target.admin.version()[0].isdigit()


def test_a_wrong_token_is_401(target: Target, alice: Person) -> None:
    stranger = Person(alice.username, alice.id, "not a token", alice.http)

    assert stranger.get("me").status_code == 401


def test_a_personal_token_is_the_account_it_belongs_to(alice: Person) -> None:
    me = alice.ok_get("me")

    assert (me["_id"], me["username"]) == (alice.id, alice.username)
    assert {"user", "bot"} <= set(me["roles"])


def test_a_name_is_taken_once(target: Target, alice: Person) -> None:
    body = {"name": "x", "email": f"other-{target.run}@conformance.invalid", "password": "Long-enough-1"}
    answer = target.http.post(
        "/api/v1/users.create",
        json=body | {"username": alice.username},
        headers={
            "X-Auth-Token": str(target.admin._session.headers["X-Auth-Token"]),
            "X-User-Id": target.admin.user_id,
        },
    )

    assert answer.status_code == 400
    assert "in use" in answer.json()["error"]


def test_an_unknown_user_is_a_refusal_and_not_a_crash(alice: Person) -> None:
    answer = alice.get("users.info", username="nobody-of-that-name")

    assert (answer.status_code, answer.json()["success"]) == (400, False)


def test_picture_and_status_can_be_set_by_the_account_itself(target: Target, claude: Person) -> None:
    files = {"image": ("avatar.png", avatar(name="claude"), "image/png")}

    answer = target.http.post("/api/v1/users.setAvatar", files=files, headers=claude.headers)
    claude.ok_post("users.setStatus", message="at your service")

    assert answer.json()["success"] is True
    found = claude.ok_get("users.info", username=claude.username)["user"]
    assert found["statusText"] == "at your service"
    assert found["avatarETag"]


def test_people_meet_the_limit_and_are_told_when_it_ends_and_bots_do_not(target: Target, claude: Person) -> None:
    visitor = target.person("visitor", roles=("user",))

    answers = [visitor.get("subscriptions.get") for _ in range(11)]
    for_bots = [claude.get("subscriptions.get") for _ in range(11)]

    assert answers[-1].status_code == 429
    assert {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"} <= set(answers[0].headers)
    assert int(answers[0].headers["x-ratelimit-reset"]) > 1_600_000_000_000
    assert {answer.status_code for answer in for_bots} == {200}
    assert not any("x-ratelimit-limit" in answer.headers for answer in for_bots)
