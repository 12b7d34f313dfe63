"""What holds for every test: machines are shared, so how long an example takes says nothing; and who runs when."""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")

WHOLE = frozenset({"e2e", "faults", "launcher"})
"""Folders whose files start a whole Nexus each: they wait much and compute little."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread them over the first two thirds of the run, where others use the time; at its end they would run alone."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    whole = [path for path in files if path.parent.name in WHOLE]
    quick = [path for path in files if path.parent.name not in WHOLE]
    if whole and quick:
        items[:] = [item for path in _spread(whole, quick) for item in files[path]]


def _spread(whole: list[Path], quick: list[Path]) -> Iterator[Path]:
    step = max(1, len(quick) * 2 // 3 // len(whole))
    groups = [quick[start : start + step] for start in range(0, len(quick), step)]
    for one, some in zip_longest(whole, groups):
        yield from ([one] if one else [])
        yield from some or []
