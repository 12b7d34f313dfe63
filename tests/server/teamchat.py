"""The talk of a made-up team, and questions about it with the messages that hold the answer."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

TALK = Path(__file__).parents[1] / "testdata" / "teamchat" / "talk.txt"
_BLOCK = re.compile(r"([=-]) (\d{4}-\d\d-\d\d) (\d\d)")
_QUESTION = re.compile(r"\? (.+) @([\d,]+)")


@dataclass(frozen=True, slots=True)
class Said:
    """`number` counts from 1; `root` is the number of the thread's first message, or 0."""

    number: int
    speaker: str
    at: datetime
    root: int
    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    text: str
    evidence: tuple[int, ...]


def read() -> tuple[list[Said], list[Asked]]:
    talk: list[Said] = []
    questions: list[Asked] = []
    first, is_thread, at = 0, False, datetime(2026, 1, 1, tzinfo=UTC)
    for line in TALK.read_text(encoding="utf-8").splitlines():
        if block := _BLOCK.fullmatch(line):
            first, is_thread = len(talk) + 1, block[1] == "-"
            at = datetime.fromisoformat(f"{block[2]}T{block[3]}:00:00+00:00")
        elif asked := _QUESTION.fullmatch(line):
            questions.append(Asked(asked[1], tuple(first + int(place) - 1 for place in asked[2].split(","))))
        elif line and not line.startswith("#"):
            speaker, _, text = line.partition(": ")
            number = len(talk) + 1
            at += timedelta(seconds=90)
            talk.append(Said(number, speaker, at, first if is_thread and number > first else 0, text))
    return talk, questions
