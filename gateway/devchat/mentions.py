"""What does a message's text refer to: users, rooms, links, quoted messages; and its rough syntax tree?"""

import itertools
import re
from bisect import bisect_right
from collections.abc import Iterator

from gateway.devchat.models import CHANNEL, DIRECT, Room, User
from gateway.devchat.store import Store
from gateway.devchat.wire import Document

FENCE_MARK = "```"
CODE_SPAN = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"https?://[^\s<>|)\]]+")
LABELLED_LINK = re.compile(r"\[[^\[\]\n]*\]\([^()\s]+\)|<https?://[^<|>\s]+\|[^<>\n]+>")
# As Rocket.Chat's parser reads: the name may not follow a letter, a digit or most punctuation, and swallows a full stop.
NAME = r"[\w.\-]+(?:[@:][\w.\-]+)?"
# The sign comes first in the pattern, so that the search leaps from sign to sign; what stands before it is looked at then.
BEFORE = r"""(?:(?<=^>{sign})|(?<![^\W_]{sign})(?<!["#$%&'+,\-./:;=?@^{{}}>]{sign}))"""
MENTION = re.compile(f"@{BEFORE.format(sign='@')}({NAME})", re.MULTILINE)
ROOM_MENTION = re.compile(f"#{BEFORE.format(sign='#')}({NAME})", re.MULTILINE)
MESSAGE_LINK = re.compile(r"[?&]msg=([0-9A-Za-z_.-]+)")
GROUPS = ("all", "here")


def without_code(text: str) -> str:
    if "`" not in text:
        return text
    kept, position = [], 0
    for start, end in _fences(text):
        kept.append(text[position:start])
        position = end
    return CODE_SPAN.sub(" ", "\n".join([*kept, text[position:]]))


def _fences(text: str) -> Iterator[tuple[int, int]]:
    """Three backticks alone on a line (the first may name a language) to the next such line; unclosed ones are plain text."""
    if FENCE_MARK not in text:
        return
    lines = text.split("\n")
    starts = [0, *itertools.accumulate(len(line) + 1 for line in lines)]
    closings = [index for index, line in enumerate(lines) if line.rstrip() == FENCE_MARK]
    index = 0
    while index < len(lines):
        line, following = lines[index], bisect_right(closings, index)
        if line.startswith(FENCE_MARK) and "`" not in line[3:] and following < len(closings):
            closing = closings[following]
            yield starts[index], starts[closing] + len(lines[closing].rstrip())
            index = closing
        index += 1


def find_mentions(store: Store, text: str) -> list[Document]:
    if "@" not in text:
        return []
    found: dict[str, Document] = {}
    for name in dict.fromkeys(MENTION.findall(_prose(text))):
        document = _group(name) or _user_document(store.user_named(name), name)
        if document:
            found.setdefault(document["_id"], document)
    return list(found.values())


def find_channels(store: Store, text: str) -> list[Document]:
    if "#" not in text:
        return []
    found: dict[str, Document] = {}
    for name in dict.fromkeys(ROOM_MENTION.findall(_prose(text))):
        document = _room_document(store.room_named(name), name)
        if document:
            found.setdefault(document["_id"], document)
    return list(found.values())


def find_urls(text: str) -> list[Document]:
    if "://" not in text:
        return []
    return [{"url": url.rstrip(".,;:!?"), "meta": {}} for url in dict.fromkeys(LINK.findall(without_code(text)))]


def quoted_attachments(store: Store, *, text: str, reader: User, site_url: str) -> list[Document]:
    """Links to messages of this workspace become quotes, if the author may read them."""
    if "msg=" not in text:
        return []
    attachments = []
    for url in LINK.findall(without_code(text)):
        match = MESSAGE_LINK.search(url) if url.startswith(site_url) else None
        quoted = store.messages.get(match.group(1)) if match else None
        if quoted is not None and store.can_access(reader, store.rooms[quoted["rid"]]):
            attachments.append(_quote(quoted, url))
    return attachments


def syntax_tree(text: str) -> list[Document]:
    """Just enough of `md` for clients that expect it: fences are code, everything else one paragraph."""
    tree: list[Document] = []
    position = 0
    for start, end in _fences(text):
        tree += _paragraph(text[position:start])
        tree.append(_code(text[start:end]))
        position = end
    return tree + _paragraph(text[position:])


def _prose(text: str) -> str:
    text = without_code(text)
    if "](" in text or "|" in text:
        text = LABELLED_LINK.sub(" ", text)
    return LINK.sub(" ", text) if "://" in text else text


def _group(name: str) -> Document | None:
    return {"_id": name, "username": name} if name in GROUPS else None


def _user_document(user: User | None, name: str) -> Document | None:
    """Names are compared letter by letter, unlike at the login."""
    if user is None or user.username != name:
        return None
    return {"_id": user.id, "username": user.username, "name": user.name, "type": "user"}


def _room_document(room: Room | None, name: str) -> Document | None:
    if room is None or room.t == DIRECT or room.name != name:
        return None
    shown = {"_id": room.id, "name": room.name}
    return shown if room.t == CHANNEL else shown | {"fname": room.fname}


def _quote(quoted: Document, url: str) -> Document:
    return {
        "text": quoted["msg"],
        "author_name": quoted["u"]["username"],
        "author_icon": f"/avatar/{quoted['u']['username']}",
        "message_link": url,
        "attachments": quoted.get("attachments", []),
        "ts": quoted["ts"],
    }


def _paragraph(text: str) -> list[Document]:
    text = text.strip("\n")
    return [{"type": "PARAGRAPH", "value": [{"type": "PLAIN_TEXT", "value": text}]}] if text else []


def _code(fence: str) -> Document:
    first, *lines = fence.split("\n")
    shown = [{"type": "CODE_LINE", "value": {"type": "PLAIN_TEXT", "value": line}} for line in lines[:-1]]
    return {"type": "CODE", "language": first[3:].strip() or "none", "value": shown}
