"""Does bootstrap bring a fresh server to where Nexus can work, once, and does it say what keeps it from doing so?"""

import io

import httpx
import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from gateway import bootstrap, bridges, doctor
from gateway.bootstrap import Options, Step, Verdict, hook, order
from gateway.bootstrap.avatar import avatar
from gateway.bridges import accounts
from gateway.models import Agent, AuditEntry, BotAccount, Room, RoomMember
from gateway.rocketchat.admin import Caller, Login
from gateway.rocketchat.calls import Call
from gateway.secrets import unseal
from tests.server.devchat_process import ADMIN, PASSWORD, people_and_rooms, running_devchat
from tests.server.people import make_agent, make_user

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.timeout(60)]

HOOK_URL = "http://127.0.0.1:9/rc/webhook"
HOOK_TOKEN = "a-token-of-the-webhook-of-these-tests"
OPTIONS = Options(rooms=("general",), hook_url=HOOK_URL, wait_s=0)


@pytest.fixture(scope="module")
def devchat(tmp_path_factory):
    with running_devchat(tmp_path_factory.mktemp("devchat")) as process:
        yield process


@pytest.fixture(autouse=True)
def chat(devchat, settings):
    """A fresh server, and an agent of Alice's that has no account there yet."""
    settings.NEXUS_ROCKETCHAT_URL = devchat.url
    settings.NEXUS_ROCKETCHAT_ADMIN = ADMIN
    settings.NEXUS_ROCKETCHAT_ADMIN_PASSWORD = PASSWORD
    settings.NEXUS_WEBHOOK_TOKEN = HOOK_TOKEN
    control(devchat, "reset")
    people_and_rooms(devchat)
    make_agent("claude-alice", owner=make_user("alice"))
    BotAccount.objects.all().delete()
    return devchat


def control(chat, what, body=None):
    return httpx.post(f"{chat.url}/devchat/{what}", json=body or {}).raise_for_status().json()


def state(chat):
    found = httpx.get(f"{chat.url}/devchat/state").json()
    return {key: found[key] for key in ("users", "rooms", "messages", "integrations")}


def person(chat, name):
    return Login(base_url=chat.url, user=name, password="a-long-word-8")


def run(**changes):
    """The steps that were told, as text, by verdict."""
    steps: list[Step] = []
    values = {name: getattr(OPTIONS, name) for name in ("rooms", "code", "hook_url", "wait_s")} | changes
    is_well = bootstrap.run(options=Options(**values), say=steps.append, sleep=lambda _: None)
    assert is_well is all(step.verdict != Verdict.FAILED for step in steps)
    return {
        verdict: [f"{step.subject}: {step.text}" for step in steps if step.verdict == verdict] for verdict in Verdict
    }


def test_a_fresh_server_gets_accounts_rooms_webhook_and_a_first_word(chat):
    told = run()

    assert told[Verdict.FAILED] == told[Verdict.NOTE] == []
    after = state(chat)
    users = {user["username"]: user for user in after["users"]}
    assert set(users["claude-alice"]["roles"]) == {"bot", "user"}
    assert users["claude-alice"]["statusText"].startswith("claude agent of @alice")
    assert users["nexus"]["avatarETag"]
    [general] = [room for room in after["rooms"] if room["_id"] == "GENERAL"]
    assert {"nexus", "claude-alice"} <= set(general["members"])
    [made] = after["integrations"]
    assert (made["urls"], made["token"], made["enabled"], made["runOnEdits"]) == ([HOOK_URL], HOOK_TOKEN, True, False)
    assert [message["u"]["username"] for message in after["messages"] if "t" not in message] == ["nexus"]


def test_access_tokens_are_kept_encrypted_and_work(chat):
    run()

    for row in BotAccount.objects.all():
        token = unseal(row.access_token)
        assert token.encode() not in bytes(row.access_token)
        with Caller(base_url=chat.url, user_id=row.rocketchat_id, token=token) as caller:
            assert caller.me()["username"] == row.username
    assert AuditEntry.objects.filter(action="bot_account_ready").count() == 2


@pytest.mark.parametrize("version", ["8.8.1", "9.0.0"])
def test_a_second_run_changes_nothing(chat, version):
    control(chat, "switches", {"version": version})
    assert run()[Verdict.FAILED] == []
    before, accounts = state(chat), list(BotAccount.objects.order_by("pk").values())

    told = run()

    assert told[Verdict.DONE] == told[Verdict.FAILED] == []
    assert state(chat) == before
    assert list(BotAccount.objects.order_by("pk").values()) == accounts


@pytest.mark.parametrize("after", ["account", "room"])
def test_a_run_that_was_cut_off_is_finished_by_the_next_one(chat, monkeypatch, after):
    class CutOffError(BaseException):
        pass

    def cut_off(*_arguments, **_values):
        raise CutOffError

    step = {"account": (accounts, "store_account"), "room": (hook, "ensure")}[after]
    with monkeypatch.context() as patch:
        patch.setattr(*step, cut_off)
        with pytest.raises(CutOffError):
            run()

    assert run()[Verdict.FAILED] == []
    assert run()[Verdict.DONE] == []


