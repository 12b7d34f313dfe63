"""Do the spans of one invocation make one trace, whoever writes them, and is nothing of it there while traces are off?"""

import subprocess
import sys
import time

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from composer.compose import claim_and_compose
from gateway.watch import traces
from runtime.dispatch import dispatch
from tests.server.hub_world import World

OFF = """
import os, secrets, sys
for name in ("SECRET_KEY", "FIELD_KEY", "ADMIN_TOKEN", "MEM0_KEY"):
    os.environ[f"NEXUS_{name}"] = secrets.token_urlsafe(48)
os.environ |= {"NEXUS_DATABASE_URL": "postgres://a:b@127.0.0.1:1/c", "NEXUS_REDIS_URL": "redis://127.0.0.1:1"}
os.environ["DJANGO_SETTINGS_MODULE"] = "nexus_project.settings"
import django; django.setup()
import composer.tasks, runtime.tasks, gateway.chat.process, gateway.hub.consumer, gateway.sweep
from gateway.watch import traces
with traces.span("compose", invocation_id=1):
    traces.record("run", invocation_id=1, began_at=0.0)
traces.finish(invocation_id=1, began_at=0.0)
print(sorted(name for name in sys.modules if name.startswith(("opentelemetry.sdk.trace", "opentelemetry.exporter"))))
"""


@pytest.fixture
def spans(settings):
    settings.NEXUS_TRACES_URL = "http://127.0.0.1:1"
    settings.NEXUS_TRACES_RATIO = 1.0
    exporter = InMemorySpanExporter()
    traces.root_of.cache_clear()
    traces.use(SimpleSpanProcessor(exporter), program="test")
    yield exporter.get_finished_spans
    traces.stop()
    traces.root_of.cache_clear()


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
def test_a_question_composed_and_offered_is_one_trace(spans):
    world = World()
    world.bridge.lease_until = None
    pk = world.open()

    claim_and_compose(invocation_id=pk)
    dispatch(invocation_id=pk)
    traces.finish(invocation_id=pk, began_at=time.time() - 5, state="done")

    found = {span.name: span for span in spans()}
    root = found["invocation"]
    assert {"ingest", "run", "invocation"} <= set(found)
    assert {span.context.trace_id for span in found.values()} == {root.context.trace_id}
    assert {span.parent.span_id for name, span in found.items() if name != "invocation"} == {root.context.span_id}
    assert root.parent is None
    assert root.end_time - root.start_time > 4e9


def test_another_process_of_the_host_finds_the_same_trace_by_itself(spans):
    before = traces.root_of(42)
    traces.root_of.cache_clear()

    assert traces.root_of(42) == before
    assert traces.root_of(43).trace_id != before.trace_id


def test_what_fails_inside_a_span_is_in_it_and_goes_on(spans):
    with pytest.raises(ValueError, match="no prompt"), traces.span("compose", invocation_id=7):
        raise ValueError("no prompt")

    (span,) = spans()
    assert not span.status.is_ok


def test_a_part_of_all_traces_is_whole_traces(spans, settings):
    settings.NEXUS_TRACES_RATIO = 0.5
    traces.root_of.cache_clear()
    assert traces._state is not None
    traces.use(traces._state.provider._active_span_processor, program="test")

    for invocation_id in range(200):
        traces.record("run", invocation_id=invocation_id, began_at=0.0)
        traces.finish(invocation_id=invocation_id, began_at=0.0)

    names: dict[int, set[str]] = {}
    for span in spans():
        names.setdefault(span.context.trace_id, set()).add(span.name)
    assert 50 < len(names) < 150
    assert set(map(frozenset, names.values())) == {frozenset({"run", "invocation"})}


def test_without_the_packages_a_turn_goes_on_without_its_trace(settings, monkeypatch, caplog):
    settings.NEXUS_TRACES_URL = "http://127.0.0.1:1"
    traces._is_installed.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with traces.span("compose", invocation_id=1):
        traces.finish(invocation_id=1, began_at=0.0)

    traces._is_installed.cache_clear()
    assert caplog.text.count("make install-traces") == 1


def test_while_traces_are_off_nothing_of_them_is_imported():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OFF], capture_output=True, text=True, check=True, timeout=100
    )

    assert done.stdout.strip() == "[]"
