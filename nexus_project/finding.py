"""What does a check of the doctor say, and in which form?"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Grade(StrEnum):
    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence, and the cure where there is something to cure."""

    grade: Grade
    text: str
    cure: str = ""


def good(text: str) -> Finding:
    return Finding(Grade.OK, text)


def skipped(text: str) -> Finding:
    return Finding(Grade.SKIPPED, text)


def warning(text: str, cure: str) -> Finding:
    return Finding(Grade.WARNING, text, cure)


def critical(text: str, cure: str) -> Finding:
    return Finding(Grade.CRITICAL, text, cure)


@dataclass(frozen=True, slots=True)
class Check(Generic[T]):
    """`read` fetches facts and `judge`, which is pure, says what they mean. `id` never changes.

    `needs` names checks without which this one can't be read. A deep one sends something. `fix` does what is safe to do
    without asking, and says what it did.
    """

    id: str
    read: Callable[[], T]
    judge: Callable[[T], Finding]
    needs: tuple[str, ...] = ()
    is_deep: bool = False
    fix: Callable[[T], str] | None = None
