"""Does each real CLI do through hub and bridge what it does in a terminal? One row per case, one column per CLI."""

import asyncio
import contextlib
import os
import signal

import psutil
import pytest
from asgiref.sync import sync_to_async

from gateway import invocations
from gateway.invocations import approvals
from gateway.models import FINAL, Agent, Approval, Asks, AuditEntry, State
from nexus_bridge import events
from tests.clis.bench import Bench
from tests.clis.kits import KITS
from tests.clis.table import PASSED, TABLE
from tests.server.gateway_process import running_gateway
from tests.server.hub_world import World

pytestmark = [
    pytest.mark.real_cli,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.environ.get("TEST_CLIS") != "1", reason="minutes long: make test-clis"),
]

EACH_KIT = pytest.mark.parametrize("kit", KITS, ids=lambda kit: kit.kind)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), running_gateway(tmp_path_factory.mktemp("gateway")) as process:
        yield process


@pytest.fixture(autouse=True)
def noted(request):
    """What became of this case goes into the table; a known hole is told and not run."""
    kit, case = request.getfixturevalue("kit"), request.node.originalname.removeprefix("test_")
    if reason := kit.holes.get(case):
        TABLE.note(kind=kit.kind, case=case, outcome="hole", why=reason)
        pytest.skip(f"known hole: {reason}")
    TABLE.note(kind=kit.kind, case=case, outcome="failed")
    yield
    if request.node.stash.get(PASSED, False):
        TABLE.note(kind=kit.kind, case=case, outcome="passed")


@pytest.fixture
async def bench(kit, tmp_path, gateway, fake_api, transactional_db):
    world = await sync_to_async(World)()
    await sync_to_async(Agent.objects.filter(pk=world.agent.pk).update)(cli_kind=kit.kind)
    await sync_to_async(world.agent.refresh_from_db)()
    bench = await sync_to_async(Bench)(kit, world, tmp_path, gateway, fake_api)
    bench.start()
    await bench.connected(times=1)
    yield bench
    await asyncio.to_thread(bench.stop)


@EACH_KIT
async def test_text(kit, bench):
    row, text = await bench.answer("Say hello")

    assert row.state == State.DONE
    assert text.startswith("Fake model here")
    assert row.input_tokens > 0


@EACH_KIT
async def test_cost(kit, bench):
    row, _ = await bench.answer("Say hello")

    assert row.state == State.DONE
    assert row.cost_usd > 0


@EACH_KIT
async def test_tool(kit, bench):
    row, text = await bench.answer(f"Look {kit.read}")

    said = await bench.said(row.pk)
    assert row.state == State.DONE
    assert [event.ok for event in said if isinstance(event, events.ToolResult)] == [True]
    assert "Tool turns: 1" in text


@EACH_KIT
async def test_allowed(kit, bench):
    pk = await bench.ask(f"Do it {kit.touch}")
    asked = await bench.decide(pk, allow=True)
    row = await bench.until(pk, lambda row: row.state in FINAL)

    assert row.state == State.DONE
    assert "made.txt" in asked.detail
    assert (bench.project / "made.txt").exists()


@EACH_KIT
async def test_denied(kit, bench):
    pk = await bench.ask(f"Do it {kit.touch}")
    await bench.decide(pk, allow=False)
    row = await bench.until(pk, lambda row: row.state in FINAL)

    said = await bench.said(pk)
    assert row.state == State.DONE
    assert [event.denied for event in said if isinstance(event, events.ToolResult)] == [True]
    assert not (bench.project / "made.txt").exists()


@EACH_KIT
async def test_reason_of_a_no_reaches_the_model(kit, bench):
    pk = await bench.ask(f"Do it {kit.touch}")
    await bench.decide(pk, allow=False, note="never on a Friday")
    await bench.until(pk, lambda row: row.state in FINAL)

    assert any("never on a Friday" in body for body in bench.api.bodies())


