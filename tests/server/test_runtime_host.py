"""Does one host, and one only, keep the bundled bridge running, with nothing of ours in its environment?"""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest

from gateway.demo import story
from gateway.management.commands import demo, runtime_host
from gateway.models import Agent, Bridge, HostLease, State
from runtime import host
from runtime.host import Bundle, Host, Lease
from tests.server.devchat_process import ADMIN, PASSWORD, people_and_rooms, running_devchat
from tests.server.gateway_process import CHECKOUT, environment, running_gateway
from tests.server.hub_world import World

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def devchat(tmp_path_factory):
    with running_devchat(tmp_path_factory.mktemp("devchat")) as process:
        people_and_rooms(process)
        yield process


@pytest.fixture
def chat(devchat, settings, tmp_path):
    settings.NEXUS_ROCKETCHAT_URL = devchat.url
    settings.NEXUS_ROCKETCHAT_ADMIN = ADMIN
    settings.NEXUS_ROCKETCHAT_ADMIN_PASSWORD = PASSWORD
    settings.NEXUS_STATE_DIR = tmp_path
    settings.NEXUS_HOST_CLIS = False
    return devchat


def until(is_so, within_s=30.0):
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_one_of_two_holds_the_lease(transactional_db):
    one, other = Lease(owner="one"), Lease(owner="other")

    assert one.renew()
    assert not other.renew()
    assert one.renew()
    one.let_go()
    assert other.renew()
    assert not one.is_held


def test_a_lease_that_was_not_renewed_is_anybodys(transactional_db):
    assert Lease(owner="dead").renew()
    HostLease.objects.update(lease_until="2026-01-01T00:00Z")

    assert Lease(owner="next").renew()


def test_what_is_not_renewed_in_time_is_not_held(transactional_db):
    now = [0.0]
    lease = Lease(owner="one", clock=lambda: now[0])
    assert lease.renew()
    assert lease.is_held
    now[0] = host.LEASE_S

    assert not lease.is_held


def test_nothing_of_ours_reaches_the_bridges_environment(tmp_path):
    inherited = {"PATH": "/bin", "NEXUS_SECRET_KEY": "s", "DATABASE_URL": "d", "REDIS_URL": "r", "PGPASSWORD": "p"}

    assert host.bridge_env(inherited, home=tmp_path) == {"PATH": "/bin", "LANG": "C.UTF-8", "HOME": str(tmp_path)}


def test_the_configuration_is_private_and_its_token_good(chat, transactional_db, tmp_path):
    bundle = runtime_host.prepare()

    config = tomllib.loads(bundle.config.read_text())
    assert stat.S_IMODE(bundle.config.stat().st_mode) == 0o600
    assert [one["slug"] for one in config["agent"]] == ["shell-echo"]
    agent = Agent.objects.select_related("bridge").get(slug="shell-echo")
    assert (agent.cli_kind, agent.owner_id, agent.who_may_ask) == ("pty", None, "room")
    first = Bridge.objects.get().token_digest
    runtime_host.prepare()
    assert Bridge.objects.get().token_digest != first


def test_real_clis_join_on_the_operators_word_only(settings, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, **_: f"/usr/bin/{name}")
    settings.NEXUS_HOST_CLIS = False
    assert [one.slug for one in runtime_host.built_in()] == ["shell-echo"]

    settings.NEXUS_HOST_CLIS = True
    assert "claude" in [one.slug for one in runtime_host.built_in()]


def programs(folder, *names):
    for name in names:
        (folder / name).touch(mode=0o700)
    return str(folder)


def test_the_demo_waits_for_the_clis_that_the_host_runs_and_for_no_other(settings, monkeypatch, tmp_path):
    settings.NEXUS_HOST_CLIS = True
    awaited = []
    monkeypatch.setattr(story, "wait_online", lambda *, slugs, **_: awaited.append(slugs))
    # Given an editor that is called like a CLI kind, and no CLI
    monkeypatch.setenv("PATH", programs(tmp_path, "cursor"))

    assert [one.slug for one in runtime_host.built_in()] == ["shell-echo"]
    assert demo.Command()._real_clis(print) == []
    assert awaited == []

    # When the CLI is there as well
    programs(tmp_path, "cursor-agent", "codex")

    assert [one.slug for one in runtime_host.built_in()] == ["shell-echo", "codex", "cursor"]
    assert demo.Command()._real_clis(print) == ["codex", "cursor"]
    assert awaited == [["codex", "cursor"]]


def test_a_bridge_that_dies_is_started_again_and_stops_with_the_host(transactional_db, tmp_path, monkeypatch):
    monkeypatch.setattr(host, "FIRST_DELAY_S", 0.01)
    started = tmp_path / "started"
    program = tmp_path / "nexus_bridge.py"
    program.write_text(
        "import os, sys, time\n"
        f"n = os.path.getsize({str(started)!r})\n"
        f"open({str(started)!r}, 'a').write('x')\n"
        "sys.exit(1) if n < 2 else time.sleep(600)\n"
    )
    started.touch()
    stop = threading.Event()
    monkeypatch.setattr(host, "bridge_env", lambda *_a, **_k: {"PYTHONPATH": str(tmp_path)})
    config = tmp_path / "bridge.toml"
    config.touch()
    host_under_test = Host(
        lease=Lease(owner="one"), prepare=lambda: Bundle(config=config, home=tmp_path), stop=stop, expected=()
    )

    def stop_after_three():
        until(lambda: started.stat().st_size == 3)
        stop.set()

    watcher = threading.Thread(target=stop_after_three)
    watcher.start()

    host_under_test.run()

    watcher.join()
    assert started.stat().st_size == 3
    assert HostLease.objects.get().owner == "one"


def test_shell_echo_answers_through_the_command(chat, transactional_db, tmp_path):
    world = World()
    with running_gateway(tmp_path) as gateway:
        env = environment(
            NEXUS_STATE_DIR=str(tmp_path / "state"),
            NEXUS_PUBLIC_URL=gateway.url,
            NEXUS_ROCKETCHAT_URL=chat.url,
            NEXUS_ROCKETCHAT_ADMIN=ADMIN,
            NEXUS_ROCKETCHAT_ADMIN_PASSWORD=PASSWORD,
        )
        log = tmp_path / "host.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "runtime_host"], cwd=CHECKOUT, env=env, stdout=out, stderr=out
            )
        try:
            until(lambda: Agent.objects.online().filter(slug="shell-echo").exists())
            world.agent = Agent.objects.get(slug="shell-echo")
            pk = world.ask("hello there")
            until(lambda: world.row(pk).state == State.DONE)
            bridge_pid = children_of(process.pid)[0]
            assert b"NEXUS_" not in Path(f"/proc/{bridge_pid}/environ").read_bytes()

            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
            until(lambda: not Path(f"/proc/{bridge_pid}").exists() or is_zombie(bridge_pid))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait(10)


def children_of(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_zombie(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
