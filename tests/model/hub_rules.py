"""The host's side of the model: claims, dispatch, frames, hello, people, timers. Mirrors DESIGN section 5."""

from collections.abc import Iterator

from gateway.invocations.table import AT_BRIDGE, BEFORE_OFFER, EDGES, MAX_CRASHES, State
from tests.model.world import MAX_SENT, Frame, Hello, Row, Scene, World, put_row

Step = tuple[str, World]

USED: set[tuple[State, State]] = set()
"""Edges taken so far by any exploration of this process."""


def move(world: World, index: int, to: State, **values: object) -> World:
    """Along the table or not at all."""
    row = world.rows[index]
    edge = (State(row.state), to)
    if edge not in EDGES:
        raise AssertionError(f"no edge {edge}")
    USED.add(edge)
    row = row._replace(state=to, **values)  # type: ignore[arg-type]
    if not row.is_live:
        row = row._replace(holds_room=False)
    return put_row(world, index, row)


def steps(scene: Scene, world: World) -> Iterator[Step]:
    for index, row in enumerate(world.rows):
        if row.state == State.QUEUED:
            yield from _claim(scene, world, index)
        elif row.state == State.COMPOSED:
            yield f"offer {index}", _offer(world, index)
        elif row.state == State.WAITING and world.hub.is_leased and not world.hub.is_revoked:
            yield f"unpark {index}", move(world, index, State.QUEUED)
        yield from _send(world, index, row)
        yield from _give_up_room(world, index, row)
    for index, fence in world.workers:
        done = world._replace(workers=world.workers - {(index, fence)})
        yield f"prompt stored {index}", _composed(done, index, fence)
    yield from _take_frames(world)
    yield from _take_hello(world)
    yield from _renew(world)


def _claim(scene: Scene, world: World, index: int) -> Iterator[Step]:
    """The first of an agent's queue whose session and serial room are free, if a lane is."""
    if _first_claimable(scene, world, scene.agents[index]) != index:
        return
    if world.hub.is_revoked:
        yield f"claim fails {index}", move(world, index, State.FAILED)
    elif not world.hub.is_leased:
        yield f"claim parks {index}", move(world, index, State.WAITING)
    else:
        row = world.rows[index]
        fence = row.fence + 1
        claimed = move(world, index, State.COMPOSING, fence=fence, holds_room=scene.is_serial, session=0, journal=0)
        yield f"claim {index}", claimed._replace(workers=world.workers | {(index, fence)})


def _first_claimable(scene: Scene, world: World, agent: int) -> int | None:
    mine = [index for index, owner in enumerate(scene.agents) if owner == agent]
    if any(world.rows[index].is_live for index in mine):
        return None
    for index in mine:
        if world.rows[index].state == State.QUEUED and _is_free(scene, world, index):
            return index
    return None


def _is_free(scene: Scene, world: World, index: int) -> bool:
    if scene.is_serial and any(row.holds_room for row in world.rows):
        return False
    return not any(
        row.is_live
        and scene.session_keys[other] == scene.session_keys[index]
        and scene.agents[other] == scene.agents[index]
        for other, row in enumerate(world.rows)
    )


def _composed(world: World, index: int, fence: int) -> World:
    row = world.rows[index]
    if row.state != State.COMPOSING or row.fence != fence:
        return world
    return move(world, index, State.COMPOSED)


def _offer(world: World, index: int) -> World:
    hub = world.hub
    if not hub.is_leased or hub.is_revoked:
        return move(world, index, State.WAITING)
    return move(world, index, State.OFFERED, session=hub.session, journal=hub.journal)


def _send(world: World, index: int, row: Row) -> Iterator[Step]:
    """The gateway's loop: offers and cancels of the session that it holds, any number of times."""
    bridge = world.bridge
    if bridge.phase != "ready" or row.session != bridge.session or len(world.down) >= MAX_SENT:
        return
    frame = None
    if row.cancel_to and row.state in AT_BRIDGE:
        frame = Frame("cancel", index, row.fence, row.session)
    elif row.state == State.OFFERED:
        frame = Frame("offer", index, row.fence, row.session)
    if frame is not None and frame not in world.down:
        yield f"send {frame.kind} {index}", world._replace(down=(*world.down, frame))


