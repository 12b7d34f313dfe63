"""Does `!why` tell what a reply stood on, and never more than its room may read?"""

import pytest
from django.utils import timezone

from composer import compose as composing
from composer.models import Fact, Landmark, Prompt, Summary
from gateway.ingest import Batch, Ingest
from gateway.models import Message, Notice, NoticeKind
from runtime.models import ReplyPart
from tests.server.chat_words import said
from tests.server.people import ask, make_agent, make_bridge, make_room, make_user, say

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]


@pytest.fixture
def room(settings):
    # Memory that is asked with every prompt, and is away.
    settings.NEXUS_EMBEDDER_URL = settings.NEXUS_MEM0_URL = "http://127.0.0.1:9"
    settings.NEXUS_PUBLIC_URL = "https://nexus.example"
    return make_room(members=(make_user("alice"), make_user("bob")))


@pytest.fixture
def composed(room):
    bob = make_user("bob")
    Landmark.objects.create(message=say(room, bob, "decision: Postgres"), kind="decision")
    Fact.objects.create(scope="room:rid-backend", key="port", value="5433")
    say(room, make_user("alice"), "CI is red since noon")
    row = ask(room, bob, make_agent(bridge=make_bridge()))
    assert composing.compose(invocation_id=row.pk) == row.pk
    return row


def _why(text="!why", **fields):
    Ingest().store(Batch(messages=(said(text, **fields),)))
    return Notice.objects.filter(kind=NoticeKind.COMMAND).order_by("-pk").values_list("text", flat=True)[0]


def test_a_receipt_names_sections_tokens_and_places(composed):
    receipt = _why()

    lines = receipt.split("\n")
    fact, landmark = Fact.objects.get(), Message.objects.get(text="decision: Postgres")
    assert f"Run `{composed.pk}`: claude-alice was given" in lines[0]
    assert f"https://nexus.example/m/{composed.message.rc_id}" in lines[0]
    assert any(line.startswith("*Pinned*") and f"/m/{landmark.rc_id}" in line for line in lines)
    assert any(f"1 fact `#{fact.pk}`" in line for line in lines)
    assert any("alice " in line and "/m/" in line for line in lines)
    assert any(line.startswith("_Left out_: recall") for line in lines)
    assert all("tokens" in line for line in lines[1:] if line.startswith("*"))


@pytest.mark.parametrize(
    "how", ["!why {pk}", "!why https://chat.example/channel/backend?msg={reply}", "@claude-alice !why"]
)
def test_a_reply_is_named_in_several_ways(composed, how):
    ReplyPart.objects.create(invocation=composed, part=0, chat_id="reply000000000001")

    assert f"Run `{composed.pk}`" in _why(how.format(pk=composed.pk, reply="reply000000000001"))


def test_a_deleted_message_is_counted_and_not_linked(composed):
    gone = Message.objects.get(text="CI is red since noon")
    Message.objects.filter(pk=gone.pk).update(text="", deleted_at=timezone.now())

    assert gone.rc_id not in _why()


def test_a_summary_says_from_where_to_where_it_goes(composed):
    first, last = Message.objects.order_by("pk")[:2]
    summary = Summary.objects.create(
        room=composed.room,
        first_message=first,
        last_message=last,
        message_count=2,
        tier="span",
        text="bob: x",
        token_count=2,
        made_by="extractive",
    )
    sources = [{"kind": "summary", "id": summary.pk, "messages": 2}]
    section = {"title": "Earlier, in short", "text": "", "token_count": 7, "sources": sources}
    Prompt.objects.filter(invocation=composed).update(sections=[section])

    receipt = _why()

    assert "*Earlier, in short*: 7 tokens, 1 summary: [" in receipt
    assert receipt.index(first.rc_id) < receipt.index(last.rc_id)


def test_another_rooms_run_is_not_told(composed):
    make_room("other", members=(make_user("bob"),))

    for text in ("!why", f"!why {composed.pk}", f"!why ?msg={composed.message.rc_id}"):
        assert "No reply of that kind" in _why(text, rid="rid-other")


def test_a_run_without_a_prompt_says_why(room):
    row = ask(room, make_user("bob"), make_agent())

    assert "never composed" in _why(f"!why {row.pk}")
    assert "No reply of that kind" in _why()