@EACH_KIT
async def test_cancel(kit, bench):
    pk = await bench.ask("Slow [[delay 0.2]] [[long 400]]")
    await bench.until(pk, lambda row: row.first_text_at is not None)
    working = await asyncio.to_thread(bench.cli_processes)
    await sync_to_async(invocations.request_cancel)(invocation_id=pk, reason="stopped")
    row = await bench.until(pk, lambda row: row.state in FINAL)
    after, text = await bench.answer("And now?")

    assert row.state == State.CANCELLED
    assert after.state == State.DONE
    assert text.startswith("Fake model here")
    assert set(working) & set(await asyncio.to_thread(bench.cli_processes)), "a new process had to be started"


@EACH_KIT
async def test_error_401(kit, bench):
    row, _ = await bench.answer("Err [[http 401]]")

    assert (row.state, row.reason) == (State.FAILED, "auth")


@EACH_KIT
async def test_error_429(kit, bench):
    row, _ = await bench.answer("Err [[http 429]]")

    assert (row.state, row.reason) == (State.FAILED, "rate_limit")


@EACH_KIT
async def test_broken_stream(kit, bench):
    row, _ = await bench.answer("Err [[drop]]")

    assert row.state == State.FAILED
    assert row.reason in {"network", "overloaded", "unknown"}


@EACH_KIT
async def test_long_output(kit, bench):
    row, text = await bench.answer("Much [[long 5000]]")

    assert row.state == State.DONE
    assert [line for line in text.splitlines() if line] == [f"line {number} of 5000" for number in range(1, 5001)]


@EACH_KIT
async def test_resume_after_the_process_was_killed(kit, bench):
    first, _ = await bench.answer("My name is Alice")
    killed = await asyncio.to_thread(bench.cli_processes)
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    # A large one takes a while to die, and as long as it is there it is given the next turn.
    await asyncio.to_thread(psutil.wait_procs, killed, 5)
    second, text = await bench.answer("Who am I?")

    assert (first.state, second.state) == (State.DONE, State.DONE)
    assert text.startswith("Fake model here")
    assert any("My name is Alice" in body and "Who am I?" in body for body in bench.api.bodies())


@EACH_KIT
async def test_resume_after_the_bridge_was_killed(kit, bench):
    await bench.answer("My name is Alice")
    await asyncio.to_thread(bench.kill)
    bench.start()
    await bench.connected(times=2)
    second, _ = await bench.answer("Who am I?")

    assert second.state == State.DONE
    assert any("My name is Alice" in body and "Who am I?" in body for body in bench.api.bodies())


@EACH_KIT
async def test_nothing_is_left_running(kit, bench):
    await bench.answer("Say hello")
    left = await asyncio.to_thread(bench.cli_processes)
    assert left
    await asyncio.to_thread(bench.stop)

    _, alive = await asyncio.to_thread(psutil.wait_procs, left, 10)
    assert alive == []


@EACH_KIT
async def test_tool_of_the_hub(kit, bench):
    row, text = await bench.answer(f'Read [[tool {kit.hub_tool("read_room")} {{"limit": 3}}]]')

    called = await sync_to_async(lambda: list(AuditEntry.objects.filter(action="tool_called").values_list("detail")))()
    assert row.state == State.DONE
    assert [detail["outcome"] for (detail,) in called] == ["done"]
    assert "Tool turns: 1" in text


@EACH_KIT
async def test_question(kit, bench):
    pk = await bench.ask(f'[[tool {kit.hub_tool("ask_person")} {{"question": "Which branch?"}}]]')
    async with asyncio.timeout(60):
        while not await sync_to_async(Approval.objects.filter(kind=Asks.QUESTION).exists)():
            await asyncio.sleep(0.1)
    question = await sync_to_async(Approval.objects.select_related("invocation__agent").get)(kind=Asks.QUESTION)
    await sync_to_async(approvals.answer)(approval=question, user=bench.world.bob, text="the release branch")
    row = await bench.until(pk, lambda row: row.state in FINAL)

    assert row.state == State.DONE
    assert any("bob answered: the release branch" in body for body in bench.api.bodies())
