"""What did the CLIs see? The ledger that tests/fakes/recording_cli.py writes, read back."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn that a CLI began; `markers` are those of its question."""

    agent: str
    pid: int
    markers: tuple[str, ...]
    is_lane_free: bool


def turns(directory: Path) -> list[Turn]:
    path = directory / "ledger.jsonl"
    if not path.exists():
        return []
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [
        Turn(line["agent"], line["pid"], tuple(line["markers"]), line["is_lane_free"])
        for line in lines
        if line["what"] == "turn"
    ]


def started(directory: Path) -> Counter[tuple[str, str]]:
    """How often each (agent, marker) was begun."""
    return Counter((turn.agent, marker) for turn in turns(directory) for marker in turn.markers)
