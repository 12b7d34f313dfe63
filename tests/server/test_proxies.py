"""Does Nexus work behind the proxies that docker/ ships: TLS, HTTP/2, a bridge by wss with the team's own CA, real addresses?"""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from docker.ports import free_ports
from gateway.bridges import config_text
from tests.server import proxies
from tests.server.gateway_process import running_gateway
from tests.server.hub_world import World
from tests.server.proxies import Proxy

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]
WAIT_S = 45


@pytest.fixture(scope="module", params=sorted(proxies.KINDS))
def proxy(request, tmp_path_factory, django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), running(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture(params=sorted(proxies.KINDS))
def proxy_of_its_own(request, tmp_path, transactional_db):
    """For who makes the gateway angry: whoever comes from the same address afterwards has to wait."""
    with running(request.param, tmp_path) as made:
        yield made


@contextlib.contextmanager
def running(kind: str, directory: Path) -> Iterator[Proxy]:
    """In front of a gateway that knows its public address and believes this one proxy."""
    if not proxies.is_here(kind):
        pytest.skip(f"{kind} is not here: apt-get install {kind}")
    upstream, port = free_ports(2)
    settings = {
        "NEXUS_PUBLIC_URL": f"https://localhost:{port}",
        "NEXUS_ALLOWED_HOSTS": "localhost",
        "NEXUS_TRUSTED_PROXIES": "127.0.0.1",
    }
    with (
        running_gateway(directory, port=upstream, **settings),
        proxies.KINDS[kind](directory, port=port, upstream=upstream) as made,
    ):
        yield made


@pytest.fixture
def world(transactional_db):
    return World()


def get(proxy: Proxy, path: str, **options) -> httpx.Response:
    with httpx.Client(verify=proxy.context, base_url=proxy.url, timeout=WAIT_S) as client:
        return client.get(path, **options)


def hub_url(proxy: Proxy) -> str:
    return proxy.url.replace("https", "wss") + "/ws/bridge/"


def test_http_2_is_agreed_upon_and_pages_are_served_with_hsts(proxy: Proxy) -> None:
    context = proxy.context
    context.set_alpn_protocols(["h2", "http/1.1"])

    with (
        socket.create_connection(("127.0.0.1", proxy.port), timeout=WAIT_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        agreed, version = secured.selected_alpn_protocol(), secured.version()
    page = get(proxy, "/healthz")

    assert agreed == "h2"
    assert version in ("TLSv1.2", "TLSv1.3")
    assert page.status_code == 200
    assert "max-age=" in page.headers["strict-transport-security"]


def test_a_client_without_the_teams_ca_trusts_nobody(proxy: Proxy) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{proxy.url}/healthz", timeout=WAIT_S)


def test_a_bridge_connects_by_wss_with_the_teams_ca_and_not_without(proxy: Proxy, world, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    text = config_text(hub=proxy.url, token=world.token, slug=world.agent.slug, cli="echo", workdir=str(work))
    with_ca = text.replace("token =", f'ca_file = "{proxy.ca_file}"\ntoken =', 1)

    good, bad = check(tmp_path / "good.toml", with_ca), check(tmp_path / "bad.toml", text)

    assert f"hub            wss://localhost:{proxy.port}: up" in good.stdout
    assert "bridge token   good" in good.stdout
    assert "name your team's CA file as `ca_file`" in bad.stdout


def check(config: Path, text: str) -> subprocess.CompletedProcess[str]:
    config.touch(0o600)
    config.write_text(text, encoding="utf-8")
    env = {"PATH": os.environ["PATH"], "HOME": str(config.parent)}
    argv = [sys.executable, "-m", "nexus_bridge", "check", "--config", str(config)]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_frames_pass_in_both_directions(proxy: Proxy, world) -> None:
    headers = {"Authorization": f"Bearer {world.token}"}

    with connect(hub_url(proxy), additional_headers=headers, ssl=proxy.context, open_timeout=WAIT_S) as bridge:
        bridge.send('{"type": "nonsense"}')
        answer = bridge.recv(timeout=WAIT_S)

    assert '"type":"error"' in answer


def test_a_page_of_somebody_else_can_not_connect(proxy: Proxy, world) -> None:
    headers = {"Authorization": f"Bearer {world.token}"}

    with pytest.raises(InvalidStatus) as refused:
        connect(
            hub_url(proxy), additional_headers=headers, ssl=proxy.context, origin=Origin("https://evil.example.org")
        )

    assert refused.value.response.status_code == 403


def test_under_another_host_name_nothing_of_nexus_is_shown(proxy: Proxy) -> None:
    answer = get(proxy, "/healthz", headers={"Host": "evil.example.org"})

    assert b"ok" not in answer.content


def test_a_session_changes_things_from_its_own_origin_only(proxy: Proxy, world) -> None:
    with httpx.Client(verify=proxy.context, base_url=proxy.url, timeout=WAIT_S) as client:
        me = client.post("/api/v1/login", json={"token": os.environ["NEXUS_ADMIN_TOKEN"]}).json()
        # A browser keeps and sends it; this client wants a dot in the domain of a cookie.
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar)
        headers = {"X-CSRFToken": me["csrf_token"], "Cookie": cookies}
        jar_is_secure = all(cookie.secure for cookie in client.cookies.jar)
        client.cookies.clear()

        foreign = client.post("/api/v1/logout", headers={**headers, "Origin": "https://evil.example.org"})
        own = client.post("/api/v1/logout", headers={**headers, "Origin": proxy.url, "Referer": f"{proxy.url}/"})

    assert jar_is_secure
    assert foreign.status_code == 403
    assert own.status_code == 204


def test_what_a_client_claims_about_its_address_does_not_reach_the_gateway(proxy_of_its_own: Proxy) -> None:
    def refused(number: int) -> int:
        claims = {"Authorization": "Bearer nxb_wrong", "X-Forwarded-For": f"203.0.113.{number}"}
        return get(proxy_of_its_own, "/bridge/check", headers=claims).status_code

    answers = [refused(number) for number in range(22)]

    assert answers[0] == 401
    assert answers[-1] == 429, "the limit counts the real address, whatever the client says"