def _give_up_room(world: World, index: int, row: Row) -> Iterator[Step]:
    if row.holds_room and row.state in AT_BRIDGE and not world.hub.is_leased:
        yield f"give up room {index}", put_row(world, index, row._replace(holds_room=False))


def _renew(world: World) -> Iterator[Step]:
    bridge, hub = world.bridge, world.hub
    if bridge.phase == "ready" and bridge.session == hub.session and not hub.is_leased and not hub.is_revoked:
        yield "renew lease", world._replace(hub=hub._replace(is_leased=True))


# Frames


def _take_frames(world: World) -> Iterator[Step]:
    """In order per connection; those of a closed one may come late, or between those of the next."""
    if world.late:
        rest = world._replace(late=world.late[1:])
        yield f"late {world.late[0].kind}", _take(rest, world.late[0])
    if world.up:
        rest = world._replace(up=world.up[1:])
        yield f"take {world.up[0].kind} {world.up[0].row}", _take(rest, world.up[0])


def _take(world: World, frame: Frame) -> World:
    row = world.rows[frame.row]
    if frame.session != row.session or frame.fence != row.fence:
        return _answer(world, frame, "drop")
    if row.is_final:
        is_repeat = frame.kind == "end" and row.has_answer
        return _answer(world, frame, "ack" if is_repeat else "drop")
    if frame.kind == "refused":
        if row.state != State.OFFERED:
            return _answer(world, frame, "drop")
        return move(world, frame.row, State.REFUSED)
    if row.state == State.OFFERED:
        world = move(world, frame.row, State.RUNNING)
    if world.rows[frame.row].state != State.RUNNING:
        return _answer(world, frame, "drop")
    if frame.kind == "accepted":
        return world
    return _answer(_end(world, frame), frame, "ack")


def _end(world: World, frame: Frame) -> World:
    row = world.rows[frame.row]
    to = State(frame.outcome)
    if row.cancel_to and to != State.DONE:
        to = State(row.cancel_to)
    return move(world, frame.row, to, has_answer=True)


def _answer(world: World, frame: Frame, kind: str) -> World:
    if world.bridge.phase != "ready" or frame.session != world.bridge.session:
        return world
    return world._replace(down=(*world.down, Frame(kind, frame.row, frame.fence, frame.session)))


# Hello


def _take_hello(world: World) -> Iterator[Step]:
    if world.hello is not None:
        greeted = world._replace(hello=None)
        yield "hello", _greet(greeted, world.hello, is_heard=True)
    if world.late_hello is not None:
        yield "late hello", _greet(world._replace(late_hello=None), world.late_hello, is_heard=False)


def _greet(world: World, hello: Hello, *, is_heard: bool) -> World:
    if world.hub.is_revoked:
        return _send_away(world) if is_heard else world
    world = world._replace(hub=world.hub._replace(session=hello.session, journal=hello.journal, is_leased=True))
    listed = dict(hello.runs)
    for index, row in enumerate(world.rows):
        if row.state in AT_BRIDGE:
            world = _settle(world, index, hello, is_listed=listed.get(index) == row.fence)
            if world.rows[index].state in AT_BRIDGE:
                listed.pop(index)
    for index, row in enumerate(world.rows):
        if row.state == State.WAITING:
            world = move(world, index, State.QUEUED)
    if not is_heard:
        return world
    drops = tuple(Frame("drop", index, fence, hello.session) for index, fence in sorted(listed.items()))
    bridge = world.bridge._replace(phase="ready")
    return world._replace(bridge=bridge, down=drops, up=_again(world, hello, frozenset(listed)))


