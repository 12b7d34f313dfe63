"""Do the scripts behind `make up` make what is missing, keep what is there, and name the cure for what is wrong?"""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from docker.programs import CHECKOUT

CONFIG = os.EX_CONFIG


def run(script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(CHECKOUT / "docker" / script), *words],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def values(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]\w*=", line))


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    path = tmp_path / "settings"
    assert run("env", str(path)).returncode == 0
    return path


@pytest.fixture
def engine(tmp_path: Path) -> dict[str, str]:
    """A container engine that says yes to everything, and a compose program that says what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("engine", "exit 0"), ("composer", 'echo "$@"')):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return {"ENGINE": str(folder / "engine"), "COMPOSE": str(folder / "composer")}


def test_a_new_file_is_private_and_has_a_secret_of_its_own_for_every_door(env_file: Path) -> None:
    written = values(env_file)

    secrets = [value for name, value in written.items() if re.search(r"_(KEY|TOKEN|PASSWORD)$", name)]
    assert env_file.stat().st_mode & 0o777 == 0o600
    assert len(secrets) >= 10
    assert len(set(secrets)) == len(secrets)
    assert min(len(secret) for secret in secrets) >= 48
    assert written["COMPOSE_PROFILES"] == "rocketchat"


def test_nexus_accepts_what_was_written(env_file: Path) -> None:
    settings = {name: value for name, value in values(env_file).items() if name.startswith("NEXUS_")}

    done = subprocess.run(
        [sys.executable, "-c", "import nexus_project.settings"],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_that_is_there_is_never_written_again(env_file: Path) -> None:
    before = env_file.read_bytes()

    again = run("env", str(env_file), HOST="other.example.org", DEVCHAT="1")

    assert again.returncode == 0
    assert env_file.read_bytes() == before


def test_the_name_of_the_host_and_tls_decide_the_addresses(tmp_path: Path) -> None:
    path = tmp_path / "settings"

    run("env", str(path), HOST="nexus.example.org", TLS="1")

    written = values(path)
    assert written["NEXUS_PUBLIC_URL"] == "https://nexus.example.org"
    assert written["NEXUS_CHAT_URL"] == "https://chat.example.org"
    assert written["NEXUS_ALLOWED_HOSTS"] == "nexus.example.org"
    assert written["BIND_ADDRESS"] == "127.0.0.1"
    assert written["COMPOSE_PROFILES"] == "rocketchat,tls"


def test_tls_without_a_name_is_refused(tmp_path: Path) -> None:
    done = run("env", str(tmp_path / "settings"), TLS="1")

    assert done.returncode == CONFIG
    assert "make up TLS=1 HOST=nexus.example.org" in done.stderr
    assert not (tmp_path / "settings").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text + "NEXUS_PROMT_BUDGET=1\n", "NEXUS_PROMT_BUDGET in .* is not a setting of Nexus. Cure: "),
        (lambda text: re.sub(r"NEXUS_MEM0_KEY=.*", "", text), "NEXUS_MEM0_KEY is missing .* Cure: docker/env --add NEXUS_MEM0_KEY"),
        (lambda text: re.sub(r"NEXUS_FIELD_KEY=.*", "NEXUS_FIELD_KEY=", text), "NEXUS_FIELD_KEY is missing .* put the one back"),
        (lambda text: re.sub(r"NEXUS_ADMIN_TOKEN=(.*)", r'NEXUS_ADMIN_TOKEN="\1"', text), "quotes, .*:NEXUS_ADMIN_TOKEN.* bare value"),
        (lambda text: text.replace("\n", "\r\n"), "foreign line ends"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_file_is_said_with_its_cure(env_file: Path, change, sentence: str) -> None:
    env_file.write_bytes(change(env_file.read_text()).encode())

    done = run("env", str(env_file))

    assert done.returncode == CONFIG
    assert re.search(sentence, done.stderr)


def test_a_file_that_others_can_read_is_refused_until_it_is_closed(env_file: Path) -> None:
    env_file.chmod(0o644)
    done = run("env", str(env_file))

    env_file.chmod(0o600)

    assert done.returncode == CONFIG
    assert f"chmod 600 {env_file}" in done.stderr
    assert run("env", str(env_file)).returncode == 0


def test_a_missing_secret_can_be_added_and_one_that_is_there_can_not(env_file: Path) -> None:
    env_file.write_text(re.sub(r"NEXUS_MEM0_KEY=.*", "", env_file.read_text()))

    first = run("env", "--add", "NEXUS_MEM0_KEY", str(env_file))
    second = run("env", "--add", "NEXUS_MEM0_KEY", str(env_file))

    assert first.returncode == 0
    assert len(values(env_file)["NEXUS_MEM0_KEY"]) >= 48
    assert "stands in" in second.stderr


def test_a_machine_without_docker_is_told_what_to_install(env_file: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "sed", "env", "tail"):
        (tools / name).symlink_to(f"/usr/bin/{name}")

    done = run("compose", "ps", PATH=str(tools), ENV_FILE=str(env_file))

    assert done.returncode == CONFIG
    assert "Docker is not installed here. Cure: https://docs.docker.com/" in done.stderr


def test_a_docker_without_compose_is_told_so(env_file: Path, tmp_path: Path) -> None:
    fake = tmp_path / "docker"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)

    done = run("compose", "ps", PATH=f"{tmp_path}:{os.environ['PATH']}", ENV_FILE=str(env_file))

    assert done.returncode == CONFIG
    assert "no compose plugin. Cure: apt-get install docker-compose-plugin" in done.stderr


def test_a_busy_port_is_named_with_its_service_and_setting(tmp_path: Path, engine: dict[str, str]) -> None:
    path = tmp_path / "settings"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        run("env", str(path), REDIS_PORT=str(port))

        done = run("compose", "up", "-d", ENV_FILE=str(path), **engine)

    assert done.returncode == CONFIG
    assert f"Port {port}, which redis wants, is taken by another program. Cure: " in done.stderr
    assert "REDIS_PORT" in done.stderr


def test_the_profiles_of_the_file_are_handed_on(tmp_path: Path, engine: dict[str, str]) -> None:
    path = tmp_path / "settings"
    run("env", str(path), DEVCHAT="1", TLS="1", HOST="nexus.example.org")

    done = run("compose", "config", ENV_FILE=str(path), **engine)

    assert done.stdout.split()[-5:] == ["--profile", "devchat", "--profile", "tls", "config"]


def test_without_a_file_the_word_that_writes_it_is_named(tmp_path: Path, engine: dict[str, str]) -> None:
    done = run("compose", "ps", ENV_FILE=str(tmp_path / "none"), **engine)

    assert done.returncode == CONFIG
    assert "Cure: make up" in done.stderr
