"""Which of our connections hears which room's deletions? The chat tells them only to who asked for that one room.

It limits how fast one connection may ask, so the rooms are spread over all accounts that are in them, and a room where
something has just been said comes first.
"""

from collections.abc import Callable, Mapping

from gateway.chat.account import Account
from gateway.rocketchat.realtime import Watched, WatchRefused


class Watching:
    """`catch_up` reads a room: what was deleted before its deletions were heard."""

    def __init__(self, *, accounts: Mapping[int, Account], catch_up: Callable[[str], None]) -> None:
        self._accounts = accounts
        self._catch_up = catch_up

    def spread(self) -> None:
        """Each room that nobody hears gets one of the accounts that are in it."""
        listening = [account for account in self._accounts.values() if account.is_online]
        unheard = {rid for account in listening for rid in account.rooms}
        for account in listening:
            unheard -= account.watched
        for rid in sorted(unheard):
            self._give(rid, listening)
        for account in listening:
            self._relieve(account, [other for other in listening if other is not account])

    def _give(self, rid: str, accounts: list[Account]) -> None:
        able = [account for account in accounts if _can_hear(account, rid)]
        if able:
            chosen = max(able, key=lambda account: account.listener.watches_left)
            chosen.watched.add(rid)
            chosen.listener.watch(rid)

    def _relieve(self, account: Account, others: list[Account]) -> None:
        """Who came online first was given everything; what it can't ask for yet goes to those that can."""
        for rid in reversed(account.listener.waiting):
            if account.listener.watches_left >= 0:
                return
            free = [other for other in others if other.listener.watches_left > 0 and _can_hear(other, rid)]
            if free:
                account.watched.discard(rid)
                account.listener.unwatch(rid)
                self._give(rid, free)

    def soon(self, rid: str) -> None:
        """A room that is new, or where something was just said, comes first: that is what may soon be deleted."""
        for account in self._accounts.values():
            if rid in account.watched:
                account.listener.watch_first(rid)

    def told(self, account: Account, event: Watched | WatchRefused) -> None:
        """What a connection was answered. A refused room may be open to another account; if not, catch-up is what is left."""
        if isinstance(event, Watched):
            self._catch_up(event.rid)
        elif not event.is_limit:
            account.watched.discard(event.rid)
            account.deaf.add(event.rid)
            self.spread()

    def entered(self, account: Account, rid: str) -> None:
        """What the chat refused while the account was outside it may be granted now."""
        account.deaf.discard(rid)

    def left(self, account: Account, rid: str) -> None:
        account.watched.discard(rid)
        account.listener.unwatch(rid)
        self.spread()


def _can_hear(account: Account, rid: str) -> bool:
    return rid in account.rooms and rid not in account.deaf
