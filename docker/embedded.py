"""The launcher without Docker: `python -m docker.embedded demo` brings up a whole Nexus and tells its story.

It stays up until Ctrl-C, SIGTERM or SIGHUP; a second one of these stops without waiting.
"""

import argparse
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from docker.as_root import RootNotPossibleError
from docker.ports import NoFreePortError, PortTakenError
from docker.postgres import PostgresError
from docker.process import tied
from docker.programs import CHECKOUT, passed_on
from docker.stack import Stack, pick_ports
from docker.state import AlreadyRunningError
from docker.supervisor import ProcessFailedError
from docker.valkey import ValkeyError
from nexus_bridge.programs import found_programs

CHAT_PORT, GATEWAY_PORT = 3000, 4000
STORY = (sys.executable, "manage.py", "demo")
_START_TIMEOUT_S = 90.0
_STORY_STOP_TIMEOUT_S = 5.0
_NOT_STARTED, _INTERRUPTED = 1, 130
_EXPECTED = (
    AlreadyRunningError,
    NoFreePortError,
    PostgresError,
    ProcessFailedError,
    RootNotPossibleError,
    ValkeyError,
)


class StoppedError(BaseException):
    """Somebody asked us to stop. Not an Exception: nothing on the way may mistake it for a failure."""


class Narrator:
    """Tells the person at the terminal what goes on, each line with its time since the start."""

    def __init__(self) -> None:
        self._started_at = time.monotonic()

    def say(self, text: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - self._started_at:5.1f} s] {text}\n")
        sys.stdout.flush()


class Launcher:
    """Owns the stack and the story; turns signals into an orderly stop."""

    def __init__(self, *, stack: Stack, once: bool, say: Callable[[str], None], story: Sequence[str] = STORY) -> None:
        self._stack = stack
        self._story = story
        self._once = once
        self._say = say
        self._is_stopping = False

    def run(self) -> int:
        """Returns the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        try:
            self._stack.start(timeout_s=_START_TIMEOUT_S)
            self._say("everything runs")
            code = self._tell_story()
            if not self._once:
                self._stay(code)
            return code
        except StoppedError:
            self._say("stopping")
            return _INTERRUPTED if self._once else 0
        except PortTakenError as error:
            name = "CHAT_PORT" if error.port == self._stack.ports.chat else "GATEWAY_PORT"
            self._say(f"{error} Choose another one: make demo {name}={error.port + 1}")
            return _NOT_STARTED
        except _EXPECTED as error:
            self._say(str(error))
            return _NOT_STARTED
        finally:
            self._is_stopping = True
            self._stack.stop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._is_stopping:
            self._stack.hurry()
            return
        self._is_stopping = True
        raise StoppedError

    def _tell_story(self) -> int:
        """Runs `manage.py demo` in a session of its own, so that Ctrl-C comes to us alone."""
        arguments = ["--once"] if self._once else []
        story = subprocess.Popen(
            tied([*self._story, *arguments], stop_signal=signal.SIGTERM),
            cwd=CHECKOUT,
            env={**passed_on(), **self._stack.env},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._stack.supervisor.adopt(story)
        try:
            return story.wait()
        finally:
            self._end(story)

    def _end(self, story: subprocess.Popen[bytes]) -> None:
        """Also of what it started and left in its group."""
        _signal_group(story.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            story.wait(_STORY_STOP_TIMEOUT_S)
        _signal_group(story.pid, signal.SIGKILL)
        story.wait()
        self._stack.supervisor.disown(story)

    def _stay(self, code: int) -> NoReturn:
        if code != 0:
            self._say(f"the story ended with exit code {code}; logs are in {self._stack.state.log_dir}")
        self._say("Nexus stays up; Ctrl-C stops it")
        while True:
            signal.pause()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def main(argv: Sequence[str] | None = None) -> int:
    options = _parse(sys.argv[1:] if argv is None else argv)
    # What goes on is in the log files; the terminal belongs to the story.
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    narrator = Narrator()
    if options.clis:
        narrator.say(what_clis_mean(os.environ))
    stack = Stack(
        state_dir=options.state_dir.resolve(),
        ports=pick_ports(chat=options.chat_port, gateway=options.gateway_port),
        settings={"NEXUS_HOST_CLIS": "1"} if options.clis else {},
        on_step=narrator.say,
    )
    return Launcher(stack=stack, once=options.once, say=narrator.say).run()


def what_clis_mean(env: Mapping[str, str]) -> str:
    """Said before anything starts: who does not want it can still stop."""
    found = found_programs(env)
    if not found:
        return "CLIS=1: no agent CLI that Nexus knows is on PATH, so none joins"
    programs = ", ".join(f"@{kind} ({program})" for kind, program in found)
    return (
        f"CLIS=1: {programs} will join. They run as you: with your own logins and settings, at your own costs, in folders below"
        " .nexus/host/work but able to reach what you can reach. Everyone in this demo's chat may give them work."
        " Nothing of them runs yet; Ctrl-C if you don't want that"
    )


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m docker.embedded", description=__doc__)
    parser.add_argument("what", choices=["demo"])
    parser.add_argument("--once", action="store_true", help="one round trip, checked, then stop")
    parser.add_argument("--clis", action="store_true", help="add an agent for each real CLI on PATH")
    parser.add_argument("--chat-port", type=_port, default=CHAT_PORT)
    parser.add_argument("--gateway-port", type=_port, default=GATEWAY_PORT)
    parser.add_argument("--state-dir", type=Path, default=CHECKOUT / ".nexus")
    return parser.parse_args(argv)


def _port(text: str) -> int:
    port = int(text)
    if not 1024 <= port <= 65_535:
        raise argparse.ArgumentTypeError("must be from 1024 to 65535")
    return port


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
