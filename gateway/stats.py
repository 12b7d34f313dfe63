"""How is this Nexus doing? Figures for the dashboard and the API, each from one bounded query."""

from typing import Any, Final, LiteralString

from django.db import connection

WINDOW_DAYS: Final = 14
"""How far back days, agents and rooms are summed up."""

RECENT_HOURS: Final = 24
"""How far back times, errors and finished rows are counted."""

TOP: Final = 8

_AGENTS: LiteralString = """
    SELECT CASE WHEN NOT a.is_enabled THEN 'off' WHEN b.revoked_at IS NOT NULL OR b.lease_until IS NULL
        OR b.lease_until <= now() THEN 'asleep' WHEN live.agent_id IS NOT NULL THEN 'busy' ELSE 'online' END, count(*)
    FROM agents a LEFT JOIN bridges b ON b.id = a.bridge_id
    LEFT JOIN (SELECT DISTINCT agent_id FROM invocations WHERE state IN ('composing', 'composed', 'offered', 'running'))
        live ON live.agent_id = a.id
    GROUP BY 1
"""
_STATES: LiteralString = """
    SELECT state, count(*) FROM invocations
    WHERE state NOT IN ('done', 'failed', 'cancelled', 'interrupted', 'expired', 'refused')
        OR opened_at > now() - make_interval(hours => %(hours)s)
    GROUP BY state
"""
_TIMES: LiteralString = """
    SELECT count(*), percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
            ORDER BY EXTRACT(EPOCH FROM first_text_at - opened_at)::float),
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY EXTRACT(EPOCH FROM ended_at - opened_at)::float)
    FROM invocations WHERE opened_at > now() - make_interval(hours => %(hours)s) AND state = 'done'
"""
_REASONS: LiteralString = """
    SELECT reason, count(*) FROM invocations
    WHERE opened_at > now() - make_interval(hours => %(hours)s) AND state IN ('failed', 'interrupted', 'expired', 'refused')
    GROUP BY reason ORDER BY 2 DESC, 1 LIMIT %(top)s
"""
_WAITING: LiteralString = """
    SELECT i.id, a.slug, i.state, EXTRACT(EPOCH FROM now() - i.queued_at)::float FROM invocations i
    JOIN agents a ON a.id = i.agent_id WHERE i.state IN ('queued', 'waiting') ORDER BY i.queued_at LIMIT 1
"""
_DAYS: LiteralString = """
    SELECT d::date, COALESCE(s.rows, 0), COALESCE(s.tokens, 0), COALESCE(s.cost, 0)::float
    FROM generate_series(current_date - %(days)s + 1, current_date, interval '1 day') d
    LEFT JOIN (SELECT opened_at::date AS day, count(*) AS rows, sum(input_tokens + output_tokens) AS tokens,
            sum(cost_usd) AS cost FROM invocations WHERE opened_at >= current_date - %(days)s + 1 GROUP BY 1) s ON s.day = d::date
    ORDER BY 1
"""
_BY: dict[str, LiteralString] = {
    "agent": """
        SELECT a.id, a.slug, s.rows, s.tokens, s.cost FROM (SELECT agent_id, count(*) AS rows,
                sum(input_tokens + output_tokens)::bigint AS tokens, COALESCE(sum(cost_usd), 0)::float AS cost
            FROM invocations WHERE opened_at >= current_date - %(days)s + 1 GROUP BY 1 ORDER BY 3 DESC, 2 DESC, 1
            LIMIT %(top)s) s JOIN agents a ON a.id = s.agent_id ORDER BY s.tokens DESC, s.rows DESC, a.slug
    """,
    "room": """
        SELECT r.id, COALESCE(NULLIF(r.name, ''), r.rid), s.rows, s.tokens, s.cost FROM (SELECT room_id, count(*) AS rows,
                sum(input_tokens + output_tokens)::bigint AS tokens, COALESCE(sum(cost_usd), 0)::float AS cost
            FROM invocations WHERE opened_at >= current_date - %(days)s + 1 GROUP BY 1 ORDER BY 3 DESC, 2 DESC, 1
            LIMIT %(top)s) s JOIN rooms r ON r.id = s.room_id ORDER BY s.tokens DESC, s.rows DESC, 2
    """,
}
_AGENT: LiteralString = """
    SELECT count(*), count(*) FILTER (WHERE state = 'done'),
        count(*) FILTER (WHERE state IN ('failed', 'interrupted', 'expired', 'refused')),
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
            ORDER BY EXTRACT(EPOCH FROM first_text_at - opened_at)::float) FILTER (WHERE state = 'done'),
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
            ORDER BY EXTRACT(EPOCH FROM ended_at - opened_at)::float) FILTER (WHERE state = 'done'),
        COALESCE(sum(input_tokens), 0)::bigint, COALESCE(sum(output_tokens), 0)::bigint, COALESCE(sum(cost_usd), 0)::float
    FROM invocations WHERE agent_id = %(agent)s AND opened_at >= current_date - %(days)s + 1
"""


def overview() -> dict[str, Any]:
    """Everything at a glance; times are seconds."""
    given = {"hours": RECENT_HOURS, "days": WINDOW_DAYS, "top": TOP}
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
        "days": [
            {"day": day.isoformat(), "invocations": rows, "token_count": int(tokens), "cost_usd": cost}
            for day, rows, tokens, cost in _rows(_DAYS, given)
        ],
        "by_agent": _spent("agent", given),
        "by_room": _spent("room", given),
    }


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


def _spent(by: str, given: dict[str, int]) -> list[dict[str, Any]]:
    names = ("id", "name", "invocations", "token_count", "cost_usd")
    return [dict(zip(names, row, strict=True)) for row in _rows(_BY[by], given)]


def _pair(values: list[float | None] | None) -> dict[str, float | None]:
    p50, p95 = values or (None, None)
    return {"p50": p50, "p95": p95}


def _rows(statement: LiteralString, given: dict[str, int]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found
