"""Can somebody see from outside whether each program works, and what it does?"""

import json
import logging
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from django.db import connection
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from gateway.hub import metrics as _hub_metrics  # noqa: F401 - counted too
from gateway.watch import about, door, stuck, tasks
from gateway.watch import figures as _figures  # noqa: F401 - likewise
from gateway.watch.about import AboutFilter, about_invocation
from gateway.watch.beats import Beats
from gateway.watch.rows import LAG_S, Rows
from nexus_project.logs import JsonFormatter, LineFormatter
from nexus_project.version import VERSION
from tests.server.hub_world import World

ROOT = Path(__file__).resolve().parents[2]
SUM = "nexus_invocations_ended_total"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def record(**extra):
    made = logging.makeLogRecord(
        {"name": "gateway.chat", "levelno": 20, "levelname": "INFO", "msg": "posted", **extra}
    )
    made.created = 1_700_000_000.0
    return made


def told(url, **headers):
    """(status, body) whatever the status."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


# Logs


def test_a_json_line_is_one_object_with_what_it_is_about():
    made = record(room="r1", text="two\nlines")

    line = JsonFormatter().format(made)

    assert "\n" not in line
    assert json.loads(line) == {
        "at": "2023-11-14T22:13:20.000+00:00",
        "level": "info",
        "logger": "gateway.chat",
        "event": "posted",
        "room": "r1",
        "text": "two\nlines",
    }


def test_a_text_line_stays_one_line_whatever_somebody_wrote():
    line = LineFormatter().format(record(reason="bad\n2023 info gateway: forged"))

    assert line.count("\n") == 0


@pytest.mark.parametrize("form", [LineFormatter, JsonFormatter])
def test_what_looks_like_a_token_or_is_a_secret_of_ours_is_masked_in_every_part_of_a_line(form, settings):
    token = f"ghp_{'a1' * 20}"
    made = record(reason=f"key {token}", key=settings.NEXUS_FIELD_KEY)
    made.exc_info = (ValueError, ValueError(f"{token} was refused"), None)
    made.msg = f"asked with {token}"

    line = form().format(made)

    assert token not in line
    assert settings.NEXUS_FIELD_KEY not in line
    assert line.count("[secret]") >= 4


def test_every_line_below_an_invocation_names_it():
    inside, outside, named = record(), record(), record(invocation=9)

    with about_invocation(7):
        AboutFilter().filter(inside)
        AboutFilter().filter(named)
    AboutFilter().filter(outside)

    assert (inside.invocation, named.invocation) == (7, 9)
    assert not hasattr(outside, "invocation")
    assert about.current() is None


# Beats


def test_a_loop_that_falls_silent_is_named():
    clock = Clock()
    beats = Beats(clock=clock)
    beats.expect("leases", within_s=30, what="renewed its accounts' leases")

    clock.now += 29
    assert beats.late() == []
    clock.now += 12
    assert beats.late() == ["for 41 s this process has not renewed its accounts' leases"]

    beats.beat("leases")
    assert beats.late() == []


def test_a_loop_that_has_ended_in_order_is_not_missed():
    clock = Clock()
    beats = Beats(clock=clock)
    beats.expect("hub round", within_s=30, what="renewed its bridges' leases")

    beats.forget("hub round")
    clock.now += 100

    assert beats.late() == []


# The door


@pytest.fixture
def opened(settings, unused_tcp_port):
    settings.NEXUS_WATCH_PORT = unused_tcp_port
    settings.NEXUS_WATCH_HOST = "127.0.0.1"
    settings.NEXUS_METRICS_TOKEN = ""
    found: list[str] = []
    server = door.open_door(look=lambda: found)
    assert server is not None
    yield f"http://127.0.0.1:{unused_tcp_port}", found
    server.shutdown()
    server.server_close()


def test_a_program_that_works_says_200_and_one_that_does_not_says_why(opened):
    url, found = opened

    assert told(f"{url}/healthz") == (200, f'{{"ok": true, "problems": [], "version": "{VERSION}"}}')
    found.append("for 41 s this process has not heard from its queue")

    status, body = told(f"{url}/healthz")
    assert status == 503
    assert json.loads(body)["problems"] == found


def test_figures_are_for_loopback_or_the_token(opened, settings):
    url, _ = opened

    assert "nexus_chat_calls_total" in told(f"{url}/metrics")[1]
    assert told(f"{url}/metrics", **{"X-Forwarded-For": "203.0.113.7"})[0] == 401
    assert not door.may_read(peer="203.0.113.7", headers={})

    settings.NEXUS_METRICS_TOKEN = "m" * 40
    assert told(f"{url}/metrics")[0] == 401
    assert told(f"{url}/metrics", Authorization=f"Bearer {'m' * 40}")[0] == 200
    assert told(f"{url}/else")[0] == 404


def test_a_port_that_is_taken_does_not_stop_the_program(opened, caplog):
    assert door.open_door(look=list) is None
    assert "watch port not opened" in caplog.text


# A worker's processes


def test_a_worker_tells_what_its_processes_do():
    slots = tasks.TaskSlots()

    slots.began()
    slots.ended(is_done=True)
    slots.began()
    slots.ended(is_done=False)
    slots.began()

    figures = {
        (sample.name, sample.labels.get("outcome")): sample.value for one in slots.collect() for sample in one.samples
    }
    assert figures["nexus_tasks_total", "done"] == figures["nexus_tasks_total", "failed"] == 1
    assert figures["nexus_tasks_busy", None] == 1
    assert slots.longest_s() < 60


# Rows


@pytest.mark.integration
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "change", "word"),
    [
        ("queued", "queued_at = now() - interval '5 min'", "composer"),
        ("overdue", "wait_until = now() - interval '5 min'", "sweep"),
        (
            "composed",
            "state = 'composed', lane = 0, composing_at = now(), composed_at = now() - interval '5 min'",
            "runtime",
        ),
    ],
)
def test_what_nobody_works_on_is_a_sentence(name, change, word):
    pk = World().open()
    assert stuck.sentences(name) == []

    _force(f"UPDATE invocations SET {change} WHERE id = %s", pk)  # noqa: S608 - of the list above

    (sentence,) = stuck.sentences(name)
    assert word in sentence


@pytest.mark.integration
@pytest.mark.django_db
def test_the_rows_tell_states_ages_and_what_has_ended_since_the_last_look():
    world = World()
    rows = Rows()
    ended, waiting = world.open(), world.open()
    first = rows.tell().decode()
    _force(
        "UPDATE invocations SET state = 'cancelled', reason = 'stopped', first_text_at = opened_at + interval '2 s',"
        " ended_at = now() - make_interval(secs => %s), cost_usd = 0.5, input_tokens = 10 WHERE id = %s",
        LAG_S - 0.5,
        ended,
    )
    _force("UPDATE invocations SET queued_at = now() - interval '90 s' WHERE id = %s", waiting)
    rows._since = None
    _force("UPDATE invocations SET ended_at = ended_at - interval '0.7 s' WHERE id = %s", ended)
    rows._since = _ago(LAG_S + 5)

    second, third = rows.tell().decode(), rows.tell().decode()

    assert SUM + "{" not in first
    for text in (second, third):
        assert f'{SUM}{{cli="claude",reason="stopped",state="cancelled"}} 1.0' in text
        assert 'nexus_cost_usd_total{cli="claude"} 0.5' in text
        assert 'nexus_first_text_s_bucket{cli="claude",le="2.5"} 1.0' in text
    assert 'nexus_invocations{state="queued"} 1.0' in second
    assert float(second.split('nexus_oldest_s{state="queued"} ')[1].split()[0]) > 80


def _ago(seconds):
    with connection.cursor() as cursor:
        cursor.execute("SELECT now() - make_interval(secs => %s)", [seconds])
        return cursor.fetchone()[0]


def _force(statement, *values):
    """Past the trigger that guards the states."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(statement, values)
        cursor.execute("SET LOCAL session_replication_role = origin")


# What people see of it


def figures():
    """Every series of every process, by name."""
    registry = CollectorRegistry()
    registry.register(tasks.TaskSlots())
    text = b"".join(map(generate_latest, (REGISTRY, registry, Rows().registry))).decode()
    found = set()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)", text, re.MULTILINE):
        found |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return {name for name in found if not name.endswith("_created")}


def test_the_dashboard_names_only_figures_that_exist():
    board = json.loads((ROOT / "docker/grafana/nexus.json").read_text(encoding="utf-8"))
    shown = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    named = {name for one in shown for name in re.findall(r"\b(?:nexus|process)_[a-z0-9_]+", one)}

    assert len(shown) > 40
    assert named - figures() == set()


def test_the_dashboard_has_no_two_panels_in_one_place():
    board = json.loads((ROOT / "docker/grafana/nexus.json").read_text(encoding="utf-8"))
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]

    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_every_figure_is_described():
    page = (ROOT / "docs/watching.md").read_text(encoding="utf-8")
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in figures() if name.startswith("nexus_")}

    assert {name for name in ours if f"`{name}" not in page} == set()
