"""How agents are called: `cli-user[-role]` in lower case with other signs as `-`."""

import re
from typing import Final

from gateway.bridges.errors import BadNameError, UnknownCliError
from gateway.models import CliKind

MAX_SLUG: Final = 40
RESERVED: Final = frozenset(
    {"all", "here", "admin", "system", "nexus", "rocket-cat", "rocket.cat", "user", "everyone"}
)

_SLUG = re.compile(r"^[a-z][a-z0-9-]{1,39}\Z")
_OTHER = re.compile(r"[^a-z0-9]+")


def slug_of(*, cli: str, user: str, role: str = "") -> str:
    """The slug for this user's CLI. Raises BadNameError where nothing is left of a name."""
    parts = [_plain(cli), _plain(user)]
    if role:
        parts.append(_plain(role))
    for part, given in zip(parts, (cli, user, role), strict=False):
        if not part:
            raise BadNameError(slug=given, why="has no letter or digit from a to z, 0 to 9")
    return "-".join(parts)


def check_slug(slug: str) -> None:
    """Raises BadNameError."""
    if slug in RESERVED:
        raise BadNameError(slug=slug, why="is reserved")
    if not _SLUG.match(slug):
        raise BadNameError(slug=slug, why=_why(slug))


def check_cli(cli: str) -> None:
    """Raises UnknownCliError."""
    if cli not in CliKind.values:
        raise UnknownCliError(cli=cli, known=sorted(CliKind.values))


def _plain(name: str) -> str:
    return _OTHER.sub("-", name.lower()).strip("-")


def _why(slug: str) -> str:
    if not slug:
        return "is empty"
    if len(slug) > MAX_SLUG:
        return f"has {len(slug)} characters, 40 are the most; choose a shorter role"
    if len(slug) == 1:
        return "is too short"
    if not ("a" <= slug[0] <= "z"):
        return "does not start with a letter"
    return "has other signs than a-z, 0-9 and dashes"
