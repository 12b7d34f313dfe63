"""Which threads and days become summaries in the background, how often, and what is never summarised?"""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from composer import compaction, revectors, tiers
from composer.memory.lines import Moment, micros
from composer.models import Landmark, Summary
from composer.summarizer import ExtractiveSummarizer, SummarizerError
from gateway.models import Message
from tests.fakes.model_api import FakeModelApi
from tests.server.people import make_room, make_user

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.integration, pytest.mark.timeout(60)]

MONDAY = (datetime.now(UTC) - timedelta(days=20)).replace(hour=9, minute=0, second=0, microsecond=0)


@pytest.fixture
def backend():
    return make_room("backend", members=(make_user("bob"),))


def talk(room, count, *, at=MONDAY, thread="", name="d"):
    bob = make_user("bob")
    rows = [
        Message(
            rc_id=f"{name}{n}",
            room=room,
            user=bob,
            text=f"Release note {n} of {name}: version 1.{n} is out.",
            thread=thread,
            ts=at + timedelta(minutes=n),
            rc_updated_at=at,
        )
        for n in range(count)
    ]
    return Message.objects.bulk_create(rows)


def made():
    rows = Summary.objects.order_by("first_message__ts", "tier")
    return list(rows.values_list("tier", "thread", "first_message__rc_id", "last_message__rc_id"))


def test_each_day_that_is_over_and_each_ended_thread_gets_one_summary_once(backend):
    talk(backend, 8, name="mon")
    talk(backend, 7, at=MONDAY + timedelta(days=1), name="tue")
    talk(backend, 6, at=MONDAY + timedelta(days=1, hours=1), thread="tue0", name="thr")
    talk(backend, 9, at=timezone.now() + timedelta(seconds=1), name="now")

    counts = [tiers.compact_room(room_id=backend.pk) for _ in range(2)]

    assert counts == [3, 0]
    assert made() == [
        ("day", "", "mon0", "mon7"),
        ("day", "", "tue0", "tue6"),
        ("thread", "tue0", "tue0", "thr5"),
    ]
    assert all(text.startswith("bob: ") for text in Summary.objects.values_list("text", flat=True))
    assert not Summary.objects.filter(embedding=None).exists()


def test_what_was_cut_off_is_taken_up_and_a_gap_that_an_edit_made_is_filled(backend):
    for day in range(3):
        talk(backend, 6, at=MONDAY + timedelta(days=day), name=f"day{day}x")
    times = iter([True, False, False])
    first = tiers.compact_room(room_id=backend.pk, is_time=lambda: next(times, False))
    rest = tiers.compact_room(room_id=backend.pk)
    everything = made()
    Message.objects.filter(rc_id="day1x3").update(text="edited: the release is off")
    broken = made()
    filled = tiers.compact_room(room_id=backend.pk)

    assert (first, rest, filled) == (1, 2, 1)
    assert (len(everything), len(broken)) == (3, 2)
    assert made() == everything
    assert Summary.objects.filter(text__contains="the release is off").exists()


def test_quiet_days_are_told_together_and_a_long_one_in_parts(backend):
    for day in range(5):
        talk(backend, 2, at=MONDAY + timedelta(days=day), name=f"q{day}x")
    talk(backend, tiers.MAX_LINES + 50, at=MONDAY + timedelta(days=9), name="long")

    tiers.compact_room(room_id=backend.pk)

    assert made() == [
        ("day", "", "q0x0", "q2x1"),
        ("day", "", "q3x0", f"long{tiers.MAX_LINES - 5}"),
        ("day", "", f"long{tiers.MAX_LINES - 4}", f"long{tiers.MAX_LINES + 49}"),
    ]


def test_a_thread_that_goes_on_is_told_anew_and_only_when_it_has_ended(backend):
    talk(backend, 1, name="root")
    talk(backend, 6, at=MONDAY + timedelta(minutes=5), thread="root0", name="a")
    tiers.compact_room(room_id=backend.pk)
    talk(backend, 2, at=timezone.now() - timedelta(minutes=30), thread="root0", name="b")
    during = tiers.compact_room(room_id=backend.pk)
    Message.objects.filter(rc_id__startswith="b").update(ts=MONDAY + timedelta(days=1))
    after = tiers.compact_room(room_id=backend.pk)

    assert (during, after) == (0, 1)
    assert made() == [("thread", "root0", "root0", "b1")]


