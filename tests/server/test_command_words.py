"""Does every command answer a wrong word with a sentence and an exit code, and never with a traceback?"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import load_command_class
from django.core.management.base import BaseCommand, CommandError

from gateway.backup import BackupError
from nexus_project import command_line
from nexus_project.version import VERSION

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(path.stem for path in (ROOT / "gateway/management/commands").glob("*.py") if path.stem != "__init__")
JUNK_NUMBERS = ("", "junk", "-1", "nan", "inf", "1e999", "٣", "9" * 400, "0x10")
JUNK_TEXTS = (
    "",
    " ",
    "x" * 70_000,
    "../../etc/passwd",
    "'; DROP TABLE users; --",
    "{{7*7}}\n%s",
    "\u202eagent",
    "@ALL",
)
GENTLE = {"bootstrap": ["--wait", "0"]}
"""What keeps a command from waiting for servers that are not there."""

RIGHT = {"cli": "claude", "act": "remove"}

OF_DJANGO = {action.dest for action in BaseCommand().create_parser("manage.py", "x")._actions}


def own_words(name: str) -> list[argparse.Action]:
    parser = load_command_class("gateway", name).create_parser("manage.py", name)
    return [action for action in parser._actions if action.dest not in OF_DJANGO]


def line(name: str, wrong: argparse.Action, value: str) -> list[str]:
    """The command with one wrong word and right-looking others."""
    given = {action: RIGHT.get(action.dest, "alice") for action in own_words(name) if not action.option_strings}
    if wrong.option_strings:
        return [*GENTLE.get(name, []), *given.values(), f"{wrong.option_strings[0]}={value}"]
    return [*GENTLE.get(name, []), *(given | {wrong: value}).values()]


def run(name: str, words: list[str]) -> int:
    """As from a shell, in this process; only the database's connection stays, which is the test's."""
    command = load_command_class("gateway", name)
    setattr(command, "_called_from_command_line", True)  # as its own entry does
    try:
        options = vars(command.create_parser("manage.py", name).parse_args(words))
        command.execute(*options.pop("args", ()), **options)
    except SystemExit as ended:
        return int(ended.code or 0)
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return error.returncode
    return 0


CASES = [
    pytest.param(name, action, id=f"{name} {action.dest}")
    for name in COMMANDS
    if name not in {"demo", "build_client"}
    for action in own_words(name)
    if action.nargs != 0
]


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "action"), CASES)
def test_wrong_values_get_a_sentence(name, action, capsys, settings, tmp_path, monkeypatch):
    settings.NEXUS_STATE_DIR = tmp_path
    settings.NEXUS_ROCKETCHAT_URL = "http://127.0.0.1:1"
    (tmp_path / "a/b/c").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a/b/c")
    monkeypatch.setattr("gateway.backup.make", refuse)

    for junk in JUNK_NUMBERS if action.type is not None else JUNK_TEXTS:
        code = run(name, line(name, action, junk))

        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert code == 0 or len(said.strip()) > 15
        assert action.type is None or (code == 2 and action.option_strings[0] in said)


def refuse(**_: object) -> None:
    """A whole backup for each folder that may be one would take the test's time."""
    raise BackupError("not here, not now")


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_word_is_refused_with_the_way_to_call_it(name, capsys):
    for words in (["--no-such-flag"], ["--verbosity", "9"], ["one", "two", "three", "four"]):
        code = run(name, words)

        said = capsys.readouterr().err
        assert code == 2
        assert f"usage: manage.py {name}" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_flag_says_what_it_is_for(name):
    command = load_command_class("gateway", name)

    assert len(command.help) > 20
    assert [action.dest for action in own_words(name) if not action.help] == []
    assert isinstance(command.create_parser("manage.py", name).format_help(), str)


def call(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def test_a_database_that_is_away_is_a_sentence():
    done = call("list_bridges", NEXUS_DATABASE_URL="postgres://nexus:none@127.0.0.1:1/nexus")

    assert done.returncode == 1
    assert "NEXUS_DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_doctor_speaks_also_when_nothing_else_does():
    nowhere = {
        "NEXUS_DATABASE_URL": "postgres://nexus:none@127.0.0.1:1/nexus",
        "NEXUS_REDIS_URL": "redis://:x@127.0.0.1:1",
    }

    done = call("doctor", "--json", **nowhere)

    found = {one["id"]: one["grade"] for one in json.loads(done.stdout)["checks"]}
    assert done.returncode == 2
    assert (found["database.reachable"], found["database.guards"]) == ("critical", "skipped")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["version"], ["--version"]])
def test_the_version_is_told_without_any_setting(words, capsys):
    assert command_line.main(["manage.py", *words]) == 0
    assert VERSION in capsys.readouterr().out


def test_bytes_that_are_no_text_are_refused(capsys):
    assert command_line.main(["manage.py", "persona", "\udcff"]) == 2
    assert "UTF-8" in capsys.readouterr().err


def test_an_unknown_command_is_a_sentence():
    done = call("no_such_command")

    assert done.returncode == 1
    assert "Unknown command" in done.stderr
    assert "Traceback" not in done.stderr
