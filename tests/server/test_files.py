"""Do files of a question reach the agent, and do files of an agent reach the room, each once and within their limits?"""

import errno
import hashlib
import os
import time
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from composer import asked
from gateway import files, invocations, retention
from gateway.chat.database import DatabaseThread
from gateway.chat.fetching import Fetcher
from gateway.hub import outgoing
from gateway.ingest import Batch, Ingest
from gateway.models import File, Invocation, Message, Notice, NoticeKind, RoomMember
from gateway.rocketchat.calls import RefusedError
from nexus_bridge import events
from tests.fakes.chat import FakeChat, FakeClock, unreachable
from tests.server import people
from tests.server.chat_words import document, said
from tests.server.posting import Desk, end, hold, in_db, output, start

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

PLAN = {"_id": "f1", "name": "plan.txt", "type": "text/plain", "size": 4}


@pytest.fixture
def bob():
    return people.make_user("bob")


@pytest.fixture
def agent(bob):
    alice = people.make_user("alice")
    return people.make_agent(owner=alice, bridge=people.make_bridge(owner=alice))


@pytest.fixture
def room(bob, agent):
    room = people.make_room(members=(bob,))
    RoomMember.objects.create(room=room, agent=agent, joined_at=timezone.now() - timedelta(hours=1))
    return room


def ask(*attached, **fields) -> Invocation:
    message = said("@claude-alice look", mentions=("claude-alice",), files=list(attached), **fields)
    Ingest().store(Batch(messages=(message,)))
    return Invocation.objects.get(message__rc_id=message.rc_id)


def offered(row):
    """The files that its bridge is offered with this question."""
    return outgoing.files_of(message_id=row.message_id, room_id=row.room_id, thread=row.message.thread)


class Shelf:
    """The chat's files; what is not there is refused."""

    def __init__(self, **content: bytes) -> None:
        self.content = content

    async def download(self, *, file_id: str, name: str, most: int) -> bytes:
        if file_id not in self.content:
            raise RefusedError(status=404, codes=frozenset(), text="gone")
        return self.content[file_id]


async def fetch(agent, shelf) -> None:
    database = DatabaseThread(name="test-files")
    try:
        await Fetcher(database=database).round({agent.pk: shelf})
    finally:
        database.close()


class TestToTheAgent:
    async def test_a_question_waits_for_its_files_and_takes_them_along(self, room, agent):
        row = await in_db(ask)(PLAN)
        before = await in_db(invocations.claim_next)(invocation_id=row.pk)

        await fetch(agent, Shelf(f1=b"plan"))
        claim = await in_db(invocations.claim_next)(invocation_id=row.pk)

        def given():
            fresh = Invocation.objects.select_related("message", "room").get(pk=row.pk)
            return [(file.name, file.size, file.sha256) for file in offered(fresh)]

        assert before is None
        assert claim is not None
        assert await in_db(given)() == [("plan.txt", 4, hashlib.sha256(b"plan").hexdigest())]

    async def test_files_of_the_thread_come_too_and_those_of_the_room_do_not(self, room, bob, agent):
        def say_more():
            root = people.say(room, bob, "see here")
            Message.objects.filter(pk=root.pk).update(attachments=[{**PLAN, "id": "root"}])
            other = people.say(room, bob, "elsewhere")
            Message.objects.filter(pk=other.pk).update(attachments=[{**PLAN, "id": "other"}])
            return ask({**PLAN, "_id": "own", "name": "own.txt"}, tmid=root.rc_id)

        row = await in_db(say_more)()
        await fetch(agent, Shelf(root=b"root", own=b"own", other=b"no"))

        def given():
            fresh = Invocation.objects.select_related("message", "room").get(pk=row.pk)
            return [file.rocketchat_id for file in offered(fresh)]

        assert await in_db(given)() == ["own", "root"]

    async def test_what_does_not_come_is_said_in_the_question(self, room, agent):
        row = await in_db(ask)(PLAN, {**PLAN, "_id": "f2", "name": "core", "type": "application/x-executable"})

        await fetch(agent, Shelf())

        text = (await in_db(asked.read)(invocation_id=row.pk)).text
        assert "plan.txt, which could not be passed on: the chat did not give it" in text
        assert "core, which could not be passed on: files of type application/x-executable are not passed on" in text
        assert (await in_db(Invocation.objects.get)(pk=row.pk)).files_until is None

    async def test_a_disk_that_takes_no_more_is_said_in_the_question(self, room, agent, monkeypatch):
        def full(_content):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(files, "keep", full)
        row = await in_db(ask)(PLAN)

        await fetch(agent, Shelf(f1=b"plan"))

        text = (await in_db(asked.read)(invocation_id=row.pk)).text
        assert "the host's disk did not take it: No space left on device" in text
        assert (await in_db(Invocation.objects.get)(pk=row.pk)).files_until is None

    def test_a_file_that_is_too_large_is_not_waited_for(self, room, settings):
        settings.NEXUS_FILE_MAX_MIB = 1
        row = ask({**PLAN, "size": 2_000_000})

        assert row.files_until is None
        assert File.objects.get().failed_reason == "it is larger than 1 MiB"

    def test_a_question_goes_without_files_that_never_come(self, room):
        row = ask(PLAN)
        Invocation.objects.filter(pk=row.pk).update(files_until=timezone.now() - timedelta(seconds=1))

        assert invocations.claim_next(invocation_id=row.pk) is not None

    def test_a_deleted_message_takes_its_files_from_the_agent(self, room):
        row = ask(PLAN)
        File.objects.update(sha256="a" * 64)
        Ingest().store(Batch(deleted=(row.message.rc_id,)))

        assert offered(Invocation.objects.select_related("message").get(pk=row.pk)) == []

    def test_content_goes_with_its_last_row_and_its_time(self, room, bob, tmp_path, settings):
        settings.NEXUS_STATE_DIR = str(tmp_path)
        source = tmp_path / "source"
        source.write_bytes(b"kept")
        with source.open("rb") as stream:
            sha256, size = files.keep(stream)
        values = {"sha256": sha256, "size": size, "name": "a"}
        over = File.objects.create(**values, rocketchat_id="1", expires_at=Now() - timedelta(days=1))
        more = File.objects.create(**values, rocketchat_id="2", expires_at=Now() + timedelta(days=1))
        old = time.time() - 7_200
        os.utime(files.path_of(sha256=sha256), (old, old))

        retention.delete_due()
        is_kept = files.path_of(sha256=sha256).exists()
        File.objects.filter(pk=more.pk).update(expires_at=Now() - timedelta(days=1))
        retention.delete_due()

        assert not File.objects.filter(pk=over.pk).exists()
        assert is_kept
        assert not files.path_of(sha256=sha256).exists()


