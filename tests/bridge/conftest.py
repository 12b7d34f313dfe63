"""Faults that several of the bridge's tests share."""

import errno
import os
from collections.abc import Callable

import pytest


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on the journal's disk takes half of a record and then nothing."""

    def fill() -> None:
        def write_half(file: int, data: bytes) -> None:
            os.write(file, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("nexus_bridge.journal.write_all", write_half)

    return fill
