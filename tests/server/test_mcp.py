"""Does `/mcp/` serve exactly what a room has leave for, to the official client, and write down each call?"""

import asyncio
import contextlib
import sys
from datetime import timedelta
from pathlib import Path

import httpx
import httpx2
import pytest
from asgiref.sync import sync_to_async
from django.db.models.functions import Now
from django.utils import timezone
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from composer.models import Fact, Landmark
from gateway import bridge_auth, mcp
from gateway.invocations import approvals
from gateway.models import Approval, AuditEntry, Bridge, File, Invocation, McpServer, RoomTool, State, ToolToken
from tests.server import people
from tests.server.gateway_process import running_gateway
from tests.server.hub_world import World

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

SERVER = Path(__file__).parents[1] / "fakes" / "mcp_server.py"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, django_db_setup, django_db_blocker):
    directory = tmp_path_factory.mktemp("gateway")
    (directory / "secrets").write_text("NOTES=s3cret\n")
    (directory / "secrets").chmod(0o600)
    own = running_gateway(directory, NEXUS_MCP_COMMANDS=sys.executable, NEXUS_MCP_SECRETS=str(directory / "secrets"))
    with django_db_blocker.unblock(), own as process:
        yield process


@pytest.fixture
def world(transactional_db, settings, tmp_path):
    (tmp_path / "secrets").write_text("NOTES=s3cret\n")
    (tmp_path / "secrets").chmod(0o600)
    settings.NEXUS_MCP_COMMANDS = [sys.executable]
    settings.NEXUS_MCP_SECRETS = str(tmp_path / "secrets")
    return World()


@pytest.fixture
def run(world):
    """Bob's question, running."""
    Bridge.objects.filter(pk=world.bridge.pk).update(
        session="s", journal="0" * 32, lease_until=Now() + timedelta(minutes=5)
    )
    people.say(world.room, world.bob, "the deploy key of CI expired yesterday")
    pk = world.ask("why is CI red?")
    Invocation.objects.filter(pk=pk).update(state=State.RUNNING)
    return Invocation.objects.select_related("message", "room").get(pk=pk)


@pytest.fixture
def token(world, run):
    token = bridge_auth.tools_token(
        bridge_id=world.bridge.pk, token_version=1, agent_id=run.agent_id, session_key=run.session_key
    )
    ToolToken.objects.create(
        digest=bridge_auth.digest_of(token),
        bridge=world.bridge,
        agent=world.agent,
        session_key=run.session_key,
        expires_at=Now() + timedelta(hours=1),
    )
    return token


def serve(room, *, manner="", needs_approval=False, timeout_s=20, **definition):
    """The tests' server, looked at, approved, and with leave in this room."""
    given = {"command": sys.executable, "args": [str(SERVER), manner], "timeout_s": timeout_s, **definition}
    server = mcp.register(name="notes", transport="stdio", definition=given, actor="test")
    server = mcp.probe(server_id=server.pk, actor="test")
    mcp.approve(server_id=server.pk, definition_hash=server.definition_hash, actor="test")
    RoomTool.objects.create(room=room, server=server, tool="note", needs_approval=needs_approval)
    return server


@contextlib.asynccontextmanager
async def client(gateway, token):
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http,
        Client(streamable_http_client(f"{gateway.url}/mcp/", http_client=http)) as found,
    ):
        yield found


async def called(gateway, token, tool, **arguments):
    async with client(gateway, token) as one:
        result = await one.call_tool(tool, arguments)
    return result.content[0].text, bool(result.is_error)


def audited():
    entries = AuditEntry.objects.filter(action="tool_called").order_by("pk")
    return [(entry.detail["tool"], entry.detail["outcome"]) for entry in entries]


# The door


def test_without_a_good_token_nothing_is_served(gateway, world):
    for headers, status in [
        ({}, 401),
        ({"Authorization": f"Bearer {world.token}"}, 401),
        ({"Authorization": "Bearer nxt_no"}, 401),
        ({"Origin": "https://evil.example"}, 403),
    ]:
        answer = httpx.post(f"{gateway.url}/mcp/", headers=headers, json={}, trust_env=False)
        assert answer.status_code == status
    assert httpx.get(f"{gateway.url}/mcp/", trust_env=False).status_code == 405


async def test_the_hubs_own_tools_are_listed_and_nothing_else_without_leave(gateway, token, run):
    await sync_to_async(serve)(run.room)
    await sync_to_async(RoomTool.objects.all().delete)()

    async with client(gateway, token) as one:
        tools = [tool.name for tool in (await one.list_tools()).tools]

    assert tools == ["search_memory", "read_room", "pin_decision", "add_fact", "send_file", "ask_person"]


