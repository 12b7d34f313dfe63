"""The table CLI x case that `make test-clis` prints: what held, what did not, and which holes are known and why."""

import re
from collections import OrderedDict

import pytest

PASSED = pytest.StashKey[bool]()

_SIGNS = {"passed": "yes", "hole": "no (*)", "failed": "FAILED", "skipped": "-"}


class Table:
    def __init__(self) -> None:
        self._results: OrderedDict[tuple[str, str], tuple[str, str]] = OrderedDict()
        self._versions: dict[str, str] = {}

    def note(self, *, kind: str, case: str, outcome: str, why: str = "") -> None:
        self._results[kind, case] = (outcome, why)

    def note_version(self, *, kind: str, said: str) -> None:
        found = re.search(r"\d+(\.\d+)+", said)
        self._versions[kind] = found[0] if found else "?"

    def __bool__(self) -> bool:
        return bool(self._results)

    def lines(self) -> list[str]:
        kinds = list(OrderedDict.fromkeys(kind for kind, _ in self._results))
        cases = list(OrderedDict.fromkeys(case for _, case in self._results))
        wide = max(len(case) for case in cases)
        rows = ["  ".join([" " * wide, *(f"{kind:<9}" for kind in kinds)]).rstrip()]
        rows.append("  ".join(["version".ljust(wide), *(f"{self._versions.get(kind, '-'):<9}" for kind in kinds)]))
        for case in cases:
            signs = [_SIGNS[self._results.get((kind, case), ("skipped", ""))[0]] for kind in kinds]
            rows.append("  ".join([case.ljust(wide), *(f"{sign:<9}" for sign in signs)]).rstrip())
        holes = [f"(*) {kind}, {case}: {why}" for (kind, case), (what, why) in self._results.items() if what == "hole"]
        return rows + holes


TABLE = Table()
