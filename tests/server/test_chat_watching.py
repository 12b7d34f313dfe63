"""Is each room's deletions heard by one connection that can ask for it soonest, whoever comes, goes or is refused?"""

from dataclasses import dataclass, field

import pytest

from gateway.chat.watching import Watching
from gateway.rocketchat.realtime import Watched, WatchRefused


@dataclass
class Line:
    """A connection that may ask for so many rooms at once; the others wait."""

    able: int
    asked: list[str] = field(default_factory=list)
    waiting: tuple[str, ...] = ()

    @property
    def watches_left(self):
        return self.able - len(self.asked) - len(self.waiting)

    def watch(self, rid):
        if len(self.asked) < self.able:
            self.asked.append(rid)
        else:
            self.waiting += (rid,)

    def watch_first(self, rid):
        if rid in self.waiting:
            self.waiting = (rid, *(other for other in self.waiting if other != rid))

    def unwatch(self, rid):
        self.waiting = tuple(other for other in self.waiting if other != rid)
        self.asked = [other for other in self.asked if other != rid]


@dataclass(eq=False)
class Member:
    rooms: dict[str, None]
    listener: Line
    is_online: bool = True
    watched: set[str] = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)


@pytest.fixture
def caught_up():
    return []


def watching(*members, caught_up=None):
    return Watching(accounts=dict(enumerate(members)), catch_up=(caught_up if caught_up is not None else []).append)


def test_rooms_are_spread_over_those_that_can_ask():
    rooms = {f"r{number}" for number in range(6)}
    first, second = Member(dict.fromkeys(rooms), Line(able=3)), Member(dict.fromkeys(rooms), Line(able=3))

    watching(first, second).spread()

    assert first.watched | second.watched == rooms
    assert len(first.listener.asked) == len(second.listener.asked) == 3


def test_who_comes_later_takes_over_what_still_waits():
    rooms = {f"r{number}" for number in range(6)}
    first, second = (
        Member(dict.fromkeys(rooms), Line(able=3)),
        Member(dict.fromkeys(["r4", "r5"]), Line(able=3), is_online=False),
    )
    spreading = watching(first, second)
    spreading.spread()

    second.is_online = True
    spreading.spread()

    assert first.watched & second.watched == set()
    assert first.watched | second.watched == rooms
    assert second.listener.asked


def test_a_room_that_refuses_one_account_is_asked_for_by_another_and_then_given_up():
    first, second = Member(dict.fromkeys(["r1"]), Line(able=9)), Member(dict.fromkeys(["r1"]), Line(able=1))
    spreading = watching(first, second)
    spreading.spread()

    spreading.told(first, WatchRefused("r1", is_limit=False))
    heard_by_second = "r1" in second.watched
    spreading.told(second, WatchRefused("r1", is_limit=False))

    assert heard_by_second
    assert not first.watched | second.watched


def test_a_refusal_for_too_many_requests_changes_nothing():
    member = Member(dict.fromkeys(["r1"]), Line(able=1))
    spreading = watching(member)
    spreading.spread()

    spreading.told(member, WatchRefused("r1", is_limit=True))

    assert member.watched == {"r1"}


def test_what_was_deleted_before_is_read_once_a_room_is_heard(caught_up):
    member = Member(dict.fromkeys(["r1"]), Line(able=1))

    watching(member, caught_up=caught_up).told(member, Watched("r1"))

    assert caught_up == ["r1"]


def test_what_was_just_said_is_heard_next_and_a_room_that_was_left_is_given_on():
    first, second = (
        Member(dict.fromkeys(["r1", "r2", "r3"]), Line(able=1)),
        Member(dict.fromkeys(["r3"]), Line(able=0), is_online=False),
    )
    spreading = watching(first, second)
    spreading.spread()

    spreading.soon("r3")
    waiting = first.listener.waiting
    second.is_online = True
    del first.rooms["r3"]
    spreading.left(first, "r3")

    assert waiting == ("r3", "r2")
    assert second.watched == {"r3"}
