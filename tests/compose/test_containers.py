"""Does the stack of docker/compose.yml run as its file promises, and does it answer like every other Nexus?"""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from docker.roster import SERVICES
from tests.compose.stack import ContainerStack
from tests.e2e.conftest import HOST_AGENT, MakeRoom
from tests.e2e.test_asking import (  # noqa: F401 - the same cases, against this world
    test_a_direct_message_is_answered_without_a_mention,
    test_a_mention_is_answered_from_what_the_room_said_before,
    test_a_question_in_a_thread_is_answered_there_and_may_be_followed_up_without_a_mention,
    test_a_reply_streams_into_the_room_as_one_message_that_is_edited,
    test_the_hosts_own_agent_answers_through_runtime_host,
)
from tests.world.talk import ask
from tests.world.world import Bridged, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2_400)]

OURS = (*SERVICES, "devchat")


def test_everything_is_up_and_says_that_it_is_well(world: World, stack: ContainerStack) -> None:
    states = stack.containers()

    assert states.pop("prepare") == "Exited"
    assert states == dict.fromkeys((*OURS, "postgres", "redis"), "Up")
    for service in states:
        assert stack.podman("healthcheck", "run", stack.name_of(service)).returncode == 0, service


@pytest.mark.parametrize("service", [*OURS, "postgres", "redis"])
def test_no_container_runs_as_root_or_can_write_to_its_own_code(
    world: World, stack: ContainerStack, service: str
) -> None:
    name = stack.name_of(service)

    uid = stack.podman("exec", name, "id", "-u").stdout.strip()
    written = stack.podman("exec", name, "sh", "-c", "echo x > /opt/x || echo x > /usr/local/bin/x || echo x > /etc/x")
    effective = stack.podman("exec", name, "grep", "CapEff", "/proc/1/status").stdout.split()

    assert uid not in ("", "0")
    assert "Read-only file system" in written.stderr
    assert int(effective[1], 16) == 0, "no capability is left"


def test_only_the_chat_and_the_gateway_may_listen_beyond_loopback(world: World, stack: ContainerStack) -> None:
    published: dict[str, list[Any]] = {}
    for service in (*OURS, "postgres", "redis"):
        (found,) = json.loads(stack.podman("inspect", stack.name_of(service)).stdout)
        ports = found["HostConfig"]["PortBindings"] or {}
        published[service] = [binding["HostIp"] for bindings in ports.values() for binding in bindings]

    elsewhere = [addresses for name, addresses in published.items() if name not in ("gateway", "devchat")]
    assert {address for addresses in elsewhere for address in addresses} == {"127.0.0.1"}


def test_no_secret_stands_on_a_command_line(world: World, stack: ContainerStack) -> None:
    values = [value for name, value in stack.env.items() if name.endswith(("_KEY", "_TOKEN", "_PASSWORD"))]
    lines = [stack.podman("top", stack.name_of(one), "args").stdout for one in (*OURS, "postgres", "redis")]

    assert len(values) > 5
    assert [value for value in values if value in "".join(lines)] == []


def test_a_container_whose_program_dies_comes_back(world: World, stack: ContainerStack) -> None:
    pid = stack.podman("inspect", "--format", "{{.State.Pid}}", stack.name_of("runtime")).stdout

    # As a crash does; what an operator kills by its name stays down.
    os.kill(int(pid), signal.SIGKILL)

    world.until(lambda: stack.containers()["runtime"] == "Up", what="the runtime is back", timeout_s=60)


def test_the_gateway_serves_the_bridges_wheel(world: World, stack: ContainerStack) -> None:
    answer = world.admin.session.get(f"{stack.gateway_url}/client/", timeout=10)

    assert "nexus_bridge-" in answer.text


def test_an_update_that_fails_leaves_the_image_before_and_a_dump(world: World, stack: ContainerStack) -> None:
    before = stack.podman("image", "inspect", "--format", "{{.Id}}", stack.image).stdout

    done = stack.make("update", BUILD=f"podman tag {stack.image_of('redis')} {stack.image}")

    after = stack.podman("image", "inspect", "--format", "{{.Id}}", stack.image).stdout
    assert done.returncode != 0
    assert "the migrations failed" in done.stderr
    assert after == before
    assert stack.dumps()[-1].read_bytes()[:5] == b"PGDMP"


def test_an_update_leaves_everything_well(world: World, stack: ContainerStack) -> None:
    done = stack.make("update")

    assert done.returncode == 0, done.stderr
    assert "Updated." in done.stdout
    assert set(stack.containers().values()) == {"Up", "Exited"}


def test_a_backup_comes_out_of_the_containers_and_back_into_them(
    world: World,
    stack: ContainerStack,
    echo: Bridged,
    make_room: MakeRoom,
    tmp_path: Path,
) -> None:
    room = make_room(echo.slug)
    said = ask(world, person="bob", rid=room.rid, slug=echo.slug, text="remember the drill")
    said.wait_done()

    made = stack.make("backup", TO=str(tmp_path), ARGS="--encrypt --keep 2")
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.iterdir()
    world.query("UPDATE rooms SET name = 'lost' WHERE rid = %s", room.rid)
    done = stack.make("restore", FROM=str(file), ARGS="--replace")

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert file.stat().st_mode & 0o777 == 0o600
    assert said.state() == "done"
    assert world.query("SELECT 1 FROM rooms WHERE rid = %s AND name = %s", room.rid, room.name)
    world.wait_online(echo.slug, HOST_AGENT)
    again = ask(world, person="bob", rid=room.rid, slug=echo.slug, text="are you here?")
    # The bridge may be back before the chat process has its accounts again; then the next catching up finds the question.
    assert "are you here?" in again.wait_done(timeout_s=180)


def test_the_dump_of_an_update_brings_back_what_was_before(world: World, stack: ContainerStack) -> None:
    (before,) = world.query("SELECT count(*) AS rows FROM audit_log")
    world.query("CREATE TABLE of_a_newer_version (id int)")

    done = stack.make("restore", FROM=str(stack.dumps()[-1]))

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    (after,) = world.query("SELECT count(*) AS rows FROM audit_log")
    assert 0 < after["rows"] <= before["rows"]
    assert world.query("SELECT to_regclass('of_a_newer_version') AS oid") == [{"oid": None}]
    world.wait_online(HOST_AGENT)
