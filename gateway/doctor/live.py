"""What only a try can tell: round trips, closed doors, certificates, processes that must die. For `--deep`."""

import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import httpx
from django.conf import settings
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from gateway import pipeline
from gateway.doctor.services import client
from nexus_project.celery import app
from nexus_project.finding import Check, Finding, critical, good, skipped, warning
from nexus_project.safety import host_of, is_loopback

TIMEOUT_S: Final = 5.0
CONSUMED_S: Final = 10.0
POLL_S: Final = 0.1
SOONEST_END_D: Final = 14.0
MOST_SKEW_S: Final = 2.0
_IDLE: Final = ((pipeline.COMPOSE_TASK, "compose", 0), (pipeline.RUN_TASK, "run", None))
"""Tasks that are taken, find nothing to do and end: no row has that id."""

GATEWAY: Final = ("gateway.answers",)
OPEN_PATHS: Final = frozenset({"healthz", "metrics", "client/", "client/<str:name>", "join"})
"""What may answer without credentials; /metrics only on loopback."""


def read_broker() -> bool:
    """A key of our own there and back."""
    name, value = f"nexus:doctor:{secrets.token_hex(8)}", secrets.token_hex(8).encode()
    with client(number=2) as one:
        one.set(name, value, ex=10)
        return bool(one.getdel(name) == value)


def judge_broker(is_back: bool) -> Finding:
    return (
        good("what Redis is given comes back")
        if is_back
        else critical("Redis lost a key within a moment", "look at its maxmemory-policy and its log")
    )


def read_consumed() -> dict[str, bool]:
    """Whether workers take a task of each queue, one that does nothing."""
    for name, queue, invocation_id in _IDLE:
        app.send_task(name, kwargs={"invocation_id": invocation_id}, queue=queue, ignore_result=True)
    deadline = time.monotonic() + CONSUMED_S
    with client() as one:
        while True:
            left = {queue: bool(one.llen(f"nexus:{queue}")) for queue in ("compose", "run")}
            if not any(left.values()) or time.monotonic() > deadline:
                return {queue: not is_left for queue, is_left in left.items()}
            time.sleep(POLL_S)


def judge_consumed(found: Mapping[str, bool]) -> Finding:
    deaf = [queue for queue, is_taken in found.items() if not is_taken]
    if deaf:
        return critical(
            f"nobody took a task of {' and '.join(deaf)} within {CONSUMED_S:.0f} s",
            "start that worker again: composer takes compose and memory, runtime takes run",
        )
    return good("workers take tasks")


def open_routes(patterns: Sequence[URLPattern | URLResolver]) -> list[str]:
    """Our own routes as one may call them; a subtree by its root."""
    names = [str(one.pattern) for one in patterns]
    return [name.replace("<int:file_id>", "1").replace("<str:rc_id>", "x") for name in names if name not in OPEN_PATHS]


def read_doors() -> list[str]:
    """Paths that answer to somebody without credentials, each with what it said."""
    found = []
    with httpx.Client(base_url=settings.NEXUS_PUBLIC_URL, timeout=TIMEOUT_S, trust_env=False) as anybody:
        for path in open_routes(get_resolver().url_patterns):
            status = anybody.get(f"/{path}").status_code
            if status not in (302, 400, 401, 403, 404, 405):
                found.append(f"/{path} ({status})")
    return found


def judge_doors(found: Sequence[str]) -> Finding:
    if found:
        return critical(
            f"open without credentials: {', '.join(found)}",
            "look what stands before the gateway, and whether this is its code",
        )
    return good("without credentials only what is meant to be open answers")


def read_certificate() -> float | str | None:
    """Days until it ends, or why it is not taken; None without TLS."""
    parts = urlsplit(settings.NEXUS_PUBLIC_URL)
    if parts.scheme != "https":
        return None
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout=TIMEOUT_S) as raw,
            context.wrap_socket(raw, server_hostname=parts.hostname) as wrapped,
        ):
            end = dict(wrapped.getpeercert() or {}).get("notAfter")
    except OSError as error:
        return str(error)
    return (ssl.cert_time_to_seconds(str(end)) - time.time()) / 86_400


def judge_certificate(found: float | str | None) -> Finding:
    if found is None:
        return skipped("there is no TLS: NEXUS_PUBLIC_URL is http")
    if isinstance(found, str):
        return critical(
            f"the certificate at NEXUS_PUBLIC_URL is not good ({found})",
            "renew it, with its whole chain; bridges refuse it as well",
        )
    if found < SOONEST_END_D:
        return warning(f"the certificate ends in {found:.0f} days", "look why it is not renewed by itself")
    return good(f"the certificate is good for {found:.0f} days more")


