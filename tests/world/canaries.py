"""Secrets that are sown to be looked for: of which forms are they, where may each stand, and where does it?"""

import random
import secrets
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.world.world import World

_LETTERS = string.ascii_letters + string.digits
_BASE64 = _LETTERS + "_-"
_UPPER = string.ascii_uppercase + string.digits


@dataclass(frozen=True, slots=True)
class Canary:
    """`path` says how it came in; `may` are the places that hold what people wrote, word for word, and so hold it too."""

    path: str
    secret: str
    may: frozenset[str] = frozenset()


def signs(count: int, *, of: str = _LETTERS) -> str:
    return "".join(secrets.choice(of) for _ in range(count))


def plain(path: str, *, may: frozenset[str] = frozenset()) -> Canary:
    """A password: nothing but knowing it tells that it is one."""
    return Canary(path, f"canary-{signs(24)}", may)


def forms() -> list[str]:
    """One token of each form that Nexus knows; none was ever anybody's."""
    return [
        f"sk-ant-api03-{signs(40, of=_BASE64)}",
        f"sk-proj-{signs(40, of=_BASE64)}",
        f"sk-or-{signs(40, of=_BASE64)}",
        f"sk-{signs(40)}",
        *(f"{kind}_{signs(36)}" for kind in ("ghp", "gho", "ghs")),
        f"github_pat_{signs(40)}",
        f"glpat-{signs(20, of=_BASE64)}",
        *(f"{kind}-{signs(30)}" for kind in ("xoxb", "xoxp")),
        *(f"{kind}{signs(16, of=_UPPER)}" for kind in ("AKIA", "ASIA")),
        f"AIza{signs(35, of=_BASE64)}",
        *(f"{kind}_{signs(36)}" for kind in ("hf", "npm")),
        f"pypi-AgEIcHlwaS5vcmc{signs(60, of=_BASE64)}",
        *(f"{kind}_{signs(24)}" for kind in ("sk_live", "rk_live")),
        f"SG.{signs(22, of=_BASE64)}.{signs(43, of=_BASE64)}",
        f"eyJhbGciOiJI{signs(10)}.eyJzdWIi{signs(20)}.{signs(43, of=_BASE64)}",
    ]


def shuffled(words: Iterable[str]) -> list[str]:
    found = list(words)
    random.shuffle(found)
    return found


def texts(world: World) -> dict[str, str]:
    """Every log, every table as text, and what people and bots have said in the chat, by place."""
    found = {f"log {path.name}": path.read_text(errors="replace") for path in world.stack.state.log_dir.iterdir()}
    tables = world.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    for name in (row["table_name"] for row in tables):
        rows = world.query(f'SELECT t::text AS line FROM "{name}" t')  # noqa: S608 - a name of the catalogue
        found[f"table {name}"] = "\n".join(row["line"] for row in rows)
    bots = {row["username"] for row in world.query("SELECT username FROM bot_accounts")}
    said = world.chat_state()["messages"]
    found["chat bots"] = "\n".join(str(one) for one in said if one["u"]["username"] in bots)
    found["chat people"] = "\n".join(str(one) for one in said if one["u"]["username"] not in bots)
    journals = [path for path in world.directory.glob("bridges/*/journal/**/*") if path.is_file()]
    found["laptops"] = "\n".join(path.read_text(errors="replace") for path in journals)
    return found


def hits(sown: Iterable[Canary], *, found: Mapping[str, str]) -> list[str]:
    """`PATH in PLACE` for each secret that stands where it must not."""
    return sorted(
        f"{canary.path} in {place}"
        for canary in sown
        for place, text in found.items()
        if canary.secret in text and place not in canary.may
    )
