"""What do a worker's processes do? Each writes into a slot of memory that it shares with its parent, which tells it.

Nothing is sent and nothing is locked: a slot has one writer.
"""

import time
from collections.abc import Iterable
from multiprocessing.sharedctypes import RawArray
from typing import Any, Final

from billiard.process import current_process
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

MAX_SLOTS: Final = 64
"""Processes of one worker that are told apart; more of them share the last slot, and their figures are rough."""

_DONE, _FAILED, _BUSY_SINCE, _WIDTH = 0, 1, 2, 3


class TaskSlots(Collector):
    """Made before the worker forks."""

    def __init__(self) -> None:
        self._slots = RawArray("d", MAX_SLOTS * _WIDTH)

    def began(self) -> None:
        self._slots[_here() + _BUSY_SINCE] = time.time()

    def ended(self, *, is_done: bool) -> None:
        place = _here()
        self._slots[place + _BUSY_SINCE] = 0
        self._slots[place + (_DONE if is_done else _FAILED)] += 1

    def longest_s(self) -> float:
        """How long the oldest task that goes on now has been going on."""
        busy = self._column(_BUSY_SINCE)
        return max((time.time() - since for since in busy if since), default=0.0)

    def collect(self) -> Iterable[Metric]:
        total = CounterMetricFamily("nexus_tasks", "Tasks that this worker has ended", labels=["outcome"])
        total.add_metric(["done"], sum(self._column(_DONE)))
        total.add_metric(["failed"], sum(self._column(_FAILED)))
        yield total
        busy = sum(1 for since in self._column(_BUSY_SINCE) if since)
        yield GaugeMetricFamily("nexus_tasks_busy", "Processes of this worker that are at a task", value=busy)
        yield GaugeMetricFamily("nexus_task_longest_s", "Age of the oldest task that goes on", value=self.longest_s())

    def _column(self, which: int) -> list[float]:
        return [self._slots[slot * _WIDTH + which] for slot in range(MAX_SLOTS)]


def _here() -> int:
    index: Any = getattr(current_process(), "index", 0)
    return int(min(index or 0, MAX_SLOTS - 1) * _WIDTH)


def register() -> TaskSlots:
    slots = TaskSlots()
    REGISTRY.register(slots)
    return slots
