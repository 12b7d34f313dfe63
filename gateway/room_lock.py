"""The room lock: at most one worker composes for a room at a time. It saves work; it does not make anything safe.

Tried and never waited on. When Redis is away everyone gets the lock: indexes and the fence keep the rows right.
"""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from django.conf import settings

logger = logging.getLogger(__name__)

LOCK_S = 30
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
_client: "redis.Redis | None" = None


@contextmanager
def room_lock(*, room_id: int) -> Iterator[bool]:
    """Whether this worker holds the room. Letting go is by the holder's own value only."""
    value = secrets.token_hex(8)
    held = _take(room_id=room_id, value=value)
    try:
        yield held
    finally:
        if held:
            _let_go(room_id=room_id, value=value)


def _connection() -> "redis.Redis":
    global _client
    if _client is None:
        _client = redis.Redis.from_url(f"{settings.NEXUS_REDIS_URL}/2", socket_timeout=1.0, socket_connect_timeout=1.0)
    return _client


def _take(*, room_id: int, value: str) -> bool:
    try:
        return bool(_connection().set(f"nexus:room-lock:{room_id}", value, nx=True, ex=LOCK_S))
    except redis.RedisError as error:
        logger.info("room lock unreachable", extra={"room": room_id, "error": repr(error)})
        return True


def _let_go(*, room_id: int, value: str) -> None:
    try:
        _connection().eval(_RELEASE, 1, f"nexus:room-lock:{room_id}", value)
    except redis.RedisError as error:
        logger.info("room lock unreachable", extra={"room": room_id, "error": repr(error)})
