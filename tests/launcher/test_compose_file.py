"""Does docker/compose.yml keep what it promises: health, limits, restarts, loopback, no secrets, no root, every program?"""

import re
from typing import Any

import pytest
import yaml

from docker import roster, start
from docker.programs import CHECKOUT

FILE = CHECKOUT / "docker" / "compose.yml"
DOCKERFILE = CHECKOUT / "docker" / "Dockerfile"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
ONE_SHOT = {"prepare"}
OURS = {name for name, service in SERVICES.items() if "nexus:local" in service["image"]}
# Rocket.Chat's image names a user of its own, and writes beside its code. Caddy binds 80 and 443 and writes to volumes of root.
THEIR_OWN_USER = {"rocketchat", "caddy"}
THEIR_OWN_FILES = {"rocketchat"}

long_running = pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
every = pytest.mark.parametrize("name", sorted(SERVICES))


def test_every_process_of_the_design_is_there() -> None:
    design = {*roster.SERVICES, "postgres", "redis", "rocketchat", "mongodb", "devchat"}

    assert set(SERVICES) == design | ONE_SHOT | {"caddy"}


@pytest.mark.parametrize("name", sorted({*roster.SERVICES, "devchat", "prepare"}))
def test_a_container_runs_the_very_program_that_the_embedded_stack_runs(name: str) -> None:
    words = SERVICES[name]["command"]

    assert words[0] == name
    assert start.command(*words)[0] in ("-m", "manage.py")


@long_running
def test_a_service_has_a_health_check_and_comes_back(name: str) -> None:
    service = SERVICES[name]

    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])


@pytest.mark.parametrize("name", sorted({*roster.SERVICES, "devchat"}))
def test_the_health_check_of_a_program_of_ours_is_its_own(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"] == ["CMD", "python", "-m", "docker.healthy", name]
    assert name in start.PORTS


@every
def test_a_service_has_limits_a_bounded_log_and_no_way_to_more_rights(name: str) -> None:
    service = SERVICES[name]

    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["pids_limit"] <= 512
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))


@every
def test_a_service_is_not_root_and_its_root_is_read_only(name: str) -> None:
    service = SERVICES[name]

    if name not in THEIR_OWN_USER:
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    if name not in THEIR_OWN_FILES:
        assert service["read_only"] is True


def test_the_image_is_not_root_either() -> None:
    users = re.findall(r"^USER (\S+)", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)

    assert users == [SERVICES["gateway"]["user"]]


@every
def test_ports_are_on_loopback_but_for_the_chat_the_gateway_and_the_proxy(name: str) -> None:
    open_to_all = {
        "${BIND_ADDRESS:-0.0.0.0}:${GATEWAY_PORT:-4000}:4000",
        "${BIND_ADDRESS:-0.0.0.0}:${CHAT_PORT:-3000}:3000",
    }

    others = [port for port in SERVICES[name].get("ports", []) if port not in open_to_all]

    if name == "caddy":
        assert others == ["80:80", "443:443", "443:443/udp"]
    else:
        assert all(port.startswith("127.0.0.1:") for port in others)


@pytest.mark.parametrize(
    "name", sorted(name for name in SERVICES if "ports" in SERVICES[name] and name in start.PORTS)
)
def test_what_is_published_is_where_the_program_listens(name: str) -> None:
    (port,) = SERVICES[name]["ports"]

    assert port.endswith(f":{start.PORTS[name]}")


def test_the_ports_are_those_of_the_design() -> None:
    published = {name: service["ports"][0].split(":-")[-1] for name, service in SERVICES.items() if "ports" in service}

    assert (
        published.items()
        >= {
            "gateway": "4000}:4000",
            "composer": "4001}:4001",
            "runtime": "4002}:4002",
            "mem0-api": "4100}:4100",
            "postgres": "5433}:5432",
            "redis": "6380}:6379",
            "rocketchat": "3000}:3000",
            "devchat": "3000}:3000",
        }.items()
    )


@every
def test_every_setting_that_is_passed_exists(name: str) -> None:
    known = set(re.findall(r'_env\.\w+\(\s*"(NEXUS_\w+)"', (CHECKOUT / "nexus_project/settings.py").read_text()))
    # Words between the file's own services, not settings of Nexus's processes.
    known |= {"NEXUS_ROLE_PASSWORD"} if name == "postgres" else set()

    passed = {key for key in SERVICES[name].get("environment", {}) if key.startswith("NEXUS_")}

    assert passed - known == set()


def test_no_secret_stands_in_the_file() -> None:
    text = FILE.read_text(encoding="utf-8")

    values = [
        (name, key, str(value))
        for name, service in SERVICES.items()
        for key, value in service.get("environment", {}).items()
        if re.search(r"PASS|KEY|TOKEN|SECRET", key)
    ]

    assert [one for one in values if one[2] and not re.fullmatch(r"\$\{\w+(:\?[^}]*)?\}", one[2])] == []
    assert not re.search(r"://\w+:[^$@\s]+@", text)


def test_only_one_of_ours_is_built_and_all_of_ours_are_that_image() -> None:
    assert [name for name in SERVICES if "build" in SERVICES[name]] == ["prepare"]
    assert {"prepare", "devchat", *roster.SERVICES} == OURS


def test_every_image_has_a_version() -> None:
    images = [service["image"] for name, service in SERVICES.items() if name not in OURS]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)

    assert [image for image in images if not re.search(r":[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?$", image)] == []


def test_the_database_of_the_chat_is_reachable_by_the_chat_alone() -> None:
    on_it = [name for name, service in SERVICES.items() if "chat-database" in service.get("networks", [])]

    assert sorted(on_it) == ["mongodb", "rocketchat"]
    assert SERVICES["mongodb"]["networks"] == ["chat-database"]
    assert "ports" not in SERVICES["mongodb"]
