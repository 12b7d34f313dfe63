"""Does create_bridge make all or nothing, twice the same, and say what is wrong?"""

import io
import json
import stat
import tomllib

import pytest
from django.core.management import CommandError, call_command

from gateway import bridge_auth, bridges
from gateway.bridges import making
from gateway.models import Agent, AuditEntry, BotAccount, Bridge, User
from gateway.secrets import unseal
from nexus_bridge import tokens
from tests.server.devchat_process import ADMIN, PASSWORD, people_and_rooms, running_devchat

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def devchat(tmp_path_factory):
    with running_devchat(tmp_path_factory.mktemp("devchat")) as process:
        people_and_rooms(process)
        yield process


@pytest.fixture(autouse=True)
def chat(devchat, settings, tmp_path):
    settings.NEXUS_ROCKETCHAT_URL = devchat.url
    settings.NEXUS_ROCKETCHAT_ADMIN = ADMIN
    settings.NEXUS_ROCKETCHAT_ADMIN_PASSWORD = PASSWORD
    settings.NEXUS_STATE_DIR = tmp_path
    yield devchat
    with devchat.admin() as admin:
        for slug in ("claude-alice", "claude-alice-backend", "codex-bob", "shell-echo"):
            if (found := admin.find_user(username=slug)) is not None:
                admin.delete_user(user_id=str(found["_id"]))


def command(*arguments):
    out = io.StringIO()
    call_command("create_bridge", *arguments, stdout=out)
    return out.getvalue()


def bot(chat, slug):
    with chat.admin() as admin:
        return admin.find_user(username=slug)


def test_account_agent_and_token_are_made_in_one_go(chat):
    made = bridges.create(user="alice", cli="claude", role="Backend", rooms=["backend"])

    assert (made.slug, made.is_new) == ("claude-alice-backend", True)
    agent = Agent.objects.select_related("bridge", "owner", "bot_account").get(slug=made.slug)
    assert str(agent.owner) == "alice"
    identity = bridge_auth.find_bridge(token=made.token)
    assert identity is not None
    assert identity.bridge_id == agent.bridge_id
    assert unseal(agent.bot_account.access_token)
    assert made.token not in str(list(Bridge.objects.values()))
    assert set(bot(chat, made.slug)["roles"]) == {"bot", "user"}
    assert AuditEntry.objects.filter(action="bridge_created", target=made.slug).exists()


def test_a_second_time_makes_nothing_and_tells_no_token():
    first = bridges.create(user="alice", cli="claude")
    second = bridges.create(user="alice", cli="claude", rooms=["backend"])

    assert (second.is_new, second.token, second.bridge_id) == (False, "", first.bridge_id)
    assert Bridge.objects.count() == Agent.objects.count() == BotAccount.objects.count() == 1


def test_what_a_crash_left_half_made_is_healed_by_the_same_command(chat, monkeypatch):
    def crash(**_values):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(making, "_store", crash)
        with pytest.raises(SystemExit):
            bridges.create(user="alice", cli="claude")
    assert bot(chat, "claude-alice") is not None
    assert not Agent.objects.exists()

    assert bridges.create(user="alice", cli="claude").is_new


def test_a_database_that_refuses_leaves_no_account_behind(chat, monkeypatch):
    def refuse(**_values):
        raise bridges.TakenError("a rival was faster")

    monkeypatch.setattr(making, "_store", refuse)
    with pytest.raises(bridges.TakenError):
        bridges.create(user="alice", cli="claude")

    assert bot(chat, "claude-alice") is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"user": "nobody", "cli": "claude"}, "no such user"),
        ({"user": "", "cli": "claude"}, "slug must match"),
        ({"user": "../etc", "cli": "claude"}, "no such user"),
        ({"user": "alice", "cli": "chatgpt"}, "known are acp, claude"),
        ({"user": "alice", "cli": "claude", "role": "x" * 60}, "choose a shorter role"),
        ({"user": "alice", "cli": "claude", "role": "сервер"}, "slug must match"),
        ({"user": "alice", "cli": "claude", "slug": "all"}, "reserved"),
        ({"user": "alice", "cli": "claude", "slug": "-echo"}, "slug must match"),
        ({"user": "alice", "cli": "claude", "slug": "Echo"}, "slug must match"),
        ({"user": "alice", "cli": "claude", "slug": "e"}, "too short"),
        ({"user": "alice", "cli": "claude", "slug": "bob"}, "somebody else"),
        ({"user": "alice", "cli": "claude", "rooms": ["nowhere"]}, "no such room"),
    ],
)
def test_bad_input_is_named_and_makes_nothing(chat, arguments, says):
    with pytest.raises(bridges.BridgeError, match=says):
        bridges.create(**arguments)

    assert not Bridge.objects.exists()
    assert not User.objects.exists()
    assert bot(chat, "claude-alice") is None


