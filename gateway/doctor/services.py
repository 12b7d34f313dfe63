"""Do Redis, the workers and the ports of this machine stand as they should?"""

import ipaddress
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from django.conf import settings

from gateway.parts import LIMIT_S
from nexus_project.finding import Check, Finding, critical, good, skipped, warning
from nexus_project.safety import is_loopback

NEEDS: Final = ("redis.reachable",)
QUEUES: Final = ("compose", "memory", "run")
OLDEST_REDIS: Final = (6, 2)
MOST_MEMORY: Final = 0.8
_LISTENING: Final = "0A"
_TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
_IN_CONTAINER: Final = (".dockerenv", "run/.containerenv")
_INSIDE: Final = {"mongodb": 27017, "composer health": 4001, "runtime health": 4002}


def client(*, number: int = 1) -> redis.Redis:
    return redis.Redis.from_url(
        f"{settings.NEXUS_REDIS_URL}/{number}", socket_timeout=LIMIT_S, socket_connect_timeout=LIMIT_S
    )


def read_reachable() -> str:
    try:
        with client() as one:
            one.ping()
    except redis.RedisError as error:
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def judge_reachable(error: str) -> Finding:
    if error:
        return warning(
            f"Redis can't be used ({error}); work goes on slowly without it", "start it, and look at NEXUS_REDIS_URL"
        )
    return good("Redis answers")


def read_info() -> dict[str, Any]:
    with client() as one:
        return {**one.info("server"), **one.info("memory")}


def judge_redis(info: Mapping[str, Any]) -> Finding:
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        return critical(f"Redis {version} is too old", "install Redis 7 or Valkey 8")
    if info.get("maxmemory_policy") != "noeviction":
        return warning(
            f"Redis throws keys away when it is full ({info.get('maxmemory_policy')}), tasks among them",
            "set maxmemory-policy noeviction",
        )
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if limit and used > limit * MOST_MEMORY:
        return warning(f"Redis uses {used / limit:.0%} of its memory", "raise maxmemory")
    return good(f"Redis {version} keeps what it is given")


def read_open_redis() -> bool:
    """Whether it lets somebody in who has no password."""
    parts = urlsplit(settings.NEXUS_REDIS_URL)
    try:
        with redis.Redis(
            host=parts.hostname or "", port=parts.port or 6379, ssl=parts.scheme == "rediss", socket_timeout=LIMIT_S
        ) as one:
            one.ping()
    except redis.RedisError:
        return False
    return True


def judge_open_redis(is_open: bool) -> Finding:
    if is_open:
        return critical(
            "Redis lets everybody in without a password", "set requirepass there and the password in NEXUS_REDIS_URL"
        )
    return good("Redis wants its password")


def read_workers() -> dict[str, int]:
    with client() as one:
        listening = sum(1 for found in one.client_list() if found.get("cmd") == "brpop")
        return {"listening": listening, **{queue: int(one.llen(f"nexus:{queue}")) for queue in QUEUES}}


def judge_workers(found: Mapping[str, int]) -> Finding:
    waiting = sum(found.get(queue, 0) for queue in QUEUES)
    if not found["listening"]:
        return critical(
            f"no worker listens, and {waiting} tasks wait", "start composer and runtime (docs/operations.md)"
        )
    return good(f"{found['listening']} workers listen, {waiting} tasks wait")


def read_ports() -> list[tuple[str, str]] | None:
    """Name and address of each of our inner servers that this machine offers to everybody; None where it can't be seen."""
    lines = [
        line
        for name in _TABLES
        if Path(name).exists()
        for line in Path(name).read_text(encoding="ascii").splitlines()[1:]
    ]
    if not lines:
        return None
    return open_ports(lines, inner=inner_ports())


def inner_ports() -> dict[int, str]:
    """What nobody but Nexus needs to reach, as far as it is on this machine."""
    database = settings.DATABASES["default"]
    found = {port: name for name, port in _INSIDE.items()}
    urls = {"redis": settings.NEXUS_REDIS_URL, "mem0-api": settings.NEXUS_MEM0_URL}
    known = {name: (urlsplit(url).hostname or "", urlsplit(url).port) for name, url in urls.items()}
    known["postgres"] = (str(database["HOST"]), int(str(database["PORT"] or 5432)))
    return found | {port: name for name, (host, port) in known.items() if port and is_loopback(host)}


