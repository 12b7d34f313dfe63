"""What do the documentation's pages hold? Their code blocks, and what their texts tell people to type."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = sorted(
    [*ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "bridge_client/README.md"]
)
_FENCE: Final = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_SPAN: Final = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_INDENTED: Final = re.compile(r"(?:^|\n)\n((?: {4}[^\n]*\n)+)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `place` is for the person who reads a failure."""

    place: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in _FENCE.finditer(text):
            indent, language, body = found.groups()
            lines = [line.removeprefix(indent) for line in body.splitlines(keepends=True)]
            place = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}"
            yield Block(place, language, "".join(lines))


def typed() -> Iterator[tuple[str, str]]:
    """(page, text) of everything that a person may copy into a shell: spans, fenced blocks, indented blocks."""
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        text = page.read_text(encoding="utf-8")
        without = _FENCE.sub("", text)
        yield from ((name, " ".join(span.split())) for span in _SPAN.findall(without))
        yield from ((name, line.strip()) for block in _INDENTED.findall(without) for line in block.splitlines())
    for block in blocks():
        yield from ((block.place, line.strip()) for line in block.text.splitlines())
