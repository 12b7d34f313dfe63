"""The table CLI x case that `make test-clis` prints: what held, what did not, and which holes are known and why."""

from collections import OrderedDict

import pytest

PASSED = pytest.StashKey[bool]()

_SIGNS = {"passed": "yes", "hole": "no (*)", "failed": "FAILED", "skipped": "-"}


class Table:
    def __init__(self) -> None:
        self._results: OrderedDict[tuple[str, str], tuple[str, str]] = OrderedDict()

    def note(self, *, kind: str, case: str, outcome: str, why: str = "") -> None:
        self._results[kind, case] = (outcome, why)

    def __bool__(self) -> bool:
        return bool(self._results)

    def lines(self) -> list[str]:
        kinds = list(OrderedDict.fromkeys(kind for kind, _ in self._results))
        cases = list(OrderedDict.fromkeys(case for _, case in self._results))
        wide = max(len(case) for case in cases)
        rows = ["  ".join([" " * wide, *(f"{kind:<9}" for kind in kinds)])]
        for case in cases:
            signs = [_SIGNS[self._results.get((kind, case), ("skipped", ""))[0]] for kind in kinds]
            rows.append("  ".join([case.ljust(wide), *(f"{sign:<9}" for sign in signs)]).rstrip())
        holes = [f"(*) {kind}, {case}: {why}" for (kind, case), (what, why) in self._results.items() if what == "hole"]
        return rows + holes


TABLE = Table()
