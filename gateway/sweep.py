"""The sweep: does what time demands, and what waits because a nudge or a worker was lost.

One leads, by an advisory lock that dies with its connection. Every round: all timers in one transaction; then, in a
child with a time limit, at most ROUND_ROWS rows that have waited longer than PATIENCE_S.
"""

import logging
import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, connections
from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import Now

from composer.memory.remember import remember
from gateway import audit, pipeline, retention, webhook_silence
from gateway.invocations import next_claimable, offer, places, timers
from gateway.models import LIVE, Agent, Invocation, Message, State
from gateway.watch import BEATS, figures

logger = logging.getLogger(__name__)

LEADER_LOCK = 0x6E787377
PATIENCE_S = 5
REMEMBER_PATIENCE_S = 30
ROUND_ROWS = 20
CHILD_LIMIT_S = 40
HOUSEKEEPING_EVERY = 12
"""Rounds between two looks for what may be deleted."""


@dataclass(slots=True)
class Sweep:
    """One process's sweep; `run` returns when `stop` is set."""

    every_s: float
    stop: threading.Event
    rounds: int = 0
    silence: str = ""

    def run(self) -> None:
        BEATS.expect("round", within_s=2 * self.every_s + 2 * CHILD_LIMIT_S, what="done a round of the sweep")
        while not self.stop.is_set():
            try:
                if leads():
                    self.round()
                    figures.SWEEP_ROUNDS.inc()
                BEATS.beat("round")
            # Outermost loop: whatever went wrong in this round, the next one starts afresh with a new connection.
            except Exception:
                logger.exception("sweep round failed")
                connections.close_all()
            self.stop.wait(self.every_s)
        BEATS.forget("round")
        connections.close_all()

    def round(self) -> None:
        """All timers, then the rows that waited, then now and then the housekeeping."""
        moved = {name: count for name, count in timers.run_due().items() if count}
        for name, count in moved.items():
            figures.SWEEP_MOVED.labels(name).inc(count)
        places.tell_all()
        if waiting_work():
            run_in_child(act=do_waiting_work, limit_s=CHILD_LIMIT_S)
        if self.rounds % HOUSEKEEPING_EVERY == 0:
            # In a quiet team nobody asks for the background work: summaries of what is over, memory's own steps.
            pipeline.remember()
            audit.seal()
            retention.delete_due()
            self._tell_of_silence()
        self.rounds += 1

    def _tell_of_silence(self) -> None:
        """Whenever it begins or its sentence changes."""
        problem = webhook_silence.problem()
        if problem and problem != self.silence:
            logger.warning("the webhook is silent", extra={"cure": problem})
        self.silence = problem


def waiting_work() -> bool:
    """Whether anything has waited too long for a worker; a few indexed look-ups."""
    return bool(_queued() or _composed()) or _unremembered().exists()


def do_waiting_work() -> None:
    """Compose, dispatch and remember what waited, here and now."""
    # Only the child that does this work needs the composer, which is a third of a process.
    from composer.compose import claim_and_compose

    for invocation_id in _queued():
        claimed = claim_and_compose(invocation_id=invocation_id)
        if claimed is not None:
            logger.info("composed by the sweep", extra={"invocation": claimed})
            offer(invocation_id=claimed)
    for invocation_id in _composed():
        offer(invocation_id=invocation_id)
    if _unremembered().exists():
        remember()


def run_in_child(*, act: Callable[[], None], limit_s: float) -> int | None:
    """Run `act` in a forked child; kill it after `limit_s`. Returns its exit code, None when it was killed.

    A row that hangs a composer must not stop the timers, so the leader never does such work itself.
    """
    child = multiprocessing.get_context("fork").Process(target=_child, args=(act,), name="sweep-child")
    child.start()
    child.join(limit_s)
    if child.is_alive():
        logger.warning("sweep child took too long", extra={"limit_s": limit_s})
        child.kill()
        child.join(5)
        return None
    return child.exitcode


def _child(act: Callable[[], None]) -> None:
    # The parent's connection belongs to the parent: using or closing its socket here would end its leadership.
    for handle in connections.all():
        handle.connection = None
    act()


def leads() -> bool:
    """Whether this process leads. The lock lives as long as this connection."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            " AND objid = %s) OR pg_try_advisory_lock(%s)",
            [LEADER_LOCK, LEADER_LOCK],
        )
        return bool(cursor.fetchone()[0])


def _queued() -> list[int]:
    """First rows of agents that have a free lane and whose queue has waited."""
    waited = Invocation.objects.filter(state=State.QUEUED, queued_at__lt=Now() - timedelta(seconds=PATIENCE_S))
    live = Count("invocations", filter=Q(invocations__state__in=LIVE))
    agents = Agent.objects.filter(pk__in=waited.values("agent_id")).annotate(live=live).filter(live__lt=F("parallel"))
    found: list[int] = []
    for agent in agents.order_by("pk")[:ROUND_ROWS]:
        found += next_claimable(agent_id=agent.pk)[: agent.parallel]
    return found[:ROUND_ROWS]


def _composed() -> list[int]:
    rows = Invocation.objects.filter(state=State.COMPOSED, composed_at__lt=Now() - timedelta(seconds=PATIENCE_S))
    return list(rows.order_by("pk").values_list("pk", flat=True)[:ROUND_ROWS])


def _unremembered() -> QuerySet[Message]:
    return Message.objects.filter(remembered_at=None, stored_at__lt=Now() - timedelta(seconds=REMEMBER_PATIENCE_S))