def test_a_revoked_token_is_replaced_and_the_account_mended(chat):
    run()
    row = BotAccount.objects.get(username="claude-alice")
    with Caller(base_url=chat.url, user_id=row.rocketchat_id, token=unseal(row.access_token)) as caller:
        caller.call(bots_token_removal())
    BotAccount.objects.filter(pk=row.pk).update(is_broken=True, broken_reason="refused")

    told = run()

    assert told[Verdict.DONE] == ["bot account @claude-alice: has a new access token"]
    again = BotAccount.objects.get(pk=row.pk)
    assert not again.is_broken
    with Caller(base_url=chat.url, user_id=again.rocketchat_id, token=unseal(again.access_token)) as caller:
        assert caller.me()["username"] == "claude-alice"


def bots_token_removal():
    return Call("POST", "users.removePersonalAccessToken", body={"tokenName": "nexus"})


def test_an_account_that_was_deleted_in_the_chat_is_made_anew_in_the_same_row(chat):
    run()
    row = BotAccount.objects.get(username="claude-alice")
    with chat.admin() as admin:
        admin.delete_user(user_id=row.rocketchat_id)

    assert run()[Verdict.FAILED] == []

    again = BotAccount.objects.get(username="claude-alice")
    assert again.pk == row.pk
    assert again.rocketchat_id != row.rocketchat_id


def test_agents_made_by_create_bridge_keep_their_token(chat):
    bridges.create(user="bob", cli="codex")
    before = BotAccount.objects.get(username="codex-bob")

    run()

    assert bytes(BotAccount.objects.get(pk=before.pk).access_token) == bytes(before.access_token)


def test_a_private_room_without_the_admin_names_who_can_invite(chat):
    with person(chat, "alice") as alice:
        room = alice.create_room(kind="p", name="leads", members=("bob",))

    [told] = run(rooms=("leads",))[Verdict.FAILED]

    assert "owner or moderator" in told
    assert "/invite @nexus" in told
    with person(chat, "alice") as alice:
        for row in BotAccount.objects.all():
            alice.invite(rid=str(room["_id"]), kind="p", user_id=row.rocketchat_id)
    assert "room leads: all 2 bots are in it" in run(rooms=("leads",))[Verdict.SAME]


def test_rooms_that_are_not_there_or_encrypted_are_named_and_the_rest_is_done(chat):
    with chat.admin() as admin:
        room = admin.create_room(kind="p", name="vault", members=())
        admin.call(encrypt(str(room["_id"])))

    told = run(rooms=("nowhere", "vault", "backend"))

    assert [text.split(":")[0] for text in told[Verdict.FAILED]] == ["room nowhere", "room vault"]
    assert "encrypted" in told[Verdict.FAILED][1]
    assert "room backend: @nexus invited" in told[Verdict.DONE]


def encrypt(rid):
    return Call("POST", "rooms.saveRoomSettings", body={"rid": rid, "encrypted": True})


def test_a_restricted_workspace_is_recognised_with_its_cure(chat):
    control(chat, "switches", {"is_restricted": True})

    told = run()

    assert [text for text in told[Verdict.FAILED] if "restricted" in text and "licence" in text]
    control(chat, "switches", {"is_restricted": False})
    assert run()[Verdict.FAILED] == []


def test_a_workspace_that_becomes_restricted_later_is_recognised_too(chat):
    run()
    control(chat, "switches", {"is_restricted": True})

    [told] = run()[Verdict.FAILED]

    assert told.startswith("posting: the workspace is restricted")


def test_the_mail_trap_does_not_catch_bots_and_is_undone_where_it_has(chat):
    control(chat, "switches", {"enrolls_email_two_factor": True})
    run()
    with chat.admin() as admin:
        row = BotAccount.objects.get(username="claude-alice")
        admin.delete_user(user_id=row.rocketchat_id)
        admin.call(trapped_account("claude-alice"))

    told = run()

    assert "bot account @claude-alice: has a new access token" in told[Verdict.DONE]


def trapped_account(name):
    body = {"username": name, "name": name, "email": f"{name}@bots.nexus.invalid", "password": "long-enough-77"}
    return Call("POST", "users.create", body=body | {"roles": ["bot", "user"], "verified": True})


def test_an_account_of_somebody_else_is_left_alone(chat):
    with chat.admin() as admin:
        admin.create_user(username="nexus", name="N", email="n@x.invalid", password="long-enough-77", roles=("user",))

    told = run()

    assert any("bot account @nexus" in text and "somebody else" in text for text in told[Verdict.FAILED])
    assert "room GENERAL" not in str(told[Verdict.FAILED])
    assert BotAccount.objects.filter(username="claude-alice").exists()


def test_missing_permissions_are_named_before_they_bite(chat):
    with chat.admin() as admin:
        admin.allow(grants={"manage-outgoing-integrations": (), "create-personal-access-tokens": ("admin",)})
        admin.allow(grants={"api-bypass-rate-limit": ("admin",), "manage-own-outgoing-integrations": ()})

    told = run()

    assert any(text.startswith("permission manage-outgoing-integrations") for text in told[Verdict.FAILED])
    assert any(text.startswith("permission create-personal-access-tokens") for text in told[Verdict.DONE])
    assert any(text.startswith("permission api-bypass-rate-limit") for text in told[Verdict.NOTE])


