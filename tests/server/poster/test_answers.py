"""Does a room get each answer once, streaming, and is it recorded as said?"""

import pytest

from gateway.models import Invocation, Message, State
from nexus_bridge import events
from runtime.models import ReplyPart
from tests.server import people
from tests.server.posting import end, fresh, in_db, output

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


async def test_the_first_text_is_posted_at_once(desk, chat, row):
    await in_db(output)(row, "The build")

    await desk.quiet()

    assert chat.texts() == ["The build"]
    assert await in_db(ReplyPart.objects.filter(invocation=row).count)() == 1


async def test_later_text_edits_the_same_message_once_a_second(desk, chat, row):
    await in_db(output)(row, "The build")
    await desk.quiet()

    for piece in (" is", " red", " again"):
        await in_db(output)(row, piece)
        await desk.quiet()
    before = list(chat.texts())
    await desk.after(1.0)

    assert before == ["The build"]
    assert chat.texts() == ["The build is red again"]
    assert len(chat.named("update")) == 1


async def test_a_finished_reply_stands_with_its_footer_and_is_stored_as_a_message(desk, chat, row):
    await in_db(output)(row, "The build", " is red.", events.Done(status="ok"))
    await in_db(end)(row, input_tokens=1200, output_tokens=34)

    await desk.quiet()

    [text] = chat.texts()
    assert text.startswith("The build is red.\n\n_")
    assert "1,200 tokens in, 34 out" in text
    stored = await in_db(Message.objects.get)(agent__isnull=False)
    assert (stored.text, stored.rc_id) == (text, next(iter(chat.messages)))
    assert (await in_db(fresh)(row)).reply_settled_at is not None
    part = await in_db(ReplyPart.objects.get)()
    assert part.is_final


async def test_done_without_a_word_becomes_a_sentence(desk, chat, row):
    await in_db(output)(row, events.Done(status="ok"))
    await in_db(end)(row)

    await desk.quiet()

    assert len(chat.texts()) == 1
    assert chat.texts()[0].startswith("I finished without saying anything.")
    assert (await in_db(fresh)(row)).reply_settled_at is not None


async def test_a_run_that_breaks_off_keeps_its_text_and_a_sentence_follows(desk, chat, row):
    await in_db(output)(row, "Half of")
    await desk.quiet()

    await in_db(end)(row, State.INTERRUPTED, reason="run_lost")
    await desk.quiet()
    await desk.after(1.0)

    partial, sentence = chat.texts()
    assert partial.startswith("Half of")
    assert "cut off here" in partial
    assert "!retry" in sentence
    assert (await in_db(fresh)(row)).reply_settled_at is not None


async def test_a_row_that_never_ran_is_settled_by_its_sentence_alone(desk, chat, room, bob, agent):
    from gateway import invocations

    row = await in_db(people.ask)(room, bob, agent)
    await in_db(invocations.request_cancel)(invocation_id=row.pk, reason="stopped")

    await desk.quiet()

    assert chat.texts() == ["Stopped."]
    assert (await in_db(fresh)(row)).reply_settled_at is not None
    assert not await in_db(Invocation.objects.filter(reply_settled_at=None).exists)()
