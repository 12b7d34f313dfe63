"""Does each answer stand in the room once, whatever the chat, the people or a restart do to the poster?"""

import asyncio
import re

import pytest

from gateway import invocations
from gateway.chat.desk import AccountBrokenError
from gateway.chat.outbox import LeaseLostError
from gateway.invocations import approvals
from gateway.models import BotAccount, Invocation, Message, Notice, State
from gateway.rocketchat.calls import RateLimitedError, RefusedError, UnauthorizedError
from nexus_bridge import events
from runtime.models import ReplyPart
from tests.fakes.chat import FakeClock, unreachable
from tests.server import people
from tests.server.posting import Desk, end, fresh, hold, in_db, output, start

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def account(agent):
    return hold(agent.bot_account)


def say_all(row, text="The build is red."):
    output(row, text, events.Done(status="ok"))
    end(row)


def settled(row):
    return fresh(row).reply_settled_at is not None


async def test_a_timeout_after_the_chat_took_the_message_posts_it_once(desk, chat, row):
    chat.fail(unreachable(), is_done=True, call="send")
    await in_db(say_all)(row)

    await desk.quiet()
    await desk.after(2)

    assert len(chat.texts()) == 1
    assert await in_db(settled)(row)


async def test_a_timeout_after_an_older_text_was_taken_ends_with_the_newest(desk, chat, row):
    chat.fail(unreachable(), is_done=True, call="send")
    await in_db(output)(row, "The")
    await desk.quiet()
    await in_db(say_all)(row, " build is red.")

    await desk.after(3)

    [text] = chat.texts()
    assert text.startswith("The build is red.")


async def test_an_outage_keeps_the_answers_and_their_order(desk, chat, row, room, bob, agent):
    chat.fail(unreachable(), times=8)
    other = await in_db(lambda: start(people.ask(room, bob, agent, "and now?", thread="thread-1")))()
    await in_db(say_all)(row, "First.")
    await in_db(say_all)(other, "Second.")

    await desk.quiet()
    during = chat.texts()
    await desk.after(120, step_s=4)

    assert during == []
    assert [text.split("\n")[0] for text in chat.texts()] == ["First.", "Second."]
    assert await in_db(settled)(row)
    assert await in_db(settled)(other)


async def test_too_many_requests_waits_as_long_as_the_chat_says(desk, chat, row):
    chat.fail(RateLimitedError(wait_s=30))
    await in_db(say_all)(row)

    await desk.quiet()
    await desk.after(29, step_s=5)
    calls_before = len(chat.calls)
    await desk.after(2)

    assert calls_before == 1
    assert len(chat.texts()) == 1


async def test_a_refused_token_ends_the_poster_and_marks_the_account(desk, chat, row, account):
    chat.fail(UnauthorizedError("You must be logged in to do this."))
    await in_db(say_all)(row)

    await desk.quiet()
    with pytest.raises(AccountBrokenError):
        await desk.task

    broken = await in_db(BotAccount.objects.get)(pk=account.pk)
    assert broken.is_broken
    assert len(chat.calls) == 1
    assert not await in_db(settled)(row)


async def test_a_room_that_takes_no_message_is_given_up_and_others_go_on(desk, chat, row, bob, agent):
    chat.closed_rooms["rid-backend"] = "room_is_archived"
    open_room = await in_db(people.make_room)("open", members=(bob,))
    other = await in_db(lambda: start(people.ask(open_room, bob, agent)))()
    await in_db(say_all)(row)
    await in_db(say_all)(other)

    await desk.quiet()
    after_one_look = chat.texts("rid-open")
    await desk.after(30, step_s=2)

    assert len(after_one_look) == 1
    assert await in_db(settled)(row)
    assert "room_is_archived" in (await in_db(Notice.objects.get)(invocation=row)).failed_reason
    assert len(chat.calls) < 15


async def test_who_asked_in_a_room_that_takes_no_message_is_told_directly(desk, chat, row, room):
    await in_db(lambda: type(room).objects.filter(pk=room.pk).update(is_read_only=True))()
    chat.closed_rooms["rid-backend"] = "error-not-allowed"
    await in_db(say_all)(row)

    await desk.quiet()
    await desk.after(30, step_s=2)

    [told] = chat.texts("direct-bob")
    assert told.startswith("My answer can't be posted in #backend: the room is read-only for me.")
    assert "`!retry`" in told