def test_a_webhook_that_was_switched_off_is_made_anew_and_told(chat):
    run()
    with chat.admin() as admin:
        [found] = admin.webhooks()
        admin.call(changed(found, enabled=False))

    told = run()[Verdict.DONE]

    assert any("switched off" in text for text in told)
    [webhook] = state(chat)["integrations"]
    assert webhook["enabled"] is True


def changed(found, **values):
    kept = {key: found[key] for key in ("type", "username", "event", "scriptEnabled", "name", "urls", "token")}
    body = kept | {"channel": ",".join(found["channel"]), "integrationId": found["_id"]} | values
    return Call("POST", "integrations.update", body=body)


@pytest.mark.parametrize("values", [{"runOnEdits": True}, {"retryFailedCalls": False}])
def test_a_webhook_that_calls_on_edits_or_only_once_is_found_and_made_anew(chat, values):
    run()
    with chat.admin() as admin:
        [found] = admin.webhooks()
        admin.call(changed(found, **{"enabled": True, "retryFailedCalls": True, "runOnEdits": False} | values))
        [before] = hook.look(admin, url=HOOK_URL)

        run()
        [after] = hook.look(admin, url=HOOK_URL)

    assert (before.verdict, after.verdict) == (Verdict.FAILED, Verdict.SAME)
    [webhook] = state(chat)["integrations"]
    assert (webhook["runOnEdits"], webhook["retryFailedCalls"]) == (False, True)


def test_the_doctor_misses_a_bot_in_a_room_it_was_thrown_out_of(chat):
    run()
    agent = Agent.objects.get(slug="claude-alice")
    with chat.admin() as admin:
        found = admin.find_room(name="general")
        general = Room.objects.create(rid=str(found["_id"]), kind="channel", name="general")
    lost = Room.objects.create(rid="lost", kind="private", name="lost")
    talk = Room.objects.create(rid="talk", kind="dm")
    for room in (general, lost, talk):
        RoomMember.objects.create(room=room, agent=agent)

    accounts = {one.username: one for one in doctor.chat.read_accounts()}

    assert {name: one.missing for name, one in accounts.items()} == {"claude-alice": ("lost",), "nexus": ()}
    assert "@claude-alice in lost" in doctor.chat.judge_accounts(list(accounts.values())).text


def test_a_webhook_with_an_old_address_is_made_anew_and_foreign_ones_stay(chat):
    with chat.admin() as admin:
        admin.create_webhook(name="other", url="http://127.0.0.1:9/other", token="t", username="rocket.cat")
    run(hook_url="http://127.0.0.1:9/old")

    run()

    found = {one["name"]: one["urls"] for one in state(chat)["integrations"]}
    assert found == {"other": ["http://127.0.0.1:9/other"], "nexus": [HOOK_URL]}
    assert len(state(chat)["integrations"]) == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"NEXUS_ROCKETCHAT_ADMIN_PASSWORD": "wrong"}, "name or password"),
        ({"NEXUS_ROCKETCHAT_ADMIN": "bob", "NEXUS_ROCKETCHAT_ADMIN_PASSWORD": "a-long-word-8"}, "failed"),
        ({"NEXUS_ROCKETCHAT_URL": "http://127.0.0.1:9"}, "failed"),
    ],
)
def test_the_command_fails_with_a_sentence(settings, changes, says):
    for name, value in changes.items():
        setattr(settings, name, value)

    with pytest.raises(CommandError, match=says):
        call_command("bootstrap", "--wait", "0", stdout=io.StringIO())


def test_the_command_prints_a_line_per_step_and_what_came_of_it(settings):
    settings.NEXUS_WEBHOOK_URL = HOOK_URL
    out = io.StringIO()

    call_command("bootstrap", stdout=out)

    lines = out.getvalue().splitlines()
    assert {line[:6].strip() for line in lines[:-1]} == {Verdict.SAME, Verdict.DONE}
    assert lines[-1].endswith("Nexus can work in this chat.")
    assert HOOK_TOKEN not in out.getvalue()


def test_limits_of_the_login_are_waited_out(chat):
    waits: list[float] = []
    limit = {"match": {"path": "login"}, "action": "status", "status": 429, "retry_after": 7, "skip": 1}
    control(chat, "faults", limit)

    assert bootstrap.run(options=OPTIONS, say=lambda _: None, sleep=waits.append)

    assert waits == [7.0]


def test_a_second_run_at_the_same_time_is_sent_away():
    """Two would renew each other's tokens."""
    with psycopg.connect(**connection.get_connection_params()) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [order.LOCK])

        with pytest.raises(bootstrap.BootstrapError, match="another bootstrap"):
            run()


def test_pictures_are_told_apart_by_their_names():
    assert avatar(name="claude-alice") == avatar(name="claude-alice")
    assert avatar(name="claude-alice") != avatar(name="claude-bob")
    assert avatar(name="nexus").startswith(b"\x89PNG")
