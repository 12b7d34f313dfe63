"""One small Nexus as a value: rows, one bridge, what travels between them, and what may still go wrong.

Everything is immutable and hashable, so that an explorer can hold every state there is.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from gateway.invocations.table import FINAL, LIVE, State

Phase = Literal["down", "apart", "greeting", "ready", "gone"]
"""The bridge program: not running, without a connection, waiting for its welcome, at work, sent away for good."""


class Row(NamedTuple):
    """An invocation. `session` and `journal` are those of its offer; 0 means none."""

    state: str = State.QUEUED
    fence: int = 0
    holds_room: bool = False
    session: int = 0
    journal: int = 0
    cancel_to: str = ""
    crashes: int = 0
    has_answer: bool = False

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    @property
    def is_final(self) -> bool:
        return self.state in FINAL


class Hub(NamedTuple):
    """The bridge's row in the database."""

    session: int = 0
    journal: int = 0
    is_leased: bool = False
    is_revoked: bool = False


class Run(NamedTuple):
    """What the bridge's journal holds of a row. `outcome` is set once its end is journalled."""

    fence: int
    outcome: str = ""


class Frame(NamedTuple):
    """Between hub and bridge. `session` is the connection it travels on."""

    kind: str
    row: int
    fence: int = 0
    session: int = 0
    outcome: str = ""


class Hello(NamedTuple):
    session: int
    journal: int
    runs: tuple[tuple[int, int], ...]


class Bridge(NamedTuple):
    """`alive` are rows whose CLI tree runs, `due` those accepted on disk and not yet spawned, `dying` are being killed."""

    phase: Phase = "apart"
    session: int = 0
    journal: int = 1
    runs: tuple[Run | None, ...] = ()
    seen: frozenset[int] = frozenset()
    waiting: tuple[tuple[int, int], ...] = ()
    due: frozenset[int] = frozenset()
    alive: frozenset[int] = frozenset()
    dying: frozenset[int] = frozenset()


class Budget(NamedTuple):
    """How much may still go wrong, and what people may still do."""

    faults: int
    stops: int
    revocations: int
    refusals: int


class World(NamedTuple):
    rows: tuple[Row, ...]
    hub: Hub
    bridge: Bridge
    budget: Budget
    workers: frozenset[tuple[int, int]] = frozenset()
    down: tuple[Frame, ...] = ()
    up: tuple[Frame, ...] = ()
    late: tuple[Frame, ...] = ()
    hello: Hello | None = None
    late_hello: Hello | None = None
    starts: tuple[int, ...] = ()
    sessions: int = 0


@dataclass(frozen=True, slots=True)
class Scene:
    """What does not change: whose row is whose, and how much trouble there is."""

    agents: tuple[int, ...] = (0, 0)
    session_keys: tuple[int, ...] = (0, 1)
    is_serial: bool = False
    faults: int = 1
    stops: int = 1
    revocations: int = 0
    refusals: int = 0

    @property
    def start(self) -> World:
        count = len(self.agents)
        return World(
            rows=(Row(),) * count,
            hub=Hub(),
            bridge=Bridge(runs=(None,) * count),
            budget=Budget(self.faults, self.stops, self.revocations, self.refusals),
            starts=(0,) * count,
        )


MAX_SAID: Final = 3
MAX_SENT: Final = 2
"""Frames on their way up and down at once. A fuller pipe only delays, which the order of steps covers already; what
answers a frame is never held back, or both ends would wait for each other."""


def put_row(world: World, index: int, row: Row) -> World:
    return world._replace(rows=(*world.rows[:index], row, *world.rows[index + 1 :]))


def put_run(bridge: Bridge, index: int, run: Run | None) -> Bridge:
    return bridge._replace(runs=(*bridge.runs[:index], run, *bridge.runs[index + 1 :]))
