"""Is the state directory private, and used by one launcher at a time?"""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from docker.state import AlreadyRunningError, StateDirectory
from gateway.bridges import config_text
from tests.launcher.programs_for_tests import is_running

_LOCKING = """
import pathlib, time
from docker.state import StateDirectory
StateDirectory(pathlib.Path({path!r})).lock()
print("locked", flush=True)
time.sleep(600)
"""


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path / "state")
    made.create()
    return made


def test_a_second_launcher_is_told_who_the_first_one_is(state: StateDirectory) -> None:
    held = state.lock()

    with pytest.raises(AlreadyRunningError, match=f"already running here, as process {os.getpid()}"):
        state.lock()

    os.close(held)


def test_the_lock_of_a_killed_launcher_does_not_block(state: StateDirectory) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _LOCKING.format(path=str(state.path))], stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        owner.send_signal(signal.SIGKILL)

    descriptor = state.lock()

    assert not is_running(owner.pid)
    assert state.lock_path.read_text() == f"{os.getpid()}\n"
    os.close(descriptor)


def test_an_unlocked_directory_has_no_lock_file(state: StateDirectory) -> None:
    descriptor = state.lock()

    state.unlock(descriptor)

    assert not state.lock_path.exists()


def test_secrets_are_made_once_and_all_different(state: StateDirectory) -> None:
    first = state.secrets()

    assert state.secrets() == first
    assert len(set(first.values())) == len(first)


def test_a_newer_version_gets_its_new_secret_and_the_old_ones_stay(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = state.secrets()
    monkeypatch.setattr("docker.state.SECRET_NAMES", (*first, "NEXUS_NEW_KEY"))

    second = state.secrets()

    assert first.items() <= second.items()
    assert second["NEXUS_NEW_KEY"]


def test_nobody_else_can_read_secrets_and_settings(state: StateDirectory) -> None:
    state.secrets()
    state.write_environment({"NEXUS_SECRET_KEY": "of-one-run"})

    modes = [stat.S_IMODE(path.stat().st_mode) for path in state.path.glob("*") if path.is_file()]

    assert modes == [0o600, 0o600]
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o700


@pytest.mark.parametrize(("port", "is_kept"), [(4000, True), (4001, False)])
def test_the_bridge_of_an_earlier_start_is_kept_only_for_the_same_hub(
    state: StateDirectory, port: int, is_kept: bool
) -> None:
    text = config_text(hub="http://127.0.0.1:4000", token="nxb_of_then", slug="echo", cli="echo")
    state.bridge_config_path.write_text(text, encoding="utf-8")

    state.forget_other_hub(f"ws://127.0.0.1:{port}")

    assert state.bridge_config_path.exists() == is_kept


def test_a_broken_configuration_of_the_bridge_does_not_stop_a_start(state: StateDirectory) -> None:
    state.bridge_config_path.write_text("hub = ", encoding="utf-8")

    state.forget_other_hub("ws://127.0.0.1:4000")

    assert not state.bridge_config_path.exists()
