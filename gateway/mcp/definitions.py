"""What an upstream server's definition may say, what is wrong with one, and the hash that pins it. Pure.

stdio: `{"command": "/usr/bin/x", "args": [...], "env": {"KEY": {"secret": "NAME"}}}`;
http: `{"url": "https://…", "headers": {"Authorization": {"secret": "NAME"}}, "allow_private": false}`. Both: `timeout_s`.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MAX_DESCRIPTION: Final = 4096
MAX_SCHEMA_BYTES: Final = 65_536
MAX_TOOLS: Final = 200
MAX_DEPTH: Final = 24
DEFAULT_TIMEOUT_S: Final = 60.0
LONGEST_S: Final = 600.0
MAX_SECRET_NAME: Final = 100

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")
_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
_SECRET_LIKE: Final = re.compile(r"token|secret|key|password|passwd|auth|credential", re.IGNORECASE)
_HIDDEN: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)


class McpError(Exception):
    """Base of what a person may read."""


class NoSuchServerError(McpError):
    def __init__(self) -> None:
        super().__init__("there is no such MCP server")


class ServerConflictError(McpError):
    """Another row, or the state of this one, stands in the way."""


class BadDefinitionError(McpError):
    """Every problem at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def check_definition(*, name: str, transport: str, definition: Mapping[str, Any], commands: Collection[str]) -> None:
    """Raises BadDefinitionError. `commands`: the programs that the host's operator lets be started."""
    problems = []
    if not NAME.fullmatch(name) or name == "nexus":
        problems.append("name: 1 to 31 small letters, digits and dashes, and not nexus")
    match transport:
        case "stdio":
            problems += _stdio_problems(definition, commands=commands)
        case "http":
            problems += _http_problems(definition)
        case _:
            problems.append("transport: stdio or http")
    timeout = definition.get("timeout_s", DEFAULT_TIMEOUT_S)
    if not _is_number(timeout) or not 0 < timeout <= LONGEST_S:
        problems.append(f"timeout_s: more than 0 and at most {LONGEST_S:.0f}")
    if problems:
        raise BadDefinitionError(problems)


