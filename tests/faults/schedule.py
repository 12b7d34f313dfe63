"""Which faults strike when? Planned from a seed alone, then done to a running Nexus."""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis

from tests.world.world import World

WORKERS: Final = ("composer", "runtime")
BOTS: Final = "echo-*"


def _to_posts(*, action: str, path: str = "chat.sendMessage", **more: Any) -> dict[str, Any]:
    return {"match": {"path": path, "user": BOTS}, "action": action, **more}


def _to_events(*, action: str, count: int = 20, **more: Any) -> dict[str, Any]:
    return {"match": {"stream": "stream-*", "user": BOTS}, "action": action, "count": count, **more}


CHAT_FAULTS: Final = {
    "refuses posts": _to_posts(action="status", status=502, count=2),
    "refuses edits": _to_posts(action="status", path="chat.update", status=503, count=3),
    "is in a hurry": _to_posts(action="status", path="chat.*", status=429, retry_after=2, count=2),
    "posts and says it failed": _to_posts(action="status", status=502, when="after", count=2),
    "posts and says nothing": _to_posts(action="swallow", count=1),
    "edits and hangs up": _to_posts(action="drop_socket", path="chat.update", when="after", count=2),
    "repeats itself": _to_events(action="duplicate", copies=3),
    "is slow": _to_events(action="delay", delay_ms=1500),
    "forgets to tell": _to_events(action="swallow_broadcast", count=6),
}
"""How the chat itself may misbehave towards the agents' accounts, as rules of the devchat's door for tests."""

CUT: Final = "cuts all sockets"
PAUSE_S: Final = 14.0
UP_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Fault:
    """`what` is kill, kill_child (one of a worker's processes), flush, stop or pause (for `stop_s`), or chat."""

    at_s: float
    what: str
    target: str
    stop_s: float = 0.0


@dataclass(slots=True)
class Strikes:
    """What was really done, for the person who reads a failure."""

    lines: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def note(self, at_s: float, what: str, target: str, pid: int | None) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
        self.lines.append(f"{at_s:7.2f} s  {what} {target} {pid or ''}".rstrip())


def make_schedule(
    *,
    seed: int,
    duration_s: float,
    targets: Sequence[str],
    kill_count: int,
    flush_count: int,
    stop_count: int,
    stop_s: float,
    chat_count: int,
    pause_count: int,
) -> list[Fault]:
    """Kills go round the targets in random order, so that each has its share; the chat's own faults likewise."""
    chance = random.Random(f"faults {seed}")
    deck: list[str] = []
    while len(deck) < kill_count:
        deck += chance.sample(targets, len(targets))
    moods = [mood for _ in range(chat_count) for mood in chance.sample([*CHAT_FAULTS, CUT], len(CHAT_FAULTS) + 1)]
    faults = [_kill(chance, at_s=chance.uniform(0, duration_s), target=target) for target in deck[:kill_count]]
    faults += [Fault(chance.uniform(0, duration_s), "flush", "valkey") for _ in range(flush_count)]
    faults += [Fault(chance.uniform(0, duration_s), "chat", mood) for mood in moods[:chat_count]]
    # One that stood still for longer than its lease wakes up in the belief that it still holds it.
    faults += [
        Fault(chance.uniform(0, duration_s), "pause", target, PAUSE_S)
        for target in chance.sample([one for one in targets if one != "valkey"], pause_count)
    ]
    # Stops are kept apart, so that two of them are two.
    span = duration_s / max(stop_count, 1)
    for number in range(stop_count):
        at_s = number * span + chance.uniform(0, max(0.0, span - stop_s))
        faults.append(Fault(at_s, "stop", "valkey", stop_s))
    return sorted(faults, key=lambda fault: fault.at_s)


def strike_all(*, schedule: Sequence[Fault], world: World) -> Strikes:
    """Strikes at each fault's time, or as soon after it as there is something to strike."""
    strikes = Strikes()
    started_at = time.monotonic()
    timers: list[threading.Timer] = []
    struck: set[int] = set()
    try:
        for fault in schedule:
            time.sleep(max(0.0, started_at + fault.at_s - time.monotonic()))
            pid = _strike(fault, world=world, timers=timers, struck=struck)
            if pid is not None:
                struck.add(pid)
            strikes.note(time.monotonic() - started_at, fault.what, fault.target, pid)
    finally:
        world.forget_chat_faults()
        for timer in timers:
            timer.join()
    return strikes


def _kill(chance: random.Random, *, at_s: float, target: str) -> Fault:
    is_child = target in WORKERS and chance.random() < 0.3
    return Fault(at_s, "kill_child" if is_child else "kill", target)


def _strike(fault: Fault, *, world: World, timers: list[threading.Timer], struck: set[int]) -> int | None:
    match fault.what:
        case "flush":
            _flush(world)
            return None
        case "chat":
            _spoil_chat(world, fault.target)
            return None
        case "stop" | "pause":
            timers.append(_stand_still(world, fault))
            return None
        case "kill_child":
            return _kill_child(world, fault.target) or _kill_when_up(world, fault.target, struck=struck)
        case _:
            return _kill_when_up(world, fault.target, struck=struck)


def _stand_still(world: World, fault: Fault) -> threading.Timer:
    """SIGSTOP, and SIGCONT later; of a worker the process that does the work."""
    parent = world.stack.pid(fault.target)
    children = _children(parent) if parent is not None and fault.target in WORKERS else []
    pid = children[0] if children else parent
    _signal(pid, signal.SIGSTOP)
    timer = threading.Timer(fault.stop_s, _signal, args=(pid, signal.SIGCONT))
    timer.start()
    return timer


def _signal(pid: int | None, number: signal.Signals) -> None:
    """None and a pid that is gone were struck by something else already."""
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _kill_when_up(world: World, target: str, *, struck: set[int]) -> int:
    """One that has just died is awaited: each strike hits another process."""
    deadline = time.monotonic() + UP_TIMEOUT_S
    while (pid := world.stack.pid(target)) is None or pid in struck:
        if time.monotonic() > deadline:
            raise AssertionError(f"{target} did not come back within {UP_TIMEOUT_S:.0f} s after it was killed")
        time.sleep(_POLL_S)
    world.stack.kill(target)
    return pid


def _kill_child(world: World, target: str) -> int | None:
    parent = world.stack.pid(target)
    children = [] if parent is None else _children(parent)
    for child in children[:1]:
        os.kill(child, signal.SIGKILL)
        return child
    return None


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _spoil_chat(world: World, mood: str) -> None:
    if mood == CUT:
        world.tell_chat("restart_sockets", {})
    else:
        world.tell_chat("faults", CHAT_FAULTS[mood])


def _flush(world: World) -> None:
    """Redis may be down or stopped at this moment; then as soon as it is back."""
    deadline = time.monotonic() + UP_TIMEOUT_S
    while True:
        try:
            world.flush_redis()
        except redis.RedisError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return
