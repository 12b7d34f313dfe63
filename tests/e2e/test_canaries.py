"""Does a secret that goes into Nexus, by whatever door, stay out of its logs, its tables and its agents' mouths?"""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from nexus_bridge.masking import secrets_in
from tests.e2e.conftest import MakeRoom
from tests.world.canaries import Canary, forms, hits, plain, shuffled, signs, texts
from tests.world.talk import Question, ask
from tests.world.world import Bridged, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

LEAKING_CLI = Path(__file__).resolve().parent.parent / "fakes" / "leaking_cli.py"
THEIR_WORDS = frozenset({"chat people", "table messages", "table prompts"})
"""What people write stands where their messages do, and in the prompts that were made of them."""

PLAIN_WORDS = THEIR_WORDS | {"table memories"}
"""Nobody can tell that a password is none of the words around it: memory remembers it as it does them."""

REPEATED = PLAIN_WORDS | {"chat bots", "table chunks", "table reply_parts", "laptops"}
"""And an agent that repeats words repeats it."""

LAST_WORDS = "That was all."


@pytest.fixture
def leaky(world: World) -> tuple[Bridged, list[Canary]]:
    """An agent whose CLI knows secrets of every form and says them; what it knows."""
    known = [Canary(f"CLI output, form {number}", form) for number, form in enumerate(shuffled(forms()))]
    environment = {name: plain(f"CLI's environment, {name}") for name in ("LEAK_API_KEY", "LEAK_PASSWORD")}
    bridged = world.agent(owner="alice", role="leaky", is_started=False)
    draft = bridged.config_path.with_name("bridge.draft")
    secrets = draft.with_name("secrets.txt")
    secrets.write_text("\n".join(canary.secret for canary in known))
    command = json.dumps([sys.executable, "-B", str(LEAKING_CLI), str(secrets)])
    lines = [f"command = {command}" if line.startswith("command") else line for line in draft.read_text().splitlines()]
    lines += ["[agent.env]", *(f'{name} = "{canary.secret}"' for name, canary in environment.items())]
    draft.write_text("\n".join(line for line in lines if not line.startswith("scripted")) + "\n")
    world.start_bridge(bridged)
    return bridged, [*known, *environment.values()]


def said_by_people(world: World, echo: Bridged, rid: str) -> list[Canary]:
    """Tokens in a question, which the agent repeats; a password in plain words; one in a file; one behind a command."""
    asked = [Canary(f"question, form {number}", form, THEIR_WORDS) for number, form in enumerate(forms())]
    password = plain("question, plain words", may=REPEATED)
    text = " and ".join(canary.secret for canary in asked)
    ask(world, person="bob", rid=rid, slug=echo.slug, text=f"are {text} still good?").wait_done()
    ask(world, person="bob", rid=rid, slug=echo.slug, text=f"is my password {password.secret}?").wait_done()
    in_file = plain("attached file")
    bob = world.person("bob")
    sent = bob.send_file(
        room_id=rid, name="env.txt", content=f"KEY={in_file.secret}\n".encode(), text=f"@{echo.slug} and this?"
    )
    Question(world, sent, rid, echo.slug).wait_done()
    command = plain("mistyped command", may=PLAIN_WORDS)
    bob.say(room_id=rid, text=f"!catchupp {command.secret}")
    return [*asked, password, in_file, command]


def said_by_a_cli(world: World, leaky: Bridged, rid: str) -> None:
    told = ask(world, person="bob", rid=rid, slug=leaky.slug, text="what do you know?").wait_done()
    assert LAST_WORDS in told
    assert "[secret]" in told
    died = ask(world, person="bob", rid=rid, slug=leaky.slug, text="now die")
    assert died.wait_settled()["state"] == "failed"


