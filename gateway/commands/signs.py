"""Which emoji is which command, and who has set it?"""

from collections.abc import Mapping
from typing import Final

from gateway.commands.registry import REACTIONS, Signed
from gateway.models import Reaction, User

SIGNS: Final[dict[str, str]] = {
    ":octagonal_sign:": "stop",
    ":stop_sign:": "stop",
    ":no_entry:": "stop",
    ":repeat:": "retry",
    ":pushpin:": "pin",
    ":white_check_mark:": "approve",
    ":x:": "deny",
}
"""By the name the chat gives it. A sign whose command has no `@reaction` means nothing."""


def react(reactions: Mapping[str, tuple[str, ...]], *, message_id: int, rc_id: str, bots: Mapping[str, str]) -> None:
    """Act on people's signs on a message, each once by (message, person, sign)."""
    ours = frozenset(bots.values())
    for emoji in reactions.keys() & SIGNS.keys():
        for username in reactions[emoji]:
            if username not in ours and SIGNS[emoji] in REACTIONS:
                _react_one(emoji, username=username, message_id=message_id, rc_id=rc_id)


def _react_one(emoji: str, *, username: str, message_id: int, rc_id: str) -> None:
    people = list(User.objects.filter(username=username, is_foreign_bot=False)[:2])
    # The chat names who reacted by username only; where that is not one person we know, nobody has reacted.
    if len(people) != 1:
        return
    _, is_new = Reaction.objects.get_or_create(message_id=message_id, actor=username, emoji=emoji)
    if is_new:
        REACTIONS[SIGNS[emoji]](Signed(user=people[0], message_id=message_id, rc_id=rc_id))
