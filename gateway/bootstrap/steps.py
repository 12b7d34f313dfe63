"""What does one step of bootstrap say of itself?"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    SAME = "same"
    DONE = "done"
    NOTE = "note"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Step:
    """`subject` is what it is about; `text` says what was found or done, and what to do where it failed."""

    verdict: Verdict
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.verdict:6}  {self.subject}: {self.text}"


Say = Callable[[Step], None]


def same(subject: str, text: str) -> Step:
    return Step(Verdict.SAME, subject, text)


def done(subject: str, text: str) -> Step:
    return Step(Verdict.DONE, subject, text)


def note(subject: str, text: str) -> Step:
    return Step(Verdict.NOTE, subject, text)


def failed(subject: str, text: str) -> Step:
    return Step(Verdict.FAILED, subject, text)