def at_the_admins_doors(world: World) -> Iterator[Canary]:
    with httpx.Client(base_url=f"{world.stack.gateway_url}/api/v1", timeout=20) as web:
        yield (one := plain("login, wrong token"))
        web.post("/login", json={"token": one.secret})
        yield (one := plain("login, wrong password"))
        web.post("/login", json={"username": "olga", "password": one.secret})
        yield (one := plain("login, typed into the name"))
        web.post("/login", json={"username": one.secret, "password": "x"})
        yield (one := plain("login, broken JSON"))
        web.post("/login", content=f'{{"token": "{one.secret}', headers={"Content-Type": "application/json"})
        for scheme in ("Bearer", "Basic"):
            yield (one := plain(f"header, {scheme}"))
            web.get("/me", headers={"Authorization": f"{scheme} {one.secret}"})
        yield (one := plain("query"))
        web.get("/me", params={"token": one.secret})
        yield (one := plain("cookie"))
        web.get("/me", headers={"Cookie": f"sessionid={one.secret}"})
        web.headers["Authorization"] = f"Bearer {world.stack.env['NEXUS_ADMIN_TOKEN']}"
        yield (one := plain("body, unknown field"))
        assert web.post("/bridges", json={"user": "alice", "cli": "echo", "api_key": one.secret}).status_code == 422
        yield (one := plain("body, wrong type"))
        assert web.post("/bridges", json={"user": [one.secret], "cli": {"key": one.secret}}).status_code == 422
        yield (one := plain("filter, unknown"))
        web.get("/agents", params={"token": one.secret})
        yield from _of_mcp_servers(web)


def _of_mcp_servers(web: httpx.Client) -> Iterator[Canary]:
    """One is taught its secret and tells it on stderr and as nonsense on stdout; another has it in clear, and is refused."""
    for stream in ("stderr", "stdout"):
        name = f"LOUD_{stream.upper()}"
        yield (one := plain(f"MCP server's secret, told on {stream}"))
        assert web.put(f"/mcp-secrets/{name}", json={"value": one.secret}).status_code < 300
        told = f"import os, sys; print(os.environ['KEY'], file=sys.{stream}, flush=True); sys.exit(1)"
        definition = {"command": sys.executable, "args": ["-c", told], "env": {"KEY": {"secret": name}}}
        made = web.post(
            "/mcp-servers",
            json={"name": name.lower().replace("_", "-"), "transport": "stdio", "definition": definition},
        )
        assert made.status_code == 201, made.text
        web.post(f"/mcp-servers/{made.json()['id']}/test")
    yield (one := plain("MCP server's secret, two lines"))
    assert web.put("/mcp-secrets/TWO", json={"value": f"{one.secret}\n{one.secret}"}).status_code == 422
    yield (one := plain("MCP server's secret, in clear"))
    definition = {"command": sys.executable, "args": ["-c", ""], "env": {"API_KEY": one.secret}}
    clear = {"name": "clear", "transport": "stdio", "definition": definition}
    assert web.post("/mcp-servers", json=clear).status_code == 422


def at_the_bridges_doors(world: World, spare: Bridged) -> Iterator[Canary]:
    """Wrong tokens, a used join code, and what a bridge may say that is no frame."""
    with httpx.Client(base_url=world.stack.gateway_url, timeout=20) as web:
        admin = {"Authorization": f"Bearer {world.stack.env['NEXUS_ADMIN_TOKEN']}"}
        (row,) = world.query("SELECT id FROM bridges WHERE name = %s", spare.slug)
        for path, form in (("/bridge/check", "nxb"), ("/bridge/files/1", "nxt")):
            yield (one := Canary(f"wrong token at {path}", f"{form}_{signs(43)}_0a1b2c3d"))
            web.get(path, headers={"Authorization": f"Bearer {one.secret}"})
        yield (one := Canary("wrong token at /mcp/", f"nxt_{signs(43)}_0a1b2c3d"))
        web.post("/mcp/", headers={"Authorization": f"Bearer {one.secret}"}, json={})
        yield (one := Canary("wrong join code", f"nxj_{signs(43)}_0a1b2c3d"))
        web.post("/bridge/join", json={"code": one.secret})
        link = web.post(f"/api/v1/bridges/{row['id']}/join-link", json={}, headers=admin).json()["url"]
        yield (one := Canary("join code", link.partition("#")[2]))
        joined = web.post("/bridge/join", json={"code": one.secret}).json()["token"]
        yield Canary("bridge token of a join", joined)
        yield (one := plain("bridge token in a URL"))
        web.get("/bridge/check", params={"token": one.secret})
        yield (one := plain("wrong key at /metrics"))
        web.get("/metrics", headers={"Authorization": f"Bearer {one.secret}"})
    socket = f"{world.stack.hub_url}"
    yield (one := plain("socket, in the query"))
    with contextlib.suppress(WebSocketException):
        connect(f"{socket}?token={one.secret}", open_timeout=10).close()
    frames = {kind: plain(f"frame, {kind}") for kind in ("unknown type", "unknown field", "foreign run", "no JSON")}
    yield from frames.values()
    with connect(socket, additional_headers={"Authorization": f"Bearer {joined}"}, open_timeout=10) as bridge:
        hello = {"type": "hello", "versions": [1], "client_version": "test", "journal": "0" * 32, "runs": []}
        bridge.send(json.dumps(hello | {"agents": [{"slug": spare.slug, "cli_kind": "echo"}]}))
        while json.loads(bridge.recv(timeout=10))["type"] != "welcome":
            pass
        chunk = {"seq": 1, "kind": "text", "payload": json.dumps({"delta": frames["foreign run"].secret})}
        bridge.send(json.dumps({"type": frames["unknown type"].secret}))
        bridge.send(json.dumps({"type": "heartbeat", frames["unknown field"].secret: frames["unknown field"].secret}))
        bridge.send(json.dumps({"type": "chunks", "invocation": 1, "fence": 1, "chunks": [chunk]}))
        bridge.send(f'{{"type": "{frames["no JSON"].secret}')
        while json.loads(bridge.recv(timeout=10)).get("code") != "bad_json":
            pass


