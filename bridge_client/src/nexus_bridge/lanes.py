"""Which turns may start now: one at a time per CLI session, as many per agent as its owner allows."""

from collections.abc import Mapping
from typing import Final

from nexus_bridge.protocol import Prompt

MAX_WAITING: Final = 64
MAX_WAITING_CHARS: Final = 32 * 1024 * 1024
"""Offers kept until a lane is free. One beyond that goes unanswered: the hub sends it again every few seconds."""


class Lanes:
    """A turn is alive from `take` until `free`, which comes when nothing of it runs any more."""

    def __init__(self, *, parallel: Mapping[str, int]) -> None:
        self._parallel = parallel
        self._alive: dict[int, tuple[str, str]] = {}
        self._waiting: dict[int, Prompt] = {}

    @property
    def alive(self) -> Mapping[int, tuple[str, str]]:
        """Agent and session key of every live turn, by invocation."""
        return self._alive

    def wait(self, offer: Prompt) -> bool:
        """Keep an offer, or the newer form of one that waits. False: there is no room for it."""
        others = [one for one in self._waiting.values() if one.invocation != offer.invocation]
        chars = sum(len(one.prompt) for one in others) + len(offer.prompt)
        if len(others) >= MAX_WAITING or chars > MAX_WAITING_CHARS:
            return False
        self._waiting[offer.invocation] = offer
        return True

    def forget(self, invocation: int) -> Prompt | None:
        """The offer that waited, if it did."""
        return self._waiting.pop(invocation, None)

    def forget_all(self) -> None:
        self._waiting.clear()

    def next(self) -> Prompt | None:
        """The first waiting offer whose lane is free; it waits no longer."""
        for offer in self._waiting.values():
            if self._is_free(agent=offer.agent, session_key=offer.session_key):
                return self._waiting.pop(offer.invocation)
        return None

    def take(self, offer: Prompt) -> None:
        self._alive[offer.invocation] = (offer.agent, offer.session_key)

    def free(self, invocation: int) -> None:
        self._alive.pop(invocation, None)

    def _is_free(self, *, agent: str, session_key: str) -> bool:
        keys = [key for slug, key in self._alive.values() if slug == agent]
        return session_key not in keys and len(keys) < self._parallel[agent]
