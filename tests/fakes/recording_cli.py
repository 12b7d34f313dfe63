"""An echo CLI that keeps a ledger of what was asked of it, so that tests see from outside how often a turn was started.

Usage: recording_cli.py LEDGER_DIR AGENT LANES [what the echo adapter adds]. Each line of LEDGER_DIR/ledger.jsonl is
written with one call; a lane is a file lock, which the kernel takes back when the process dies, however it dies.
"""

import fcntl
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from nexus_bridge import echo_cli

MARKER = re.compile(r"\bq\d{4}x\d+\b")


class RecordingEcho(echo_cli.Echo):
    """Plays as the echo program does, and writes down each turn's start and end."""

    def __init__(self, *, ledger: str, agent: str, lanes: int, **options: Any) -> None:
        super().__init__(**options)
        self.ledger = Path(ledger)
        self.agent = agent
        self.lanes = lanes
        self.lane: int | None = None
        self.note("spawn")

    def play(self, prompt: str) -> None:
        question, _ = echo_cli.read_prompt(prompt)
        markers = MARKER.findall(question)
        is_free = self.take_lane()
        self.note("turn", markers=markers, is_lane_free=is_free)
        try:
            super().play(prompt)
        finally:
            self.let_go()
            self.note("end", markers=markers)

    def say(self, kind: str, **fields: Any) -> None:
        # The bridge may start the next turn elsewhere as soon as it has read `done`.
        if kind == "done":
            self.let_go()
        super().say(kind, **fields)

    def take_lane(self) -> bool:
        for number in range(self.lanes):
            descriptor = os.open(self.ledger / f"{self.agent}.lane{number}", os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
            else:
                self.lane = descriptor
                return True
        return False

    def let_go(self) -> None:
        if self.lane is not None:
            os.close(self.lane)
            self.lane = None

    def note(self, what: str, **fields: Any) -> None:
        line = {"what": what, "agent": self.agent, "pid": os.getpid(), "session": self.session, "at": time.time()}
        descriptor = os.open(self.ledger / "ledger.jsonl", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        os.write(descriptor, json.dumps({**line, **fields}).encode() + b"\n")
        os.close(descriptor)


def main(arguments: list[str]) -> None:
    ledger, agent, lanes, *rest = arguments
    if "--version" in rest:
        os.write(1, b"echo 1.0 recording\n")
        return
    resumed = rest[rest.index("--resume") + 1] if "--resume" in rest else ""
    pace = float(rest[rest.index("--pace-ms") + 1]) if "--pace-ms" in rest else 20.0
    session = resumed or "echo-" + os.urandom(8).hex()
    RecordingEcho(
        ledger=ledger,
        agent=agent,
        lanes=int(lanes),
        scripted="--scripted" in rest,
        pace_s=pace / 1000,
        session=session,
    ).run()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(130)
