"""Do the host's own agents summarise when the settings say so, unheard in any room, and does everything else go before?"""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db.models.functions import Now

from composer import compose as composing
from composer import tiers
from composer.models import Prompt, Summary, SummaryOrder
from gateway import bridge_auth, invocations
from gateway.changes.errors import ConflictError
from gateway.changes.work import ask_again
from gateway.invocations import approvals
from gateway.models import Agent, Approval, Invocation, Message, Notice, State, ToolToken
from nexus_bridge import events
from runtime.dispatch import dispatch
from runtime.models import Chunk
from tests.server.gateway_process import running_gateway
from tests.server.hub_world import World, until_state
from tests.server.people import ask, make_agent, make_bridge, make_room, make_user
from tests.server.test_hub_real_bridge import Bridge, online

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(60)]

MONDAY = (datetime.now(UTC) - timedelta(days=20)).replace(hour=9, minute=0, second=0, microsecond=0)


@pytest.fixture(autouse=True)
def chosen(settings):
    settings.NEXUS_SUMMARIZER_AGENT = "scribe"


@pytest.fixture
def bob():
    return make_user("bob")


@pytest.fixture
def backend(bob):
    return make_room("backend", members=(bob,))


@pytest.fixture
def scribe():
    return make_agent("scribe", bridge=make_bridge("host"), cli_kind="echo")


def talk(room, user, count=8):
    rows = [
        Message(
            rc_id=f"mon{n}",
            room=room,
            user=user,
            text=f"Release note {n}: version 1.{n} is out.",
            ts=MONDAY + timedelta(minutes=n),
            rc_updated_at=MONDAY,
        )
        for n in range(count)
    ]
    return Message.objects.bulk_create(rows)


def ordered(room):
    """One round, and the row that it opened."""
    assert tiers.compact_room(room_id=room.pk) == 0
    return SummaryOrder.objects.select_related("invocation").get().invocation


def running(row):
    assert composing.compose(invocation_id=row.pk) == row.pk
    assert dispatch(invocation_id=row.pk)
    row.refresh_from_db()
    assert invocations.accepted(invocation_id=row.pk, fence=row.fence, session=row.bridge_session)
    return row


def answered(row, text, *, outcome="done", reason=""):
    Chunk.objects.create(invocation=row, seq=1, kind="text", payload=events.encode(events.Text(delta=text)))
    assert invocations.ended(
        invocation_id=row.pk,
        fence=row.fence,
        session=row.bridge_session,
        outcome=outcome,
        reason=reason,
        detail="",
        exit_code=0,
        sha256="",
    )


def test_the_agent_reads_the_day_and_what_it_says_becomes_the_summary(backend, bob, scribe):
    talk(backend, bob)
    row = running(ordered(backend))
    text = Prompt.objects.get(invocation=row).text
    answered(row, "bob: versions 1.0 to 1.7 came out on Monday.")

    assert tiers.compact_room(room_id=backend.pk) == 1

    assert "bob: Release note 0: version 1.0 is out." in text
    assert "Summarise this chat" in text
    summary = Summary.objects.get()
    assert (summary.made_by, summary.note, summary.tier) == ("scribe", "", "day")
    assert summary.text == "bob: versions 1.0 to 1.7 came out on Monday."
    assert tiers.compact_room(room_id=backend.pk) == 0


def test_no_room_hears_of_it_and_no_command_sees_it(backend, bob, scribe):
    talk(backend, bob)
    row = running(ordered(backend))
    answered(row, "nothing", outcome="failed", reason="cli_crashed")
    row.refresh_from_db()

    assert not Notice.objects.exists()
    assert row.reply_settled_at is not None
    with pytest.raises(ConflictError, match="nobody asked"):
        ask_again(invocation_id=row.pk, actor="admin")


@pytest.mark.parametrize(
    ("said", "outcome", "note"),
    [
        ("half of it", "failed", "was failed: cli_crashed"),
        ("  \n ", "done", "returned nothing"),
        ("<!DOCTYPE html><html><body>Log in</body></html>", "done", "web page"),
    ],
)
def test_a_run_that_gives_no_summary_gives_way_to_the_next_and_is_noted(backend, bob, scribe, said, outcome, note):
    talk(backend, bob)
    row = running(ordered(backend))
    answered(row, said, outcome=outcome, reason="cli_crashed" if outcome == "failed" else "")

    tiers.compact_room(room_id=backend.pk)

    summary = Summary.objects.get()
    assert summary.made_by == "extractive"
    assert summary.note.startswith("scribe: ")
    assert note in summary.note


def test_more_than_was_asked_for_is_cut(backend, bob, scribe):
    talk(backend, bob)
    answered(running(ordered(backend)), "word " * 50_000)

    tiers.compact_room(room_id=backend.pk)

    assert Summary.objects.get().token_count <= tiers.TOKENS


@pytest.mark.parametrize("away", ["offline", "unknown", "owned", "disabled"])
def test_an_agent_that_is_not_the_hosts_or_not_there_is_not_waited_for(backend, bob, settings, away):
    owner = make_user("alice") if away == "owned" else None
    make_agent(
        "other" if away == "unknown" else "scribe",
        owner=owner,
        bridge=make_bridge(is_online=away != "offline"),
        is_enabled=away != "disabled",
    )
    talk(backend, bob)

    assert tiers.compact_room(room_id=backend.pk) == 1

    assert Summary.objects.get().note == "scribe: it is no agent of the host that is online"
    assert not Invocation.objects.exists()