def open_ports(lines: Iterable[str], *, inner: Mapping[int, str]) -> list[tuple[str, str]]:
    found = []
    for line in lines:
        local, state = line.split()[1], line.split()[3]
        if state != _LISTENING:
            continue
        address, _, port = local.rpartition(":")
        where = _address(address)
        if int(port, 16) in inner and not where.is_loopback and (where.is_unspecified or not where.is_private):
            found.append((inner[int(port, 16)], f"{where}:{int(port, 16)}"))
    return sorted(set(found))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """As the kernel prints it: words in the machine's own byte order."""
    words = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)]
    found = ipaddress.ip_address(b"".join(words))
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def judge_ports(found: Sequence[tuple[str, str]] | None) -> Finding:
    if found is None:
        return skipped("this system does not show who listens")
    if found:
        told = ", ".join(f"{name} at {where}" for name, where in found)
        return critical(
            f"everybody who reaches this machine reaches {told}",
            "let them listen on 127.0.0.1; Docker publishes past a firewall, so write 127.0.0.1:PORT:PORT there",
        )
    return good("inner servers listen on loopback or in a private network")


def read_limits() -> tuple[int, int]:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0], resource.getrlimit(resource.RLIMIT_NPROC)[0]


def judge_limits(found: tuple[int, int]) -> Finding:
    files, processes = found
    if 0 <= files < 1024 or 0 <= processes < 512:
        return warning(
            f"this user may open {files} files and start {processes} processes",
            "raise them: LimitNOFILE= and LimitNPROC= of the unit, or ulimit -n 10000 -u 4096",
        )
    return good(f"{files} files may be open")


def read_keys() -> list[str]:
    """Keys of models in the environment of the host's own processes, which CLIs could see."""
    return sorted(
        name for name in os.environ if name.endswith(("_API_KEY", "_AUTH_TOKEN")) and not name.startswith("NEXUS_")
    )


def judge_keys(found: Sequence[str]) -> Finding:
    if found:
        return warning(
            f"{', '.join(found)} in this environment reaches programs that need none of them",
            "unset them; each CLI keeps its own login in its own home",
        )
    return good("no model's key lies in the environment")


def read_sleeper(root: Path = Path("/")) -> tuple[bool, bool] | None:
    """Whether this is a machine with a battery, and whether it may fall asleep; None where it can't be seen."""
    if any((root / mark).exists() for mark in _IN_CONTAINER) or not (root / "etc/systemd/system").is_dir():
        return None
    supplies = (root / "sys/class/power_supply").glob("*/type")
    has_battery = any(
        kind.read_text(encoding="ascii", errors="replace").strip() == "Battery"
        and not kind.with_name("scope").exists()  # a mouse's, not the machine's
        for kind in supplies
    )
    is_masked = (root / "etc/systemd/system/sleep.target").is_symlink()
    return has_battery, not is_masked


def judge_sleeper(found: tuple[bool, bool] | None) -> Finding:
    if found is None:
        return skipped("from here it can't be seen whether the machine sleeps")
    has_battery, may_sleep = found
    if has_battery and may_sleep:
        return warning(
            "this is a laptop that may fall asleep, and then nobody is answered",
            "run: systemctl mask sleep.target suspend.target hibernate.target hybrid-sleep.target",
        )
    return good("this machine stays awake")


CHECKS: Final = (
    Check("redis.reachable", read_reachable, judge_reachable),
    Check("redis.settings", read_info, judge_redis, NEEDS),
    Check("redis.password", read_open_redis, judge_open_redis, NEEDS),
    Check("workers.listen", read_workers, judge_workers, NEEDS),
    Check("host.ports", read_ports, judge_ports),
    Check("host.limits", read_limits, judge_limits),
    Check("host.keys", read_keys, judge_keys),
    Check("host.sleep", read_sleeper, judge_sleeper),
)
