"""Which commands and signs are there? Families register theirs here; help and suggestions are made of what is known."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

from django.db.models import Q, QuerySet

from gateway.models import Invocation, Notice, Purpose, User
from runtime.models import ReplyPart

MAX_ROWS: Final = 50
"""Rows one command may touch."""

_LIKENESS: Final = 0.65
"""How alike an unknown word must be to a command to be taken for a slip; below it people are just talking."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command was said, and by whom; row ids, and `ts` in milliseconds."""

    message_id: int
    rc_id: str
    room_id: int
    thread: str
    user_id: int
    ts: int


@dataclass(frozen=True, slots=True)
class Command:
    """`names`: the agents' usernames it mentions, in lower case. `number`: a row's id at the start of `text`.

    `text` is what follows the word, without the number; `name` may be a word that no command has.
    """

    name: str
    text: str
    number: int | None
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Order:
    """A command with who gave it; `act` functions get this."""

    command: Command
    place: Place
    user: User
    now: datetime

    def scope(self) -> "QuerySet[Invocation]":
        """The rows it is about: the one it names, or those of its room (its thread), of the agents it mentions."""
        rows = Invocation.objects.filter(room_id=self.place.room_id, purpose=Purpose.ANSWER)
        rows = rows.select_related("agent", "message", "room")
        if self.command.number is not None:
            return rows.filter(pk=self.command.number)
        if self.command.names:
            rows = rows.filter(agent__bot_account__username__in=self.command.names)
        if self.place.thread:
            rows = rows.filter(Q(thread=self.place.thread) | Q(message__rc_id=self.place.thread))
        return rows


@dataclass(frozen=True)
class Signed:
    """A person's sign on a message of ours or of his; seen for the first time. `message_id` is our row's id."""

    user: User
    message_id: int
    rc_id: str

    @cached_property
    def card(self) -> Notice | None:
        """The notice that bears the sign, if it is one."""
        return Notice.objects.filter(chat_id=self.rc_id).first()

    def rows(self) -> "QuerySet[Invocation]":
        """The rows that the message asks, or that it is a reply or a notice of."""
        parts = ReplyPart.objects.filter(chat_id=self.rc_id).values("invocation_id")
        notices = Notice.objects.filter(chat_id=self.rc_id, invocation__isnull=False).values("invocation_id")
        about = Q(message_id=self.message_id) | Q(pk__in=parts) | Q(pk__in=notices)
        return (
            Invocation.objects.filter(about, purpose=Purpose.ANSWER)
            .select_related("agent", "message", "room")
            .order_by("pk")
        )


Act = Callable[[Order], str]
React = Callable[[Signed], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """`usage`: what may follow the word. `works_late`: also when it is read long after it was typed."""

    act: Act
    help: str
    usage: str
    works_late: bool


COMMANDS: dict[str, Entry] = {}
REACTIONS: dict[str, React] = {}
"""What a sign does, by the name of its command; `signs.SIGNS` says which emoji is which command."""


def command(name: str, *, help: str, usage: str = "", works_late: bool = False) -> Callable[[Act], Act]:  # noqa: A002  (its own word)
    """Register what `!name` does; it returns what the room is told, or nothing."""

    def register(act: Act) -> Act:
        COMMANDS[name] = Entry(act=act, help=help, usage=usage, works_late=works_late)
        return act

    return register


def reaction(name: str) -> Callable[[React], React]:
    """Register what the sign of the command `name` does to the message it is set on."""

    def register(react: React) -> React:
        REACTIONS[name] = react
        return react

    return register


def nearest(word: str) -> str:
    """The command somebody may have meant, or nothing."""
    found = difflib.get_close_matches(word, COMMANDS, n=1, cutoff=_LIKENESS)
    return found[0] if found else ""


def help_text() -> str:
    lines = [
        f"`!{' '.join(filter(None, (name, entry.usage)))}` {entry.help}" for name, entry in sorted(COMMANDS.items())
    ]
    return "\n".join(lines)
