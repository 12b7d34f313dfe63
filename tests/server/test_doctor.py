"""Does the doctor find each thing that is wrong, leave what is right alone, and name a cure?"""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from composer.memory import client
from composer.models import Memory
from gateway import audit, doctor
from gateway.bootstrap.steps import Step, Verdict
from gateway.doctor import CHECKS, Check, Grade, agents, chat, known, live, memory, services, tries
from gateway.models import AuditEntry, BotAccount, McpServer, RoomMember, RoomTool
from nexus_bridge import __version__
from nexus_project import file_checks, finding, leak_checks
from tests.server import people

ROOT = Path(__file__).resolve().parents[2]
BY_ID = {check.id: check for check in CHECKS}
SECRETS = {
    "SECRET_KEY": "kX9vTq2mWz8rLp4nBs6yHd1fGj7cUe3a",
    "NEXUS_FIELD_KEY": "Lp4nBs6yHd1fGj7cUe3akX9vTq2mWz8r",
    "NEXUS_WEBHOOK_TOKEN": "",
}
HEALTHY = {
    "DEBUG": False,
    "NEXUS_PUBLIC_URL": "https://nexus.example.org",
    "ALLOWED_HOSTS": ["nexus.example.org"],
    "NEXUS_PRIVATE_NETWORK": False,
    "NEXUS_REDIS_URL": "redis://:secret@127.0.0.1:6380",
    "DATABASES": {"default": {"HOST": "127.0.0.1", "PORT": "5433", "PASSWORD": "secret"}},
    "SESSION_COOKIE_SECURE": True,
    "SESSION_COOKIE_HTTPONLY": True,
    "SESSION_COOKIE_SAMESITE": "Lax",
    "CSRF_COOKIE_SECURE": True,
    "CSRF_TRUSTED_ORIGINS": ["https://nexus.example.org"],
    "CELERY_BROKER_TRANSPORT_OPTIONS": {"visibility_timeout": 300},
    "CELERY_VISIBILITY_TIMEOUT": 300,
    "CELERY_TASK_TIME_LIMIT": 60,
}


def given(**changed):
    return SimpleNamespace(**(HEALTHY | changed))


def upstream(**changed):
    one = agents.Upstream(name="wiki", is_approved=True, url="https://wiki.example.org/mcp", clear_secrets=())
    return replace(one, **changed)


def step(verdict):
    return Step(verdict, "server", "says something")


def room(**changed):
    return replace(file_checks.Room(path="/srv", free_mib=50_000, free=0.5, free_inodes=0.5), **changed)


REDIS = {"redis_version": "7.2.4", "maxmemory_policy": "noeviction", "used_memory": 1, "maxmemory": 100}

