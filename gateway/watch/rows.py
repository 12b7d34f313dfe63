"""What do the rows say of the whole of Nexus? Figures for `/metrics` of a gateway; every gateway tells the same ones.

Gauges are read at each look. Counters and histograms grow by the rows that have ended since the last look, so they begin at
zero with each process, as a scraper expects of counters. Summaries, which nobody asked for, count as tokens and cost only.
"""

import threading
from datetime import datetime
from typing import Any, Final, LiteralString

from django.db import connection
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LAG_S: Final = 10
"""A row's end is stamped when its transaction begins: those that may still be on their way are counted at the next look."""

_GAUGE_NAMES: Final = {
    "invocations": ("nexus_invocations", "Open invocations"),
    "oldest": ("nexus_oldest_s", "Age of the oldest invocation in a state"),
    "bridges": ("nexus_bridges", "Bridges that are not revoked"),
    "accounts": ("nexus_bot_accounts", "Bot accounts"),
    "unsettled": ("nexus_replies_unsettled", "Ended invocations whose room waits for the last word"),
    "unsettled_oldest": ("nexus_replies_oldest_s", "Since when the longest of them waits"),
    "notices": ("nexus_notices_due", "Notices that are not posted yet"),
    "set_aside": ("nexus_set_aside", "Chat documents that could not be stored"),
    "unremembered": ("nexus_unremembered", "Messages that memory has not taken yet"),
    "leader": ("nexus_sweep_leaders", "Sweeps that lead: one, or nobody keeps time"),
}
_BY_STATE: Final = ("invocations", "oldest", "bridges", "accounts")

MAX_ROWS: Final = 20_000
"""Ends counted by one look; what is beyond them is counted by the next."""

FAST_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SLOW_S: Final = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)

_GAUGES: LiteralString = """
    SELECT 'invocations', state, count(*)::float FROM invocations
        WHERE ended_at IS NULL AND purpose = 'answer' GROUP BY state
    UNION ALL SELECT 'oldest', state, EXTRACT(EPOCH FROM now() - min(CASE state WHEN 'queued' THEN queued_at
            WHEN 'waiting' THEN queued_at WHEN 'composing' THEN composing_at WHEN 'composed' THEN composed_at
            WHEN 'offered' THEN offered_at ELSE running_at END))::float
        FROM invocations WHERE ended_at IS NULL AND purpose = 'answer' GROUP BY state
    UNION ALL SELECT 'bridges', CASE WHEN lease_until > now() THEN 'online' ELSE 'offline' END, count(*)::float
        FROM bridges WHERE revoked_at IS NULL GROUP BY 2
    UNION ALL SELECT 'accounts', CASE WHEN is_broken THEN 'broken' WHEN lease_until > now() THEN 'held' ELSE 'free' END,
        count(*)::float FROM bot_accounts GROUP BY 2
    UNION ALL SELECT 'unsettled', '', count(*)::float FROM invocations WHERE reply_settled_at IS NULL AND ended_at IS NOT NULL
    UNION ALL SELECT 'unsettled_oldest', '', COALESCE(EXTRACT(EPOCH FROM now() - min(ended_at)), 0)::float
        FROM invocations WHERE reply_settled_at IS NULL AND ended_at IS NOT NULL
    UNION ALL SELECT 'notices', '', count(*)::float FROM notices WHERE posted_revision < revision
    UNION ALL SELECT 'set_aside', '', count(*)::float FROM set_aside
    UNION ALL SELECT 'unremembered', '', count(*)::float FROM (SELECT FROM messages WHERE remembered_at IS NULL LIMIT 100000) m
    UNION ALL SELECT 'leader', '', count(*)::float FROM pg_locks WHERE locktype = 'advisory' AND objid = 1853387639
"""
"""The last is LEADER_LOCK of gateway/sweep.py, which is not imported here for what it brings along."""

_ENDED: LiteralString = """
    SELECT i.ended_at, i.purpose = 'answer', a.cli_kind, i.state, i.reason, EXTRACT(EPOCH FROM i.composing_at - i.queued_at)::float,
        EXTRACT(EPOCH FROM i.composed_at - i.composing_at)::float, EXTRACT(EPOCH FROM i.first_text_at - i.opened_at)::float,
        EXTRACT(EPOCH FROM i.ended_at - i.opened_at)::float, i.input_tokens, i.output_tokens, i.cost_usd::float
    FROM invocations i JOIN agents a ON a.id = i.agent_id
    WHERE i.ended_at > %s AND i.ended_at <= now() - make_interval(secs => %s) ORDER BY i.ended_at LIMIT %s
"""


class Rows:
    """One per process; `tell` may be called by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: datetime | None = None
        self.registry = registry = CollectorRegistry()
        cli = ["cli"]
        self._gauges = {
            name: Gauge(shown, about, ["state"] if name in _BY_STATE else [], registry=registry)
            for name, (shown, about) in _GAUGE_NAMES.items()
        }
        self._ended = Counter(
            "nexus_invocations_ended_total", "Ends of invocations", ["cli", "state", "reason"], registry=registry
        )
        self._tokens = Counter(
            "nexus_model_tokens_total", "Model tokens, as CLIs tell", ["cli", "kind"], registry=registry
        )
        self._cost = Counter("nexus_cost_usd_total", "What runs have cost, as CLIs tell", cli, registry=registry)
        self._times = (
            Histogram("nexus_queue_wait_s", "From the queue to a composer", cli, buckets=FAST_S, registry=registry),
            Histogram("nexus_compose_s", "Composing a prompt", cli, buckets=FAST_S, registry=registry),
            Histogram(
                "nexus_first_text_s",
                "From the question to the agent's first text",
                cli,
                buckets=SLOW_S,
                registry=registry,
            ),
            Histogram(
                "nexus_end_s", "From the question to the end of the run", cli, buckets=SLOW_S, registry=registry
            ),
        )

    def tell(self) -> bytes:
        with self._lock:
            with connection.cursor() as cursor:
                cursor.execute(_GAUGES)
                self._set(cursor.fetchall())
                cursor.execute("SELECT COALESCE(%s, now() - make_interval(secs => %s))", [self._since, LAG_S])
                since = cursor.fetchone()[0]
                cursor.execute(_ENDED, [since, LAG_S, MAX_ROWS])
                rows = cursor.fetchall()
            for row in rows:
                self._count(*row[1:])
            self._since = rows[-1][0] if rows else since
            return generate_latest(self.registry)

    def _set(self, rows: list[tuple[str, str, float]]) -> None:
        """A state that nobody is in any more is told no longer."""
        for name in _BY_STATE:
            self._gauges[name].clear()
        for name, state, value in rows:
            gauge = self._gauges[name]
            (gauge.labels(state) if state else gauge).set(value or 0)

    def _count(self, is_answer: bool, cli: str, state: str, reason: str, *figures: Any) -> None:
        *times, input_tokens, output_tokens, cost = figures
        if is_answer:
            self._ended.labels(cli, state, reason).inc()
            for histogram, seconds in zip(self._times, times, strict=True):
                if seconds is not None and seconds >= 0:
                    histogram.labels(cli).observe(seconds)
        self._tokens.labels(cli, "input").inc(input_tokens)
        self._tokens.labels(cli, "output").inc(output_tokens)
        self._cost.labels(cli).inc(cost or 0)


ROWS: Final = Rows()
