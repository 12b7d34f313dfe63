"""Recorded output of real CLIs, played through an adapter as the runner would.

Two kinds of file: the CLI's stdout line by line, and rows `{"t", "dir", "msg"}` of both directions. A turn of ours
begins with each user frame that was sent; one that was sent while a turn was open waits for its end.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nexus_bridge.adapters.base import Adapter, Turn
from nexus_bridge.events import AnyEvent, Done

TESTDATA = Path(__file__).parents[1] / "testdata" / "cli"


def recordings(kind: str) -> list[Path]:
    return sorted(path for path in (TESTDATA / kind).glob("*.jsonl") if not path.name.endswith(".events.jsonl"))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def play(
    adapter: Adapter, recorded: Sequence[dict[str, Any]], *, sizes: Iterator[int] | None = None
) -> list[AnyEvent]:
    """All events of a recording; `sizes` cuts what the CLI wrote into pieces of so many bytes."""
    player = _Player(adapter=adapter, sizes=sizes)
    if "dir" not in recorded[0]:
        player.ask()
    for row in recorded:
        if row.get("dir") == "send":
            player.send(row["msg"])
        else:
            player.hear(json.dumps(row.get("msg", row)).encode() + b"\n")
    return player.said + adapter.exited(code=143 if player.is_open else 0, stderr_tail="")


class _Player:
    def __init__(self, *, adapter: Adapter, sizes: Iterator[int] | None) -> None:
        self.said: list[AnyEvent] = []
        self.is_open = False
        self._adapter = adapter
        self._sizes = sizes
        self._waiting = 0

    def ask(self) -> None:
        if self.is_open:
            self._waiting += 1
            return
        self.is_open = True
        self._adapter.turn(Turn(text="x"))

    def send(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "user":
            self.ask()
        elif frame["type"] == "control_response":
            answer = frame["response"]
            self._adapter.answer(answer["request_id"], allow=answer["response"]["behavior"] == "allow", note="no")
        elif frame["request"]["subtype"] == "interrupt":
            self._adapter.interrupt()

    def hear(self, written: bytes) -> None:
        while written:
            size = next(self._sizes) if self._sizes else len(written)
            events = self._adapter.feed(written[:size])
            written = written[size:]
            self.said += events
            self._adapter.outgoing()
            if any(isinstance(event, Done) for event in events):
                self.is_open = False
                if self._waiting:
                    self._waiting -= 1
                    self.ask()