# Of each check: facts that are wrong, and facts that are right.
CASES = {
    "settings.debug": ([given(DEBUG=True)], given()),
    "settings.hosts": (
        [given(ALLOWED_HOSTS=["*"]), given(ALLOWED_HOSTS=[".org"]), given(ALLOWED_HOSTS=["other"])],
        given(),
    ),
    "settings.public_url": (
        [given(NEXUS_PUBLIC_URL="http://nexus.example.org"), given(NEXUS_PUBLIC_URL="http://8.8.8.8:4000")],
        given(NEXUS_PUBLIC_URL="http://192.168.1.5:4000"),
    ),
    "settings.passwords": ([given(NEXUS_REDIS_URL="redis://127.0.0.1:6380")], given()),
    "settings.secrets": (
        [SECRETS | {"NEXUS_FIELD_KEY": "short"}, SECRETS | {"NEXUS_FIELD_KEY": SECRETS["SECRET_KEY"]}],
        SECRETS,
    ),
    "settings.neighbours": (
        [{"NEXUS_ROCKETCHAT_ADMIN_PASSWORD": "admin"}, {"a": "x" * 20, "b": "x" * 20}],
        {"a": "x" * 20, "b": ""},
    ),
    "settings.cookies": (
        [
            given(SESSION_COOKIE_SECURE=False),
            given(SESSION_COOKIE_HTTPONLY=False),
            given(SESSION_COOKIE_SAMESITE="None"),
            given(CSRF_TRUSTED_ORIGINS=["https://*.example.org"]),
        ],
        given(),
    ),
    "settings.django": ([[("security.W018", "DEBUG is on. It should not be.")]], [("security.W004", "HSTS")]),
    "settings.celery": ([given(CELERY_VISIBILITY_TIMEOUT=60), given(CELERY_TASK_TIME_LIMIT=600)], given()),
    "settings.proxies": (
        [[ip_network("0.0.0.0/0")], [ip_network("203.0.0.0/16")]],
        [ip_network("172.30.77.0/24"), ip_network("203.0.113.7/32")],
    ),
    "settings.webhook": (
        [{"token": "", "url": "http://h/rc/webhook"}, {"token": "x", "url": "http://h/"}],
        {"token": "x", "url": "http://h/rc/webhook"},
    ),
    "files.private": ([[file_checks.Exposed(path=Path("/srv/.env"), is_ours=True)]], []),
    "files.tracked": ([[".env"]], []),
    "files.told": ([["77 psql"]], []),
    "files.room": ([[room(free_mib=100, free=0.01)], [room(free_inodes=0.01)]], [room()]),
    "files.client": ([[]], ["nexus_bridge-0.1.0-py3-none-any.whl"]),
    "database.reachable": (["connection refused"], ""),
    "database.versions": ([(140_000, "0.8.5"), (170_004, None), (170_004, "0.7.4")], (170_004, "0.8.5")),
    "database.migrations": ([(["gateway.0009"], []), ([], ["gateway.9999"])], ([], [])),
    "database.durable": ([{"fsync": "off"}], {"fsync": "on", "synchronous_commit": "on"}),
    "database.role": ([True], False),
    "database.passwords": ([["host 0.0.0.0 trust"]], []),
    "database.guards": ([["audit_log_append_only on audit_log"]], []),
    "database.indexes": ([["message_changes"]], []),
    "database.connections": ([(90, 100)], (10, 100)),
    "database.transactions": ([3_600.0], 1.0),
    "database.vacuum": (["off"], "on"),
    "database.sealed": ([(1, 3)], (0, 3)),
    "database.clock": ([3.0, -3.0], 0.1),
    "redis.reachable": (["ConnectionError"], ""),
    "redis.settings": (
        [REDIS | {"redis_version": "5.0"}, REDIS | {"maxmemory_policy": "allkeys-lru"}, REDIS | {"used_memory": 90}],
        REDIS,
    ),
    "redis.password": ([True], False),
    "redis.round_trip": ([False], True),
    "workers.listen": ([{"listening": 0, "compose": 5}], {"listening": 3, "compose": 0}),
    "workers.consume": ([{"compose": True, "run": False}], {"compose": True, "run": True}),
    "host.ports": ([[("postgres", "0.0.0.0:5433")]], []),
    "host.limits": ([(256, 4096)], (20_000, 4096)),
    "host.keys": ([["OPENAI_API_KEY"]], []),
    "host.sleep": ([(True, True)], (True, False)),
    "host.versions": (
        [{"Postgres": "17.9 (Debian 17.9-1)"}, {"pgvector": "0.8.1"}, {"Valkey": "8.1.4"}, {"Redis": "7.4.5"}],
        {"Postgres": "18.4", "pgvector": "0.8.5", "Valkey": "9.1.2", "Redis": "8.2.2", "Django": "5.2.19"},
    ),
    "host.clis": ([(True, False, False), (False, True, False)], (False, True, True)),
    "host.sandbox": ([False], True),
    "host.processes": ([False], True),
    "memory.scopes": ([3], 0),
    "memory.key": ([(0, 0), (200, 200), (503, 401)], (200, 401)),
    "chat.reachable": ([step(Verdict.FAILED), step(Verdict.NOTE)], step(Verdict.SAME)),
    "chat.refused": ([[("nexus", "401")]], []),
    "chat.webhook_calls": ([3], 2),
    "chat.admin": ([False], True),
    "chat.server": (
        [[step(Verdict.SAME), step(Verdict.NOTE)], [step(Verdict.NOTE), step(Verdict.FAILED)]],
        [step(Verdict.SAME)],
    ),
    "chat.accounts": (
        [
            [chat.Account("nexus", error="refused")],
            [chat.Account("nexus", ("admin", "bot"))],
            [chat.Account("nexus", ("user",))],
            [chat.Account("claude-alice", ("bot", "user"), missing=("backend",))],
        ],
        [chat.Account("nexus", ("bot", "user"))],
    ),
    "chat.posting": ([step(Verdict.FAILED)], step(Verdict.SAME)),
    "chat.round_trip": (
        [
            tries.Trip(error="refused"),
            tries.Trip(),
            tries.Trip(is_seen=True),
            tries.Trip(is_seen=True, is_gone=True, is_called=False),
            tries.Trip(is_seen=True, is_gone=True, is_called=True, is_caught_up=False),
        ],
        tries.Trip(is_seen=True, is_gone=True, took_s=0.3),
    ),
    "logs.secrets": ([["chat.log"]], []),
    "logs.canary": ([["gateway.log"]], []),
    "chat.clock": ([30.0], 0.5),
    "work.stuck": ([["questions waiting for a composer longer than 60 s: 2"]], []),
    "work.overdue": ([(2, 17)], (0, 0)),
    "work.notices": ([3], 0),
    "work.aside": ([1], 0),
    "work.sweep": ([0], 1),
    "work.retention": ([{"chunks": 100_000}], {"chunks": 10}),
    "audit.sealed": ([5], 0),
    "audit.chain": ([audit.Broken(seal_id=1, first_id=1, last_id=9)], None),
    "backup.recent": ([None, 27.0], 3.0),
    "backup.tried": ([None, 24.0 * 31], 3.0),
    "bridges.tokens": ([["alice-laptop"]], []),
    "bridges.unused": ([["alice-laptop"]], []),
    "bridges.versions": ([[("alice-laptop", "0.0.1")]], [("alice-laptop", __version__)]),
    "agents.bridges": ([["claude-alice"]], []),
    "agents.owners": ([["claude-alice"]], []),
    "agents.clis": (
        [[("claude-alice", "claude", "2.1.9 (Claude Code)")], [("codex-bob", "codex", "codex-cli 0.22.1")]],
        [("claude-alice", "claude", "2.1.330 (Claude Code)"), ("x", "opencode", ""), ("y", "pty", "0.1")],
    ),
    "agents.askers": ([["claude-alice"]], []),
    "tools.leaks": ([["board"]], []),
    "tools.upstreams": (
        [
            [upstream(is_approved=False)],
            [upstream(clear_secrets=("API_KEY",))],
            [upstream(url="http://wiki.example.org")],
        ],
        [upstream()],
    ),
    "gateway.answers": ([{"status": "502", "body": ""}], {"status": "200", "body": '{"ok": true}'}),
    "gateway.doors": ([["/admin/ (200)"]], []),
    "gateway.origins": ([["/ws/console/ from null"]], []),
    "gateway.upgrade": ([404, 426], 401),
    "gateway.certificate": (["certificate has expired", 3.0], 60.0),
    "gateway.plain": ([200], 301),
}


