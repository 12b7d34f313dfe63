"""What has waited so long that nobody can be at work on it? Sentences from the rows, for `/healthz`."""

from collections.abc import Callable
from typing import Final, LiteralString, NamedTuple

from django.db import DatabaseError, InterfaceError, connection

STUCK_S: Final = 60
"""A row that could go on and has waited this long says that nobody works."""

CHAT_STUCK_S: Final = 300
"""A chat that limits its callers makes the last of many answers wait for minutes."""

_QUEUED: LiteralString = """
    SELECT count(*) FROM invocations i JOIN agents a ON a.id = i.agent_id
    WHERE i.state = 'queued' AND i.queued_at < now() - make_interval(secs => %(limit)s) AND a.is_enabled
    AND (SELECT count(*) FROM invocations l WHERE l.agent_id = a.id
        AND l.state IN ('composing', 'composed', 'offered', 'running')) = 0
"""
_COMPOSED: LiteralString = """
    SELECT count(*) FROM invocations
    WHERE state = 'composed' AND composed_at < now() - make_interval(secs => %(limit)s)
"""
_OVERDUE: LiteralString = """
    SELECT count(*) FROM invocations
    WHERE (state = 'composing' AND lease_until < now() - make_interval(secs => %(limit)s))
    OR (state IN ('queued', 'waiting') AND wait_until < now() - make_interval(secs => %(limit)s))
"""
_UNSAID: LiteralString = """
    SELECT count(*) FROM invocations i JOIN bot_accounts b ON b.agent_id = i.agent_id
    WHERE i.reply_settled_at IS NULL AND i.ended_at < now() - make_interval(secs => %(limit)s)
    AND NOT b.is_broken AND length(b.access_token) > 0
"""
_UNHELD: LiteralString = """
    SELECT count(*) FROM bot_accounts WHERE NOT is_broken AND length(access_token) > 0
    AND (lease_until IS NULL OR lease_until < now() - make_interval(secs => %(limit)s))
"""


class Look(NamedTuple):
    statement: LiteralString
    sentence: str
    limit_s: int = STUCK_S


LOOKS: Final = {
    "queued": Look(_QUEUED, "questions waiting for a composer longer than {limit} s: {count}"),
    "composed": Look(_COMPOSED, "prompts waiting for the runtime longer than {limit} s: {count}"),
    "overdue": Look(_OVERDUE, "rows past their time for longer than {limit} s, and no sweep has looked: {count}"),
    "unsaid": Look(_UNSAID, "answers waiting to be posted longer than {limit} s: {count}", CHAT_STUCK_S),
    "unheld": Look(_UNHELD, "bot accounts that no chat process has held for longer than {limit} s: {count}"),
}


def sentences(*names: str) -> list[str]:
    """What is stuck of these; or that the database can't be reached."""
    found = []
    try:
        with connection.cursor() as cursor:
            for name in names:
                look = LOOKS[name]
                cursor.execute(look.statement, {"limit": look.limit_s})
                (count,) = cursor.fetchone()
                if count:
                    found.append(look.sentence.format(count=count, limit=look.limit_s))
    except (DatabaseError, InterfaceError):
        connection.close()
        return ["the database can't be reached"]
    return found


def looker(*names: str, beats: Callable[[], list[str]]) -> Callable[[], list[str]]:
    """For a door's thread: late loops and stuck rows; its connection is not kept between two looks."""

    def look() -> list[str]:
        try:
            return [*beats(), *sentences(*names)]
        finally:
            connection.close()

    return look
