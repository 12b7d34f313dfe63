"""What answers without credentials, and what does the rest say?"""

import io
import subprocess
import sys
import zipfile

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.urls import get_resolver

from composer.models import Prompt
from gateway import bridge_auth, files, health
from gateway.doctor.live import OPEN_PATHS
from gateway.hub import outgoing
from gateway.models import File
from gateway.watch import rows
from nexus_bridge import protocol
from nexus_project.version import VERSION
from tests.server import people
from tests.server.hub_world import World

pytestmark = [pytest.mark.integration, pytest.mark.django_db, pytest.mark.timeout(60)]

OPEN = OPEN_PATHS
"""Everything else wants credentials. /metrics answers on loopback."""


@pytest.fixture(autouse=True)
def fresh(settings, tmp_path, monkeypatch):
    settings.NEXUS_STATE_DIR = tmp_path
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()
    settings.NEXUS_METRICS_TOKEN = ""
    monkeypatch.setattr(health, "_memo", health.Memo(make=health.problems))


@pytest.fixture
def world():
    return World()


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def paths():
    """Every route, with something in place of its arguments."""
    found = []
    for entry in get_resolver().url_patterns:
        route = str(entry.pattern).replace("<int:file_id>", "1").replace("<str:name>", "x.whl")
        found.append(route)
    return found


@pytest.mark.parametrize("path", paths())
def test_without_credentials_only_the_open_paths_answer(client, path):
    if path in OPEN or path.startswith("client/"):
        return
    statuses = {client.get(f"/{path}").status_code, client.post(f"/{path}").status_code}

    assert statuses <= {302, 401, 403, 404, 405}


def test_healthy_is_who_has_nothing_stuck(client):
    assert client.get("/healthz").json() == {"ok": True, "problems": [], "version": VERSION}


def test_a_question_that_nobody_composes_is_told(client, world):
    pk = world.open()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE invocations SET queued_at = now() - interval '5 minutes' WHERE id = %s", [pk])

    answer = client.get("/healthz")

    assert answer.status_code == 503
    assert "composer" in answer.json()["problems"][0]


def test_metrics_are_for_loopback_or_the_token(client, settings):
    assert b"nexus_replies_unsettled" in client.get("/metrics").content
    assert client.get("/metrics", headers={"X-Forwarded-For": "8.8.8.8"}).status_code == 401
    assert client.get("/metrics", REMOTE_ADDR="10.0.0.9").status_code == 401

    settings.NEXUS_METRICS_TOKEN = "m" * 40
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers=bearer("m" * 40)).status_code == 200


def test_metrics_of_the_process_are_told_while_the_database_is_away(client, monkeypatch):
    def away():
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(rows.ROWS, "tell", away)

    told = client.get("/metrics")

    assert told.status_code == 200
    assert b"nexus_hub_connections" in told.content


def test_check_tells_a_bridge_who_it_is(client, world):
    found = client.get("/bridge/check", headers=bearer(world.token)).json()

    assert found["owner"] == "alice"
    assert [one["slug"] for one in found["agents"]] == ["claude-alice"]
    assert client.get("/bridge/check", headers=bearer(world.token[:-1])).status_code == 401
    assert client.get(f"/bridge/check?token={world.token}").status_code == 401


def running(world):
    """A running turn and its tools token."""
    row = world.row(world.open())
    Prompt.objects.create(invocation=row, fence=row.fence, text="why?", sections=[], token_count=1, budget=1)
    move = "UPDATE invocations SET state = %s, lane = 0, bridge_session = 'here' WHERE id = %s"
    with connection.cursor() as cursor:
        for state in ("composing", "composed", "offered"):
            cursor.execute(move, [state, row.pk])
        (offer,) = outgoing.due(known=[outgoing.Known(session="here", offered=frozenset())])
        cursor.execute(move, ["running", row.pk])
    assert isinstance(offer.frame, protocol.Prompt)
    return offer.frame.tools_token, row


def test_a_turn_fetches_files_of_its_own_room_only(client, world):
    token, row = running(world)
    sha256, size = files.keep(io.BytesIO(b"plan"))
    other_room = people.make_room("secret")
    foreign = people.say(other_room, world.alice, "x")
    made = [
        File.objects.create(sha256=sha256, name="plan.txt", size=size, message=message, expires_at="2999-01-01T00:00Z")
        for message in (row.message, foreign)
    ]

    mine = client.get(f"/bridge/files/{made[0].pk}", headers=bearer(token))
    assert b"".join(mine.streaming_content) == b"plan"
    assert client.get(f"/bridge/files/{made[1].pk}", headers=bearer(token)).status_code == 404
    assert client.get(f"/bridge/files/{made[0].pk}", headers=bearer(world.token)).status_code == 401
    assert client.get(f"/bridge/files/{made[0].pk}").status_code == 401


def test_a_turn_sends_a_file_and_nobody_else_does(client, world, monkeypatch, settings):
    token, row = running(world)
    headers = bearer(token) | {"X-File-Name": "../../etc/pass%C3%A9"}

    sent = client.post("/bridge/files/", data=b"report", content_type="text/plain", headers=headers)
    assert sent.status_code == 201
    stored = File.objects.get(pk=int(sent.json()["id"]))
    assert (stored.name, stored.invocation_id) == ("_.._etc_passé", row.pk)
    assert files.path_of(sha256=sent.json()["sha256"]).read_bytes() == b"report"

    settings.NEXUS_FILE_MAX_MIB = 0
    assert client.post("/bridge/files/", data=b"long", content_type="text/plain", headers=headers).status_code == 413
    monkeypatch.setattr(files, "MAX_PER_RUN", 1)
    assert client.post("/bridge/files/", data=b"", content_type="text/plain", headers=headers).status_code == 409
    assert client.post("/bridge/files/", data=b"x", content_type="text/plain").status_code == 401


def test_a_tools_token_ends_with_its_turn(client, world):
    token, row = running(world)
    assert bridge_auth.find_run(tools_token=token) == row

    with connection.cursor() as cursor:
        cursor.execute("UPDATE invocations SET state = 'done', lane = NULL, ended_at = now() WHERE id = %s", [row.pk])

    assert bridge_auth.find_run(tools_token=token) is None


@pytest.mark.timeout(60)
def test_the_wheel_is_served_and_installs(client, tmp_path):
    assert client.get("/client/").status_code == 404
    call_command("build_client", stdout=io.StringIO())
    page = client.get("/client/").content.decode()
    name = page.split('href="')[1].split('"')[0]
    wheel = tmp_path / name
    wheel.write_bytes(b"".join(client.get(f"/client/{name}").streaming_content))

    assert "nexus_bridge/protocol.py" in zipfile.ZipFile(wheel).namelist()
    target = tmp_path / "site"
    uv = sys.executable.replace("python", "uv")
    done = subprocess.run(
        [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--target", str(target), str(wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (target / "nexus_bridge" / "session.py").exists()
    assert client.get("/client/../settings.py").status_code == 404