def test_every_check_has_a_case_and_an_id_of_its_own():
    assert sorted(CASES) == sorted(check.id for check in CHECKS)


@pytest.mark.parametrize(("name", "facts"), [(name, facts) for name, (bad, _) in CASES.items() for facts in bad])
def test_what_is_wrong_is_told_with_its_cure(name, facts):
    found = BY_ID[name].judge(facts)

    assert found.grade in (Grade.WARNING, Grade.CRITICAL)
    assert found.text
    assert found.cure


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_is_right_is_left_alone(name):
    found = BY_ID[name].judge(CASES[name][1])

    assert (found.grade, found.cure) == (Grade.OK, "")


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_check_stands_in_the_docs(name):
    assert f"| `{name}` |" in (ROOT / "docs/doctor.md").read_text(encoding="utf-8")


def test_what_a_check_needs_stands_before_it():
    seen: set[str] = set()
    for check in CHECKS:
        assert set(check.needs) <= seen
        seen.add(check.id)


def test_a_check_that_breaks_does_not_hide_the_others():
    def breaks() -> str:
        raise RuntimeError("no such table")

    checks = (Check("a", breaks, finding.good), Check("b", lambda: "fine", finding.good))

    told = [result.finding for result in doctor.examine(is_deep=False, may_fix=False, checks=checks)]

    assert [one.grade for one in told] == [Grade.WARNING, Grade.OK]
    assert "no such table" in told[0].text