async def test_a_call_after_the_turn_does_nothing(gateway, token, run):
    await sync_to_async(Invocation.objects.filter(pk=run.pk).update)(state=State.DONE, lane=None, ended_at=Now())

    text, is_error = await called(gateway, token, "add_fact", key="k", value="v")

    assert (text, is_error) == ("This turn is over, so nothing was done.", True)
    assert not await sync_to_async(Fact.objects.exists)()


def test_a_token_of_a_revoked_bridge_is_refused(gateway, token, world):
    type(world.bridge).objects.filter(pk=world.bridge.pk).update(revoked_at=Now())

    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.post(f"{gateway.url}/mcp/", headers=headers, json={}, trust_env=False)

    assert answer.status_code == 401


# Own tools


async def test_the_room_is_read_and_no_other(gateway, token, run, world):
    other = await sync_to_async(people.make_room)("secret")
    await sync_to_async(people.say)(other, world.alice, "the launch code is 0000")

    text, _ = await called(gateway, token, "read_room", limit=5)

    assert f"[{run.message_id}]" in text
    assert "why is CI red?" in text
    assert "launch code" not in text


async def test_what_was_said_before_is_found(gateway, token):
    text, is_error = await called(gateway, token, "search_memory", query="deploy key")

    assert not is_error
    assert "bob: the deploy key of CI expired yesterday" in text


async def test_facts_and_pins_are_kept_for_the_room(gateway, token, run):
    await called(gateway, token, "add_fact", key="staging", value="https://staging.example")
    text, _ = await called(gateway, token, "pin_decision", kind="question")

    fact = await sync_to_async(Fact.objects.get)()
    landmark = await sync_to_async(Landmark.objects.get)()
    assert (fact.key, fact.value, fact.source_message_id) == ("staging", "https://staging.example", run.message_id)
    assert (landmark.message_id, landmark.pinned_by_agent_id) == (run.message_id, run.agent_id)
    assert text.startswith("Pinned as question")
    assert await sync_to_async(audited)() == [("add_fact", "done"), ("pin_decision", "done")]


async def test_a_file_comes_by_value_and_its_name_leads_nowhere(gateway, token, run, settings):
    text, _ = await called(gateway, token, "send_file", name="../../etc/passwd", text="two\nlines")
    await called(gateway, token, "send_file", name="dot.png", base64="iVBORw0KGgo=")

    kept = await sync_to_async(lambda: list(File.objects.order_by("pk")))()
    assert text == "_.._etc_passwd (9 bytes) goes to the room with your answer."
    assert [(file.name, file.size, file.invocation_id) for file in kept] == [
        ("_.._etc_passwd", 9, run.pk),
        ("dot.png", 8, run.pk),
    ]
    assert [file.posted_at for file in kept] == [None, None]
    assert await sync_to_async(audited)() == [("send_file", "done")] * 2


async def test_more_files_than_a_turn_may_send_are_left(gateway, token, run):
    many = [
        File(sha256="a" * 64, name="x", size=1, invocation=run, expires_at=timezone.now() + timedelta(days=1))
        for _ in range(10)
    ]
    await sync_to_async(File.objects.bulk_create)(many)

    text, _ = await called(gateway, token, "send_file", name="one.txt", text="x")

    assert "10 files, which are the most" in text
    assert await sync_to_async(File.objects.count)() == 10


async def test_a_persons_fact_is_not_changed_by_an_agent(gateway, token, run, world):
    await called(gateway, token, "add_fact", key="staging", value="old")
    await sync_to_async(Fact.objects.update)(set_by=world.alice, value="by hand")

    text, _ = await called(gateway, token, "add_fact", key="staging", value="new")

    assert "A person has set" in text
    assert (await sync_to_async(Fact.objects.get)()).value == "by hand"


@pytest.mark.parametrize(
    ("tool", "arguments", "why"),
    [
        ("read_room", {"limit": 0}, "limit"),
        ("read_room", {"before": "x"}, "before"),
        ("add_fact", {"key": "", "value": "x"}, "key"),
        ("pin_decision", {"kind": "nothing"}, "kind"),
        ("search_memory", {}, "query"),
        ("send_file", {"name": "a.txt"}, "text or base64"),
        ("send_file", {"name": "a.txt", "text": "x" * 200_001}, "200000"),
        ("send_file", {"name": "a.png", "base64": "no base64!"}, "not valid"),
        ("send_file", {"name": "", "text": "x"}, "name"),
        ("no_such_tool", {}, "no leave"),
    ],
)
async def test_bad_arguments_are_told_to_the_model(gateway, token, tool, arguments, why):
    text, is_error = await called(gateway, token, tool, **arguments)

    assert is_error
    assert why in text


