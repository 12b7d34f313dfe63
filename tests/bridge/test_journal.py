"""The journal survives what disks and kills do to it, says plainly what it lost, and lets nobody else in."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_bridge import records
from nexus_bridge.errors import JournalLocked, JournalRefused, JournalWriteError
from nexus_bridge.journal import KEEP_CLI_SESSIONS, KEEP_IDS_S, Journal
from nexus_bridge.protocol import End
from nexus_bridge.records import Damaged, Record, Tag

pytestmark = pytest.mark.timeout(60)  # seconds; a busy machine is no failure

SHA = "0" * 64


@pytest.fixture(autouse=True)
def every_ack_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexus_bridge.journal.NOTE_ACK_EVERY", 1)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def opened(directory: Path) -> Iterator[Callable[[], Journal]]:
    """Opens the journal; whatever was opened before is closed first, as by the end of its process."""
    journals: list[Journal] = []

    def open_journal() -> Journal:
        for journal in journals:
            journal.close()
        journals.append(Journal.open(directory=directory, now=100.0))
        return journals[-1]

    yield open_journal
    for journal in journals:
        journal.close()


def with_run(journal: Journal, invocation: int = 7, payloads: tuple[str, ...] = ("one", "two")) -> None:
    run = journal.accept(invocation=invocation, fence=3, agent="echo", session_key="r", now=1.0)
    for payload in payloads:
        journal.append(run, kind="text", payload=payload)
    journal.flush()


def with_end(journal: Journal, invocation: int = 7) -> None:
    run = journal.runs[invocation]
    ending = End(invocation=invocation, fence=3, seq=run.last_seq + 1, outcome="done", sha256=run.sha256)
    journal.end(run, ending=ending)


# What it keeps


def test_an_id_is_made_with_the_journal_and_stays(opened: Callable[[], Journal]) -> None:
    first = opened().id

    assert opened().id == first
    assert len(first) == 32


def test_runs_come_back_with_their_chunks_acks_and_end(opened: Callable[[], Journal]) -> None:
    journal = opened()
    with_run(journal)
    journal.runs[7].ack(1)
    journal.acked(journal.runs[7])
    with_end(journal)
    before = journal.runs[7]

    run = opened().runs[7]

    assert (run.fence, run.agent, run.session_key, run.state) == (3, "echo", "r", "ended")
    assert [chunk.payload for chunk, _ in run.unsent] == ["two"]
    assert (run.acked_seq, run.last_seq, run.sha256) == (1, 2, before.sha256)
    assert run.ending == before.ending


def test_finished_and_refused_ids_stay_known(opened: Callable[[], Journal]) -> None:
    journal = opened()
    with_run(journal)
    journal.finish(7, now=50.0)
    journal.refuse(invocation=8, fence=1, reason="not_allowed", message="no, Charlie", now=51.0)

    again = opened()

    finished, refused = again.seen(7), again.seen(8)
    assert finished is not None
    assert finished.reason == ""
    assert refused is not None
    assert (refused.reason, refused.message) == ("not_allowed", "no, Charlie")
    assert again.seen(9) is None


def test_the_last_cli_session_of_a_room_is_remembered(opened: Callable[[], Journal]) -> None:
    journal = opened()
    for known in ("s-1", "s-2", "s-2"):
        journal.remember_cli_session(agent="echo", session_key="r", id=known, now=5.0)

    again = opened()

    assert again.cli_session(agent="echo", session_key="r") == "s-2"
    assert again.cli_session(agent="echo", session_key="other") is None


def test_nothing_of_an_unflushed_chunk_is_on_disk(opened: Callable[[], Journal], directory: Path) -> None:
    journal = opened()
    with_run(journal)
    size = (directory / "journal").stat().st_size

    journal.append(journal.runs[7], kind="text", payload="three")

    assert (directory / "journal").stat().st_size == size


def test_acks_are_noted_now_and_then(
    opened: Callable[[], Journal], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_bridge.journal.NOTE_ACK_EVERY", 3)
    journal = opened()
    with_run(journal, payloads=("x",) * 7)

    for seq in range(1, 8):
        journal.runs[7].ack(seq)
        journal.acked(journal.runs[7])

    assert opened().runs[7].acked_seq == 6


# Compaction


def test_compaction_keeps_open_runs_whole_and_forgets_old_ids(opened: Callable[[], Journal]) -> None:
    journal = opened()
    with_run(journal, 1)
    journal.finish(1, now=100.0)
    with_run(journal, 2)
    journal.finish(2, now=100.0 + KEEP_IDS_S)
    journal.refuse(invocation=3, fence=1, reason="no", message="", now=100.0 + KEEP_IDS_S)
    with_run(journal, 4)
    journal.runs[4].ack(1)
    journal.acked(journal.runs[4])
    journal.remember_cli_session(agent="echo", session_key="r", id="s", now=5.0)

    journal.compact(now=101.0 + KEEP_IDS_S)
    with_end(journal, 4)
    again = opened()

    assert again.seen(1) is None
    assert again.seen(2) is not None
    assert again.seen(3) is not None
    assert again.cli_session(agent="echo", session_key="r") == "s"
    assert (again.runs[4].acked_seq, again.runs[4].state) == (1, "ended")
    assert [chunk.payload for chunk in again.chunks(invocation=4, first=1, last=2)] == ["one", "two"]


def test_the_oldest_cli_sessions_go_first(opened: Callable[[], Journal]) -> None:
    journal = opened()
    for number in range(KEEP_CLI_SESSIONS + 1):
        journal.remember_cli_session(agent="echo", session_key=str(number), id="s", now=5.0)

    journal.compact(now=6.0)

    assert journal.cli_session(agent="echo", session_key="0") is None
    assert journal.cli_session(agent="echo", session_key="1") == "s"


def test_a_journal_is_compacted_when_it_has_grown(opened: Callable[[], Journal], directory: Path) -> None:
    journal = opened()
    with_run(journal, payloads=("x" * 1_000_000,) * 9)
    journal.finish(7, now=5.0)
    journal.flush()

    journal.tidy(now=6.0)

    assert (directory / "journal").stat().st_size < 1_000
    assert journal.seen(7) is not None


# What disks and kills do


def test_a_torn_record_at_the_end_is_dropped(opened: Callable[[], Journal], directory: Path) -> None:
    with_run(opened())
    whole = (directory / "journal").read_bytes()
    (directory / "journal").write_bytes(whole[:-4])

    journal = opened()

    assert journal.runs[7].state == "running"
    assert journal.runs[7].last_seq == 1
    assert journal.damaged_count == 0
    assert (directory / "journal").read_bytes() == whole[: whole[:-1].rfind(b"\n") + 1]


def test_a_long_torn_record_is_dropped_whole(opened: Callable[[], Journal], directory: Path) -> None:
    with_run(opened(), payloads=("one", "x" * 200_000))
    whole = (directory / "journal").read_bytes()
    (directory / "journal").write_bytes(whole[:-4])

    assert opened().runs[7].last_seq == 1


@pytest.mark.timeout(60)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_loses_its_run_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("flip") / "journal"
    journal = Journal.open(directory=directory, now=0.0, durable=False)
    with_run(journal, 7)
    with_run(journal, 8)
    with_end(journal, 8)
    journal.close()
    content = bytearray((directory / "journal").read_bytes())
    head = content.index(b"\n") + 1
    of_seven = [at for at in range(head, len(content)) if content[: at + 1].count(b"\n") in {1, 2, 3}]
    position = data.draw(st.sampled_from([at for at in of_seven if content[at] != ord("\n")]))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    (directory / "journal").write_bytes(bytes(content))

    journal = Journal.open(directory=directory, now=0.0, durable=False)
    journal.close()

    assert journal.runs[8].state == "ended"
    assert journal.damaged_count > 0
    run = journal.runs.get(7)
    if run is not None:
        assert run.state == "lost"
    else:  # its acceptance itself was hit: no run any more, and never to be started again
        seen = journal.seen(7)
        assert seen is not None
        assert seen.reason == "lost"


def test_a_truncated_journal_keeps_what_is_left(opened: Callable[[], Journal], directory: Path) -> None:
    with_run(opened())
    lines = (directory / "journal").read_bytes().splitlines(keepends=True)
    (directory / "journal").write_bytes(b"".join(lines[:-1]))

    assert opened().runs[7].last_seq == 1


def test_a_missing_chunk_in_the_middle_makes_its_run_lost(opened: Callable[[], Journal], directory: Path) -> None:
    with_run(opened())
    lines = (directory / "journal").read_bytes().splitlines(keepends=True)
    del lines[-2]
    (directory / "journal").write_bytes(b"".join(lines))

    assert opened().runs[7].state == "lost"


def test_a_run_that_was_lost_stays_lost(opened: Callable[[], Journal]) -> None:
    journal = opened()
    with_run(journal)
    journal.lose(journal.runs[7])

    assert opened().runs[7].state == "lost"


def test_an_ack_beyond_the_chunks_on_disk_makes_the_run_lost(opened: Callable[[], Journal]) -> None:
    journal = opened()
    with_run(journal)
    journal.runs[7].acked_seq = 9
    journal.acked(journal.runs[7])

    assert opened().runs[7].state == "lost"


def test_a_damaged_record_of_a_finished_run_matters_to_nobody(opened: Callable[[], Journal], directory: Path) -> None:
    journal = opened()
    journal.finish(7, now=1.0)
    journal.flush()
    damaged = bytearray(records.line(tag=Tag.CHUNK, first=7, second=1, word="text", body=b"one"))
    damaged[-2] ^= 1
    with (directory / "journal").open("ab") as file:
        file.write(damaged)

    journal = opened()

    assert journal.runs == {}
    assert journal.damaged_count == 1


@pytest.mark.parametrize("content", [b"what is this\n", b"\x00\x01\n", b"\n"])
def test_something_else_in_place_of_the_journal_is_refused(
    opened: Callable[[], Journal], directory: Path, content: bytes
) -> None:
    opened()
    (directory / "journal").write_bytes(content)

    with pytest.raises(JournalRefused, match="move it away"):
        opened()


def test_a_journal_of_a_newer_bridge_is_refused(opened: Callable[[], Journal], directory: Path) -> None:
    opened()
    (directory / "journal").write_bytes(records.line(tag=Tag.JOURNAL, first=2, body=b"x"))

    with pytest.raises(JournalRefused, match="newer"):
        opened()


def test_a_full_disk_leaves_no_half_record_behind(
    opened: Callable[[], Journal], directory: Path, full_disk: Callable[[], None]
) -> None:
    journal = opened()
    with_run(journal)
    before = (directory / "journal").read_bytes()
    journal.append(journal.runs[7], kind="text", payload="three")
    full_disk()

    with pytest.raises(JournalWriteError, match="make room"):
        journal.flush()

    assert (directory / "journal").read_bytes() == before
    assert journal.unwritten() == [journal.runs[7]]
    assert not journal.runs[7].is_spooled


def test_a_run_that_is_not_on_disk_any_more_writes_nothing_further(
    opened: Callable[[], Journal], directory: Path
) -> None:
    journal = opened()
    with_run(journal)
    journal.runs[7].is_spooled = False
    before = (directory / "journal").read_bytes()

    journal.append(journal.runs[7], kind="text", payload="three")
    journal.acked(journal.runs[7])
    with_end(journal)
    journal.flush(durable=True)

    assert (directory / "journal").read_bytes() == before


def test_a_full_disk_does_not_stop_closing(opened: Callable[[], Journal], full_disk: Callable[[], None]) -> None:
    journal = opened()
    with_run(journal)
    journal.acked(journal.runs[7])
    full_disk()

    journal.close()
    journal.close()


# Who may open it


def test_a_second_bridge_is_told_the_pid_of_the_first(directory: Path) -> None:
    program = (
        "import sys, pathlib; from nexus_bridge.journal import Journal;"
        "Journal.open(directory=pathlib.Path(sys.argv[1]), now=0.0); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        first.stdout.readline()

        with pytest.raises(JournalLocked, match=f"already running as pid {first.pid}"):
            Journal.open(directory=directory, now=0.0)

        first.stdin.close()
        first.wait()
    Journal.open(directory=directory, now=0.0).close()


def test_a_lock_without_a_pid_is_still_a_lock(opened: Callable[[], Journal], directory: Path) -> None:
    opened()
    (directory / "lock").write_text("")

    with pytest.raises(JournalLocked, match="pid 0"):
        Journal.open(directory=directory, now=0.0)


def test_files_are_made_private(opened: Callable[[], Journal], directory: Path) -> None:
    opened()

    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["journal", "lock"])
def test_a_symbolic_link_is_never_followed(opened: Callable[[], Journal], directory: Path, name: str) -> None:
    opened().close()
    target = directory.parent / "target"
    target.write_bytes((directory / name).read_bytes())
    target.chmod(0o600)
    (directory / name).unlink()
    (directory / name).symlink_to(target)

    with pytest.raises(JournalRefused, match="symbolic link"):
        Journal.open(directory=directory, now=0.0)


def test_a_link_in_place_of_the_directory_is_refused(directory: Path) -> None:
    (directory.parent / "real").mkdir()
    directory.symlink_to(directory.parent / "real")

    with pytest.raises(JournalRefused, match="symbolic link"):
        Journal.open(directory=directory, now=0.0)


def test_files_that_others_may_read_are_refused_with_the_cure(opened: Callable[[], Journal], directory: Path) -> None:
    opened().close()
    (directory / "journal").chmod(0o644)

    with pytest.raises(JournalRefused, match="chmod 600"):
        Journal.open(directory=directory, now=0.0)


def test_a_directory_that_others_may_write_is_refused_with_the_cure(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o777)

    with pytest.raises(JournalRefused, match="chmod 700"):
        Journal.open(directory=directory, now=0.0)


def test_a_directory_in_place_of_the_journal_is_refused(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    (directory / "journal").mkdir()

    with pytest.raises(JournalRefused, match="can't be opened"):
        Journal.open(directory=directory, now=0.0)


def test_a_device_in_place_of_the_journal_is_refused(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    os.mkfifo(directory / "journal", 0o600)

    with pytest.raises(JournalRefused, match="not a file of yours"):
        Journal.open(directory=directory, now=0.0)


def test_a_file_in_place_of_the_directory_is_refused(directory: Path) -> None:
    directory.write_text("")

    with pytest.raises(JournalRefused, match="can't be used"):
        Journal.open(directory=directory, now=0.0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("name", ["", "journal"])
def test_what_belongs_to_another_user_is_refused(opened: Callable[[], Journal], directory: Path, name: str) -> None:
    opened().close()
    os.chown(directory / name, 12345, 12345)

    with pytest.raises(JournalRefused, match=r"belongs to another user|not a file of yours"):
        Journal.open(directory=directory, now=0.0)


# Records


@given(body=st.text().map(lambda text: text.replace("\n", "").encode()), first=st.integers(0, 2**53))
def test_a_record_reads_back_as_it_was_written(body: bytes, first: int) -> None:
    raw = records.line(tag=Tag.CHUNK, first=first, second=2, word="text", body=body)

    assert records.parse(raw[:-1]) == Record(tag=Tag.CHUNK, first=first, second=2, word="text", body=body)


@pytest.mark.parametrize("field", [0, 1, 3, 6])
def test_a_damaged_acceptance_keeps_its_id_from_starting_again(
    opened: Callable[[], Journal], directory: Path, field: int
) -> None:
    with_run(opened(), payloads=())
    head, line = (directory / "journal").read_bytes().splitlines()
    parts = line.split(b" ", 6)
    parts[field] = bytes([parts[field][0] ^ 1]) + parts[field][1:]
    (directory / "journal").write_bytes(head + b"\n" + b" ".join(parts) + b"\n")

    seen = opened().seen(7)

    assert seen is not None
    assert seen.reason == "lost"


def test_a_damaged_head_of_something_else_names_nobody(opened: Callable[[], Journal], directory: Path) -> None:
    with_run(opened())
    damaged = bytearray(records.line(tag=Tag.CHUNK, first=9, second=1, word="text", body=b'{"kind":"text"}'))
    damaged[19] ^= 1
    with (directory / "journal").open("ab") as file:
        file.write(damaged)

    journal = opened()

    assert journal.runs[7].state == "lost"
    assert journal.seen(9) is None


def test_damage_names_its_run_only_when_the_head_is_whole() -> None:
    raw = bytearray(records.line(tag=Tag.CHUNK, first=7, second=2, word="text", body=b"hello")[:-1])
    in_body, in_head = bytearray(raw), bytearray(raw)
    in_body[-1] ^= 1
    in_head[20] ^= 1

    assert records.parse(bytes(in_body)) == Damaged(invocation=7)
    assert records.parse(bytes(in_head)) == Damaged(invocation=None, body=b"hello")
    assert records.parse(b"") == Damaged(invocation=None)
