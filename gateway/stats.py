"""How is this Nexus doing? Figures for the dashboard and the API, each from one bounded query.

Summaries, which nobody asked for, are no invocations here; what they spent is spent all the same.
"""

from datetime import date, timedelta
from typing import Any, Final, LiteralString

from django.db import connection

WINDOW_DAYS: Final = 14
"""How far back days, agents and rooms are summed up."""

RECENT_HOURS: Final = 24
"""How far back times, errors and finished rows are counted."""

TOP: Final = 8

_NOTHING: Final = {"invocations": 0, "token_count": 0, "cost_usd": 0.0}

_AGENTS: LiteralString = """
    SELECT CASE WHEN NOT a.is_enabled THEN 'off' WHEN b.revoked_at IS NOT NULL OR b.lease_until IS NULL
        OR b.lease_until <= now() THEN 'asleep' WHEN live.agent_id IS NOT NULL THEN 'busy' ELSE 'online' END, count(*)
    FROM agents a LEFT JOIN bridges b ON b.id = a.bridge_id
    LEFT JOIN (SELECT DISTINCT agent_id FROM invocations
        WHERE state IN ('composing', 'composed', 'offered', 'running') AND purpose = 'answer') live ON live.agent_id = a.id
    GROUP BY 1
"""
_STATES: LiteralString = """
    SELECT state, count(*) FROM invocations
    WHERE purpose = 'answer' AND (state NOT IN ('done', 'failed', 'cancelled', 'interrupted', 'expired', 'refused')
        OR opened_at > now() - make_interval(hours => %(hours)s))
    GROUP BY state
"""
_TIMES: LiteralString = """
    SELECT count(*), percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
            ORDER BY EXTRACT(EPOCH FROM first_text_at - opened_at)::float),
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY EXTRACT(EPOCH FROM ended_at - opened_at)::float)
    FROM invocations
    WHERE opened_at > now() - make_interval(hours => %(hours)s) AND state = 'done' AND purpose = 'answer'
"""
_REASONS: LiteralString = """
    SELECT reason, count(*) FROM invocations
    WHERE opened_at > now() - make_interval(hours => %(hours)s) AND purpose = 'answer'
        AND state IN ('failed', 'interrupted', 'expired', 'refused')
    GROUP BY reason ORDER BY 2 DESC, 1 LIMIT %(top)s
"""
_WAITING: LiteralString = """
    SELECT i.id, a.slug, i.state, EXTRACT(EPOCH FROM now() - i.queued_at)::float FROM invocations i
    JOIN agents a ON a.id = i.agent_id
    WHERE i.state IN ('queued', 'waiting', 'composing', 'composed', 'offered') AND i.purpose = 'answer'
    ORDER BY i.queued_at LIMIT 1
"""
_SPENT: LiteralString = """
    SELECT opened_at::date, agent_id, room_id, count(*) FILTER (WHERE purpose = 'answer'), sum(input_tokens + output_tokens)::bigint,
        COALESCE(sum(cost_usd), 0)::float
    FROM invocations WHERE opened_at >= current_date - %(days)s + 1
    GROUP BY GROUPING SETS ((opened_at::date), (agent_id), (room_id))
"""
"""By day, by agent and by room in one walk over the rows; two of the first three columns are NULL."""

_NAMES: LiteralString = """
    SELECT 'agent', id, slug FROM agents WHERE id = ANY(%(agents)s)
    UNION ALL SELECT 'room', id, COALESCE(NULLIF(name, ''), rid) FROM rooms WHERE id = ANY(%(rooms)s)
    UNION ALL SELECT 'today', 0, current_date::text
"""
_AGENT: LiteralString = """
    SELECT count(*) FILTER (WHERE purpose = 'answer'), count(*) FILTER (WHERE purpose = 'answer' AND state = 'done'),
        count(*) FILTER (WHERE purpose = 'answer' AND state IN ('failed', 'interrupted', 'expired', 'refused')),
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
            ORDER BY EXTRACT(EPOCH FROM first_text_at - opened_at)::float)
            FILTER (WHERE purpose = 'answer' AND state = 'done'),
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
            ORDER BY EXTRACT(EPOCH FROM ended_at - opened_at)::float)
            FILTER (WHERE purpose = 'answer' AND state = 'done'),
        COALESCE(sum(input_tokens), 0)::bigint, COALESCE(sum(output_tokens), 0)::bigint, COALESCE(sum(cost_usd), 0)::float
    FROM invocations WHERE agent_id = %(agent)s AND opened_at >= current_date - %(days)s + 1
"""


def overview() -> dict[str, Any]:
    """Everything at a glance; times are seconds."""
    given: dict[str, Any] = {"hours": RECENT_HOURS, "days": WINDOW_DAYS, "top": TOP}
    counted, first, end = _rows(_TIMES, given)[0]
    waiting = _rows(_WAITING, given)
    return {
        "agents": {"online": 0, "busy": 0, "asleep": 0, "off": 0} | dict(_rows(_AGENTS, given)),
        "invocations": dict(_rows(_STATES, given)),
        "times": {"counted": counted, "first_text": _pair(first), "end": _pair(end)},
        "errors": [{"reason": reason, "count": count} for reason, count in _rows(_REASONS, given)],
        "oldest_waiting": dict(zip(("id", "agent", "state", "waited_s"), waiting[0], strict=True))
        if waiting
        else None,
        **_spent(_rows(_SPENT, given)),
    }


def _spent(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    """What was asked and spent in the last WINDOW_DAYS by day, and by the agents and rooms that spent most."""
    by_day = {row[0]: _sums(row) for row in rows if row[0] is not None}
    agents = _most({row[1]: _sums(row) for row in rows if row[1] is not None})
    rooms = _most({row[2]: _sums(row) for row in rows if row[2] is not None})
    found = _rows(_NAMES, {"agents": list(agents), "rooms": list(rooms)})
    names = {(kind, pk): name for kind, pk, name in found}
    today = date.fromisoformat(names["today", 0])
    days = [today - timedelta(days=ago) for ago in reversed(range(WINDOW_DAYS))]
    return {
        "days": [{"day": day.isoformat(), **by_day.get(day, _NOTHING)} for day in days],
        "by_agent": [{"id": pk, "name": names.get(("agent", pk), ""), **sums} for pk, sums in agents.items()],
        "by_room": [{"id": pk, "name": names.get(("room", pk), ""), **sums} for pk, sums in rooms.items()],
    }


def _sums(row: tuple[Any, ...]) -> dict[str, Any]:
    return {"invocations": row[3], "token_count": int(row[4]), "cost_usd": row[5]}


def _most(found: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    order = sorted(found, key=lambda pk: (-found[pk]["token_count"], -found[pk]["invocations"], pk))
    return {pk: found[pk] for pk in order[:TOP]}


def of_agent(*, agent_id: int) -> dict[str, Any]:
    """What one agent did in the last WINDOW_DAYS."""
    row = _rows(_AGENT, {"agent": agent_id, "days": WINDOW_DAYS})[0]
    total, done, failed, first, end, input_tokens, output_tokens, cost = row
    return {
        "days": WINDOW_DAYS,
        "invocations": total,
        "done": done,
        "failed": failed,
        "first_text": _pair(first),
        "end": _pair(end),
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cost_usd": cost,
    }


def _pair(values: list[float | None] | None) -> dict[str, float | None]:
    p50, p95 = values or (None, None)
    return {"p50": p50, "p95": p95}


def _rows(statement: LiteralString, given: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found