async def test_a_chat_whose_licence_ran_out_is_an_outage(desk, chat, row):
    refusal = RefusedError(status=400, codes=frozenset({"restricted-workspace"}), text="restricted-workspace")
    chat.fail(refusal, times=6)
    await in_db(say_all)(row)

    await desk.quiet()
    await desk.after(60, step_s=4)

    assert len(chat.texts()) == 1


async def test_a_message_that_people_deleted_is_not_posted_again(desk, chat, row):
    await in_db(output)(row, "The build")
    await desk.quiet()
    chat.people_delete(next(iter(chat.messages)))

    await in_db(say_all)(row, " is red.")
    await desk.after(3)

    assert chat.texts() == []
    assert (await in_db(ReplyPart.objects.get)(invocation=row)).is_gone
    assert await in_db(settled)(row)


async def test_a_deleted_message_stays_deleted_after_a_restart(desk, chat, row, account):
    await in_db(output)(row, "The build")
    await desk.quiet()
    await desk.stop()
    chat.people_delete(next(iter(chat.messages)))

    again = Desk(account, chat, FakeClock())
    await in_db(say_all)(row, " is red.")
    await again.quiet()
    await again.after(3)
    await again.stop()

    assert chat.texts() == []
    assert await in_db(settled)(row)


async def test_a_restart_in_the_middle_goes_on_in_the_same_message(desk, chat, row, account):
    await in_db(output)(row, "The build")
    await desk.quiet()
    await desk.stop()

    again = Desk(account, chat, FakeClock())
    await in_db(say_all)(row, " is red.")
    await again.quiet()
    await again.after(2)
    await again.stop()

    [text] = chat.texts()
    assert text.startswith("The build is red.")
    assert await in_db(settled)(row)


async def test_a_crash_between_posting_and_recording_posts_once(chat, row, account):
    """The poster dies after the chat took the message: the next one knows nothing of it and posts under the same id."""
    await in_db(output)(row, "The")
    await in_db(BotAccount.objects.filter(pk=account.pk).update)(lease_owner="somebody-else")
    first = Desk(account, chat, FakeClock())
    await first.quiet()
    with pytest.raises(LeaseLostError):
        await first.task
    await first.stop()
    unrecorded = await in_db(ReplyPart.objects.count)()
    await in_db(hold)(account)

    second = Desk(account, chat, FakeClock())
    await in_db(say_all)(row, " build is red.")
    await second.quiet()
    await second.after(3)
    await second.stop()

    assert unrecorded == 0
    [text] = chat.texts()
    assert text.startswith("The build is red.")
    assert await in_db(settled)(row)


async def test_a_poster_whose_lease_is_gone_changes_nothing(chat, row, account):
    stale = Desk(account, chat, FakeClock())
    await stale.quiet()
    await in_db(hold)(account, "chat-2")
    stale.is_held = False

    await in_db(say_all)(row)
    await stale.quiet()
    with pytest.raises(LeaseLostError):
        await stale.task
    await stale.stop()

    assert chat.calls == []
    assert not await in_db(settled)(row)
    assert not await in_db(Message.objects.filter(agent__isnull=False).exists)()


async def test_two_posters_that_both_believe_in_their_lease_say_it_once(chat, row, account):
    clock = FakeClock()
    old, new = Desk(account, chat, clock, owner="chat-1"), Desk(account, chat, FakeClock(), owner="chat-2")
    await in_db(hold)(account, "chat-2")
    await in_db(say_all)(row)

    await asyncio.gather(old.quiet(), new.quiet())
    await new.after(3)
    # The old one has met its lost lease, or has seen that everything is said.
    await old.stop()
    await new.stop()

    assert len(chat.texts()) == 1
    assert await in_db(Message.objects.filter(agent__isnull=False).count)() == 1
    assert await in_db(settled)(row)


async def test_a_text_the_chat_shows_otherwise_is_set_right(desk, chat, row):
    await in_db(say_all)(row)
    shown = iter(["mangled"])
    chat.keeps = lambda text: next(shown, text)

    await desk.quiet()
    await desk.after(2)

    [text] = chat.texts()
    assert text.startswith("The build is red.")


async def test_a_chat_that_always_changes_a_text_wins_in_the_end(desk, chat, row):
    chat.keeps = lambda text: text.replace("red", "***")
    await in_db(say_all)(row)

    await desk.quiet()
    await desk.after(10)

    assert chat.texts()[0].startswith("The build is ***.")
    assert await in_db(settled)(row)
    assert len(chat.calls) < 12


