"""What does a room see while an agent works: a card, the tool at work, the typing sign, or in a quiet room nothing?"""

import asyncio

import pytest

from gateway import invocations
from gateway.chat.typing import BURST, TypingSign
from gateway.models import Room
from nexus_bridge import events
from tests.fakes.chat import FakeClock
from tests.server import people
from tests.server.posting import end, in_db, output, start

database = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


class TestCard:
    pytestmark = database

    async def test_a_run_that_says_nothing_shows_a_card_which_becomes_the_answer(self, desk, chat, row):
        await in_db(output)(row, events.ToolCall(id="1", name="Bash", title="make test"))
        await desk.quiet()
        await desk.after(2)
        [card] = chat.texts()

        await in_db(output)(row, "All green.")
        await desk.quiet()

        assert card == "⏳ working… (1 tool)\n🔧 Bash: make test …"
        assert len(chat.messages) == 1
        assert chat.texts()[0].startswith("All green.")

    async def test_a_card_is_taken_away_when_the_run_ends_without_a_word(self, desk, chat, row):
        await desk.quiet()
        await desk.after(2)
        await in_db(end)(row, "interrupted", reason="run_lost")

        await desk.quiet()
        await desk.after(2)

        [sentence] = chat.texts()
        assert "!retry" in sentence

    async def test_a_card_that_may_not_be_deleted_says_nothing_any_more(self, desk, chat, row):
        chat.may_delete = False
        await desk.quiet()
        await desk.after(2)
        await in_db(end)(row, "interrupted", reason="run_lost")

        await desk.quiet()
        await desk.after(2)

        assert chat.texts()[0] == "✂"
        assert len(chat.texts()) == 2

    async def test_the_card_folds_tools_into_lines_and_says_what_it_waits_for(self, desk, chat, row):
        for number in range(6):
            await in_db(output)(row, events.ToolCall(id=str(number), name="Read", title=f"file{number}.py"))
            await in_db(output)(row, events.ToolResult(id=str(number), ok=number != 5))
        await in_db(output)(row, events.ToolCall(id="9", name="Bash", title="rm -rf build"))
        await in_db(output)(row, events.Permission(id="p", tool_call="9", name="Bash", detail="rm -rf build"))
        await desk.quiet()
        await desk.after(2)
        waiting = chat.texts()[0].split("\n")

        await in_db(output)(row, events.Notice(text="Bash was allowed."))
        await desk.quiet()
        await desk.after(2)

        assert waiting == [
            "⏳ working… (7 tools)",
            "… 2 tools before",
            "✔ Read: file2.py",
            "✔ Read: file3.py",
            "✔ Read: file4.py",
            "✖ Read: file5.py",
            "✋ waits for a yes to Bash",
        ]
        assert chat.texts()[0].split("\n")[-1] == "🔧 Bash: rm -rf build …"

    async def test_a_question_that_is_long_in_the_making_shows_that_it_was_heard(self, desk, chat, room, bob, agent):
        row = await in_db(people.ask)(room, bob, agent)
        claim = await in_db(invocations.claim_next)(invocation_id=row.pk)
        await desk.quiet()
        await desk.after(4)
        before = chat.texts()
        await in_db(invocations.composed)(invocation_id=row.pk, fence=claim.fence)
        await in_db(invocations.offer)(invocation_id=row.pk)
        await in_db(row.refresh_from_db)()
        await in_db(invocations.accepted)(invocation_id=row.pk, fence=row.fence, session=row.bridge_session)
        await in_db(output)(row, "Here.")
        await in_db(end)(row)

        await desk.quiet()
        await desk.after(2)

        assert before == ["⏳ getting ready…"]
        assert len(chat.texts()) == 1
        assert chat.texts()[0].startswith("Here.")

    async def test_a_room_that_wants_it_sees_eyes_on_the_question_once(self, desk, chat, room, bob, agent):
        await in_db(Room.objects.filter(pk=room.pk).update)(has_eyes=True, is_quiet=True)
        question = await in_db(lambda: start(people.ask(room, bob, agent)).message.rc_id)()

        await desk.quiet()
        await desk.after(3)

        assert chat.signs == [(question, "eyes")]
        assert chat.texts() == []

    async def test_a_quiet_room_gets_the_answer_only(self, desk, chat, row, room):
        await in_db(Room.objects.filter(pk=room.pk).update)(is_quiet=True)
        await in_db(output)(row, "Half of it")
        await desk.quiet()
        await desk.after(3)
        before = chat.texts()
        await in_db(output)(row, " and the rest.")
        await in_db(end)(row)

        await desk.quiet()

        assert before == []
        assert chat.texts()[0].startswith("Half of it and the rest.")

    async def test_it_types_while_it_works_and_stops_with_the_end(self, desk, row):
        await desk.quiet()
        during = desk.typing_in[-1]
        await in_db(output)(row, "Done.")
        await in_db(end)(row)
        await desk.quiet()

        assert during == frozenset({("rid-backend", "")})
        assert desk.typing_in[-1] == frozenset()

    async def test_output_that_is_sent_a_second_time_is_read_a_second_time(self, desk, chat, row):
        from gateway.models import Invocation
        from runtime.models import Chunk

        await in_db(output)(row, "Dam", "aged")
        await desk.quiet()

        def start_over():
            Chunk.objects.filter(invocation=row).delete()
            Invocation.objects.filter(pk=row.pk).update(last_seq=0, output_sha256="ab")
            output(row, "Who", "le ", "again")

        await in_db(start_over)()
        await desk.quiet()
        await desk.after(2)

        assert chat.texts() == ["Whole again"]


class TestTypingSign:
    async def test_it_is_renewed_and_stopped(self):
        told, clock = [], FakeClock()

        async def tell(rid, thread, is_typing):
            told.append((rid, is_typing))

        sign = TypingSign(tell=tell, clock=clock)
        task = asyncio.ensure_future(sign.run())
        sign.show(rooms=frozenset({("a", "")}))
        await turns()
        clock.advance(8)
        await turns()
        sign.show(rooms=frozenset())
        await turns()
        task.cancel()

        assert told == [("a", True), ("a", True), ("a", False)]

    async def test_many_rooms_stay_within_the_budget_and_every_stop_is_told(self):
        told, clock = [], FakeClock()

        async def tell(rid, thread, is_typing):
            told.append(is_typing)

        sign = TypingSign(tell=tell, clock=clock)
        task = asyncio.ensure_future(sign.run())
        sign.show(rooms=frozenset((f"room-{number}", "") for number in range(100)))
        await turns()
        sign.show(rooms=frozenset())
        await turns()
        task.cancel()

        assert told.count(True) == BURST
        assert told.count(False) == BURST

    async def test_a_connection_that_is_down_does_no_harm(self):
        clock = FakeClock()

        async def tell(rid, thread, is_typing):
            raise ConnectionError("not connected")

        sign = TypingSign(tell=tell, clock=clock)
        task = asyncio.ensure_future(sign.run())
        sign.show(rooms=frozenset({("a", "")}))
        await turns()

        assert not task.done()
        task.cancel()


async def turns():
    for _ in range(30):
        await asyncio.sleep(0)
