"""Is a message a command, and which? Pure."""

import re
from collections.abc import Mapping
from typing import Final

from gateway.commands.registry import COMMANDS, Command, nearest
from gateway.mentions import names_in

_FORM: Final = re.compile(
    r"\s*(?P<to>(?:@\S+\s+)*)!(?P<word>[a-z]+)(?:\s+(?P<rest>.*))?\s*", re.DOTALL | re.IGNORECASE
)
HOUSE: Final = "nexus"
"""Orders may be addressed to it also where it has no account or is no member."""

_NUMBER: Final = re.compile(r"\s*#?(\d{1,18})\b\s*(.*)", re.DOTALL)


def parse(text: str, *, usernames: Mapping[str, str]) -> Command | None:
    """The command a message is: `!word …`, or behind the mention of an agent or of `nexus`.

    A word that is nearly one is one too, to be answered with what may have been meant; other words are talk, and so is
    what is said to a person.
    """
    if "!" not in text:
        return None
    found = _FORM.fullmatch(text)
    word = found["word"].lower() if found else ""
    if found is None or not (word in COMMANDS or nearest(word)):
        return None
    known = {HOUSE, *(username.lower() for username in usernames.values())}
    if found["to"] and not known & {name.lower() for name in names_in(found["to"])}:
        return None
    rest = found["rest"] or ""
    # `nexus` takes orders and has no questions of its own: naming it narrows nothing.
    names = (frozenset(name.lower() for name in names_in(text)) & known) - {HOUSE}
    numbered = _NUMBER.fullmatch(rest)
    if numbered is None:
        return Command(name=word, text=rest.strip(), number=None, names=names)
    return Command(name=word, text=numbered.group(2).strip(), number=int(numbered.group(1)), names=names)
