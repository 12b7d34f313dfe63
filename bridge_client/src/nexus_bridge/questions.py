"""What a CLI asks within one turn before it acts: the owner's rules first, then people, each question until it is settled.

People see a question whole, with every sign written out that would not be shown as itself; rules look at what the CLI said.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

import msgspec

from nexus_bridge import policy
from nexus_bridge.events import AnyEvent, Done, Notice, Permission
from nexus_bridge.orders import Decide
from nexus_bridge.packing import fits
from nexus_bridge.protocol import Prompt
from nexus_bridge.settings import Agent
from nexus_bridge.strip import visible

MAX_QUESTIONS: Final = 64
"""Permission requests of one turn that may be open; one more is denied."""

AskLocally = Callable[[str, Permission], Awaitable[bool]]
"""Put a question to the person at the bridge's own terminal."""


class Asked(Protocol):
    """The turn, as its questions see it."""

    done: Done | None

    def say(self, event: AnyEvent) -> None:
        """For the room, at once."""

    def answer(self, permission: str, *, allow: bool, note: str) -> None:
        """For the CLI."""


@dataclass(slots=True)
class _Question:
    permission: Permission
    expires_at: float


class Questions:
    """`ask` them, `decide` them, `expire` those that are due; `close` lets go of the rest."""

    def __init__(self, *, prompt: Prompt, agent: Agent, wait_s: float, turn: Asked, ask_locally: AskLocally) -> None:
        self._prompt = prompt
        self._agent = agent
        self._wait_s = wait_s
        self._turn = turn
        self._ask_locally = ask_locally
        self._loop = asyncio.get_running_loop()
        self._open: dict[str, _Question] = {}
        self._asking: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        return bool(self._open)

    def deadlines(self) -> list[float]:
        """When the open ones are denied, by the loop's clock."""
        return [one.expires_at for one in self._open.values()]

    def close(self) -> None:
        """The turn is over: nobody's answer counts any more."""
        for task in self._asking:
            task.cancel()

    def ask(self, question: Permission) -> None:
        if question.id in self._open:
            return
        found = policy.verdict(rules=self._agent.rules, act=self._act(question))
        shown = _shown(question)
        if found == "allow":
            self._turn.answer(question.id, allow=True, note="")
        elif found == "deny" or len(self._open) >= MAX_QUESTIONS:
            self._deny(question, note="The owner's policy denies this.")
        elif found == "local":
            task = self._loop.create_task(self._ask_here(question, shown), name="ask-locally")
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
            self._wait_for_answer(question)
        elif not fits(shown):
            self._deny(question, note="It is too long to be shown whole, so nobody can decide it. Take smaller steps.")
        else:
            self._wait_for_answer(question)
            self._turn.say(shown)

    def decide(self, order: Decide) -> None:
        """A person at the hub answered; the owner's policy is asked once more before it counts."""
        asked = self._open.get(order.permission)
        if asked is None:
            return
        question = asked.permission
        if order.allow and not policy.is_still_allowed(rules=self._agent.rules, act=self._act(question)):
            return
        del self._open[order.permission]
        self._settle(question, allow=order.allow, note=order.note)

    def expire(self) -> None:
        now = self._loop.time()
        for asked in [one for one in self._open.values() if one.expires_at <= now]:
            del self._open[asked.permission.id]
            self._deny(asked.permission, note="Nobody answered in time.")

    def _act(self, question: Permission) -> policy.Act:
        """What the owner's rules look at. A link that leads elsewhere is judged by where it leads."""
        now = datetime.now().astimezone()
        asker, room = self._prompt.asker, self._prompt.room
        return policy.Act(
            tool=question.name,
            detail=question.detail or question.title,
            kind=question.tool,
            paths=[resolved(path, workdir=self._agent.workdir) for path in question.paths],
            asker=(asker.username, asker.id),
            room=(room.name, room.id),
            hour=now.hour + now.minute / 60,
        )

    def _wait_for_answer(self, question: Permission) -> None:
        self._open[question.id] = _Question(permission=question, expires_at=self._loop.time() + self._wait_s)

    async def _ask_here(self, question: Permission, shown: Permission) -> None:
        self._turn.say(
            Notice(level="warning", text=f"{_name(question)} waits for the owner at the bridge's terminal.")
        )
        is_allowed = await self._ask_locally(self._agent.slug, shown)
        if self._open.pop(question.id, None) is not None and self._turn.done is None:
            self._settle(question, allow=is_allowed, note="answered at the bridge's terminal")

    def _settle(self, question: Permission, *, allow: bool, note: str) -> None:
        if not allow:
            self._deny(question, note=note)
            return
        self._turn.say(Notice(text=f"{_name(question)} was allowed."))
        self._turn.answer(question.id, allow=True, note=note)

    def _deny(self, question: Permission, *, note: str) -> None:
        self._turn.say(Notice(level="warning", text=f"{_name(question)} was denied. {note}".rstrip()))
        self._turn.answer(question.id, allow=False, note=note)


def _name(question: Permission) -> str:
    return question.name or "A tool"


def _shown(question: Permission) -> Permission:
    """As people see it. Cleaning takes escape sequences away with what they hold, and a shell would run that all the same."""
    return msgspec.structs.replace(
        question, name=visible(question.name), title=visible(question.title), detail=visible(question.detail)
    )


def resolved(path: str, *, workdir: Path) -> str:
    """The whole path, through all links, of what a CLI names in its own way."""
    try:
        return str((workdir / Path(path).expanduser()).resolve())
    except (OSError, RuntimeError, ValueError):
        return path