def test_an_agent_that_goes_offline_before_the_claim_is_not_waited_for(backend, bob, scribe):
    talk(backend, bob)
    row = ordered(backend)
    scribe.bridge.__class__.objects.update(lease_until=Now() - timedelta(seconds=1))

    assert composing.compose(invocation_id=row.pk) is None
    row.refresh_from_db()
    assert (row.state, row.reason) == (State.FAILED, "offline")
    assert tiers.compact_room(room_id=backend.pk) == 1
    assert "offline" in Summary.objects.get().note


def test_one_order_at_a_time_and_after_a_failure_a_rest(backend, bob, scribe):
    talk(backend, bob)
    other = make_room("frontend", members=(bob,))
    Message.objects.bulk_create(
        Message(rc_id=f"f{n}", room=other, user=bob, text=f"page {n} is done", ts=MONDAY, rc_updated_at=MONDAY)
        for n in range(8)
    )
    row = ordered(backend)

    assert tiers.compact_room(room_id=other.pk) == 0
    assert SummaryOrder.objects.count() == 1
    answered(running(row), "", outcome="failed", reason="login_needed")
    assert tiers.compact_room(room_id=other.pk) == 1

    assert Summary.objects.get(room=other).note == "scribe: it rests after a failure: failed login_needed"


def test_what_was_edited_meanwhile_is_ordered_anew(backend, bob, scribe):
    said = talk(backend, bob)
    first = running(ordered(backend))
    Message.objects.filter(pk=said[3].pk).update(text="Release note 3 was wrong.", rc_updated_at=Now())

    second = ordered(backend)

    first.refresh_from_db()
    assert first.cancel_requested_at is not None
    assert second.pk != first.pk


def test_what_is_edited_before_it_is_composed_is_not_read(backend, bob, scribe):
    said = talk(backend, bob)
    row = ordered(backend)
    Message.objects.filter(pk=said[3].pk).update(text="", deleted_at=Now(), rc_updated_at=Now())

    assert composing.compose(invocation_id=row.pk) is None

    row.refresh_from_db()
    assert (row.state, row.reason) == (State.FAILED, "compose_failed")
    assert not Prompt.objects.exists()


def test_a_question_goes_first(backend, bob, scribe):
    talk(backend, bob)
    summary = ordered(backend)
    question = ask(backend, bob, scribe)

    claimed = invocations.claim_next(invocation_id=summary.pk)

    assert claimed is not None
    assert claimed.invocation_id == question.pk


def test_its_wish_for_a_tool_is_denied_at_once_and_its_tools_token_opens_nothing(backend, bob, scribe):
    talk(backend, bob)
    row = running(ordered(backend))
    token = bridge_auth.tools_token(
        bridge_id=scribe.bridge_id, token_version=1, agent_id=scribe.pk, session_key=row.session_key
    )
    ToolToken.objects.create(
        digest=bridge_auth.digest_of(token),
        bridge=scribe.bridge,
        agent=scribe,
        session_key=row.session_key,
        expires_at=Now() + timedelta(hours=1),
    )

    approvals.ask(invocation_id=row.pk, permission=events.Permission(id="p1", name="Bash", detail="rm -rf /"))

    assert Approval.objects.get().decision == "deny"
    assert not Notice.objects.exists()
    assert bridge_auth.find_run(tools_token=token) is None


def test_a_day_longer_than_the_budget_is_read_from_its_end_within_it(backend, bob, scribe):
    Agent.objects.filter(pk=scribe.pk).update(prompt_budget=600)
    talk(backend, bob, 150)

    prompt = Prompt.objects.get(invocation=running(ordered(backend)))

    assert prompt.token_count <= 600
    assert "Release note 149:" in prompt.text


@pytest.mark.timeout(120)
async def test_a_real_bridge_with_the_echo_agent_summarises(tmp_path_factory, tmp_path, settings, transactional_db):
    world = await sync_to_async(World)()
    await Agent.objects.filter(pk=world.agent.pk).aupdate(cli_kind="echo", owner=None)
    settings.NEXUS_SUMMARIZER_AGENT = world.agent.slug
    await sync_to_async(talk)(world.room, world.bob)
    with running_gateway(tmp_path_factory.mktemp("gateway"), server="daphne") as gateway:
        bridge = Bridge(tmp_path, gateway, world)
        bridge.start()
        try:
            await online(world)
            row = await sync_to_async(ordered)(world.room)
            assert await sync_to_async(composing.compose)(invocation_id=row.pk) == row.pk
            assert await sync_to_async(dispatch)(invocation_id=row.pk)
            await until_state(world, row.pk, State.DONE, within_s=30)
        finally:
            await asyncio.to_thread(bridge.stop)

    assert await sync_to_async(tiers.compact_room)(room_id=world.room.pk) == 1
    summary = await Summary.objects.aget()
    assert summary.made_by == world.agent.slug
    assert "Release note 7" in summary.text