def at_the_webhook(world: World, rid: str) -> Iterator[Canary]:
    url, token = f"{world.stack.gateway_url}/rc/webhook", world.stack.env["NEXUS_WEBHOOK_TOKEN"]
    body = {"channel_id": rid, "user_id": world.person("bob").user_id, "message_id": "a-message", "user_name": "bob"}
    yield (one := plain("webhook, wrong token"))
    assert httpx.post(url, json=body | {"token": one.secret}).status_code == 401
    yield (one := plain("webhook, body"))
    told = {"token": token, "text": f"@echo {one.secret}", "alias": one.secret, "attachments": [{"text": one.secret}]}
    assert httpx.post(url, json=body | told).status_code == 200
    yield (one := plain("webhook, query"))
    assert httpx.post(f"{url}?token={one.secret}", json=body).status_code == 401


def at_memorys_door(world: World) -> Iterator[Canary]:
    url, key = world.stack.env["NEXUS_MEM0_URL"], world.stack.env["NEXUS_MEM0_KEY"]
    yield (one := plain("memory, wrong key"))
    assert httpx.post(f"{url}/search", headers={"Authorization": f"Bearer {one.secret}"}, json={}).status_code == 401
    yield (one := plain("memory, body"))
    content = f'{{"query": "{one.secret}", "scopes": 5}}'
    refused = httpx.post(f"{url}/search", headers={"Authorization": f"Bearer {key}"}, content=content)
    assert refused.status_code in (400, 422)


def of_this_nexus(world: World) -> Iterator[Canary]:
    """Its own secrets, its bridges' tokens, and its bots' access tokens as they are in the clear."""
    for name, value in world.stack.env.items():
        if secrets_in({name: value}):
            yield Canary(f"setting {name}", value)
    yield from (Canary(f"bridge token of {one.slug}", one.token) for one in world.agents.values())
    words = (
        "from gateway.models import BotAccount; from gateway.secrets import unseal; "
        "[print(one.username, unseal(one.access_token)) for one in BotAccount.objects.all()]"
    )
    done = world.stack.manage("shell", "-v", "0", "-c", words)
    for line in done.stdout.splitlines():
        name, _, token = line.partition(" ")
        yield Canary(f"access token of @{name}", token)


def test_fifty_canaries_by_every_path_stand_in_no_log_no_table_and_no_reply(
    world: World, echo: Bridged, leaky: tuple[Bridged, list[Canary]], make_room: MakeRoom
) -> None:
    agent, known = leaky
    room = make_room(echo.slug, agent.slug)
    spare = world.agent(owner="alice", role="spare", is_started=False)

    sown = [
        *known,
        *said_by_people(world, echo, room.rid),
        *at_the_admins_doors(world),
        *at_the_bridges_doors(world, spare),
        *at_the_webhook(world, room.rid),
        *at_memorys_door(world),
    ]
    said_by_a_cli(world, agent, room.rid)
    own = list(of_this_nexus(world))
    found = texts(world)

    assert len(sown) >= 50
    assert {"log gateway.log", "log chat.log", "table audit_log", "table chunks", "chat bots"} <= set(found)
    assert len([one for one in own if one.path.startswith("access token")]) >= 3
    assert not (leaks := hits([*sown, *own], found=found)), "\n".join(leaks)
    # It was looked for where it would have been: people's own words are found, and replies with a mask in them.
    assert all(one.secret in found["chat people"] for one in sown if "chat people" in one.may)
    assert found["table chunks"].count("[secret]") > len(known)
