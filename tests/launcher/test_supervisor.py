"""Do the processes stay up, and is nothing left of them afterwards?"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker.process import Backoff, Process, cap_log
from docker.supervisor import ProcessFailedError, Supervisor
from tests.launcher.programs_for_tests import eventually, is_running, python, sleeper


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(
        log_dir=tmp_path / "log",
        status_path=tmp_path / "processes.json",
        make_backoff=lambda: Backoff(first_s=0.01, cap_s=0.05),
    )
    made.start()
    yield made
    made.stop()


def test_waits_between_restarts_double_up_to_a_cap() -> None:
    backoff = Backoff(first_s=0.5, cap_s=3.0)

    waits = [backoff.after(lived_s=1) for _ in range(5)]

    assert waits == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_long_life_makes_the_waits_short_again() -> None:
    backoff = Backoff(first_s=0.5, reset_after_s=30)
    for _ in range(4):
        backoff.after(lived_s=1)

    wait_s = backoff.after(lived_s=31)

    assert wait_s == 0.5


def test_a_killed_process_comes_back_as_another_one(supervisor: Supervisor) -> None:
    supervisor.add(sleeper("chat"))
    supervisor.wait_ready(["chat"], timeout_s=5)

    killed = supervisor.send("chat", signal.SIGKILL)

    assert killed is not None
    supervisor.wait_restarted("chat", after_pid=killed, timeout_s=5)
    assert not is_running(killed)
    assert supervisor.starts_count("chat") == 2


def test_one_that_shall_not_restart_stays_down(supervisor: Supervisor) -> None:
    supervisor.add(sleeper("chat", restart=False))
    supervisor.wait_ready(["chat"], timeout_s=5)

    supervisor.send("chat", signal.SIGKILL)

    eventually(lambda: supervisor.pid("chat") is None, "chat is noticed as dead")
    with pytest.raises(ProcessFailedError, match="chat ended with exit code -9"):
        supervisor.wait_ready(["chat"], timeout_s=5)


def test_what_a_dead_process_leaves_in_its_group_is_killed_before_it_restarts(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    note = tmp_path / "child"
    source = f"""
        import pathlib, subprocess, time
        child = subprocess.Popen(["sleep", "600"])
        pathlib.Path({str(note)!r}).write_text(str(child.pid))
        time.sleep(600)
    """
    supervisor.add(python("composer", source, restart=False))
    eventually(lambda: note.exists() and note.read_text() != "", "the child is there")
    child = int(note.read_text())

    supervisor.send("composer", signal.SIGKILL)

    eventually(lambda: not is_running(child), "the child is gone")


def test_a_process_waits_for_the_file_without_which_it_has_nothing_to_do(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    config = tmp_path / "bridge.toml"
    supervisor.add(sleeper("bridge", starts_when=config), sleeper("chat"))
    supervisor.wait_ready(["chat"], timeout_s=5)
    before = supervisor.pid("bridge")

    config.touch()

    assert before is None
    eventually(lambda: supervisor.pid("bridge") is not None, "the bridge starts")


def test_one_that_keeps_dying_is_reported_with_the_end_of_its_log(supervisor: Supervisor) -> None:
    supervisor.add(python("gateway", "raise SystemExit('no such table')", ready=lambda: False))

    with pytest.raises(ProcessFailedError, match=r"gateway died .* \(exit 1\)(?s:.*)no such table"):
        supervisor.wait_ready(["gateway"], timeout_s=10)


def test_one_that_is_not_ready_in_time_is_named(supervisor: Supervisor) -> None:
    supervisor.add(sleeper("gateway", ready=lambda: False))

    with pytest.raises(ProcessFailedError, match="gateway was not ready after 0 s"):
        supervisor.wait_ready(["gateway"], timeout_s=0.2)


def test_what_is_taken_down_stays_down_until_it_is_brought_up(supervisor: Supervisor) -> None:
    supervisor.add(sleeper("bridge"))
    supervisor.wait_ready(["bridge"], timeout_s=5)

    supervisor.take_down("bridge")
    down = supervisor.pid("bridge")
    supervisor.bring_up("bridge")

    assert down is None
    supervisor.wait_ready(["bridge"], timeout_s=5)


def test_rounds_stop_one_after_the_other(supervisor: Supervisor, tmp_path: Path) -> None:
    story = tmp_path / "story"
    supervisor.add(
        _tells_when_stopped("postgres", story, stop_round=2),
        _tells_when_stopped("bridge", story, stop_round=0),
        _tells_when_stopped("gateway", story, stop_round=1),
    )
    eventually(lambda: story.exists() and story.read_text().count("up") == 3, "all are up")

    supervisor.stop()

    assert story.read_text().split()[3:] == ["bridge", "gateway", "postgres"]


def test_one_that_does_not_stop_when_asked_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    note = tmp_path / "deaf"
    source = f"""
        import pathlib, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        pathlib.Path({str(note)!r}).touch()
        time.sleep(600)
    """
    supervisor.add(python("deaf", source, stop_timeout_s=0.2))
    eventually(note.exists, "it is deaf now")
    pid = supervisor.pid("deaf")

    supervisor.stop()

    assert pid is not None
    assert not is_running(pid)


def test_a_paused_process_is_stopped_too(supervisor: Supervisor) -> None:
    supervisor.add(sleeper("valkey"))
    supervisor.wait_ready(["valkey"], timeout_s=5)
    pid = supervisor.send("valkey", signal.SIGSTOP)

    supervisor.stop()

    assert pid is not None
    assert not is_running(pid)


def test_the_status_file_says_who_runs_as_which_process(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.add(sleeper("chat"))
    supervisor.wait_ready(["chat"], timeout_s=5)

    status = json.loads((tmp_path / "processes.json").read_text())

    row = {"name": "chat", "pid": supervisor.pid("chat"), "starts": 1, "exit_code": None}
    assert status == {"supervisor": os.getpid(), "processes": [row]}


@pytest.mark.parametrize("deaf", [False, True], ids=["obedient", "deaf to SIGTERM"])
def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path, deaf: bool) -> None:
    source = _SUPERVISING.format(log_dir=str(tmp_path), deaf=deaf)
    victim = subprocess.Popen([sys.executable, "-u", "-c", source], stdout=subprocess.PIPE, text=True)
    with victim:
        assert victim.stdout is not None
        pids = [int(word) for word in victim.stdout.readline().split()]

        victim.kill()

    assert len(pids) == 3
    eventually(lambda: not any(is_running(pid) for pid in pids), "every process is gone")


def test_a_log_that_grew_too_long_starts_anew_and_keeps_one_old_part(tmp_path: Path) -> None:
    log = tmp_path / "chat.log"
    log.write_bytes(b"x" * 1_000)

    with log.open("ab") as writer:
        cap_log(log, limit_bytes=500)
        writer.write(b"new")

    assert log.read_bytes() == b"new"
    assert (tmp_path / "chat.log.1").read_bytes() == b"x" * 1_000


def _tells_when_stopped(name: str, story: Path, *, stop_round: int) -> Process:
    source = f"""
        import signal, sys, time
        def tell(word):
            with open({str(story)!r}, "a") as file:
                file.write(word + "\\n")
        def stop(number, frame):
            tell({name!r})
            sys.exit()
        signal.signal(signal.SIGTERM, stop)
        tell("up")
        time.sleep(600)
    """
    return python(name, source, stop_round=stop_round)


# Tells its process ids: the guard's, a process's, and that of a child in the process's group.
_SUPERVISING = """
import pathlib, sys, time
from docker.supervisor import Supervisor
from tests.launcher.programs_for_tests import eventually, python
note = pathlib.Path({log_dir!r}) / "child"
supervisor = Supervisor(log_dir=pathlib.Path({log_dir!r}) / "log")
supervisor.start()
supervisor.add(python("composer", f'''
    import pathlib, signal, subprocess, time
    if {deaf}:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "600"])
    pathlib.Path({{str(note)!r}}).write_text(str(child.pid) + " ")
    time.sleep(600)
'''))
eventually(lambda: note.exists() and note.read_text().endswith(" "), "the child is there")
print(supervisor._guard._guard.pid, supervisor.pid("composer"), note.read_text())
time.sleep(600)
"""
