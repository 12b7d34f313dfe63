"""Talks to one upstream server as official MCP client: lists its tools, calls one. A connection lasts for one act.

The official package is imported here and only when a server is called: it takes a second and 60 MB.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.mcp import secrets_file
from gateway.mcp.definitions import DEFAULT_TIMEOUT_S, McpError

MAX_RESULT_CHARS: Final = 200_000
"""Of a tool's answer; a model has no use for more, and a hostile server would like to fill its window."""

LOOK_S: Final = 20.0
"""How long a server may take to name its tools: a person waits for the answer."""

_KEPT_VARIABLES: Final = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")


class UpstreamError(McpError):
    """The server did not do it: not there, too slow, or speaking nonsense."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how, from a row of mcp_servers."""

    name: str
    transport: str
    definition: Mapping[str, Any]

    @property
    def timeout_s(self) -> float:
        return float(self.definition.get("timeout_s", DEFAULT_TIMEOUT_S))


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    is_error: bool


async def list_tools(endpoint: Endpoint) -> list[dict[str, Any]]:
    """What the server says it can: name, description, schema. Raises McpError."""
    quick = min(endpoint.timeout_s, LOOK_S)
    async with _connected(replace(endpoint, definition={**endpoint.definition, "timeout_s": quick})) as client:
        return await _tools_of(client)


async def call_tool(
    endpoint: Endpoint,
    *,
    tool: str,
    arguments: Mapping[str, Any],
    is_as_approved: Any,  # Any: a predicate on tools
) -> Answer | None:
    """The tool's answer; None when the server is not any more what was approved, and then nothing was called."""
    async with _connected(endpoint) as client:
        if not is_as_approved(await _tools_of(client)):
            return None
        result = await client.call_tool(tool, dict(arguments))
        return Answer(text=_text_of(result), is_error=bool(getattr(result, "is_error", False)))


@contextlib.asynccontextmanager
async def _connected(endpoint: Endpoint) -> AsyncIterator[Any]:  # Any: the package's client
    try:
        async with asyncio.timeout(endpoint.timeout_s):
            async with contextlib.AsyncExitStack() as stack:
                yield await stack.enter_async_context(await _client(endpoint, stack=stack))
    except TimeoutError as error:
        raise UpstreamError(f"{endpoint.name} did not answer within {endpoint.timeout_s:.0f} s") from error
    except McpError:
        raise
    # The package wraps what went wrong into groups of its own and of its libraries: none may pass here.
    except Exception as error:
        raise UpstreamError(f"{endpoint.name}: {_reason(error)}") from error


async def _client(endpoint: Endpoint, *, stack: contextlib.AsyncExitStack) -> Any:
    from mcp import Client

    definition = endpoint.definition
    if endpoint.transport == "stdio":
        from mcp.client.stdio import StdioServerParameters, stdio_client

        inherited = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        parameters = StdioServerParameters(
            command=definition["command"],
            args=list(definition.get("args", [])),
            env={**inherited, **secrets_file.resolved(definition.get("env", {}))},
            cwd="/",
        )
        errors = stack.enter_context(open(os.devnull, "w"))  # noqa: SIM115, PTH123, ASYNC230 - /dev/null
        return Client(stdio_client(parameters, errlog=errors), read_timeout_seconds=endpoint.timeout_s, cache=None)
    return await _http_client(endpoint, stack=stack)


async def _http_client(endpoint: Endpoint, *, stack: contextlib.AsyncExitStack) -> Any:
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    from gateway.mcp.guard import GuardedTransport

    definition = endpoint.definition
    http = httpx2.AsyncClient(
        transport=GuardedTransport(is_private_allowed=definition.get("allow_private") is True),
        headers=secrets_file.resolved(definition.get("headers", {})),
        timeout=endpoint.timeout_s,
        follow_redirects=False,
        trust_env=False,
    )
    await stack.enter_async_context(http)
    transport = streamable_http_client(definition["url"], http_client=http)
    return Client(transport, read_timeout_seconds=endpoint.timeout_s, cache=None)


async def _tools_of(client: Any) -> list[dict[str, Any]]:
    found, cursor = [], None
    for _ in range(20):  # pages; a server that never ends its list is cut off
        page = await client.list_tools(cursor=cursor)
        found += [
            {"name": tool.name, "description": tool.description or "", "schema": tool.input_schema}
            for tool in page.tools
        ]
        cursor = getattr(page, "next_cursor", None)
        if not cursor:
            break
    return found


def _text_of(result: Any) -> str:
    parts = []
    for block in result.content:
        text = getattr(block, "text", None)
        parts.append(text if isinstance(text, str) else f"[{getattr(block, 'type', 'content')} left out]")
    text = "\n".join(parts)
    return text if len(text) <= MAX_RESULT_CHARS else f"{text[:MAX_RESULT_CHARS]}\n[cut: {len(text)} characters]"


def _reason(error: BaseException) -> str:
    """The innermost of what went wrong, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
