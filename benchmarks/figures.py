"""What a figure is, and how it is printed: a line of a table for people, a line of JSON for machines."""

import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value with its goal. `is_met` None: no goal applies, or it could not be measured; `note` says why."""

    id: str
    what: str
    value: str
    goal: str = ""
    is_met: bool | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        return {True: "met", False: "MISSED", None: "-"}[self.is_met]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie; the largest for a short list."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def show(figures: Iterable[Figure]) -> None:
    """Print each figure as a row as soon as it is there, and its JSON line after it."""
    for figure in figures:
        sys.stdout.write(
            f"{figure.id:4} {figure.verdict:7} {figure.what[:58]:58} {figure.value:>26}   goal {figure.goal}\n"
        )
        if figure.note:
            sys.stdout.write(f"       {figure.note}\n")
        sys.stdout.write(f"{json.dumps(asdict(figure), ensure_ascii=False)}\n")
        sys.stdout.flush()
