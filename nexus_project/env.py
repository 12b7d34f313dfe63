"""Reads the environment: every NEXUS_* variable, typed, with all problems told at once.

A variable NEXUS_X may also come from a file named by NEXUS_X_FILE. A process that can't start says one line per problem
on stderr and exits with 78 (EX_CONFIG).
"""

import difflib
import ipaddress
import os
import re
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

EXIT_CONFIG = 78
MIN_SECRET_LENGTH = 32
SECRET_MOUNT = "/run/secrets/"  # noqa: S105 - a folder
"""Where container engines put secrets, readable for whom they choose."""

EXAMPLE_MARKS = ("change-me", "changeme", "example", "secret123", "password")

T = TypeVar("T")


class Environment:
    """Typed reading of one mapping; `problems` collects a sentence for each bad value."""

    def __init__(self, *, values: Mapping[str, str]) -> None:
        self.values = values
        self.problems: list[str] = []
        self._known: set[str] = set()
        self._secrets: dict[str, str] = {}

    def text(self, name: str, *, default: str | None = None) -> str:
        """The value as written; without a default the variable must be set and not empty."""
        return self._read(name, default=default, convert=lambda value: value, empty="")

    def secret(self, name: str, *, default: str | None = None) -> str:
        """Like `text`, and long, not an example, not the value of another secret, and in nobody else's reach."""
        self._check_file(name)
        value = self.text(name, default=default)
        if value and value != default:
            self._check_secret(name=name, value=value)
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        return self._read(name, default=default, convert=_flag, empty=default)

    def number(self, name: str, *, default: float, at_least: float, at_most: float) -> float:
        def convert(value: str) -> float:
            number = float(value)
            if not at_least <= number <= at_most:
                raise ValueError(f"must be from {at_least:g} to {at_most:g}")
            return number

        return self._read(name, default=default, convert=convert, empty=default)

    def whole(self, name: str, *, default: int, at_least: int, at_most: int) -> int:
        def convert(value: str) -> int:
            number = int(value)
            if not at_least <= number <= at_most:
                raise ValueError(f"must be from {at_least} to {at_most}")
            return number

        return self._read(name, default=default, convert=convert, empty=default)

    def url(self, name: str, *, schemes: tuple[str, ...], default: str | None = None) -> str:
        """A URL with one of these schemes and a host, without a trailing slash."""

        def convert(value: str) -> str:
            parts = urlsplit(value)
            if parts.scheme not in schemes or not parts.hostname:
                raise ValueError(f"must be a URL like {schemes[0]}://host")
            if parts.port == 0:
                raise ValueError("port 0 is no port")
            return value.rstrip("/")

        return self._read(name, default=default, convert=convert, empty="")

    def file(self, name: str) -> str:
        """The path of a file that can be read; empty when not set."""

        def convert(value: str) -> str:
            try:
                Path(value).open("rb").close()
            except OSError as error:
                raise ValueError(f"the file can't be read ({error.strerror})") from None
            return value

        return self._read(name, default="", convert=convert, empty="")

    def origin(self, name: str, *, default: str | None = None) -> str:
        """A web address without path, user or query: scheme, host, port."""

        def convert(value: str) -> str:
            parts = urlsplit(value)
            if parts.scheme not in ("https", "http") or not parts.hostname or parts.port == 0:
                raise ValueError("must be an address like https://nexus.example.org")
            if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
                raise ValueError("must be scheme, host and port only, without path, user or query")
            return value.rstrip("/")

        return self._read(name, default=default, convert=convert, empty="")

    def redis(self, name: str) -> str:
        """A Redis server, of which we choose the databases ourselves."""

        def convert(value: str) -> str:
            parts = urlsplit(value)
            if parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.port == 0:
                raise ValueError("must be a URL like redis://:password@host:6379")
            if parts.path.strip("/") or parts.query:
                raise ValueError("must not name a database: Nexus uses 0, 1 and 2")
            return value.rstrip("/")

        return self._read(name, default=None, convert=convert, empty="")

    def database(self, name: str) -> str:
        """A Postgres database."""

        def convert(value: str) -> str:
            parts = urlsplit(value)
            is_complete = parts.hostname and parts.username and parts.path.strip("/")
            if parts.scheme not in ("postgres", "postgresql") or not is_complete or parts.port == 0:
                raise ValueError("must be a URL like postgres://user:password@host:5432/name")
            return value

        return self._read(name, default=None, convert=convert, empty="")

    def matching(self, name: str, *, pattern: str, what: str) -> str:
        """Nothing, or one value of this form."""

        def convert(value: str) -> str:
            if not re.fullmatch(pattern, value):
                raise ValueError(f"must be {what}")
            return value

        return self._read(name, default="", convert=convert, empty="")

    def choice(self, name: str, *, options: tuple[str, ...], default: str) -> str:
        def convert(value: str) -> str:
            if value not in options:
                raise ValueError(f"must be one of {', '.join(options)}")
            return value

        return self._read(name, default=default, convert=convert, empty=default)

    def words(self, name: str, *, default: tuple[str, ...], pattern: str = r".+", what: str = "words") -> list[str]:
        """A comma-separated list; each of this form."""

        def convert(value: str) -> list[str]:
            found = [word.strip() for word in value.split(",") if word.strip()]
            wrong = [word for word in found if not re.fullmatch(pattern, word)]
            if wrong:
                raise ValueError(f"must be {what}, separated by commas; {wrong[0][:60]!r} is not")
            return found

        return self._read(name, default=list(default), convert=convert, empty=list(default))

    def networks(self, name: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """A comma-separated list of addresses and networks; none by default."""

        def convert(value: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
            return [ipaddress.ip_network(word.strip()) for word in value.split(",") if word.strip()]

        return self._read(name, default=[], convert=convert, empty=[])

    def together(self, name: str, *, needs: str) -> None:
        """The one makes no sense without the other."""
        if self._given(name) and not self._given(needs):
            self.problems.append(f"{name} is set, but {needs} is not; set both or neither")

    def finish(self) -> None:
        """Report unknown NEXUS_* names, and leave the process if anything was wrong."""
        for name in sorted(self.values):
            if name.startswith("NEXUS_") and name.removesuffix("_FILE") not in self._known:
                near = difflib.get_close_matches(name, sorted(self._known), n=1)
                hint = f"; did you mean {near[0]}?" if near else "; see docs/settings.md"
                self.problems.append(f"{name} is not a setting of Nexus{hint}")
        if self.problems:
            for problem in self.problems:
                sys.stderr.write(f"nexus: {problem}\n")
            sys.stderr.flush()
            raise SystemExit(EXIT_CONFIG)

    def _read(self, name: str, *, default: T | None, convert: Callable[[str], T], empty: T) -> T:
        self._known.add(name)
        raw = self._raw(name)
        if raw is None or raw == "":
            if default is None:
                how = "is empty" if raw == "" else "is not set"
                self.problems.append(f"{name} {how}; docs/settings.md says what it is for")
                return empty
            return default
        if raw != raw.strip() or raw[:1] in "\"'\ufeff" or "\r" in raw:
            self.problems.append(f"{name} has quotes, blanks or a line end around it; write the bare value")
            return empty
        try:
            return convert(raw)
        except ValueError as error:
            self.problems.append(f"{name} is wrong: {error}")
            return empty

    def _given(self, name: str) -> bool:
        return bool(self.values.get(name) or self.values.get(f"{name}_FILE"))

    def _raw(self, name: str) -> str | None:
        file_name = self.values.get(f"{name}_FILE")
        if not file_name:
            return self.values.get(name)
        if self.values.get(name):
            self.problems.append(f"{name} and {name}_FILE are both set; remove one of them")
        try:
            return Path(file_name).read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(f"{name}_FILE can't be read: {error}")
            return None

    def _check_file(self, name: str) -> None:
        path = self.values.get(f"{name}_FILE") or ""
        try:
            mode = stat.S_IMODE(Path(path).stat().st_mode) if path else 0
        except OSError:
            return  # reading it says why
        if mode & 0o077 and not path.startswith(SECRET_MOUNT):
            self.problems.append(f"{name}_FILE can be read by others; run: chmod 600 {path}")

    def _check_secret(self, *, name: str, value: str) -> None:
        make = f"make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'  ({name})"
        if len(value) < MIN_SECRET_LENGTH or len(set(value)) < 10:
            self.problems.append(f"{name} is too short or too simple for a secret; {make}")
        elif any(mark in value.lower() for mark in EXAMPLE_MARKS):
            self.problems.append(f"{name} is an example value; {make}")
        elif value in self._secrets:
            self.problems.append(f"{name} has the same value as {self._secrets[value]}; {make}")
        self._secrets.setdefault(value, name)


def read() -> Environment:
    """The environment of this process."""
    return Environment(values=os.environ)


def _flag(value: str) -> bool:
    lowered = value.lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if lowered in ("0", "false", "no", "off"):
        return False
    raise ValueError("must be 1 or 0")