def _settle(world: World, index: int, hello: Hello, *, is_listed: bool) -> World:
    row = world.rows[index]
    if row.journal != hello.journal:
        return move(world, index, State.INTERRUPTED)
    if is_listed:
        world = put_row(world, index, row._replace(session=hello.session))
        return world if row.state == State.RUNNING else move(world, index, State.RUNNING)
    if row.state == State.OFFERED:
        return move(world, index, State(row.cancel_to) if row.cancel_to else State.QUEUED)
    return move(world, index, State.INTERRUPTED)


def _again(world: World, hello: Hello, dropped: frozenset[int]) -> tuple[Frame, ...]:
    """What the bridge sends first on a new connection: ends that are not acked, also of runs that died with it."""
    frames = []
    for index, run in enumerate(world.bridge.runs):
        if run is not None and index not in dropped and run.outcome:
            frames.append(Frame("end", index, run.fence, hello.session, run.outcome))
    return tuple(frames)


def _send_away(world: World) -> World:
    bridge = world.bridge
    dying = bridge.alive | bridge.dying
    bridge = bridge._replace(phase="gone", alive=frozenset(), due=frozenset(), waiting=(), dying=dying)
    return world._replace(bridge=bridge, down=(), up=(), hello=None)


# People, time


def acts(world: World) -> Iterator[Step]:
    """What people do: stop a row, revoke the bridge."""
    if world.budget.stops:
        less = world._replace(budget=world.budget._replace(stops=world.budget.stops - 1))
        for index, row in enumerate(world.rows):
            if row.state in BEFORE_OFFER:
                yield f"stop {index}", move(less, index, State.CANCELLED)
            elif row.state in AT_BRIDGE and not row.cancel_to:
                yield f"stop {index}", put_row(less, index, row._replace(cancel_to=State.CANCELLED))
    if world.budget.revocations and not world.hub.is_revoked:
        yield "revoke", _revoke(world._replace(budget=world.budget._replace(revocations=0)))


def _revoke(world: World) -> World:
    world = world._replace(hub=world.hub._replace(is_revoked=True, is_leased=False))
    for index, row in enumerate(world.rows):
        if row.state in AT_BRIDGE:
            world = move(world, index, State.INTERRUPTED)
        elif row.state in (State.QUEUED, State.WAITING, State.COMPOSED):
            world = move(world, index, State.FAILED)
    return world


def short_timers(world: World) -> Iterator[Step]:
    """What seconds do by themselves."""
    for index, row in enumerate(world.rows):
        if row.cancel_to and row.state in AT_BRIDGE:
            yield f"cancel overdue {index}", move(world, index, State(row.cancel_to))
        if row.state == State.COMPOSING and (index, row.fence) not in world.workers:
            yield f"lease lapses {index}", lapse(world, index)
    if world.bridge.phase == "ready":
        if world.hub.is_revoked:
            yield "bye revoked", _send_away(world)
        elif world.hub.session != world.bridge.session:
            yield "bye replaced", _send_away(world)
    if world.hub.is_leased and world.bridge.phase != "ready":
        yield "bridge lease lapses", world._replace(hub=world.hub._replace(is_leased=False))


def long_timers(world: World) -> Iterator[Step]:
    """What only hours, or a minute of silence, do; nothing may depend on them while the bridge is well."""
    for index, row in enumerate(world.rows):
        is_gone = not world.hub.is_leased
        if row.state in BEFORE_OFFER or (row.state == State.OFFERED and is_gone):
            yield f"expire {index}", move(world, index, State.EXPIRED)
        if row.state == State.RUNNING and is_gone:
            yield f"bridge gone {index}", move(world, index, State.INTERRUPTED)
        if row.state in AT_BRIDGE and not row.cancel_to and (row.state == State.RUNNING or not is_gone):
            limit = put_row(world, index, row._replace(cancel_to=State.FAILED))
            yield f"limit {index}", limit


def lapse(world: World, index: int) -> World:
    row = world.rows[index]
    if row.crashes + 1 >= MAX_CRASHES:
        return move(world, index, State.FAILED, crashes=row.crashes + 1)
    return move(world, index, State.QUEUED, crashes=row.crashes + 1)
