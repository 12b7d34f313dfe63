"""Does each part of this Nexus work right now? Asked side by side with short limits; remembered for a moment."""

import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Final

import httpx
import redis
from django.conf import settings
from django.db import connection

from gateway import health, webhook_claims, webhook_silence
from gateway.rocketchat import tls

LIMIT_S: Final = 2.0
KEEP_S: Final = 5.0

_ROWS: Final = """
    SELECT (SELECT count(*) FROM bot_accounts WHERE lease_until > now()), (SELECT count(*) FROM bot_accounts),
        (SELECT count(*) FROM bot_accounts WHERE is_broken), (SELECT count(*) FROM host_leases WHERE lease_until > now()),
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s), (SELECT count(*) FROM set_aside)
"""
SWEEP_LOCK: Final = 0x6E787377
"""As in gateway/sweep.py, which is not imported here for what it brings along."""

Part = dict[str, Any]

_lock = threading.Lock()
_told: list[Part] = []
_told_at = float("-inf")


def look(*, clock: Callable[[], float] = time.monotonic) -> list[Part]:
    """`name`, `is_ok` and `detail` of each part."""
    global _told, _told_at
    with _lock:
        if clock() > _told_at + KEEP_S:
            _told, _told_at = _ask(), clock()
        return _told


def forget() -> None:
    """Ask anew at the next look."""
    global _told_at
    _told_at = float("-inf")


def _ask() -> list[Part]:
    outside: dict[str, Callable[[], tuple[bool, str]]] = {"redis": _redis, "memory": _memory, "chat server": _chat}
    pool = ThreadPoolExecutor(max_workers=len(outside), thread_name_prefix="parts")
    try:
        futures = {name: pool.submit(act) for name, act in outside.items()}
        inside = _database()
        wait(futures.values(), timeout=LIMIT_S + 0.5)
        asked = [
            _part(name, *(future.result() if future.done() else (False, "no answer")))
            for name, future in futures.items()
        ]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return [*inside, *asked]


def _database() -> list[Part]:
    found = health.problems()
    parts = [_part("work", not found, "; ".join(found) or "nothing is stuck")]
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version')")
        version = cursor.fetchone()[0]
        cursor.execute(_ROWS, [SWEEP_LOCK])
        held, accounts, broken, hosts, sweeps, aside = cursor.fetchone()
    parts.append(_part("database", True, f"Postgres {version}"))
    parts.append(_part("chat process", held > 0 or not accounts, f"{held} of {accounts} bot accounts held"))
    if broken:
        parts.append(_part("bot accounts", False, f"{broken} can't log in to the chat"))
    parts.append(_part("sweep", sweeps > 0, "leads" if sweeps else "nobody leads"))
    parts.append(
        _part("runtime host", True, "holds its lease" if hosts else "not running; the host has no agents of its own")
    )
    if silence := webhook_silence.problem():
        parts.append(_part("webhook", False, silence))
    if forged := webhook_claims.problem(count=webhook_claims.today()):
        parts.append(_part("webhook calls", False, forged))
    if aside:
        parts.append(_part("messages", False, f"{aside} were set aside"))
    return parts


def _redis() -> tuple[bool, str]:
    """Up, and workers listen on the queues."""
    options = {"socket_timeout": LIMIT_S, "socket_connect_timeout": LIMIT_S}
    with redis.Redis.from_url(f"{settings.NEXUS_REDIS_URL}/1", **options) as client:
        try:
            waiting = sum(int(client.llen(f"nexus:{queue}")) for queue in ("compose", "memory", "run"))
            workers = sum(1 for one in client.client_list() if one.get("cmd") == "brpop")
        except redis.RedisError as error:
            return False, f"does not answer ({type(error).__name__}); work goes on slowly without it"
    if not workers and waiting:
        return False, f"tasks waiting: {waiting}, and no worker listens"
    return True, f"workers listening: {workers}, tasks waiting: {waiting}"


def _memory() -> tuple[bool, str]:
    return _http(f"{settings.NEXUS_MEM0_URL}/healthz", what="mem0-api")


def _chat() -> tuple[bool, str]:
    return _http(f"{settings.NEXUS_ROCKETCHAT_URL}/api/info", what="Rocket.Chat")


def _http(url: str, *, what: str) -> tuple[bool, str]:
    try:
        trust: ssl.SSLContext | bool = (
            tls.context(ca_file=settings.NEXUS_ROCKETCHAT_CA) if url.startswith("https") else True
        )
        status = httpx.get(url, timeout=LIMIT_S, verify=trust).status_code
    except httpx.HTTPError as error:
        return False, f"{what} does not answer ({tls.why(error) or type(error).__name__})"
    return status == 200, f"{what} answers" if status == 200 else f"{what} answers {status}"


def _part(name: str, is_ok: bool, detail: str) -> Part:
    return {"name": name, "is_ok": is_ok, "detail": detail}
