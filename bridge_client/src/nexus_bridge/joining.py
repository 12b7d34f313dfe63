"""A join link becomes a bridge token, once. The code stands behind the #, and only ever goes to the hub it names."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from nexus_bridge import tokens
from nexus_bridge.address import address_problem
from nexus_bridge.errors import ConfigError
from nexus_bridge.hub_http import redeem
from nexus_bridge.settings import Hub


@dataclass(frozen=True, slots=True)
class Link:
    hub: Hub
    code: str


@dataclass(frozen=True, slots=True)
class JoinedAgent:
    slug: str
    cli: str
    parallel: int = 1


@dataclass(frozen=True, slots=True)
class Joined:
    """All that the hub says of the bridge; which program runs and where is the owner's to say."""

    token: str
    bridge: str
    owner: str
    agents: Sequence[JoinedAgent]


def read_link(text: str, *, is_insecure_lan: bool = False) -> Link:
    """Of `https://nexus.example.org/join#nxj_…`; raises ConfigError."""
    parts = urlsplit(text.strip().strip("'\""))
    code = parts.fragment or parts.path.rpartition("/")[2]
    address = f"{parts.scheme}://{parts.netloc}".replace("http", "ws", 1)
    if not parts.netloc or parts.scheme not in {"http", "https", "ws", "wss"}:
        raise ConfigError(["the join link must look like https://nexus.example.org/join#nxj_…"])
    if (problem := address_problem(address, is_insecure_lan=is_insecure_lan)) is not None:
        raise ConfigError([f"the join link {problem}"])
    if not tokens.is_well_formed(code, kind=tokens.JOIN):
        raise ConfigError(
            ["the join link is cut off or mistyped: behind the # stands the whole code; put the link in quotes"]
        )
    return Link(hub=Hub(url=address), code=code)


def join(link: Link) -> Joined:
    """The code is used up by this. Raises ConnectionFailed, CredentialsRefused."""
    found = redeem(hub=link.hub, code=link.code)
    agents = [
        JoinedAgent(slug=str(one["slug"]), cli=str(one["cli_kind"]), parallel=int(one.get("parallel", 1)))
        for one in found["agents"]
    ]
    return Joined(token=str(found["token"]), bridge=str(found["bridge"]), owner=str(found["owner"]), agents=agents)
