"""What do the people of a fault run say, where and when? Planned from a seed alone, then said in a real chat."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.world.world import Room, World

TALK: Final = (
    "the build is red again",
    "lunch at twelve?",
    "decision: we keep the nightly run at 03:00",
    "who has the keys of the staging host?",
    "I pushed a fix, please have a look",
    "`@nobody` is not a mention in code",
)
SCRIPTS: Final = (
    *("",) * 5,
    *("[[long 60]]",) * 4,
    *("[[long 30]] [[delay 3]] [[long 40]]",) * 4,
    *("[[long 300]]",) * 2,
    *("[[delay 6]]", "[[tool look]]", "[[think hm]]", "[[crash]]", "[[exit 3]]"),
)
"""What the echo CLI plays. Answers take a few seconds, so that most faults strike in the middle of some."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A message with mentions, `number` unique in the run. `follows`: what its author does to it `follow_s` later."""

    at_s: float
    number: int
    asker: str
    room: str
    agents: tuple[str, ...]
    script: str
    in_thread: bool
    follows: str
    follow_s: float

    def marker(self, seed: int) -> str:
        return f"q{self.number:04d}x{seed}"


@dataclass(frozen=True, slots=True)
class Talk:
    """A message that asks nobody. `follows` as for Ask."""

    at_s: float
    number: int
    author: str
    room: str
    text: str
    follows: str
    follow_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    asks: tuple[Ask, ...]
    talks: tuple[Talk, ...]

    @property
    def invocation_count(self) -> int:
        return sum(len(ask.agents) for ask in self.asks)


@dataclass(slots=True)
class Said:
    """What was really said: ids by the plan's numbers. Deleted or stopped ones are named in `taken_back`."""

    asks: dict[int, str] = field(default_factory=dict)
    talks: dict[int, str] = field(default_factory=dict)
    taken_back: set[int] = field(default_factory=set)


def make_plan(
    *, seed: int, invocation_count: int, duration_s: float, rooms: Mapping[str, Sequence[str]], agents: Sequence[str]
) -> Plan:
    """`rooms`: who of the people is in each. Every agent is in every room."""
    chance = random.Random(f"load {seed}")
    asks: list[Ask] = []
    left = invocation_count
    while left > 0:
        count = min(left, 2 if chance.random() < 0.1 else 1)
        ask = _ask(
            chance, number=len(asks) + 1, at_s=chance.uniform(0, duration_s), rooms=rooms, agents=agents, count=count
        )
        asks.append(ask)
        left -= count
    talks = [
        _talk(chance, number=number, at_s=chance.uniform(0, duration_s), rooms=rooms)
        for number in range(1, invocation_count + 1)
    ]
    return Plan(seed, tuple(asks), tuple(talks))


def say_all(*, plan: Plan, world: World, rooms: Mapping[str, Room]) -> Said:
    """Says everything at its time, in order; a chat that is asked late is asked at once."""
    said = Said()
    threads: dict[str, str] = {}
    everything: list[Ask | Talk] = [*plan.asks, *plan.talks]
    acts = [(one.at_s, 0, one) for one in everything]
    acts += [(one.at_s + one.follow_s, 1, one) for one in everything if one.follows]
    started_at = time.monotonic()
    for at_s, is_follow, one in sorted(acts, key=lambda act: (act[0], act[1])):
        time.sleep(max(0.0, started_at + at_s - time.monotonic()))
        if is_follow:
            _follow(one, plan=plan, world=world, rooms=rooms, said=said)
        elif isinstance(one, Ask):
            said.asks[one.number] = _say_ask(one, plan=plan, world=world, rooms=rooms, threads=threads)
        else:
            said.talks[one.number] = world.person(one.author).say(room_id=rooms[one.room].rid, text=_talk_text(one))
            threads[one.room] = said.talks[one.number]
    return said


def _ask(
    chance: random.Random,
    *,
    number: int,
    at_s: float,
    rooms: Mapping[str, Sequence[str]],
    agents: Sequence[str],
    count: int,
) -> Ask:
    room = chance.choice(sorted(rooms))
    return Ask(
        at_s=at_s,
        number=number,
        asker=chance.choice(rooms[room]),
        room=room,
        agents=tuple(chance.sample(agents, count)),
        script=chance.choice(SCRIPTS),
        in_thread=chance.random() < 0.2,
        follows=chance.choices(("", "edit", "stop", "delete"), (85, 5, 5, 5))[0],
        follow_s=chance.uniform(0.2, 6.0),
    )


def _talk(chance: random.Random, *, number: int, at_s: float, rooms: Mapping[str, Sequence[str]]) -> Talk:
    room = chance.choice(sorted(rooms))
    return Talk(
        at_s=at_s,
        number=number,
        author=chance.choice(rooms[room]),
        room=room,
        text=chance.choice(TALK),
        follows=chance.choices(("", "edit", "delete"), (85, 10, 5))[0],
        follow_s=chance.uniform(0.2, 6.0),
    )


def _talk_text(one: Talk) -> str:
    return f"{one.text} (t{one.number:04d})"


def _ask_text(ask: Ask, *, seed: int) -> str:
    names = " ".join(f"@{slug}" for slug in ask.agents)
    return f"{names} {ask.marker(seed)} what is the state of the build? {ask.script}".rstrip()


def _say_ask(ask: Ask, *, plan: Plan, world: World, rooms: Mapping[str, Room], threads: Mapping[str, str]) -> str:
    message = {"rid": rooms[ask.room].rid, "msg": _ask_text(ask, seed=plan.seed)}
    if ask.in_thread and ask.room in threads:
        message["tmid"] = threads[ask.room]
    return str(world.person(ask.asker).post("chat.sendMessage", message=message)["message"]["_id"])


def _follow(one: Ask | Talk, *, plan: Plan, world: World, rooms: Mapping[str, Room], said: Said) -> None:
    """An edit must change nothing but the text; a deleted or stopped question may end before its answer."""
    is_ask = isinstance(one, Ask)
    message_id = (said.asks if is_ask else said.talks)[one.number]
    person = world.person(one.asker if isinstance(one, Ask) else one.author)
    rid = rooms[one.room].rid
    if one.follows == "edit":
        text = _ask_text(one, seed=plan.seed) if isinstance(one, Ask) else _talk_text(one)
        person.post("chat.update", roomId=rid, msgId=message_id, text=f"{text} (edited)")
    elif one.follows == "delete":
        person.post("chat.delete", roomId=rid, msgId=message_id)
    else:
        person.post("chat.react", messageId=message_id, emoji=":octagonal_sign:", shouldReact=True)
    if is_ask and one.follows != "edit":
        said.taken_back.add(one.number)