class TestToTheRoom:
    @pytest.fixture
    def row(self, room, bob, agent):
        return start(people.ask(room, bob, agent))

    @pytest.fixture
    def chat(self):
        return FakeChat()

    @pytest.fixture
    async def desk(self, agent, chat):
        running = Desk(await in_db(hold)(agent.bot_account), chat, FakeClock())
        yield running
        await running.stop()

    @staticmethod
    def leave(row, content: bytes = b"report", name: str = "report.txt") -> None:
        path = files.path_of(sha256=hashlib.sha256(content).hexdigest())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        file = File.objects.create(
            sha256=path.name, name=name, size=len(content), invocation=row, expires_at=Now() + timedelta(days=1)
        )
        output(row, events.File(id=str(file.pk), name=name, size=len(content)))

    async def test_a_file_comes_behind_the_answer_once_even_after_an_answer_that_got_lost(self, desk, chat, row):
        await in_db(self.leave)(row)
        await in_db(output)(row, "Here it is.")
        chat.fail(unreachable(), is_done=True, call="confirm")
        await in_db(end)(row)

        await desk.quiet()
        await desk.after(5)

        assert chat.files == [("file1", "report.txt")]
        assert chat.uploads["file1"][1] == b"report"
        assert chat.texts()[0].startswith("Here it is.")
        assert await in_db(lambda: Invocation.objects.get(pk=row.pk).reply_settled_at)() is not None

    async def test_a_room_that_refuses_a_file_is_told_so_and_has_its_answer(self, desk, chat, row):
        await in_db(self.leave)(row)
        await in_db(output)(row, "Here it is.")
        refusal = RefusedError(status=400, codes=frozenset({"error-invalid-file-type"}), text="blocked")
        chat.fail(refusal, call="upload")
        await in_db(end)(row)

        await desk.quiet()
        await desk.after(5)

        assert chat.files == []
        assert any("report.txt could not be posted here" in text for text in chat.texts())

    async def test_an_answer_of_200_kb_is_parts_a_summary_and_a_file_with_all_of_it(self, desk, chat, row):
        whole = "".join(f"## Chapter {n}\n\n{'word ' * 900}\n\n" for n in range(45))
        await in_db(output)(row, whole[:100_000], whole[100_000:])
        await in_db(end)(row)

        await desk.quiet()
        await desk.after(12)

        [(file_id, name)] = chat.files
        assert name == f"answer-{row.pk}.md"
        assert chat.uploads[file_id][1].decode() == whole
        assert len(chat.texts()) == 6
        assert f"The whole answer is in `{name}`" in chat.texts()[5]
        assert "Chapter 0 · Chapter 1" in chat.texts()[5]
        assert all(len(text) <= 5_000 for text in chat.texts())
        assert not await in_db(Notice.objects.filter(kind=NoticeKind.WARNING).exists)()


def test_files_of_a_message_are_read_from_the_chats_document():
    assert said("", files=[PLAN]).attachments[0]["id"] == "f1"
    assert document(files=[PLAN])["files"] == [PLAN]