async def test_a_chat_without_editing_gets_the_final_text_as_a_message_of_its_own(desk, chat, row):
    chat.may_edit = False
    await in_db(output)(row, "The build")
    await desk.quiet()
    await in_db(say_all)(row, " is red.")

    await desk.after(5)

    first, last = chat.texts()
    assert first == "The build"
    assert last.startswith("The build is red.")
    assert await in_db(settled)(row)


async def test_a_notice_is_edited_and_taken_away(desk, chat, row, room, bob, agent):
    await in_db(invocations.tell)(invocation=row, kind="queued", text="You are 2nd.")
    await desk.quiet()
    await in_db(invocations.tell)(invocation=row, kind="queued", text="You are 1st. @all")
    await desk.quiet()
    edited = chat.texts()
    await in_db(invocations.take_back)(invocation_id=row.pk, kinds=("queued",))
    await desk.quiet()

    assert edited == ["You are 1st. @\u200ball"]
    assert chat.texts() == []
    assert (await in_db(Notice.objects.get)()).posted_revision == 3


async def test_the_database_that_goes_away_is_asked_again(desk, chat, row, monkeypatch):
    from django.db import OperationalError

    from gateway.chat import outbox

    real, failures = outbox.settle, iter([OperationalError("gone"), OperationalError("gone")])

    def failing(**values):
        for error in failures:
            raise error
        return real(**values)

    monkeypatch.setattr(outbox, "settle", failing)
    await in_db(say_all)(row)

    await desk.quiet()
    await desk.after(4)

    assert await in_db(settled)(row)
    assert len(chat.texts()) == 1
    assert await in_db(Invocation.objects.filter(state=State.DONE).count)() == 1


async def test_a_backlog_larger_than_one_look_is_said_in_order(desk, chat, row, room, bob, agent, monkeypatch):
    from gateway.chat import due

    monkeypatch.setattr(due, "LOOK_ROWS", 2)
    monkeypatch.setattr(due, "LOOK_CHUNKS", 3)
    threads = ("thread-1", "thread-2", "thread-3")
    more = await in_db(lambda: [start(people.ask(room, bob, agent, thread=thread)) for thread in threads])()
    rows = [row, *more]
    for number, one in enumerate(rows):
        await in_db(output)(one, *(f"{number}" for _ in range(5)))
        await in_db(say_all)(one, "!")

    await desk.quiet()
    await desk.after(4)

    assert [text.split("\n")[0] for text in chat.texts()] == ["00000!", "11111!", "22222!", "33333!"]
    assert not await in_db(Invocation.objects.filter(reply_settled_at=None).exists)()


async def test_a_card_longer_than_a_message_shows_all_of_it_and_shrinks_when_it_is_decided(desk, chat, row):
    command = "\n".join(f"step {number} of the script, word for word" for number in range(400))
    long = f"May I?\n```\n{command}\n```\nAlice decides."
    await in_db(invocations.tell)(invocation=row, kind="waiting", text=long)
    await desk.quiet()
    shown = chat.texts()

    await in_db(invocations.tell)(invocation=row, kind="waiting", text="Denied by Alice.")
    await desk.quiet()

    assert len(shown) > 2
    assert all(len(text) <= 5_000 for text in shown)
    assert all(f"step {number} of the script" in "\n".join(shown) for number in range(400))
    assert shown[-1].endswith("Alice decides.")
    assert chat.texts() == ["Denied by Alice."]


async def test_a_card_mentions_who_decides_and_nobody_else_and_nobody_once_it_is_decided(desk, chat, row, alice):
    asked = events.Permission(id="p1", name="Bash", detail="mail @bob @alice.smith @all")
    await in_db(approvals.ask)(invocation_id=row.pk, permission=asked)
    await desk.quiet()
    [card] = chat.texts()

    await in_db(approvals.decide)(invocation_id=row.pk, user=alice, allow=False, note="no, @bob")
    await desk.quiet()
    [decided] = chat.texts()

    assert re.findall(r"@[a-z.]+", card) == ["@alice"]
    assert "@" in decided
    assert not re.findall(r"@[a-z.]+", decided)


async def test_what_may_not_be_deleted_says_nothing_any_more(desk, chat, row):
    await in_db(invocations.tell)(invocation=row, kind="queued", text="You are next.")
    await desk.quiet()
    chat.may_delete = False

    await in_db(invocations.take_back)(invocation_id=row.pk, kinds=("queued",))
    await desk.quiet()

    assert chat.texts() == ["✂"]
