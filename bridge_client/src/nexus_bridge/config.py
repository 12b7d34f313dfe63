"""Reads bridge.toml. Whatever is wrong with it is said at once: file, key, what is wrong, the cure."""

import os
import re
import shutil
import ssl
import stat
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, get_args

from nexus_bridge import tokens
from nexus_bridge.adapters import known_kinds
from nexus_bridge.address import address_problem
from nexus_bridge.errors import ConfigError
from nexus_bridge.policy import Audience, Condition, Rules
from nexus_bridge.programs import DEFAULT_COMMANDS
from nexus_bridge.protocol import Verdict
from nexus_bridge.settings import Agent, Config, Hub, Limits
from nexus_bridge.tables import Table, nearest

MAX_FILE_BYTES: Final = 1024 * 1024
MAX_AGENTS: Final = 64

_SLUG: Final = re.compile(r"[a-z][a-z0-9-]{1,63}")
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def default_path(env: Mapping[str, str]) -> Path:
    if named := env.get("NEXUS_BRIDGE_CONFIG"):
        return Path(named).expanduser()
    home = Path(env.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "nexus-bridge" / "bridge.toml"


def load(*, path: Path, env: Mapping[str, str]) -> Config:
    """The whole configuration; raises ConfigError with every problem of the file."""
    problems: list[str] = []
    root = Table(_parsed(path), where="", problems=problems)
    hub = _hub(root, base=path.parent)
    token = _token(root, base=path.parent)
    journal = _journal(root, env=env)
    limits = _limits(root.table("limits"))
    common = _rules(root.table("policy"), base=None)
    rows = root.tables("agent")
    agents = [_agent(row, common=common, env=env) for row in rows]
    _check_agents(root, agents)
    root.close()
    if problems:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return Config(
        path=path,
        hub=hub,
        token=token,
        agents=tuple(agents),
        limits=limits,
        journal=journal,
    )


def _parsed(path: Path) -> dict[str, object]:
    data = private_bytes(path, what="the configuration")
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: is not valid TOML: {error}"]) from error


def private_bytes(path: Path, *, what: str) -> bytes:
    """A file that holds a secret: it must be ours, and ours alone. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if (problem := _privacy_problem(path, found)) is not None:
                raise ConfigError([f"{path}: {problem}"])
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(
            [f"{path}: {what} is not there; create_bridge on the host prints its lines, or name another with --config"]
        ) from error
    except OSError as error:
        raise ConfigError([f"{path}: {what} can't be read: {error.strerror}"]) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError([f"{path}: is larger than 1 MiB; {what} is a small file"])
    return data


def _privacy_problem(path: Path, found: os.stat_result) -> str | None:
    if not stat.S_ISREG(found.st_mode):
        return "is no regular file"
    if found.st_uid != os.geteuid():
        return f"belongs to another user; run: chown {os.geteuid()} {path}"
    if found.st_mode & 0o077:
        return f"can be read by others, and the bridge token is in it; run: chmod 600 {path}"
    return None


def _hub(root: Table, *, base: Path) -> Hub:
    url = root.text("hub").rstrip("/")
    is_insecure_lan = root.flag("insecure_lan")
    ca_file = root.text("ca_file")
    if not root.has("hub"):
        root.blame("hub", 'is missing; name your team\'s Nexus, like hub = "wss://nexus.example.org"')
    elif (problem := address_problem(url, is_insecure_lan=is_insecure_lan)) is not None:
        root.blame("hub", problem)
    path = _path(ca_file, base=base) if ca_file else None
    if path is not None and (what := _ca_problem(path)) is not None:
        root.blame("ca_file", f"{path} {what}; name your team's CA certificate in PEM form, or leave it out")
    return Hub(url=url.removesuffix("/ws/bridge"), ca_file=path)


def _ca_problem(path: Path) -> str | None:
    if not path.is_file():
        return "is not there"
    try:
        ssl.create_default_context(cafile=str(path))
    except (OSError, ValueError):
        return "holds no certificate"
    return None


def _token(root: Table, *, base: Path) -> str:
    token, file = root.text("token"), root.text("token_file")
    key = "token_file" if file else "token"
    if token and file:
        root.blame("token", "stands beside token_file; keep one of the two")
    elif file:
        try:
            token = private_bytes(_path(file, base=base), what="the bridge token").decode(errors="replace").strip()
        except ConfigError as error:
            root.blame(key, str(error))
            return ""
    if not token:
        root.blame(key, "is missing; create_bridge on the host prints it once, ask for a new one if it is lost")
    elif not token.startswith("nxb_"):
        root.blame(key, "is not a bridge token; those start with nxb_")
    elif not tokens.is_well_formed(token, kind="nxb"):
        root.blame(key, "looks truncated or mistyped; copy the whole of it, without spaces or quotes")
    return token


def _journal(root: Table, *, env: Mapping[str, str]) -> Path:
    state = Path(env.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    named = root.text("journal")
    if not named:
        return state / "nexus-bridge"
    path = Path(named).expanduser()
    if not path.is_absolute():
        root.blame("journal", "must be an absolute path or start with ~")
    return path


def _limits(table: Table) -> Limits:
    day = 86_400.0
    base = Limits()
    found = Limits(
        wall_s=table.number("wall_s", default=base.wall_s, least=1, most=day),
        idle_s=table.number("idle_s", default=base.idle_s, least=1, most=day),
        output_bytes=table.count("output_bytes", default=base.output_bytes, least=1024, most=64 * 1024 * 1024),
        permission_s=table.number("permission_s", default=base.permission_s, least=1, most=day),
        live_clis=table.count("live_clis", default=base.live_clis, least=1, most=256),
        idle_stop_s=table.number("idle_stop_s", default=base.idle_stop_s, least=0, most=day),
        stop_grace_s=table.number("stop_grace_s", default=base.stop_grace_s, least=0, most=3600),
        processes=table.count("processes", default=base.processes, least=0, most=100_000),
        memory_mib=table.count("memory_mib", default=base.memory_mib, least=0, most=10_000_000),
        pool_memory_mib=table.count("pool_memory_mib", default=base.pool_memory_mib, least=0, most=10_000_000),
    )
    table.close()
    return found


def _rules(table: Table, *, base: Rules | None, workdir: Path | None = None) -> Rules:
    """An agent's own lists come on top of the common ones; its default replaces the common default."""
    base = base or Rules()
    default = table.text("default", default=base.default)
    if default not in get_args(Verdict):
        table.blame("default", f"must be one of {', '.join(get_args(Verdict))}{nearest(default, get_args(Verdict))}")
        default = base.default
    rules = Rules(
        deny=(*base.deny, *table.texts("deny")),
        local=(*base.local, *table.texts("local")),
        ask=(*base.ask, *table.texts("ask")),
        allow=(*base.allow, *table.texts("allow")),
        default=default,  # type: ignore[arg-type]  # checked above
        conditions=(*base.conditions, *(_condition(row, workdir=workdir) for row in table.tables("rule"))),
    )
    for pattern in (*rules.deny, *rules.local, *rules.ask, *rules.allow):
        if ("(" in pattern) != pattern.endswith(")"):
            table.blame(pattern, "is no tool pattern; write Tool or Tool(what it is asked to do), * matches anything")
    table.close()
    return rules


def _condition(row: Table, *, workdir: Path | None) -> Condition:
    """One `[[policy.rule]]`. A relative path is one of the agent's working directory."""
    verdict, tool, path = row.text("verdict"), row.text("tool", default="*"), row.text("path")
    if verdict not in get_args(Verdict):
        row.blame("verdict", f"must be one of {', '.join(get_args(Verdict))}{nearest(verdict, get_args(Verdict))}")
    if ("(" in tool) != tool.endswith(")"):
        row.blame("tool", "is no tool pattern; write Tool or Tool(what it is asked to do), * matches anything")
    if path and not path.startswith(("/", "~", "*")):
        if workdir is None:
            row.blame("path", "must begin with /, ~ or * here; relative ones belong into an agent's own policy")
        path = str((workdir or Path()) / path)
    rooms, askers = row.texts("room"), row.texts("asker")
    hours = _hours(row)
    row.close()
    given = {"tool": tool if tool != "*" else "", "path": path, "hours": row.text("hours")}
    told = [f"{name} {value}" for name, value in given.items() if value]
    told += [f"{name} {', '.join(values)}" for name, values in (("room", rooms), ("asker", askers)) if values]
    return Condition(
        verdict=verdict,  # type: ignore[arg-type]  # checked above
        tool=tool,
        path=str(Path(path).expanduser()) if path.startswith("~") else path,
        room=rooms,
        asker=askers,
        hours=hours,
        words=f"rule: {verdict} {'; '.join(told) or 'everything'}",
    )


def _hours(row: Table) -> tuple[float, float] | None:
    text = row.text("hours")
    if not text:
        return None
    found = re.fullmatch(r"(\d{1,2})(?::(\d\d))?-(\d{1,2})(?::(\d\d))?", text.replace(" ", ""))
    if found is not None:
        start, end = (int(found[one]) + int(found[one + 1] or 0) / 60 for one in (1, 3))
        if start <= 24 and end <= 24:
            return start, end
    row.blame("hours", 'must be a span of the day, like "9-17:30" or "22-6"')
    return None


def _agent(row: Table, *, common: Rules, env: Mapping[str, str]) -> Agent:
    slug, cli = row.text("slug"), row.text("cli")
    kinds = known_kinds()
    if not _SLUG.fullmatch(slug):
        row.blame("slug", "must be 2 to 64 small letters, digits and dashes, as create_bridge printed it")
    if cli not in kinds:
        row.blame("cli", f"{cli!r} is no CLI kind{nearest(cli, kinds)}")
    workdir = _workdir(row)
    agent = Agent(
        slug=slug,
        cli=cli,  # type: ignore[arg-type]  # checked above; a problem keeps the agent from being used
        command=_command(row, cli=cli, env=env),
        workdir=workdir,
        env=_env(row),
        options=row.mapping("options"),
        parallel=row.count("parallel", default=1, least=1, most=32),
        audience=Audience(callers=row.texts("callers"), rooms=row.texts("rooms")),
        rules=_rules(row.table("policy"), base=common, workdir=workdir),
    )
    row.close()
    return agent


def _command(row: Table, *, cli: str, env: Mapping[str, str]) -> tuple[str, ...]:
    if not row.has("command"):
        command = tuple(DEFAULT_COMMANDS.get(cli, ()))
        if not command and cli in {"acp", "pty"}:
            row.blame("command", f'is missing; {cli} needs one, like command = ["my-agent", "--flag"]')
    else:
        command = row.texts("command", like='["claude", "--verbose"], program first; no shell reads it')
        if row.is_empty("command"):
            row.blame("command", "is empty; leave it out for the usual one, or name the program")
    if command and (problem := _program_problem(command[0], env=env)) is not None:
        row.blame("command", problem)
    return command


def _program_problem(program: str, *, env: Mapping[str, str]) -> str | None:
    if "/" in program and not Path(program).expanduser().is_absolute():
        return f"{program} is a relative path; write it whole, or a bare name that is on PATH"
    if shutil.which(str(Path(program).expanduser()) if "/" in program else program, path=env.get("PATH")) is None:
        where = "there or not executable" if "/" in program else "on PATH"
        return f"{program} is not {where}; install it, or write its whole path"
    return None


def _workdir(row: Table) -> Path:
    named = row.text("workdir")
    if not named:
        row.blame("workdir", "is missing; name the directory the CLI works in")
        return Path()
    path = Path(named).expanduser()
    if (problem := _workdir_problem(path)) is not None:
        row.blame("workdir", problem)
    return path.resolve()


def _workdir_problem(path: Path) -> str | None:
    if not path.is_absolute():
        return "must be an absolute path or start with ~"
    if not path.exists():
        return f"{path} is not there; make it, or name another"
    if not path.is_dir():
        return f"{path} is not a directory"
    real = path.resolve()
    if path.is_symlink() and not real.is_relative_to(path.parent.resolve()):
        return f"{path} is a symbolic link that leads to {real}; name that, if it is meant"
    if real in {Path("/"), Path.home().resolve()}:
        return f"{real} holds everything you have; name the one project the CLI may work in"
    return None


def _env(row: Table) -> dict[str, str]:
    env = row.mapping("env")
    for name in env:
        if not _ENV_NAME.fullmatch(name) or "\0" in env[name]:
            row.blame("env", f"{name!r} is no name of an environment variable")
    return env


def _check_agents(root: Table, agents: Sequence[Agent]) -> None:
    slugs = [agent.slug for agent in agents]
    if not agents:
        root.blame("agent", "there is none; add an [[agent]] section with slug, cli and workdir")
    if len(agents) > MAX_AGENTS:
        root.blame("agent", f"there are {len(agents)}; {MAX_AGENTS} are the most, split them into two bridges")
    for slug in sorted({one for one in slugs if slugs.count(one) > 1}):
        root.blame("agent", f"{slug} stands there twice; each agent has one section")


def _path(named: str, *, base: Path) -> Path:
    path = Path(named).expanduser()
    return path if path.is_absolute() else base / path
