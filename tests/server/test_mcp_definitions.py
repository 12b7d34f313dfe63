"""Is a server's definition that must not be refused with the reason, and where may upstream calls go?"""

import asyncio
import contextlib

import httpx2
import pytest

from gateway.mcp import definitions, guard, secrets_file
from gateway.mcp.definitions import BadDefinitionError, McpError, check_definition
from gateway.mcp.guard import ForbiddenAddressError, GuardedTransport, address_problem

ALLOWED = {"/usr/bin/tool"}


def problems(definition, *, transport="stdio", name="notes"):
    with pytest.raises(BadDefinitionError) as caught:
        check_definition(name=name, transport=transport, definition=definition, commands=ALLOWED)
    return str(caught.value)


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        ({}, "command: an absolute path"),
        ({"command": "tool"}, "command: an absolute path"),
        ({"command": "/bin/sh"}, "NEXUS_MCP_COMMANDS"),
        ({"command": "/usr/bin/tool", "args": "-v"}, "args: a list"),
        ({"command": "/usr/bin/tool", "args": [1]}, "args: a list"),
        ({"command": "/usr/bin/tool", "env": {"API_TOKEN": "abc"}}, "use a secret reference"),
        ({"command": "/usr/bin/tool", "env": {"A B": "x"}}, "no name of a variable"),
        ({"command": "/usr/bin/tool", "env": []}, "env: a table"),
        ({"command": "/usr/bin/tool", "timeout_s": 0}, "timeout_s"),
        ({"command": "/usr/bin/tool", "timeout_s": True}, "timeout_s"),
        ({"command": "/usr/bin/tool", "shell": True}, "shell: not known"),
    ],
)
def test_a_stdio_definition_that_must_not_be(definition, why):
    assert why in problems(definition)


@pytest.mark.parametrize(
    ("definition", "why"),
    [
        ({}, "url: an address"),
        ({"url": "http://tools.example.org"}, "https only"),
        ({"url": "javascript:alert(1)"}, "https only"),
        ({"url": "file:///etc/passwd", "allow_private": True}, "https or http only"),
        ({"url": "https://me:pw@tools.example.org"}, "no user name"),
        ({"url": "https://tools.example.org:99999"}, "url:"),
        ({"url": "https://tools.example.org", "headers": {"Authorization": "Bearer abc"}}, "secret reference"),
        ({"url": "https://tools.example.org", "allow_private": "yes"}, "allow_private"),
    ],
)
def test_an_http_definition_that_must_not_be(definition, why):
    assert why in problems(definition, transport="http")


@pytest.mark.parametrize("name", ["", "Notes", "nexus", "a b", "x" * 32, "é"])
def test_a_name_that_must_not_be(name):
    assert "name:" in problems({"command": "/usr/bin/tool"}, name=name)


def test_all_that_is_wrong_is_said_at_once():
    assert problems({"command": "x", "args": 1, "timeout_s": -1}).count(";") >= 2


@pytest.mark.parametrize(
    ("tool", "why"),
    [
        ({"name": "a b", "description": "", "schema": {"type": "object"}}, "a name is"),
        ({"name": "a", "description": "x" * 5000, "schema": {"type": "object"}}, "longer than 4096"),
        ({"name": "a", "description": "x\u202ey", "schema": {"type": "object"}}, "hidden"),
        ({"name": "a", "description": "x\x1b[8m", "schema": {"type": "object"}}, "hidden"),
        ({"name": "a", "description": "", "schema": {"type": "array"}}, "no object schema"),
        ({"name": "a", "description": "", "schema": {"type": "object", "x": "y" * 70_000}}, "too large"),
    ],
)
def test_a_tool_that_must_not_be_served(tool, why):
    assert why in " ".join(definitions.tool_problems([tool]))


def test_two_tools_of_one_name_are_refused():
    tool = {"name": "a", "description": "", "schema": {"type": "object"}}

    assert "twice" in definitions.tool_problems([tool, tool])[0]


def test_the_hash_pins_what_is_run_and_every_word_of_its_tools():
    tool = {"name": "a", "description": "d", "schema": {"type": "object"}}
    first = definitions.hash_of(transport="stdio", definition={"command": "/x"}, tools=[tool])

    for other in (
        {"transport": "http", "definition": {"command": "/x"}, "tools": [tool]},
        {"transport": "stdio", "definition": {"command": "/y"}, "tools": [tool]},
        {"transport": "stdio", "definition": {"command": "/x"}, "tools": [{**tool, "description": "e"}]},
        {"transport": "stdio", "definition": {"command": "/x"}, "tools": [{**tool, "schema": {}}]},
        {"transport": "stdio", "definition": {"command": "/x"}, "tools": []},
    ):
        assert definitions.hash_of(**other) != first


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "::ffff:169.254.169.254", "2002:a9fe:a9fe::", "fe80::1%eth0", "224.0.0.1"),
        *("240.0.0.1", "::", "ff02::1", "0.0.0.0"),  # noqa: S104 - a case
    ],
)
def test_addresses_that_nobody_may_mean(address):
    assert address_problem(address, is_private_allowed=True) is not None


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "100.64.0.1", "::1", "fd00::1", "::ffff:10.0.0.1"]
)
def test_private_addresses_need_a_word(address):
    assert address_problem(address, is_private_allowed=False) is not None
    assert address_problem(address, is_private_allowed=True) is None


def test_public_addresses_are_fine():
    assert address_problem("93.184.216.34", is_private_allowed=False) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
async def test_a_name_that_leads_home_is_not_called(host):
    async with httpx2.AsyncClient(transport=GuardedTransport(is_private_allowed=False)) as client:
        with pytest.raises((ForbiddenAddressError, httpx2.ConnectError)):
            await client.get(f"https://{host}/")


def test_secrets_come_from_a_private_file_by_name(settings, tmp_path):
    path = tmp_path / "secrets"
    path.write_text("# mine\nKEY = value=with=signs\n")
    path.chmod(0o600)
    settings.NEXUS_MCP_SECRETS = str(path)

    assert secrets_file.resolved({"A": "plain", "B": {"secret": "KEY"}}) == {"A": "plain", "B": "value=with=signs"}
    with pytest.raises(secrets_file.MissingSecretError, match="OTHER"):
        secrets_file.resolved({"B": {"secret": "OTHER"}})
    path.chmod(0o644)
    with pytest.raises(McpError, match="chmod 600"):
        secrets_file.resolved({"B": {"secret": "KEY"}})


async def test_an_answer_without_an_end_is_not_read_to_its_end(monkeypatch):
    async def pour(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"400\r\n" + bytes(1024) + b"\r\n")
                await writer.drain()
        writer.close()

    monkeypatch.setattr(guard, "MAX_RESPONSE_BYTES", 64 * 1024)
    server = await asyncio.start_server(pour, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with (
        server,
        httpx2.AsyncClient(transport=GuardedTransport(is_private_allowed=True), trust_env=False) as client,
    ):
        with pytest.raises(httpx2.ReadError, match="it sent more than"):
            await client.get(url)
