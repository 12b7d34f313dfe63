"""A row in every table, with names and texts as hostile as a chat may bring them."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from django.db.models.functions import Now

from composer.models import Fact, Landmark, Memory, Prompt, Summary
from gateway import audit, invocations
from gateway.models import (
    Approval,
    AuditEntry,
    AuditSeal,
    BotAccount,
    File,
    Grant,
    HostLease,
    JoinCode,
    McpServer,
    Notice,
    PersonaVersion,
    Project,
    Reaction,
    RoomCursor,
    RoomTool,
    SetAside,
    ToolToken,
)
from runtime.models import Chunk, ReplyPart
from tests.server import people

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}{% now 'Y' %}"
LATER = datetime(2999, 1, 1, tzinfo=UTC)


def everything():
    """One of each; returns what tests ask for by name."""
    bob, alice = people.make_user("bob"), people.make_user("alice")
    alice.display_name = EVIL
    alice.save()
    project = Project.objects.create(slug="shop", title=EVIL)
    room = people.make_room("backend", members=(bob,), title=EVIL, project=project)
    bridge = people.make_bridge(owner=alice)
    bridge.offers = [{"slug": "claude-alice", "cli_kind": "claude", "workdir": EVIL}]
    deny = {"rules": 2, "tools": ["Bash", "<b>"]}
    bridge.policies = {"claude-alice": {"default": "ask", "deny": deny, "callers": 1, "rooms": 0}}
    bridge.client_version = EVIL[:100]
    bridge.save()
    agent = people.make_agent(owner=alice, bridge=bridge, persona=EVIL)
    row = people.ask(room, bob, agent, EVIL)
    claim = invocations.claim_next(invocation_id=row.pk)
    assert claim is not None
    sources = [{"kind": "message", "id": row.message_id, "rc_id": row.message.rc_id}]
    prompt = Prompt.objects.create(
        invocation=row,
        fence=claim.fence,
        text=EVIL,
        sections=[{"title": "Talk", "chars": len(EVIL), "token_count": 9, "sources": sources}],
        left_out=[{"what": EVIL, "count": 3, "why": "no room"}],
        token_count=9,
        budget=8_000,
    )
    invocations.composed(invocation_id=row.pk, fence=claim.fence)
    Chunk.objects.create(invocation=row, seq=1, kind="text", payload='{"kind":"text","delta":"<b>hi</b>"}')
    ReplyPart.objects.create(invocation=row, part=0, chat_id="part0000000000001")
    server = McpServer.objects.create(
        name="tracker", transport="stdio", definition_hash="a" * 64, tools=[{"name": "search"}, {"name": EVIL[:40]}]
    )
    _around(SimpleNamespace(bob=bob, alice=alice, room=room, bridge=bridge, agent=agent, row=row, server=server))
    row.refresh_from_db()
    return SimpleNamespace(
        bob=bob,
        alice=alice,
        room=room,
        bridge=bridge,
        agent=agent,
        row=row,
        prompt=prompt,
        server=server,
        project=project,
    )


def _around(it):
    message = it.row.message
    PersonaVersion.objects.create(agent=it.agent, text=EVIL, changed_by=EVIL)
    BotAccount.objects.create(rocketchat_id="uid-nexus", username="nexus", access_token=b"sealed")
    File.objects.create(sha256="b" * 64, name=EVIL, size=1, message=message, expires_at=LATER)
    SetAside.objects.create(rc_id=EVIL, rid="x", reason=EVIL, body=EVIL)
    Reaction.objects.create(message=message, actor=EVIL, emoji=":x:")
    RoomCursor.objects.create(room=it.room, updated_to=LATER, deleted_to=LATER)
    RoomTool.objects.create(room=it.room, server=it.server, tool="search")
    Approval.objects.create(invocation=it.row, permission="p1", tool=EVIL, detail=EVIL, expires_at=LATER)
    Grant.objects.create(agent=it.agent, room=it.room, tool=EVIL, granted_by=it.alice)
    Notice.objects.create(room=it.room, agent=it.agent, kind="card", text=EVIL, chat_id="notice00000000001")
    JoinCode.objects.create(bridge=it.bridge, digest="c" * 64, expires_at=LATER)
    HostLease.objects.create(role="runtime_host", owner="host", lease_until=Now() + timedelta(minutes=1))
    ToolToken.objects.create(digest="d" * 64, bridge=it.bridge, agent=it.agent, session_key="k", expires_at=LATER)
    Landmark.objects.create(message=message, kind="decision", room=it.room, pinned_by_user=it.bob)
    Fact.objects.create(scope="room:rid-backend", key="database", value={"name": EVIL}, source_message=message)
    Memory.objects.create(
        id="00000000-0000-0000-0000-000000000001",
        payload={"data": EVIL, "run_id": "room:rid-backend", "msg": str(message.pk)},
    )
    Summary.objects.create(
        room=it.room, first_message=message, last_message=message, message_count=1, tier="span", text=EVIL,
        token_count=3, made_by="test",
    )  # fmt: skip
    audit.record(actor=EVIL, action="test", target=EVIL, detail=EVIL)
    entry = AuditEntry.objects.latest("pk")
    AuditSeal.objects.create(
        first_id=entry.pk, last_id=entry.pk, entries=1, sha256=audit.chain_hash(previous="", entries=[entry])
    )