def read_chat_skew() -> float | None:
    trusted = ssl.create_default_context(cafile=settings.NEXUS_ROCKETCHAT_CA or None)
    url = f"{settings.NEXUS_ROCKETCHAT_URL}/api/info"
    answer = httpx.get(url, timeout=TIMEOUT_S, trust_env=False, verify=trusted)
    date = answer.headers.get("Date")
    return None if not date else (timezone.now() - parsedate_to_datetime(date)).total_seconds()


def judge_chat_skew(skew_s: float | None) -> Finding:
    if skew_s is None:
        return skipped("the chat does not say what time it is")
    if abs(skew_s) > MOST_SKEW_S + 1:  # its header has whole seconds
        return warning(
            f"this machine's clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} the chat's",
            "switch NTP on, on both",
        )
    return good("this machine's clock and the chat's agree")


_TREE: Final = "import subprocess, sys, time; c = subprocess.Popen(['sleep', '60'], start_new_session=True); print(c.pid, flush=True); time.sleep(60)"
_WATCH: Final = """
import ctypes, os, signal, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
left = int(child.stdout.readline())
child.kill(); child.wait()
os.kill(left, signal.SIGKILL)
print(os.waitpid(left, 0)[0] == left)
"""


def read_tree() -> bool | None:
    """Whether a process that fled into a session of its own falls to us when its parent dies, and can be ended."""
    if sys.platform != "linux":
        return None
    command = [sys.executable, "-c", _WATCH, _TREE]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as watch:
        try:
            return watch.communicate(timeout=TIMEOUT_S * 2)[0].strip() == "True"
        except subprocess.TimeoutExpired:
            os.killpg(watch.pid, signal.SIGKILL)
            return False


def judge_tree(is_ended: bool | None) -> Finding:
    if is_ended is None:
        return skipped("only Linux has subreapers")
    if not is_ended:
        return critical(
            "a process that a CLI starts in a session of its own survives its end here",
            "run runtime_host where prctl(PR_SET_CHILD_SUBREAPER) is allowed",
        )
    return good("nothing of a CLI's tree is left when it ends")


def read_gateway() -> dict[str, str]:
    """What /healthz says at the public address: of which version."""
    answer = httpx.get(f"{settings.NEXUS_PUBLIC_URL}/healthz", timeout=TIMEOUT_S, trust_env=False)
    return {"status": str(answer.status_code), "body": answer.text[:200]}


def judge_gateway(found: Mapping[str, str]) -> Finding:
    if found["status"] == "200" and '"ok"' in found["body"]:
        return good("the gateway answers at NEXUS_PUBLIC_URL")
    return critical(
        f"NEXUS_PUBLIC_URL answers {found['status']} at /healthz",
        "look at the proxy before the gateway, and at the gateway's log",
    )


def read_plain() -> int | None:
    """What the http address answers where the public one is https; None where there is nothing to ask."""
    host = host_of(settings.NEXUS_PUBLIC_URL)
    if not settings.NEXUS_PUBLIC_URL.startswith("https://") or is_loopback(host):
        return None
    try:
        return httpx.get(f"http://{host}/bridge/check", timeout=TIMEOUT_S, trust_env=False).status_code
    except httpx.HTTPError:
        return 0


def judge_plain(status: int | None) -> Finding:
    if status is None:
        return skipped("there is no public https address")
    if status and not 300 <= status < 400:
        return warning(
            f"plain http answers {status} instead of leading to https", "let the proxy redirect port 80 to https"
        )
    return good("plain http leads nowhere but to https")


CHECKS: Final = (
    Check("redis.round_trip", read_broker, judge_broker, ("redis.reachable",), is_deep=True),
    Check("workers.consume", read_consumed, judge_consumed, ("workers.listen",), is_deep=True),
    Check("gateway.answers", read_gateway, judge_gateway, is_deep=True),
    Check("gateway.doors", read_doors, judge_doors, GATEWAY, is_deep=True),
    Check("gateway.certificate", read_certificate, judge_certificate, is_deep=True),
    Check("gateway.plain", read_plain, judge_plain, is_deep=True),
    Check("chat.clock", read_chat_skew, judge_chat_skew, ("chat.reachable",), is_deep=True),
    Check("host.processes", read_tree, judge_tree, is_deep=True),
)
