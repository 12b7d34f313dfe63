"""Reads values out of a parsed TOML file and collects everything that is wrong with them, in sentences."""

import difflib
from collections.abc import Collection, Mapping
from typing import Final

_KINDS: Final[Mapping[type, str]] = {
    str: "a text in quotes",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


class Table:
    """One table of the file. Every getter names its key; `close` then knows which keys nobody asked for."""

    def __init__(self, values: Mapping[str, object], *, where: str, problems: list[str]) -> None:
        self._values = values
        self._where = where
        self._problems = problems
        self._known: list[str] = []

    def has(self, key: str) -> bool:
        return key in self._values

    def is_empty(self, key: str) -> bool:
        return self._values.get(key) in ([], "", {})

    def blame(self, key: str, what: str) -> None:
        """Add a problem of one key: what is wrong and the cure."""
        self._problems.append(f"{self._where}{key}: {what}")

    def text(self, key: str, *, default: str = "") -> str:
        found = self._get(key, str, default)
        if isinstance(found, str) and any(ord(sign) < 32 for sign in found):
            self.blame(key, "holds control characters; write it in one line")
            return default
        return str(found)

    def flag(self, key: str) -> bool:
        return self._get(key, bool, False) is True

    def number(self, key: str, *, default: float, least: float, most: float) -> float:
        found = self._get(key, float, default)
        if not isinstance(found, int | float) or not least <= found <= most:
            self.blame(key, f"must lie between {least:g} and {most:g}")
            return default
        return float(found)

    def count(self, key: str, *, default: int, least: int, most: int) -> int:
        found = self._get(key, int, default)
        if not isinstance(found, int) or not least <= found <= most:
            self.blame(key, f"must lie between {least} and {most}")
            return default
        return found

    def texts(self, key: str, *, like: str = '["one", "two"]') -> tuple[str, ...]:
        self._known.append(key)
        found = self._values.get(key, [])
        if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
            self.blame(key, f"must be a list of texts, like {like}")
            return ()
        return tuple(found)

    def mapping(self, key: str) -> dict[str, str]:
        found = self._get(key, dict, {})
        if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
            self.blame(key, 'must be a table of texts, like { NAME = "value" }')
            return {}
        return dict(found)

    def table(self, key: str) -> "Table":
        found = self._get(key, dict, {})
        values = found if isinstance(found, dict) else {}
        return Table(values, where=f"{self._where}{key}.", problems=self._problems)

    def tables(self, key: str) -> list["Table"]:
        found = self._get(key, list, [])
        rows = found if isinstance(found, list) else []
        if not all(isinstance(row, dict) for row in rows):
            self.blame(key, f"must be written as [[{key}]] sections")
        return [
            Table(row, where=f"{self._where}{key} {number}, ", problems=self._problems)
            for number, row in enumerate(rows, start=1)
            if isinstance(row, dict)
        ]

    def close(self) -> None:
        """Every key that was asked for is known; any other is a mistake."""
        for key in self._values:
            if key not in self._known:
                self.blame(key, f"is not a known key{nearest(key, self._known)}")

    def _get(self, key: str, kind: type, default: object) -> object:
        self._known.append(key)
        if key not in self._values:
            return default
        found = self._values[key]
        is_right = isinstance(found, kind) or (kind is float and isinstance(found, int))
        if not is_right or (isinstance(found, bool) and kind is not bool):
            self.blame(key, f"must be {_KINDS[kind]}, not {_KINDS.get(type(found), 'that')}")
            return default
        return found


def nearest(word: str, known: Collection[str]) -> str:
    """A hint for a mistyped word, or nothing."""
    found = difflib.get_close_matches(word.lower(), known, n=1)
    return f"; did you mean {found[0]}?" if found else f"; known are: {', '.join(sorted(known))}"
