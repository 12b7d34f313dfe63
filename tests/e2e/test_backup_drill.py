"""Does a backup of a Nexus at work become a working one elsewhere, with nothing lost and the doctor content?"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from docker.programs import ALL
from docker.stack import Stack
from tests.e2e.conftest import HOST_AGENT, MakeRoom
from tests.world.talk import ask
from tests.world.world import PROGRAMS, Bridged, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TRIED = {
    "audit.chain",
    "backup.recent",
    "backup.tried",
    "chat.accounts",
    "chat.reachable",
    "chat.round_trip",
    "database.guards",
    "database.migrations",
    "database.sealed",
    "gateway.answers",
    "gateway.doors",
    "gateway.origins",
    "gateway.upgrade",
    "host.processes",
    "memory.key",
    "redis.round_trip",
    "work.stuck",
    "work.sweep",
    "workers.consume",
    "workers.listen",
}
"""What must be well on the new host, where everything but TLS and durable disks is as in earnest."""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "new"
    shutil.rmtree(tmp_path / "new", ignore_errors=True)


def manage(world: World | Stack, *words: str) -> str:
    stack = world.stack if isinstance(world, World) else world
    done = stack.manage(*words)
    assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
    return done.stdout


def counts(world: World) -> dict[str, int]:
    """Of the tables that rest when nobody asks anything."""
    names = (
        "messages",
        "invocations",
        "users",
        "agents",
        "bot_accounts",
        "rooms",
        "room_members",
        "prompts",
        "chunks",
    )
    return {name: world.query(f"SELECT count(*) AS n FROM {name}")[0]["n"] for name in names}  # noqa: S608


def prepare(directory: Path, *, old: World) -> None:
    """A new machine: the old one's secrets and its chat, an empty database."""
    state = directory / "state"
    state.mkdir(parents=True, mode=0o700)
    shutil.copy(old.stack.state.path / "secrets.json", state)
    old.tell_chat("snapshot", {})
    shutil.copy(old.stack.state.path / "devchat.json", state)


def move_bridge(echo: Bridged, *, to: World) -> None:
    """Its owner writes the new address; the token stays."""
    home = to.directory / "moved"
    (home / "work").mkdir(parents=True)
    lines = echo.config_path.read_text(encoding="utf-8").splitlines()
    hub = f"hub = {json.dumps(to.stack.gateway_url.replace('http', 'ws', 1))}"
    journal = f"journal = {json.dumps(str(home / 'journal'))}"
    moved = [hub if one.startswith("hub =") else journal if one.startswith("journal =") else one for one in lines]
    path = home / "bridge.toml"
    path.touch(mode=0o600)
    path.write_text("\n".join(moved), encoding="utf-8")
    to.stack.add_bridge("moved", config_path=path)


def restore_and_refuse_a_second_time(elsewhere: Path, *, path: str) -> None:
    fresh = Stack(state_dir=elsewhere / "state", programs=["devchat"], is_durable=False)
    with fresh:
        manage(fresh, "restore", path)
        again = fresh.manage("restore", path)
    assert again.returncode == 1
    assert "not empty" in again.stderr


def test_a_nexus_moves_to_another_host_by_its_backup(
    world: World, echo: Bridged, make_room: MakeRoom, tmp_path: Path, elsewhere: Path
) -> None:
    room = make_room(echo.slug)
    said = ask(world, person="bob", rid=room.rid, slug=echo.slug, text="remember the drill").wait_done()

    made = json.loads(manage(world, "backup", str(tmp_path / "backups"), "--encrypt", "--json"))
    before = made["tables"]
    prepare(elsewhere, old=world)
    restore_and_refuse_a_second_time(elsewhere, path=made["path"])

    new = World(directory=elsewhere, programs=PROGRAMS)
    assert set(PROGRAMS) < set(ALL)
    new.start()
    try:
        assert new.query("SELECT text FROM messages WHERE text LIKE %s", "%remember the drill%")
        assert counts(new)["invocations"] == before["invocations"]
        assert counts(new)["chunks"] == before["chunks"]
        move_bridge(echo, to=new)
        new.wait_online(HOST_AGENT, echo.slug)
        there = new.room("after-the-move", owner="dora", members=[])
        new.invite(there, owner="dora", slugs=[HOST_AGENT, echo.slug])
        answers = [
            ask(new, person="dora", rid=there.rid, slug=slug, text="are you here?").wait_done()
            for slug in (HOST_AGENT, echo.slug)
        ]
        manage(new, "bootstrap")
        told = json.loads(new.stack.manage("doctor", "--deep", "--json").stdout)["checks"]
    finally:
        left = new.stop()

    assert "drill" in said
    assert all("are you here?" in answer for answer in answers)
    # A host that has just begun has no backup of its own yet.
    unwell = {one["id"]: one["text"] for one in told if one["grade"] != "ok" and one["id"] != "backup.recent"}
    assert {name: unwell[name] for name in TRIED & set(unwell)} == {}
    assert [text for text in unwell.values() if "could not be looked at" in text] == []
    assert not left