async def test_a_person_is_asked_and_the_answer_comes_back(gateway, token, run, world):
    calling = asyncio.create_task(called(gateway, token, "ask_person", question="Which branch?"))
    async with asyncio.timeout(20):
        while not await sync_to_async(Approval.objects.exists)():
            await asyncio.sleep(0.05)
    question = await sync_to_async(Approval.objects.select_related("invocation__agent").get)()

    await sync_to_async(approvals.answer)(approval=question, user=world.bob, text="main")

    assert await calling == ("bob answered: main", False)


# Servers behind it


async def test_an_approved_server_is_called_with_its_secret_and_each_call_is_written_down(gateway, token, run):
    await sync_to_async(serve)(run.room, env={"NOTE_KEY": {"secret": "NOTES"}})

    text, is_error = await called(gateway, token, "notes__note", text="hi")

    assert (text, is_error) == ("noted: hi s3cret", False)
    assert await sync_to_async(audited)() == [("note", "done")]
    entry = await sync_to_async(AuditEntry.objects.get)(action="tool_called")
    assert entry.actor == "agent:claude-alice"
    assert "hi" not in str(entry.detail.values())


async def test_leave_is_looked_up_at_each_call(gateway, token, run):
    await sync_to_async(serve)(run.room)
    async with client(gateway, token) as one:
        assert not (await one.call_tool("notes__note", {"text": "a"})).is_error
        await sync_to_async(RoomTool.objects.all().delete)()

        refused = await one.call_tool("notes__note", {"text": "b"})

    assert refused.is_error
    assert [outcome for _, outcome in await sync_to_async(audited)()] == ["done", "refused"]


@pytest.mark.parametrize("allow", [True, False])
async def test_where_the_room_wants_it_a_person_says_yes_first(gateway, token, run, world, allow):
    await sync_to_async(serve)(run.room, needs_approval=True)
    calling = asyncio.create_task(called(gateway, token, "notes__note", text="hi"))
    async with asyncio.timeout(20):
        while not await sync_to_async(Approval.objects.exists)():
            await asyncio.sleep(0.05)

    await sync_to_async(approvals.decide)(invocation_id=run.pk, user=world.alice, allow=allow, note="not now")

    text, is_error = await calling
    assert (text, is_error) == (("noted: hi", False) if allow else ("The people in the room said no. not now", True))


async def test_a_server_that_has_changed_is_off_until_somebody_has_looked(gateway, token, run):
    server = await sync_to_async(serve)(run.room)
    definition = {**server.definition, "args": [str(SERVER), "changed"]}
    # As when its own files change: the definition that was approved now starts something else.
    await sync_to_async(McpServer.objects.filter(pk=server.pk).update)(definition=definition)

    text, is_error = await called(gateway, token, "notes__note", text="hi")

    changed = await sync_to_async(McpServer.objects.get)(pk=server.pk)
    assert is_error
    assert "off until an admin has looked" in text
    assert not changed.is_enabled
    assert "id_rsa" in changed.tools[0]["description"]
    assert (
        await sync_to_async(
            AuditEntry.objects.filter(action="mcp_server_changed", detail__is_as_approved=False).count
        )()
        == 1
    )


@pytest.mark.parametrize(
    ("manner", "expected"),
    [
        ("hang", "did not answer within 3 s"),
        ("crash", "notes: "),
        ("huge", "[cut: 3000000 characters]"),
        ("nonsense", "noted: hi"),
    ],
)
async def test_a_bad_server_costs_one_answer_and_not_the_turn(gateway, token, run, manner, expected):
    await sync_to_async(serve)(run.room, manner=manner, timeout_s=3)

    text, _ = await called(gateway, token, "notes__note", text="hi")
    after, is_error = await called(gateway, token, "read_room")

    assert expected in text
    assert len(text) < 300_000
    assert "why is CI red?" in after
    assert not is_error


def test_what_is_approved_is_what_was_looked_at(world):
    server = mcp.register(
        name="notes",
        transport="stdio",
        definition={"command": sys.executable, "args": [str(SERVER)]},
        actor="test",
    )
    with pytest.raises(mcp.McpError, match="test it first"):
        mcp.approve(server_id=server.pk, definition_hash="", actor="test")
    looked = mcp.probe(server_id=server.pk, actor="test")
    with pytest.raises(mcp.McpError, match="has changed since"):
        mcp.approve(server_id=server.pk, definition_hash="0" * 64, actor="test")

    approved = mcp.approve(server_id=server.pk, definition_hash=looked.definition_hash, actor="test")

    assert (approved.is_enabled, approved.approved_by) == (True, "test")


def test_hidden_characters_in_a_description_are_refused(world):
    server = mcp.register(
        name="notes",
        transport="stdio",
        definition={"command": sys.executable, "args": [str(SERVER), "hidden"]},
        actor="test",
    )

    with pytest.raises(mcp.BadDefinitionError, match="hidden or control characters"):
        mcp.probe(server_id=server.pk, actor="test")
