"""Does a summary, which nobody asked for, stay out of whatever tells people of their questions, and in what was spent?"""

from datetime import timedelta

import pytest
from django.utils import timezone

from admin_ui import live
from gateway import invocations, stats
from gateway.ingest import Batch, Ingest
from gateway.invocations import places
from gateway.models import Invocation, Notice, RoomMember
from gateway.watch.rows import Rows
from tests.server import people
from tests.server.chat_words import said
from tests.server.posting import end, start

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def scribe():
    return people.make_agent("scribe", bridge=people.make_bridge("host"), cli_kind="echo")


@pytest.fixture
def room(scribe):
    room = people.make_room(members=(people.make_user("bob"),))
    RoomMember.objects.create(room=room, agent=scribe, joined_at=timezone.now())
    return room


@pytest.fixture
def summary(room, scribe):
    """Queued."""
    message = people.say(room, people.make_user("bob"), "versions 1.0 to 1.7 are out")
    row = invocations.open_summary(agent=scribe, message=message)
    row.refresh_from_db()
    return row


def tell(text):
    before = set(Notice.objects.values_list("pk", flat=True))
    Ingest().store(Batch(messages=(said(text),)))
    return "\n".join(Notice.objects.exclude(pk__in=before).values_list("text", flat=True))


def figures(text):
    lines = [line.rsplit(" ", 1) for line in text.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_a_summary_that_waits_is_no_question_that_waits(summary):
    Invocation.objects.filter(pk=summary.pk).update(queued_at=timezone.now() - timedelta(minutes=2))

    found = stats.overview()

    assert found["oldest_waiting"] is None
    assert found["invocations"] == {}
    assert places._waiting_agents() == []
    assert tell("!jobs") == "No question is open here."
    assert 'nexus_invocations{state="queued"}' not in figures(Rows().tell())
    assert "waiting" not in tell("!who")


def test_an_agent_at_a_summary_is_not_busy_with_a_question_and_the_room_hears_what_it_is_at(summary, scribe):
    start(summary)

    assert stats.overview()["agents"] == {"online": 1, "busy": 0, "asleep": 0, "off": 0}
    assert "summarising for the host" in tell("!who")
    assert f"#{summary.pk}" not in tell("!who")
    assert tell("!jobs") == "No question is open here."


def test_a_summary_that_failed_is_no_error_of_an_answer(summary, scribe):
    end(start(summary), outcome="failed", reason="cli_failed")

    assert stats.overview()["errors"] == []
    assert stats.of_agent(agent_id=scribe.pk)["failed"] == 0


def test_what_summaries_spent_is_spent_but_counts_no_question(summary, scribe):
    end(start(summary), input_tokens=900, output_tokens=100, cost_usd=0.25)

    found, cost = stats.overview(), tell("!cost")

    assert found["times"]["counted"] == 0
    assert found["days"][-1] == found["days"][-1] | {"invocations": 0, "token_count": 1000, "cost_usd": 0.25}
    assert found["by_agent"] == [
        {"id": scribe.pk, "name": "scribe", "invocations": 0, "token_count": 1000, "cost_usd": 0.25}
    ]
    assert cost.splitlines() == [
        "In this room, the last 7 days: $0.25 as far as the CLIs say.",
        "Summaries for the host: 1 run, 900 tokens in, 100 out, $0.25",
    ]


def test_metrics_count_ends_of_answers_and_the_cost_of_both(summary):
    rows = Rows()

    rows._count(False, "echo", "done", "", 1.0, 1.0, 1.0, 1.0, 10, 5, 0.5)
    rows._count(True, "echo", "done", "", 1.0, 1.0, 1.0, 1.0, 10, 5, 0.5)

    told = figures(rows.tell())
    assert told['nexus_invocations_ended_total{cli="echo",reason="",state="done"}'] == 1
    assert told['nexus_end_s_count{cli="echo"}'] == 1
    assert told['nexus_model_tokens_total{cli="echo",kind="input"}'] == 20
    assert told['nexus_cost_usd_total{cli="echo"}'] == 1


def test_the_console_does_not_show_the_last_message_as_its_question(summary):
    (shown,), _ = live.look(None)

    assert shown["id"] == summary.pk
    assert "versions" not in shown["question"]
