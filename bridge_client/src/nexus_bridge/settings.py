"""What the owner of a bridge decided, as typed values; config.py reads them from the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nexus_bridge.policy import Audience, Rules
from nexus_bridge.protocol import CliKind


@dataclass(frozen=True, slots=True)
class Agent:
    """One `[[agent]]`: which program answers under this name, where it works, who may ask."""

    slug: str
    cli: CliKind
    command: Sequence[str]
    workdir: Path
    env: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    parallel: int = 1
    audience: Audience = field(default_factory=Audience)
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, slots=True)
class Limits:
    """`[limits]`; of these and the hub's the smaller holds."""

    wall_s: float = 3600.0
    idle_s: float = 600.0
    output_bytes: int = 5 * 1024 * 1024
    permission_s: float = 600.0
    live_clis: int = 8
    idle_stop_s: float = 600.0
    stop_grace_s: float = 20.0
    processes: int = 512
    memory_mib: int = 4096
    pool_memory_mib: int = 3072


@dataclass(frozen=True, slots=True)
class Hub:
    """Where the hub is: one address, seen as WebSocket and as HTTP."""

    url: str
    ca_file: Path | None = None

    @property
    def is_secure(self) -> bool:
        return self.url.startswith("wss:")

    @property
    def socket_url(self) -> str:
        return f"{self.url}/ws/bridge/"

    @property
    def http_url(self) -> str:
        return self.url.replace("ws", "http", 1)

    @property
    def mcp_url(self) -> str:
        return f"{self.http_url}/mcp/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole of bridge.toml."""

    path: Path
    hub: Hub
    token: str = field(repr=False)
    agents: Sequence[Agent]
    limits: Limits
    journal: Path
