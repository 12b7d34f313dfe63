"""How one record of the journal looks on disk: a line that proves itself whole.

`<crc of head> <crc of body> <tag> <number> <number> <word> <body>`: the two sums tell a damaged body, whose run is
known, from a damaged head, whose run is not. A body is JSON and so never holds a newline; a line is found again after
any damage.
"""

import zlib
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Tag(bytes, Enum):
    """The two numbers and the word of each record stand beside it."""

    JOURNAL = b"J"  # format version, -, journal id
    ACCEPTED = b"A"  # invocation, fence, -
    REFUSED = b"R"  # invocation, fence, reason
    CHUNK = b"C"  # invocation, seq, kind
    END = b"E"  # invocation, seq, outcome
    ACKED = b"K"  # invocation, seq, -
    LOST = b"L"  # invocation, -, -
    FINISHED = b"F"  # invocation, time, -
    CLI_SESSION = b"S"  # -, time, -


FORMAT_VERSION: Final = 1
_TAGS: Final = {tag.value: tag for tag in Tag}


@dataclass(frozen=True, slots=True)
class Record:
    """One whole line."""

    tag: Tag
    first: int
    second: int
    word: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Damaged:
    """A line that is not what was written. `invocation` is None when its head can't be believed, `body` when that can't."""

    invocation: int | None
    body: bytes | None = None


def line(*, tag: Tag, first: int = 0, second: int = 0, word: str = "-", body: bytes = b"") -> bytes:
    """The bytes of one record, newline included."""
    head = b"%s %d %d %s" % (tag, first, second, word.encode())
    return b"%08x %08x %s %s\n" % (zlib.crc32(head), zlib.crc32(body), head, body)


def parse(raw: bytes) -> Record | Damaged:
    """Read one line without its newline."""
    parts = raw.split(b" ", 6)
    if len(parts) != 7:
        return Damaged(invocation=None)
    head = b" ".join(parts[2:6])
    is_body_whole = parts[1] == b"%08x" % zlib.crc32(parts[6])
    if parts[0] != b"%08x" % zlib.crc32(head) or parts[2] not in _TAGS:
        return Damaged(invocation=None, body=parts[6] if is_body_whole else None)
    if not is_body_whole:
        return Damaged(invocation=int(parts[3]))
    return Record(
        tag=_TAGS[parts[2]],
        first=int(parts[3]),
        second=int(parts[4]),
        word=parts[5].decode(),
        body=parts[6],
    )
