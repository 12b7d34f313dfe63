"""Does a Nexus that others could reach refuse to start when that would be dangerous, and say who it is when it starts?"""

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import call_command

from nexus_project import safety, start
from nexus_project.env import EXIT_CONFIG
from nexus_project.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {
    "gateway": ["-c", "import nexus_project.asgi"],
    "mem0-api": ["-c", "import composer.memory.service"],
    "composer": ["-m", "celery", "-A", "nexus_project", "worker", "-P", "solo", "-Q", "compose"],
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


def dangerous(settings):
    settings.DEBUG = True
    settings.NEXUS_PUBLIC_URL = "http://nexus.example.org"
    settings.ALLOWED_HOSTS = ["*"]
    settings.NEXUS_PRIVATE_NETWORK = False


@pytest.mark.parametrize("command", ["chat", "sweep", "runtime_host"])
def test_a_dangerous_start_is_refused_with_a_sentence_for_each_reason(command, settings, capsys):
    dangerous(settings)

    with pytest.raises(SystemExit) as ended:
        call_command(command)

    said = capsys.readouterr().err
    assert ended.value.code == EXIT_CONFIG
    assert [line.split("(")[1].split(")")[0] for line in said.splitlines()] == [
        "settings.debug",
        "settings.hosts",
        "settings.public_url",
    ]
    assert f"{command} does not start" in said


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