def hash_of(*, transport: str, definition: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> str:
    """Pins what is started or called, and every tool's name, description and schema."""
    told = sorted(({key: tool.get(key) for key in ("name", "description", "schema")} for tool in tools), key=_by_name)
    whole = {"transport": transport, "definition": definition, "tools": told}
    return hashlib.sha256(json.dumps(whole, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def tool_hash(tool: Mapping[str, Any]) -> str:
    """Of what a model is told of one tool."""
    told = {key: tool.get(key) for key in ("name", "description", "schema")}
    return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def secrets_of(definition: Mapping[str, Any]) -> list[str]:
    """The names of the secrets that a definition refers to."""
    values = [*_table(definition.get("env")).values(), *_table(definition.get("headers")).values()]
    return sorted({str(one["secret"]) for one in values if isinstance(one, dict) and "secret" in one})


def tool_problems(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """What keeps a server's tools from being served; hidden signs are how instructions are smuggled to a model."""
    problems = []
    names = [str(tool.get("name", "")) for tool in tools]
    if len(tools) > MAX_TOOLS:
        problems.append(f"it has {len(tools)} tools; {MAX_TOOLS} are the most")
    problems += [
        f"the tool {name!r} is there twice" for name in sorted({one for one in names if names.count(one) > 1})
    ]
    for tool in tools[:MAX_TOOLS]:
        problems += [f"{tool.get('name')!r}: {what}" for what in _tool_problems(tool)]
    return problems


def _tool_problems(tool: Mapping[str, Any]) -> list[str]:
    problems = []
    description, schema = tool.get("description") or "", tool.get("schema")
    if not TOOL_NAME.fullmatch(str(tool.get("name", ""))):
        problems.append("a name is 1 to 64 letters, digits, dots, dashes and underscores")
    if not isinstance(description, str) or len(description) > MAX_DESCRIPTION:
        problems.append(f"its description is longer than {MAX_DESCRIPTION} signs")
    text = json.dumps(schema, ensure_ascii=False)
    if _HIDDEN.search(str(description)) or _HIDDEN.search(text):
        problems.append("its description or schema holds hidden or control characters")
    if not isinstance(schema, dict) or schema.get("type") != "object":
        problems.append('its input schema is no object schema ("type": "object")')
    elif len(text) > MAX_SCHEMA_BYTES or _depth(schema) > MAX_DEPTH:
        problems.append("its input schema is too large or too deep")
    return problems


def _stdio_problems(definition: Mapping[str, Any], *, commands: Collection[str]) -> list[str]:
    problems = _unknown_keys(definition, known=("command", "args", "env", "timeout_s"))
    command, args, env = definition.get("command"), definition.get("args", []), definition.get("env", {})
    if not isinstance(command, str) or not command.startswith("/"):
        problems.append("command: an absolute path, without arguments")
    elif command not in commands:
        problems.append(f"command: {command} is not among NEXUS_MCP_COMMANDS; the host's operator can add it")
    if not isinstance(args, list) or not all(isinstance(one, str) and not _UNSTORABLE.search(one) for one in args):
        problems.append('args: a list of texts, like ["--flag", "value"]')
    return problems + _values(env, what="env")


def _http_problems(definition: Mapping[str, Any]) -> list[str]:
    problems = _unknown_keys(definition, known=("url", "headers", "allow_private", "timeout_s"))
    if not isinstance(definition.get("allow_private", False), bool):
        problems.append("allow_private: true or false")
    url = definition.get("url")
    problems += [
        f"url: {what}" for what in url_problems(url, is_private_allowed=definition.get("allow_private") is True)
    ]
    return problems + _values(definition.get("headers", {}), what="headers")


def url_problems(url: object, *, is_private_allowed: bool) -> list[str]:
    """By its form alone; where its name leads is asked at each connection."""
    if not isinstance(url, str) or not re.fullmatch(r"[\x21-\x7e]+", url) or "\\" in url:
        return ["an address like https://tools.example.org/mcp"]
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return [str(error)]
    schemes = ("https", "http") if is_private_allowed else ("https",)
    if parts.scheme not in schemes or not parts.hostname:
        return [
            f"{' or '.join(schemes)} only{'' if is_private_allowed else '; allow_private lets http through to your own network'}"
        ]
    if "@" in parts.netloc:
        return ["no user name or password in it; use headers with a secret"]
    if any(_SECRET_LIKE.search(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        return ["no secret in its query; use headers with a secret"]
    return []


def _values(found: object, *, what: str) -> list[str]:
    """Texts and references to secrets. What is named like a secret must be a reference: the database holds none."""
    if not isinstance(found, dict):
        return [f'{what}: a table, like {{"NAME": {{"secret": "MY_SECRET"}}}}']
    problems = []
    for name, value in found.items():
        is_reference = isinstance(value, dict) and set(value) == {"secret"} and is_secret_name(value["secret"])
        if what == "env" and not is_secret_name(name):
            problems.append(f"{what}: {name!r} is no name of a variable")
        if what == "headers" and not _HEADER.fullmatch(name):
            problems.append(f"{what}: {name!r} is no name of a header")
        if not is_reference and not (isinstance(value, str) and value.isprintable()):
            problems.append(f'{what} {name}: a text, or {{"secret": "NAME"}}')
        elif not is_reference and _SECRET_LIKE.search(name):
            problems.append(f'{what} {name}: use a secret reference, {{"secret": "NAME"}}, not the secret itself')
    return problems


def _unknown_keys(definition: Mapping[str, Any], *, known: Sequence[str]) -> list[str]:
    return [f"{key}: not known; known are {', '.join(known)}" for key in definition if key not in known]


def _table(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def is_secret_name(name: object) -> bool:
    return isinstance(name, str) and len(name) <= MAX_SECRET_NAME and _VARIABLE.fullmatch(name) is not None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max((_depth(one) for one in inner), default=0)


def _by_name(tool: Mapping[str, Any]) -> str:
    return str(tool.get("name"))
