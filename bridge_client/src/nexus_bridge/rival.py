"""Is another machine connecting in our place, again and again, with a copy of our journal?"""

from collections import deque
from typing import Final

from nexus_bridge.errors import Replaced

COUNT: Final = 4
WITHIN_S: Final = 60.0
"""A late hello of our own overtakes us once; a hub that misses our heartbeats needs half a minute to say so."""


class Rival:
    def __init__(self) -> None:
        self._overtaken_at: deque[float] = deque(maxlen=COUNT)

    def overtakes(self, *, now: float) -> bool:
        """Somebody was greeted in our place; whether that can't be ourselves any more."""
        self._overtaken_at.append(now)
        return len(self._overtaken_at) == COUNT and now - self._overtaken_at[0] < WITHIN_S


def error() -> Replaced:
    return Replaced(
        "another machine runs this bridge too, with a copy of its journal, and each takes the connection from the other; "
        "stop one of them, and give each its own bridge (`nexus-bridge join`) instead of a copied directory"
    )
