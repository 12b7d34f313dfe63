"""The bridge's side of the model, and what goes wrong: its journal, lanes, CLIs, sockets and crashes."""

from collections.abc import Iterator

from gateway.invocations.table import State
from tests.model.hub_rules import Step, lapse, move
from tests.model.world import MAX_SAID, Bridge, Frame, Hello, Run, Scene, World, put_run


def steps(scene: Scene, world: World) -> Iterator[Step]:
    bridge = world.bridge
    if bridge.phase == "apart":
        yield "connect", _connect(world)
    if bridge.phase == "down" and not bridge.dying:
        yield "bridge starts", world._replace(bridge=bridge._replace(phase="apart"))
    if bridge.phase == "ready" and world.down and len(world.up) < MAX_SAID:
        frame = world.down[0]
        yield f"bridge takes {frame.kind} {frame.row}", _take(world._replace(down=world.down[1:]), frame)
    yield from _start_turns(scene, world)
    for index in bridge.due:
        starts = (*world.starts[:index], world.starts[index] + 1, *world.starts[index + 1 :])
        spawned = bridge._replace(due=bridge.due - {index}, alive=bridge.alive | {index})
        yield f"spawn {index}", world._replace(bridge=spawned, starts=starts)
    for index in bridge.alive:
        yield f"cli ends {index}", _ended(world, index, State.DONE)
    for index in bridge.dying:
        yield f"tree dead {index}", world._replace(bridge=bridge._replace(dying=bridge.dying - {index}))
    if bridge.phase == "ready":
        yield from _end_orphans(world)


def _connect(world: World) -> World:
    """`hello` is written after everything of the old socket is settled; it lists every run whose end is not acked."""
    session = world.sessions + 1
    bridge = world.bridge._replace(phase="greeting", session=session)
    runs = tuple((index, run.fence) for index, run in enumerate(bridge.runs) if run is not None)
    return world._replace(bridge=bridge, hello=Hello(session, bridge.journal, runs), sessions=session)


def _take(world: World, frame: Frame) -> World:
    bridge = world.bridge
    match frame.kind:
        case "offer":
            return _offered(world, frame)
        case "cancel":
            return _cancelled(world, frame)
        case "drop":
            return world._replace(bridge=_kill(_forget(bridge, frame.row), frame.row))
    run = bridge.runs[frame.row]
    if run is not None and run.outcome:
        return world._replace(bridge=_forget(bridge, frame.row))
    return world


def _offered(world: World, frame: Frame) -> World:
    """An id seen before is answered from the journal and never spawned again."""
    bridge, row = world.bridge, frame.row
    run = bridge.runs[row]
    if run is not None and run.fence == frame.fence:
        return _say(world, Frame("accepted", row, frame.fence, bridge.session))
    if run is not None:
        world = world._replace(bridge=_kill(bridge, row))
        return _say(world, Frame("refused", row, frame.fence, bridge.session))
    if row in bridge.seen:
        return _say(world, Frame("refused", row, frame.fence, bridge.session))
    waiting = tuple(offer for offer in bridge.waiting if offer[0] != row)
    return world._replace(bridge=bridge._replace(waiting=(*waiting, (row, frame.fence))))


def _cancelled(world: World, frame: Frame) -> World:
    bridge, row = world.bridge, frame.row
    if row in bridge.alive or row in bridge.due:
        return _ended(world, row, State.CANCELLED)
    if bridge.runs[row] is None and row not in bridge.seen:
        bridge = put_run(bridge, row, Run(frame.fence, State.CANCELLED))
        bridge = bridge._replace(waiting=tuple(offer for offer in bridge.waiting if offer[0] != row))
        return _say(world._replace(bridge=bridge), _end_frame(bridge, row))
    return world


def _start_turns(scene: Scene, world: World) -> Iterator[Step]:
    """Only when no earlier turn of that session and agent is alive; a turn being killed counts until its tree is dead."""
    bridge = world.bridge
    busy = bridge.alive | bridge.due | bridge.dying
    for row, fence in bridge.waiting:
        if bridge.phase != "ready" or len(world.up) >= MAX_SAID:
            return
        if any(scene.agents[other] == scene.agents[row] for other in busy):
            continue
        waiting = tuple(offer for offer in bridge.waiting if offer[0] != row)
        if world.budget.refusals:
            told = world._replace(
                bridge=bridge._replace(waiting=waiting, seen=bridge.seen | {row}),
                budget=world.budget._replace(refusals=world.budget.refusals - 1),
            )
            yield f"bridge refuses {row}", _say(told, Frame("refused", row, fence, bridge.session))
        taken = put_run(bridge, row, Run(fence))._replace(waiting=waiting, due=bridge.due | {row})
        yield f"accept {row}", _say(world._replace(bridge=taken), Frame("accepted", row, fence, bridge.session))
        return


