"""What becomes of talk that is too long: summaries made once, landmarks word for word, nothing stale kept?"""

import pytest
from django.utils import timezone

from composer import compaction
from composer import compose as composing
from composer.memory import working
from composer.memory.lines import moment_of
from composer.models import Fact, Landmark, Prompt, Summary
from composer.summarizer import ExtractiveSummarizer, SummarizerError
from gateway.models import Message
from tests.server.people import ask, make_agent, make_bridge, make_room, make_user, say

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture(autouse=True)
def quiet(settings):
    settings.NEXUS_MEM0_URL = "http://127.0.0.1:9"


@pytest.fixture
def bob():
    return make_user("bob")


@pytest.fixture
def agent():
    return make_agent(bridge=make_bridge(), prompt_budget=1_000)


@pytest.fixture
def backend(bob):
    return make_room("backend", members=(bob,))


def chatter(room, user, count):
    return [
        say(room, user, f"Note {n}: the build of branch feature-{n} took {n} minutes on worker {n}.")
        for n in range(count)
    ]


def compose(row):
    assert composing.compose(invocation_id=row.pk) == row.pk
    return Prompt.objects.get(invocation=row)


def section(prompt, title):
    return next((part["text"] for part in prompt.parts() if part["title"] == title), "")


class BrokenSummarizer:
    name = "broken"

    def summarize(self, lines, *, room):
        raise SummarizerError("no")


def test_below_the_line_nothing_is_summarised(backend, bob, agent):
    chatter(backend, bob, 5)

    prompt = compose(ask(backend, bob, agent))

    assert "Note 0" in section(prompt, "Recent")
    assert not Summary.objects.exists()


def test_above_the_line_the_older_part_becomes_a_summary_with_a_vector(backend, bob, agent):
    said = chatter(backend, bob, 60)

    prompt = compose(ask(backend, bob, agent))

    summary = Summary.objects.get()
    assert (summary.first_message, summary.made_by, summary.embedder) == (said[0], "extractive", "hashed-1")
    assert summary.embedding is not None
    assert "summary: bob: " in section(prompt, "Earlier, in short")
    assert "Note 59" in section(prompt, "Recent")
    assert "Note 0:" not in section(prompt, "Recent")
    assert prompt.token_count <= 0.8 * prompt.budget


def test_the_next_prompt_uses_the_summary_that_is_there(backend, bob, agent):
    chatter(backend, bob, 60)
    compose(ask(backend, bob, agent))

    other = make_agent("other", bridge=make_bridge(), prompt_budget=3_000)
    prompt = compose(ask(backend, bob, other))

    assert Summary.objects.count() == 1
    assert "summary: bob: " in section(prompt, "Earlier, in short")


def test_landmarks_stay_word_for_word(backend, bob, agent):
    decision = say(backend, bob, "decision: the port is 5433 and stays 5433")
    Landmark.objects.create(message=decision, kind="decision")
    chatter(backend, bob, 80)

    prompt = compose(ask(backend, bob, agent))

    assert Summary.objects.exists()
    assert "bob: decision: the port is 5433 and stays 5433" in section(prompt, "Pinned")


def test_when_no_summary_can_be_made_the_oldest_go_first_and_it_is_noted(backend, bob, agent, monkeypatch):
    monkeypatch.setattr(compaction, "from_settings", lambda: [BrokenSummarizer()])
    chatter(backend, bob, 60)

    prompt = compose(ask(backend, bob, agent))

    assert not Summary.objects.exists()
    assert "Note 59" in section(prompt, "Recent")
    assert any("no summary" in entry["why"] for entry in prompt.left_out)


def test_a_broken_summariser_gives_way_to_the_next(backend, bob):
    lines = working.window(room_id=backend.pk, before=_last(chatter(backend, bob, 10)), limit=10)

    made = compaction.summarize(
        room_id=backend.pk, lines=lines, room=100, summarizers=[BrokenSummarizer(), ExtractiveSummarizer()]
    )

    assert made is not None
    assert Summary.objects.get().made_by == "extractive"


def test_summarising_the_same_stretch_twice_keeps_one(backend, bob):
    lines = working.window(room_id=backend.pk, before=_last(chatter(backend, bob, 10)), limit=10)

    first = compaction.summarize(room_id=backend.pk, lines=lines, room=100)
    second = compaction.summarize(room_id=backend.pk, lines=lines, room=100)

    assert first == second
    assert Summary.objects.count() == 1


@pytest.mark.parametrize("change", [{"text": "edited"}, {"text": "", "deleted_at": timezone.now()}])
def test_a_summary_goes_when_a_message_in_it_changes(backend, bob, change):
    said = chatter(backend, bob, 12)
    lines = working.window(room_id=backend.pk, before=_last(said[:10]), limit=10)
    compaction.summarize(room_id=backend.pk, lines=lines, room=100)

    Message.objects.filter(pk=said[11].pk).update(text="after the stretch")
    assert Summary.objects.count() == 1
    Message.objects.filter(pk=said[4].pk).update(**change)

    assert not Summary.objects.exists()


def test_a_message_edited_while_it_was_summarised_spoils_the_summary(backend, bob):
    said = chatter(backend, bob, 10)
    lines = working.window(room_id=backend.pk, before=_last(said), limit=10)
    Message.objects.filter(pk=said[3].pk).update(text="edited", rc_updated_at=timezone.now())

    assert compaction.summarize(room_id=backend.pk, lines=lines, room=100) is None
    assert not Summary.objects.exists()


def test_a_message_that_arrives_late_is_not_covered_by_an_older_summary(backend, bob):
    said = chatter(backend, bob, 10)
    lines = working.window(room_id=backend.pk, before=_last(said), limit=10)
    summary = compaction.summarize(room_id=backend.pk, lines=lines, room=100)
    assert summary is not None
    at = said[4].ts
    late = Message.objects.create(rc_id="late", room=backend, user=bob, text="late", ts=at, rc_updated_at=at)

    found = working.window(room_id=backend.pk, before=_last(said), limit=20)

    assert [line.id for line in summary.uncovered(list(found))] == [late.pk]


def test_what_came_from_a_deleted_message_goes_with_it(backend, bob):
    message, other = say(backend, bob, "decision: ship it"), say(backend, bob, "decision: wait")
    landmark = Landmark.objects.create(message=message, kind="decision")
    older = Landmark.objects.create(message=other, kind="decision", superseded_by=landmark)
    Fact.objects.create(scope="room:rid-backend", key="plan", value="ship", source_message=message)

    Message.objects.filter(pk=message.pk).update(text="", deleted_at=timezone.now())

    older.refresh_from_db()
    assert older.superseded_by is None
    assert not Fact.objects.exists()
    assert Landmark.objects.count() == 1


def _last(messages):
    return moment_of(messages[-1])
