"""Every state that can be reached, what is wrong in it, and whether each row can still come to an end."""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.model import bridge_rules, hub_rules
from tests.model.hub_rules import Step
from tests.model.world import Scene, World

CALM_SHARE: Final = 0.8
"""Of a random life this share is steps that happen by themselves, so that it comes to something between two faults."""


@dataclass
class Explored:
    """`wrong` are (what, how it came about); `is_whole`: the limit was not reached."""

    count: int = 0
    is_whole: bool = True
    wrong: list[tuple[str, list[str]]] = field(default_factory=list)
    stuck: list[list[str]] = field(default_factory=list)


def explore(scene: Scene, *, limit: int) -> Explored:
    """Breadth first, so that the story of what is wrong is as short as can be. States are known by their hash."""
    found = Explored()
    numbers: dict[int, int] = {hash(scene.start): 0}
    came_from: list[tuple[int, str]] = [(-1, "start")]
    calm_before: list[list[int]] = [[]]
    ends: list[int] = []
    queue = deque([(0, scene.start)])
    while queue and len(found.wrong) < 3:
        number, world = queue.popleft()
        if problem := wrong(scene, world):
            found.wrong.append((problem, _story(came_from, number)))
            continue
        if all(row.is_final for row in world.rows):
            ends.append(number)
        for label, is_calm, then in all_steps(scene, world):
            key = hash(then)
            known = numbers.get(key)
            if known is None:
                if len(numbers) >= limit:
                    found.is_whole = False
                    continue
                known = numbers[key] = len(came_from)
                came_from.append((number, label))
                calm_before.append([])
                queue.append((known, then))
            if is_calm:
                calm_before[known].append(number)
    found.count = len(numbers)
    if found.is_whole and not found.wrong:
        found.stuck = [_story(came_from, number) for number in _never_ending(calm_before, ends)[:3]]
    return found


def walk(scene: Scene, *, seed: int, length: int) -> tuple[str, list[str]]:
    """One random life of a larger world: what went wrong, and the story so far. Empty when all was well."""
    chance = random.Random(seed)
    world, story = scene.start, ["start"]
    for _ in range(length):
        steps = list(all_steps(scene, world))
        if not steps:
            break
        calm = [step for step in steps if step[1]]
        label, _, world = chance.choice(calm if calm and chance.random() < CALM_SHARE else steps)
        story.append(label)
        if problem := wrong(scene, world):
            return problem, story
    return "", story


def wrong(scene: Scene, world: World) -> str:
    """What must never be, in one state."""
    if any(count > 1 for count in world.starts):
        return "a CLI was started twice for one row"
    running = world.bridge.alive | world.bridge.dying
    for agent in set(scene.agents):
        mine = [index for index, owner in enumerate(scene.agents) if owner == agent]
        if sum(world.rows[index].is_live for index in mine) > 1:
            return "a lane is held twice"
        if len(running.intersection(mine)) > 1:
            return "two CLIs run on one lane"
    if sum(row.holds_room for row in world.rows) > 1:
        return "a serial room is held twice"
    return ""


def all_steps(scene: Scene, world: World) -> Iterator[tuple[str, bool, World]]:
    """Each step with whether it happens by itself, without faults, people or hours of waiting."""
    calm: list[Iterator[Step]] = [
        hub_rules.steps(scene, world),
        bridge_rules.steps(scene, world),
        hub_rules.short_timers(world),
    ]
    for found in calm:
        for label, then in found:
            yield label, True, then
    # Without its bridge a row ends by its own time limit.
    is_alone = world.hub.is_revoked or world.bridge.phase == "gone"
    for label, then in hub_rules.long_timers(world):
        yield label, is_alone, then
    for found in (hub_rules.acts(world), bridge_rules.faults(world)):
        for label, then in found:
            yield label, False, then


def _never_ending(calm_before: list[list[int]], ends: list[int]) -> list[int]:
    """States from which no calm path leads to an end of all rows."""
    can_end = [False] * len(calm_before)
    queue = deque(ends)
    for number in ends:
        can_end[number] = True
    while queue:
        for before in calm_before[queue.popleft()]:
            if not can_end[before]:
                can_end[before] = True
                queue.append(before)
    return [number for number, is_fine in enumerate(can_end) if not is_fine]


def _story(came_from: list[tuple[int, str]], number: int) -> list[str]:
    story = []
    while number >= 0:
        number, label = came_from[number]
        story.append(label)
    return story[::-1]