def test_a_chat_that_is_down_is_named(settings):
    settings.NEXUS_ROCKETCHAT_URL = "http://127.0.0.1:9"

    with pytest.raises(bridges.ChatTroubleError, match="again"):
        bridges.create(user="alice", cli="claude")


def test_somebody_elses_agent_stays_theirs():
    bridges.create(user="alice", cli="claude", slug="claude-alice")

    with pytest.raises(bridges.TakenError):
        bridges.create(user="bob", cli="claude", slug="claude-alice")


def test_into_a_pipe_goes_no_token_but_the_name_of_a_private_file(tmp_path):
    said = command("alice", "claude")

    path = tmp_path / "bridges" / "claude-alice.toml"
    config = tomllib.loads(path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert str(path) in said
    assert config["token"] not in said
    assert tokens.is_well_formed(config["token"], kind="nxb")
    assert config["agent"][0]["slug"] == "claude-alice"
    assert config["hub"].startswith("ws")


def test_the_lines_for_the_laptop_are_printed_on_request():
    said = command("alice", "claude", "--print-token")

    assert "/client/nexus_bridge-" in said
    assert "nexus-bridge check" in said
    assert said.count("nxb_") == 1


def test_json_for_programs():
    found = json.loads(command("bob", "codex", "--json", "--print-token"))

    assert (found["slug"], found["created"]) == ("codex-bob", True)
    assert json.loads(command("bob", "codex", "--json"))["created"] is False


def test_the_api_makes_the_same_once(client, settings, tmp_path):
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()
    asked = {"user": "alice", "cli": "claude", "role": "backend", "rooms": ["backend"]}
    headers = {"Authorization": f"Bearer {settings.NEXUS_ADMIN_TOKEN}"}

    made, again, bad = (
        client.post("/api/v1/bridges", body, content_type="application/json", headers=headers)
        for body in (asked, asked, asked | {"user": "nobody"})
    )

    told = made.json()
    identity = bridge_auth.find_bridge(token=told["token"])
    assert (made.status_code, told["slug"]) == (201, "claude-alice-backend")
    assert identity is not None
    assert identity.bridge_id == told["bridge"]
    assert tomllib.loads(told["config"])["token"] == told["token"]
    assert (again.status_code, again.json()["token"], again.json()["bridge"]) == (200, "", told["bridge"])
    assert (bad.status_code, bad.json()["error"]["code"]) == (422, "bad_value")
    assert AuditEntry.objects.get(action="bridge_created").actor == "api:admin-token"


def test_who_may_ask_is_said_at_the_making():
    command("alice", "claude", "--who-may-ask", "room", "--print-token")

    assert Agent.objects.get(slug="claude-alice").who_may_ask == "room"


def test_an_unknown_user_is_a_command_error():
    with pytest.raises(CommandError, match="no such user"):
        command("nobody", "claude")


def test_a_rotated_token_replaces_the_old_one_after_its_overlap():
    made = bridges.create(user="alice", cli="claude")

    fresh = bridges.rotate(bridge_id=made.bridge_id, actor="alice", overlap_s=60)
    assert bridge_auth.find_bridge(token=made.token)
    assert bridge_auth.find_bridge(token=fresh)
    last = bridges.rotate(bridge_id=made.bridge_id, actor="alice", overlap_s=0)

    assert bridge_auth.find_bridge(token=made.token) is None
    assert bridge_auth.find_bridge(token=fresh) is None
    assert bridge_auth.find_bridge(token=last)


def test_a_revoked_bridge_can_not_be_rotated():
    made = bridges.create(user="alice", cli="claude")
    bridges.revoke(bridge_id=made.bridge_id, actor="alice")

    assert bridge_auth.find_bridge(token=made.token) is None
    with pytest.raises(bridges.NoSuchBridgeError):
        bridges.rotate(bridge_id=made.bridge_id, actor="alice")


def test_the_hosts_own_agents_answer_members_and_are_made_once():
    for _ in range(2):
        bridge = bridges.ensure_host(name="runtime-host", agents=[("shell-echo", "pty", 2)])

    agent = Agent.objects.get(slug="shell-echo")
    assert (agent.bridge_id, agent.owner, agent.who_may_ask, agent.parallel) == (bridge.pk, None, "room", 2)


@pytest.mark.parametrize(
    "spoil", [lambda t: t[:-1], lambda t: t[:10], lambda t: t + "0", lambda t: t.swapcase(), str.strip]
)
def test_a_cut_off_or_mistyped_token_is_seen_without_the_database(spoil):
    token = bridge_auth.new_bridge_token()
    spoilt = spoil(token)

    assert tokens.is_well_formed(spoilt, kind="nxb") is (spoilt == token)