def test_landmarks_are_left_word_for_word_and_edits_of_a_thread_leave_the_days(backend):
    said = talk(backend, 8, name="mon")
    Landmark.objects.create(message=said[3], kind="decision")
    talk(backend, 6, at=MONDAY + timedelta(minutes=2), thread="mon0", name="thr")
    tiers.compact_room(room_id=backend.pk)

    assert "note 3 of mon" not in Summary.objects.get(tier="day").text
    Message.objects.filter(rc_id="thr2").update(text="edited")
    assert [tier for tier, *_ in made()] == ["day"]
    Message.objects.filter(rc_id="mon2").update(text="edited")
    assert made() == []
    assert Message.objects.exclude(text="").count() == 14


def test_a_prompt_is_told_its_thread_and_the_last_days_but_nothing_said_later(backend):
    talk(backend, 8, name="mon")
    talk(backend, 6, at=MONDAY + timedelta(hours=3), thread="mon0", name="thr")
    talk(backend, 7, at=MONDAY + timedelta(days=1), name="tue")
    tiers.compact_room(room_id=backend.pk)
    end, noon = Moment(micros(timezone.now()), 10**9), Moment(micros(MONDAY + timedelta(hours=9)), 10**9)

    def told(thread, before):
        return [one.tier for one in compaction.summaries(room_id=backend.pk, thread=thread, before=before).answer()]

    assert told("mon0", end) == ["thread", "day", "day"]
    assert told("", end) == ["day", "day"]
    assert told("mon0", noon) == ["thread", "day"]
    assert told("elsewhere", Moment(0, 0)) == []


class Silent:
    name = "silent"

    def summarize(self, lines, *, room):
        return " \n "


class Broken:
    name = "broken"

    def summarize(self, lines, *, room):
        raise SummarizerError("HTTP 500")


def test_a_summariser_that_says_nothing_or_fails_gives_way_and_the_summary_says_so(backend, monkeypatch):
    monkeypatch.setattr(compaction, "from_settings", lambda: [Broken(), Silent(), ExtractiveSummarizer()])
    talk(backend, 8, name="mon")

    tiers.compact_room(room_id=backend.pk)

    row = Summary.objects.get()
    assert (row.made_by, row.note) == ("extractive", "broken: HTTP 500; silent: it returned nothing")


def test_talk_that_can_hardly_be_shortened_holds_up_nothing(backend):
    bob = make_user("bob")
    for day, text in enumerate(("ok", "x" * 8_000, "我" * 5_000)):
        Message.objects.bulk_create(
            Message(
                rc_id=f"{day}-{n}",
                room=backend,
                user=bob,
                text=text,
                ts=MONDAY + timedelta(days=day, minutes=n),
                rc_updated_at=MONDAY,
            )
            for n in range(6)
        )

    assert tiers.compact_room(room_id=backend.pk) == 3
    assert max(Summary.objects.values_list("token_count", flat=True)) <= tiers.TOKENS


def test_rooms_come_in_turn_and_one_process_at_a_time(backend):
    rooms = [backend, *(make_room(f"room{n}") for n in range(tiers.MAX_ROOMS))]
    for room in rooms:
        talk(room, 6, name=room.name)
    tiers._next_room_id = 0

    counts = [tiers.compact_some(end=1e9, clock=lambda: 0.0) for _ in range(2)]

    assert counts == [tiers.MAX_ROOMS, 1]
    tiers._compacted_at = float("-inf")
    ticks = iter([100.0, 100.0, 100.0, 110.0])
    assert [tiers.compact_now_and_then(clock=lambda: next(ticks)) for _ in range(2)] == [0, 0]


def test_summaries_of_another_embedder_get_new_vectors_once(backend, settings):
    talk(backend, 8)
    tiers.compact_room(room_id=backend.pk)
    before = Summary.objects.get()
    fake = FakeModelApi()
    settings.NEXUS_EMBEDDER_URL, settings.NEXUS_EMBEDDER_MODEL = fake.url, "small"
    try:
        counts = [revectors.renew_some() for _ in range(2)]
    finally:
        fake.close()

    after = Summary.objects.get()
    assert counts == [1, 0]
    assert (before.embedder, after.embedder) == ("hashed-1", "small:384")
    assert list(after.embedding)[:384] == pytest.approx(list(before.embedding)[:384])
    assert not any(list(after.embedding)[384:])
    assert after.text == before.text


def test_a_summary_that_was_made_without_a_vector_gets_one_when_the_embedder_is_back(backend, settings):
    settings.NEXUS_EMBEDDER_URL = "http://127.0.0.1:9/v1"
    talk(backend, 8)
    tiers.compact_room(room_id=backend.pk)
    assert Summary.objects.get().embedding is None
    assert revectors.renew_some() == 0

    settings.NEXUS_EMBEDDER_URL = ""

    assert revectors.renew_some() == 1
    assert Summary.objects.get().embedder == "hashed-1"