def test_what_hangs_on_something_broken_is_not_looked_at():
    checks = (
        Check("a", lambda: "down", lambda text: finding.critical(text, "start it")),
        Check("b", lambda: str(1 / 0), finding.good, ("a",)),
    )

    told = [result.finding.grade for result in doctor.examine(is_deep=False, may_fix=False, checks=checks)]

    assert told == [Grade.CRITICAL, Grade.SKIPPED]


# Against the real databases


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_every_check_that_needs_no_server_reads_its_facts_here(settings, tmp_path):
    settings.NEXUS_STATE_DIR = tmp_path
    results = {result.check.id: result for result in doctor.examine(is_deep=False, may_fix=False)}

    broken = [one.finding.text for one in results.values() if "could not be looked at" in one.finding.text]

    assert broken == []
    assert results["database.migrations"].finding.grade is Grade.OK
    assert results["database.guards"].finding.grade is Grade.OK
    assert results["redis.password"].finding.grade is Grade.OK
    assert results["database.durable"].finding.grade is Grade.CRITICAL  # the tests' Postgres is quick and unsafe


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_a_guard_that_was_switched_off_is_found():
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only")
        try:
            found = BY_ID["database.guards"].read()
        finally:
            cursor.execute("ALTER TABLE audit_log ENABLE TRIGGER audit_log_append_only")

    assert found == ["audit_log_append_only on audit_log"]


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_rows_of_people_agents_and_tools_are_judged():
    alice, bob = people.make_user("alice"), people.make_user("bob")
    laptop = people.make_bridge(owner=alice)
    stranger = people.make_agent("claude-bob", owner=bob, bridge=laptop)
    people.make_agent("claude-lost", owner=alice)
    BotAccount.objects.filter(agent=stranger).update(access_token=b"sealed by another key")
    McpServer.objects.create(
        name="wiki", transport="http", definition={"url": "http://wiki", "headers": {"Authorization": "x"}},
        definition_hash="a", approved_hash="b", is_enabled=True,
    )  # fmt: skip
    board = people.make_room("board", kind="private")
    RoomMember.objects.create(room=board, agent=stranger)
    RoomTool.objects.create(room=board, server=McpServer.objects.get(), tool="fetch", needs_approval=False)
    AuditEntry.objects.create(actor="command", action="backup_made", at=timezone.now() - timedelta(hours=30))

    read = {
        name: BY_ID[name].read() for name in CASES if name.split(".")[0] in {"agents", "tools", "bridges", "backup"}
    }

    assert read["agents.clis"] == []
    assert read["tools.leaks"] == ["board"]
    assert read["agents.owners"] == ["claude-bob"]
    assert read["agents.bridges"] == ["claude-lost"]
    assert read["tools.upstreams"] == [agents.Upstream("wiki", False, "http://wiki", ("Authorization",))]
    assert read["bridges.versions"] == []
    assert round(read["backup.recent"]) == 30
    assert BY_ID["database.sealed"].read() == (1, 1)


def test_files_that_others_may_read_are_found_and_mended(tmp_path, settings):
    settings.NEXUS_STATE_DIR = tmp_path
    settings.BASE_DIR = tmp_path
    (tmp_path / ".env").write_text("NEXUS_SECRET_KEY=x")
    (tmp_path / ".env").chmod(0o644)
    check = BY_ID["files.private"]

    (result,) = doctor.examine(is_deep=False, may_fix=True, checks=[check])

    assert result.finding.grade is Grade.OK
    assert ".env" in result.fixed
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600


