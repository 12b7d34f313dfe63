"""What goes into one transaction, and what came of it?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from gateway.rocketchat.events import ChatMessage, Document


@dataclass(frozen=True, slots=True)
class Batch:
    """Versions of messages in any order, also several of one; ids that are gone; documents that could not be read."""

    messages: Sequence[ChatMessage] = ()
    deleted: Sequence[str] = ()
    bad: Sequence[tuple[Document, str]] = ()

    def __len__(self) -> int:
        return len(self.messages) + len(self.deleted) + len(self.bad)

    def halves(self) -> tuple["Batch", "Batch"]:
        middle = len(self.messages) // 2
        first, second = self.messages[:middle], self.messages[middle:]
        return Batch(messages=first), Batch(messages=second, deleted=self.deleted, bad=self.bad)


@dataclass(slots=True)
class Outcome:
    """`unknown`: rooms that have no row yet; their messages were left out. `moved`: rooms whose members changed.

    `unplaced`: (message, agent) pairs where the agent asked is not known to be in the room: see `place_membership`.
    `may_want_files`: a question came with files, or in a thread that may have some.
    """

    stored: int = 0
    new: int = 0
    opened: int = 0
    set_aside: int = 0
    unknown: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    unplaced: list[tuple[int, int]] = field(default_factory=list)
    may_want_files: bool = False

    def add(self, other: "Outcome") -> None:
        self.stored += other.stored
        self.new += other.new
        self.opened += other.opened
        self.set_aside += other.set_aside
        self.unknown |= other.unknown
        self.moved |= other.moved
        self.unplaced += other.unplaced
        self.may_want_files |= other.may_want_files


@dataclass(frozen=True, slots=True)
class Versions:
    """One message of a batch: what to store, and what was said first, for only that can ask somebody.

    `place`: how many others came before it, which is the order of what was said within one millisecond.
    """

    newest: ChatMessage
    first: ChatMessage
    place: int


def fold(messages: Iterable[ChatMessage]) -> list[Versions]:
    """Each message once, in the order of ids, so that two processes lock rows in the same order."""
    found: dict[str, Versions] = {}
    for message in messages:
        known = found.get(message.rc_id)
        if known is None:
            found[message.rc_id] = Versions(message, message, len(found))
        elif message.updated > known.newest.updated:
            found[message.rc_id] = replace(known, newest=message)
        elif message.updated < known.first.updated:
            found[message.rc_id] = replace(known, first=message)
    return [found[rc_id] for rc_id in sorted(found)]
