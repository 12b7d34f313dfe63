"""Does the launcher tell its story, and stop everything when it is asked to?"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from docker import embedded
from tests.launcher.programs_for_tests import eventually, is_running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

# A stack without programs, and with a story of one word.
_LAUNCHER = """
import pathlib, sys
from docker import embedded, prepare, stack
prepare.is_prepared = lambda path: True
state, story, once = pathlib.Path(sys.argv[1]), sys.argv[2], len(sys.argv) > 3
made = stack.Stack(state_dir=state, programs=(), is_durable=False)
narrator = embedded.Narrator()
launcher = embedded.Launcher(stack=made, once=once, say=narrator.say, story=("sh", "-c", story))
sys.exit(launcher.run())
"""
Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    started: list[subprocess.Popen[str]] = []

    def run(story: str, *, once: bool = False) -> subprocess.Popen[str]:
        argv = [sys.executable, "-u", "-c", _LAUNCHER, str(tmp_path / "state"), story]
        launcher = subprocess.Popen([*argv, *(["once"] if once else [])], stdout=subprocess.PIPE, text=True)
        started.append(launcher)
        return launcher

    yield run
    for launcher in started:
        with launcher:
            launcher.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_and_leaves_no_lock(launch: Launch, tmp_path: Path, number: signal.Signals) -> None:
    launcher = launch("echo the story; sleep 600")
    _read_until(launcher.stdout, "the story")
    pids = _pids(tmp_path)

    launcher.send_signal(number)

    assert launcher.wait(20) == 0
    assert len(pids) == 2
    assert not any(is_running(pid) for pid in pids)
    assert not (tmp_path / "state" / "lock").exists()


def test_what_real_clis_mean_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Starting:
        def __init__(self, **_: object) -> None: ...

        def run(self) -> int:
            sys.stdout.write("everything starts\n")
            return 0

    monkeypatch.setattr(embedded, "Launcher", Starting)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "cursor").touch(mode=0o700)

    def told(*arguments: str) -> list[str]:
        assert embedded.main(["demo", "--state-dir", str(tmp_path / "state"), *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    first, last = told("--clis")
    assert "no agent CLI that Nexus knows is on PATH" in first
    assert last == "everything starts"
    (tmp_path / "cursor-agent").touch(mode=0o700)
    first, last = told("--clis")
    assert f"@cursor ({tmp_path / 'cursor-agent'}) will join. They run as you: with your own logins" in first
    assert last == "everything starts"
    assert told() == ["everything starts"]


def test_it_stays_up_after_its_story(launch: Launch, tmp_path: Path) -> None:
    launcher = launch("echo the story")

    _read_until(launcher.stdout, "Nexus stays up; Ctrl-C stops it")

    assert all(is_running(pid) for pid in _pids(tmp_path))


@pytest.mark.parametrize("code", [0, 3])
def test_once_ends_with_the_exit_code_of_the_story(launch: Launch, tmp_path: Path, code: int) -> None:
    launcher = launch(f"exit {code}", once=True)

    assert launcher.wait(30) == code
    assert not (tmp_path / "state" / "lock").exists()


def test_a_killed_launcher_leaves_nothing_and_the_next_one_starts(launch: Launch, tmp_path: Path) -> None:
    first = launch("echo $$; sleep 600")
    pids = [_read_number(first.stdout), *_pids(tmp_path)]

    first.kill()
    second = launch("exit 0", once=True)

    assert second.wait(40) == 0
    eventually(lambda: not any(is_running(pid) for pid in pids), "the first one's databases and story are gone")


def test_a_second_launcher_names_the_first(launch: Launch) -> None:
    first = launch("echo the story; sleep 600")
    _read_until(first.stdout, "the story")

    second = launch("exit 0", once=True)

    assert second.wait(20) == 1
    _read_until(second.stdout, f"Nexus is already running here, as process {first.pid}.")


def _read_until(output: IO[str] | None, words: str) -> None:
    assert output is not None
    lines = []
    for line in output:
        lines.append(line)
        if words in line:
            return
    raise AssertionError(f"never said {words!r}, but: {''.join(lines)}")


def _read_number(output: IO[str] | None) -> int:
    assert output is not None
    return next(int(line) for line in output if line.strip().isdigit())


def _pids(tmp_path: Path) -> list[int]:
    status = json.loads((tmp_path / "state" / "processes.json").read_text())
    return [row["pid"] for row in status["processes"]]
