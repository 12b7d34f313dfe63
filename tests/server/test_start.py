"""Does a Nexus that others could reach refuse to start when that would be dangerous, and say who it is when it starts?"""

import logging
import os
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import call_command

from gateway import doctor
from nexus_project import finding, safety, start
from nexus_project.env import EXIT_CONFIG
from nexus_project.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {
    "gateway": ["-c", "import nexus_project.asgi"],
    "mem0-api": ["-c", "import composer.memory.service"],
    "composer": ["manage.py", "worker", "composer", "--queues=compose"],
}


@pytest.mark.parametrize(
    ("host", "is_private"),
    [
        ("192.168.1.5", True),
        ("100.101.102.103", True),
        ("fd12::1", True),
        ("nas", True),
        ("nexus.lan", True),
        ("box.tail1234.ts.net", True),
        ("8.8.8.8", False),
        ("0.0.0.0", False),  # noqa: S104
        ("2001:4860:4860::8888", False),
        ("nexus.example.org", False),
        ("10.0.0.1.example.org", False),
        ("evil-local", True),
    ],
)
def test_an_address_is_private_by_its_form(host, is_private):
    assert safety.is_private(host) is is_private


@pytest.mark.parametrize("host", ["127.evil.com", "localhost.evil.com", "2130706433", "::ffff:8.8.8.8"])
def test_what_only_looks_like_loopback_is_none(host):
    assert not safety.is_loopback(host)


@pytest.fixture
def reachable(settings, tmp_path):
    """What others may reach, and all is well."""
    settings.NEXUS_PUBLIC_URL = "https://nexus.example.org"
    settings.ALLOWED_HOSTS = ["nexus.example.org"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://nexus.example.org"]
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    settings.NEXUS_PRIVATE_NETWORK = False
    settings.NEXUS_ROCKETCHAT_ADMIN_PASSWORD = "an-admin-of-tests-7"
    settings.BASE_DIR = settings.NEXUS_STATE_DIR = tmp_path
    return settings


def refused(capsys, *, command="chat"):
    """The ids of what a start was refused for."""
    with pytest.raises(SystemExit) as ended:
        call_command(command)

    said = capsys.readouterr().err
    assert ended.value.code == EXIT_CONFIG
    assert all(line.startswith(f"nexus: {command} does not start (") for line in said.splitlines())
    return [line.split("(")[1].split(")")[0] for line in said.splitlines()]


@pytest.mark.parametrize("command", ["chat", "sweep", "runtime_host"])
def test_a_dangerous_start_is_refused_with_a_sentence_for_each_reason(command, reachable, capsys):
    reachable.DEBUG = True
    reachable.NEXUS_PUBLIC_URL = "http://nexus.example.org"
    reachable.CSRF_TRUSTED_ORIGINS = ["http://nexus.example.org"]
    reachable.ALLOWED_HOSTS = ["*"]

    assert refused(capsys, command=command) == ["settings.debug", "settings.hosts", "settings.public_url"]


WRONG = {
    "settings.neighbours": {"NEXUS_ROCKETCHAT_ADMIN_PASSWORD": "admin"},
    "settings.secrets": {"NEXUS_FIELD_KEY": "short"},
    "settings.cookies": {"SESSION_COOKIE_HTTPONLY": False},
    "settings.celery": {"CELERY_VISIBILITY_TIMEOUT": 1},
    "settings.proxies": {"NEXUS_TRUSTED_PROXIES": [ip_network("0.0.0.0/0")]},
    "settings.webhook": {"NEXUS_WEBHOOK_URL": "http://127.0.0.1:4000/elsewhere"},
}


@pytest.mark.parametrize(("check", "values"), WRONG.items())
def test_each_critical_setting_stops_a_start(check, values, reachable, capsys):
    for name, value in values.items():
        setattr(reachable, name, value)

    assert refused(capsys) == [check]


def test_secrets_that_others_may_read_stop_a_start(reachable, tmp_path, capsys):
    (tmp_path / ".env").write_text("NEXUS_SECRET_KEY=x")
    (tmp_path / ".env").chmod(0o644)

    assert refused(capsys) == ["files.private"]


def test_secrets_that_git_keeps_stop_a_start(reachable, tmp_path, capsys):
    (tmp_path / ".env").write_text("NEXUS_SECRET_KEY=x")
    (tmp_path / ".env").chmod(0o600)
    for words in (["init", "--quiet"], ["add", ".env"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)

    assert refused(capsys) == ["files.tracked"]


def test_secrets_in_a_log_stop_a_start(reachable, tmp_path, capsys):
    (tmp_path / "log").mkdir()
    (tmp_path / "log/chat.log").write_text(f"connecting with {reachable.NEXUS_FIELD_KEY}\n")

    assert refused(capsys) == ["logs.secrets"]


def test_a_reachable_host_where_all_is_well_starts(reachable):
    start.begin(program="chat")

    assert start.dangers() == []


def test_what_can_not_be_looked_at_keeps_nothing_from_starting(reachable, monkeypatch):
    def shut():
        raise PermissionError("shut")

    monkeypatch.setattr(start, "CHECKS", (finding.Check("x", shut, lambda _: finding.critical("x", "y")),))

    assert start.dangers() == []


def test_the_doctor_tells_what_stops_a_start_first_and_its_page_names_it():
    page = (ROOT / "docs/doctor.md").read_text(encoding="utf-8")
    told = page.partition("## What stops a start")[2].partition("\n## ")[0]

    assert doctor.CHECKS[: len(start.CHECKS)] == start.CHECKS
    assert [check.id for check in start.CHECKS if f"`{check.id}`" not in told] == []


def test_the_same_settings_start_on_loopback(settings, caplog):
    settings.DEBUG = True
    settings.NEXUS_PUBLIC_URL = "http://127.0.0.1:4000"
    settings.ALLOWED_HOSTS = ["localhost"]

    with caplog.at_level(logging.INFO, logger="nexus_project.start"):
        start.begin(program="chat")

    (line,) = caplog.records
    # Under which name stands in the process's own words, which other tests share.
    assert (line.message, line.version) == ("process starts", VERSION)


def test_a_private_network_may_be_named_as_such():
    given = SimpleNamespace(NEXUS_PUBLIC_URL="http://nexus.example.org", NEXUS_PRIVATE_NETWORK=True)

    assert safety.public_url(given) is None


@pytest.mark.timeout(120)
def test_servers_and_workers_refuse_too():
    wrong = {"NEXUS_PUBLIC_URL": "http://nexus.example.org", "NEXUS_ALLOWED_HOSTS": "nexus.example.org"}
    running = {
        name: subprocess.Popen(
            [sys.executable, *argv], cwd=ROOT, env={**os.environ, **wrong}, stderr=subprocess.PIPE, text=True
        )
        for name, argv in PROGRAMS.items()
    }
    ended = {name: (one.communicate(timeout=100)[1], one.returncode) for name, one in running.items()}

    for name, (said, code) in ended.items():
        assert code == EXIT_CONFIG, (name, said)
        assert "settings.public_url" in said
        assert "Traceback" not in said