def _ended(world: World, row: int, outcome: str) -> World:
    """The turn is over; its end is journalled, and sent where there is a connection."""
    bridge = world.bridge
    run = bridge.runs[row]
    dying = bridge.dying | {row} if outcome != State.DONE and row in bridge.alive else bridge.dying
    bridge = bridge._replace(alive=bridge.alive - {row}, due=bridge.due - {row}, dying=dying)
    if run is None or run.outcome:
        return world._replace(bridge=bridge)
    bridge = put_run(bridge, row, Run(run.fence, outcome))
    return _say(world._replace(bridge=bridge), _end_frame(bridge, row))


def _end_orphans(world: World) -> Iterator[Step]:
    """Runs of a bridge that was killed: it says so after its welcome."""
    bridge = world.bridge
    for row, run in enumerate(bridge.runs):
        if run is not None and not run.outcome and row not in bridge.alive | bridge.due | bridge.dying:
            yield f"orphan {row}", _ended(world, row, State.INTERRUPTED)


def _end_frame(bridge: Bridge, row: int) -> Frame:
    run = bridge.runs[row]
    if run is None:
        raise AssertionError("an end without a run")
    return Frame("end", row, run.fence, bridge.session, run.outcome)


def _say(world: World, frame: Frame) -> World:
    return world._replace(up=(*world.up, frame)) if world.bridge.phase == "ready" else world


def _kill(bridge: Bridge, row: int) -> Bridge:
    waiting = tuple(offer for offer in bridge.waiting if offer[0] != row)
    dying = bridge.dying | {row} if row in bridge.alive else bridge.dying
    return bridge._replace(alive=bridge.alive - {row}, due=bridge.due - {row}, dying=dying, waiting=waiting)


def _forget(bridge: Bridge, row: int) -> Bridge:
    """Nothing of it is left to tell; its id stays known, if it ever was."""
    if bridge.runs[row] is None:
        return bridge
    return put_run(bridge, row, None)._replace(seen=bridge.seen | {row})


# What goes wrong


def faults(world: World) -> Iterator[Step]:
    if not world.budget.faults:
        return
    less = world._replace(budget=world.budget._replace(faults=world.budget.faults - 1))
    for worker in world.workers:
        yield f"compose crash {worker[0]}", less._replace(workers=less.workers - {worker})
        row = world.rows[worker[0]]
        if row.state == State.COMPOSING and row.fence == worker[1]:
            yield f"worker paused past its lease {worker[0]}", lapse(less, worker[0])
            broken = move(less, worker[0], State.FAILED)
            yield f"compose error {worker[0]}", broken._replace(workers=broken.workers - {worker})
    if world.bridge.phase in ("greeting", "ready"):
        for kept in range(len(world.up) + 1):
            yield f"socket drops, {kept} frames come late", _cut(less, kept=kept)
        yield "bridge killed", _killed(less)
    if world.bridge.phase == "apart":
        yield "bridge killed", _killed(less)
    if world.bridge.phase == "down":
        yield "journal lost", _journal_lost(less)
    if world.hub.is_leased and world.bridge.phase != "down":
        yield "gateway paused past the lease", less._replace(hub=less.hub._replace(is_leased=False))


def _cut(world: World, *, kept: int) -> World:
    """The connection is gone, with what was on its way down; the hub may have got some of what was on its way up."""
    bridge = world.bridge._replace(phase="apart", waiting=())
    late = (*world.late, *world.up[:kept])
    late_hello = world.hello or world.late_hello
    return world._replace(bridge=bridge, down=(), up=(), late=late, hello=None, late_hello=late_hello)


def _killed(world: World) -> World:
    """SIGKILL: the guard kills the trees; what was accepted and not spawned never will be."""
    world = _cut(world, kept=len(world.up))
    bridge = world.bridge
    dying = bridge.dying | bridge.alive
    return world._replace(bridge=bridge._replace(phase="down", alive=frozenset(), due=frozenset(), dying=dying))


def _journal_lost(world: World) -> World:
    bridge = world.bridge
    runs: tuple[Run | None, ...] = (None,) * len(bridge.runs)
    return world._replace(bridge=bridge._replace(journal=bridge.journal + 1, runs=runs, seen=frozenset()))