def test_a_secret_in_a_command_line_is_found(settings):
    settings.NEXUS_ADMIN_TOKEN = "told-to-everybody-7f3a9c"
    with subprocess.Popen(
        [sys.executable, "-c", "input('here')", settings.NEXUS_ADMIN_TOKEN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as teller:
        # Before its first word the system may not know its arguments yet.
        assert teller.stdout is not None
        teller.stdout.read(4)
        found = BY_ID["files.told"].read()
        teller.communicate(b"\n")

    assert [one.split()[0] for one in found] == [str(teller.pid)]


def test_a_server_that_listens_to_everybody_is_found():
    lines = [
        "0: 00000000:1539 00000000:0000 0A",  # 0.0.0.0:5433
        "1: 0100007F:18EC 00000000:0000 0A",  # 127.0.0.1:6380
        "2: 00000000000000000000000000000000:18EC 0:0 0A",  # [::]:6380
        "3: 0501A8C0:1539 00000000:0000 0A",  # 192.168.1.5:5433
        "4: 00000000:1539 00000000:0000 01",  # a connection
    ]

    found = services.open_ports(lines, inner={5433: "postgres", 6380: "redis"})

    assert found == [("postgres", "0.0.0.0:5433"), ("redis", ":::6380")]


@pytest.mark.parametrize(
    ("part", "version", "count"),
    [
        ("Postgres", "17.9", 1),
        ("Postgres", "17.10", 0),
        ("Postgres", "19.1", 0),
        ("Valkey", "8.1.10", 0),
        ("Valkey", "9.10.1", 0),
        ("claude", "2.1.330 (Claude Code)", 0),
        ("claude", "unknown", 0),
        ("nobody", "0.0.1", 0),
    ],
)
def test_a_version_is_compared_with_what_mended_its_own_line(part, version, count):
    assert len(known.holes_of(part, version)) == count


def test_a_log_that_holds_a_secret_is_found(settings, tmp_path):
    settings.NEXUS_STATE_DIR = tmp_path
    assert leak_checks.read_logs() is None
    (tmp_path / "log").mkdir()
    (tmp_path / "log/chat.log").write_text("all is well\n")
    (tmp_path / "log/sweep.log").write_text(f"connecting with {settings.NEXUS_FIELD_KEY}\n")

    assert leak_checks.read_logs() == ["sweep.log"]


def test_a_laptop_that_may_sleep_is_found_and_a_mouse_is_no_laptop(tmp_path):
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    mouse, battery = tmp_path / "sys/class/power_supply/hid", tmp_path / "sys/class/power_supply/BAT0"
    mouse.mkdir(parents=True)
    (mouse / "type").write_text("Battery\n")
    (mouse / "scope").write_text("Device\n")
    assert services.read_sleeper(tmp_path) == (False, True)

    battery.mkdir()
    (battery / "type").write_text("Battery\n")
    assert services.read_sleeper(tmp_path) == (True, True)

    (tmp_path / "etc/systemd/system/sleep.target").symlink_to("/dev/null")
    assert services.read_sleeper(tmp_path) == (True, False)


@pytest.mark.parametrize("name", ["agents.askers", "tools.leaks", "chat.accounts", "chat.round_trip"])
def test_what_lets_a_stranger_act_or_leaves_a_room_unheard_is_critical(name):
    bad, _ = CASES[name]

    assert BY_ID[name].judge(bad[-1] if name == "chat.round_trip" else bad[0]).grade is Grade.CRITICAL


@pytest.mark.integration
@pytest.mark.django_db
def test_memories_of_another_room_are_counted_and_without_an_answer_nothing_is_said(monkeypatch):
    asked = []

    def answer(method, where, body, **_):
        asked.append(body)
        return json.dumps({"results": [{}] * len(asked)}).encode()

    monkeypatch.setattr(client, "call", answer)
    assert memory.read_strays() is None
    Memory.objects.create(id=uuid4(), payload={"data": "the staging key", "run_id": "room:board"})

    assert [memory.read_strays(), memory.read_strays()] == [1, 2]
    assert asked[0]["query"] == "the staging key"
    assert asked[0]["scope"] not in ("room:board", asked[1]["scope"])

    def away(*_, **__):
        raise client.MemoryUnreachableError("away")

    monkeypatch.setattr(client, "call", away)
    assert BY_ID["memory.scopes"].judge(memory.read_strays()).grade is Grade.SKIPPED


def test_a_process_that_flees_its_parent_is_caught():
    assert live.read_tree() is True


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_the_command_speaks_json_and_its_exit_code_says_how_bad_it_is(monkeypatch):
    checks = (BY_ID["settings.debug"], Check("x", lambda: "bad", lambda text: finding.warning(text, "cure it")))
    monkeypatch.setattr(doctor.examine, "__kwdefaults__", {"checks": checks})
    out = StringIO()

    with pytest.raises(SystemExit) as ended:
        call_command("doctor", json=True, stdout=out)

    told = json.loads(out.getvalue())
    assert ended.value.code == 1
    assert [one["id"] for one in told["checks"]] == ["settings.debug", "x"]
    assert told["checks"][1] == {"id": "x", "grade": "warning", "text": "bad", "cure": "cure it", "fixed": ""}
