"""Does a backup hold everything, tell when it is bad, and come back whole or not at all?"""

import io
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection

from composer.models import Fact, Memory
from gateway import audit, backup, files
from gateway.backup import archive, tables
from gateway.backup.sealing import SealBrokenError, SealingWriter, UnsealingReader
from gateway.models import AuditEntry, File, Invocation, Message, User
from tests.server import people
from tests.server.gateway_process import database_url

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = "kX9vTq2mWz8rLp4nBs6yHd1fGj7cUe3a-of-backups"


@pytest.fixture(autouse=True)
def own_state(settings, tmp_path):
    settings.NEXUS_STATE_DIR = tmp_path / "state"
    settings.NEXUS_BACKUP_KEY = KEY


def fill():
    """A bit of everything that has gone wrong in backups before: signs, bytes, JSON, vectors, cycles, guarded tables."""
    alice = people.make_user("alice")
    room = people.make_room(members=(alice,))
    agent = people.make_agent(owner=alice, bridge=people.make_bridge(owner=alice, is_online=False))
    row = people.ask(room, alice, agent, text="tab\there, new\nline, back\\slash, ünïcode 🎉 and \\N")
    sha256, size = files.keep(io.BytesIO(b"a plan"))
    File.objects.create(sha256=sha256, name="plan.txt", size=size, message=row.message, expires_at="2999-01-01T00:00Z")
    Fact.objects.create(scope="global", key="db", value={"is": ["postgres", None]}, confidence=1)
    Memory.objects.create(id=uuid4(), vector=[0.25] * 1536, payload={"run_id": "room:r", "data": "a plan"})
    for number in range(3):
        audit.record(actor="alice", action="test", number=number)
    audit.seal()
    return row


def make(folder, **options):
    return backup.make(folder=folder, **({"is_encrypted": False, "keep": None, "now": NOW} | options))


def contents():
    """All rows of all tables, as text."""
    found = {name: b"".join(tables.copy_out(name, tables.columns(name))) for name in tables.names()}
    return {name: sorted(rows.splitlines()) for name, rows in found.items()}


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_what_is_restored_is_what_was_there(tmp_path, is_encrypted):
    fill()
    before = contents()
    made = make(tmp_path / "backups", is_encrypted=is_encrypted)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE messages SET text = 'other'")
        cursor.execute("DELETE FROM facts")
    User.objects.create(rocketchat_id="uid-late", username="late")
    files.path_of(sha256=made.manifest.files[0]).unlink()

    backup.restore(path=made.path, may_replace=True, may_have_other_key=False)

    after = contents()
    assert {name for name in before if before[name] != after[name]} == {"audit_log"}
    assert [entry.action for entry in AuditEntry.objects.order_by("pk")][-1] == "backup_restored"
    assert audit.verify() is None
    assert files.path_of(sha256=made.manifest.files[0]).read_bytes() == b"a plan"


def test_afterwards_ids_go_on_further_guards_stand_and_numbers_of_transactions_are_new(tmp_path):
    """Ids that were given away after the backup are known outside, and the old server's transactions mean nothing."""
    row = fill()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE messages SET changed_xid = 9000000000000")
    made = make(tmp_path)
    newer = people.ask(row.room, row.root_asker, row.agent, thread="later")

    backup.restore(path=made.path, may_replace=True, may_have_other_key=False)

    again = people.ask(Invocation.objects.get(pk=row.pk).room, User.objects.get(username="alice"), row.agent)
    assert again.pk > newer.pk + 1_000
    assert Message.objects.filter(changed_xid__lt=9_000_000_000_000).count() == Message.objects.count()
    with pytest.raises(DatabaseError, match="append-only"):
        AuditEntry.objects.update(actor="mallory")


def test_a_database_that_holds_something_is_left_alone(tmp_path):
    fill()
    made = make(tmp_path)

    with pytest.raises(backup.BackupError, match="not empty"):
        backup.restore(path=made.path, may_replace=False, may_have_other_key=False)


def test_nothing_is_restored_under_a_nexus_at_work(tmp_path):
    row = fill()
    made = make(tmp_path)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE bridges SET lease_until = now() + interval '1 minute' WHERE id = %s", [row.agent.bridge_id]
        )

    with pytest.raises(backup.BackupError, match="at work"):
        backup.restore(path=made.path, may_replace=True, may_have_other_key=False)


def test_another_field_key_is_told_before_anything_changes(tmp_path, settings):
    fill()
    made = make(tmp_path)
    settings.NEXUS_FIELD_KEY = KEY

    with pytest.raises(backup.BackupError, match="NEXUS_FIELD_KEY"):
        backup.restore(path=made.path, may_replace=True, may_have_other_key=False)


def test_a_restore_that_fails_halfway_changes_nothing(tmp_path, monkeypatch):
    fill()
    made = make(tmp_path)
    User.objects.create(rocketchat_id="uid-late", username="late")
    before = contents()
    monkeypatch.setattr(tables, "leap", lambda: tables.run("SELECT 1 FROM {}", "no_such_table"))

    with pytest.raises(backup.BackupError, match="nothing was changed"):
        backup.restore(path=made.path, may_replace=True, may_have_other_key=False)

    assert contents() == before


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path, is_encrypted):
    fill()
    path = make(tmp_path, is_encrypted=is_encrypted).path
    whole = path.read_bytes()
    # A tar's own padding means nothing, so flip what does: a header, packed rows, a file, the manifest.
    marks = [(b"\x1f\x8b", 14), (b"a plan", 2), (b'"sha256": "', 12)]
    places = [20, len(whole) // 2, -300] if is_encrypted else [20, *(whole.index(mark) + by for mark, by in marks)]
    bad = [whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at:][1:] for at in places]
    bad += [whole[: len(whole) // 2], whole[:100], b"", b"no backup at all" * 100]

    for content in bad:
        path.write_bytes(content)
        with pytest.raises(backup.BackupError):
            backup.check(path=path)


def test_an_encrypted_one_wants_its_own_key(tmp_path, settings):
    fill()
    path = make(tmp_path, is_encrypted=True).path
    assert b"alice" not in path.read_bytes()

    for key in ("", "another" * 8):
        settings.NEXUS_BACKUP_KEY = key
        with pytest.raises(backup.BackupError, match="NEXUS_BACKUP_KEY"):
            backup.check(path=path)


def test_no_setting_is_in_a_backup(tmp_path, settings):
    fill()

    found = {(member.kind, member.name) for member in archive.read(make(tmp_path).path, key="")}
    texts = b"".join(
        archive.rows_of(one)
        for one in archive.read(make(tmp_path, now=NOW + timedelta(seconds=1)).path, key="")
        if one.kind == "tables"
    )

    assert ("tables", "django_session") not in found
    for name in ("SECRET_KEY", "NEXUS_FIELD_KEY", "NEXUS_ADMIN_TOKEN", "NEXUS_MEM0_KEY", "NEXUS_BACKUP_KEY"):
        assert getattr(settings, name).encode() not in texts


def test_old_backups_go_when_the_new_one_is_there_and_nothing_else_does(tmp_path):
    (tmp_path / "nexus-notes.txt").write_text("mine")
    for day in range(4):
        made = make(tmp_path, keep=2, now=NOW + timedelta(days=day))

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "nexus-20261124T120000Z.backup",
        "nexus-20261125T120000Z.backup",
        "nexus-notes.txt",
    ]
    assert made.path.stat().st_mode & 0o777 == 0o600


def test_a_stream_is_sealed_block_by_block():
    for size in (0, 1, 256 * 1024, 256 * 1024 + 1, 700_001):
        plain, out = os.urandom(size), io.BytesIO()
        writer = SealingWriter(out, key=KEY)
        writer.write(plain)
        writer.finish()

        assert UnsealingReader(io.BytesIO(out.getvalue()), key=KEY).read() == plain
        with pytest.raises(SealBrokenError):
            UnsealingReader(io.BytesIO(out.getvalue()[:-1]), key=KEY).read()


def test_a_backup_comes_into_a_fresh_database_that_has_no_tables_yet(tmp_path, settings):
    """As on a new host: another process, another database, another state directory."""
    row = fill()
    counts = {name: tables.count(name) for name in tables.names()}
    path = make(tmp_path / "backups", is_encrypted=True).path
    url, _, old = database_url().rpartition("/")
    fresh = f"{old}_fresh"
    env = {
        **os.environ,
        "NEXUS_STATE_DIR": str(tmp_path / "new"),
        "NEXUS_BACKUP_KEY": KEY,
        "NEXUS_DATABASE_URL": f"{url}/{fresh}",
    }
    with psycopg.connect(f"{url}/postgres", autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{fresh}" TEMPLATE template0')
        try:
            done = subprocess.run(
                [sys.executable, "manage.py", "restore", str(path)],
                cwd=ROOT,
                env=env,
                capture_output=True,
                text=True,
                check=False,
                timeout=100,
            )
            assert done.returncode == 0, done.stderr
            with psycopg.connect(f"{url}/{fresh}") as new:
                found = {name: new.execute(f'SELECT count(*) FROM "{name}"').fetchall()[0][0] for name in counts}  # noqa: S608
                text = new.execute("SELECT text FROM messages WHERE id = %s", [row.message_id]).fetchall()[0][0]
        finally:
            server.execute(f'DROP DATABASE "{fresh}" WITH (FORCE)')

    assert found == counts | {"audit_log": counts["audit_log"] + 1}
    assert text == row.message.text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["restore", "/nonexistent"], "there is no file"),
        (["restore", str(ROOT / "manage.py")], "no backup of Nexus"),
        (["restore", str(ROOT / "manage.py"), "--check"], "no backup of Nexus"),
        (["backup", str(ROOT / "manage.py")], "no folder"),
        (["backup", "/proc/nothing/here"], "can't take the backup"),
    ],
)
def test_a_wrong_word_gets_a_sentence(words, sentence):
    with pytest.raises(CommandError, match=sentence):
        call_command(*words)


def test_encrypting_needs_a_key(settings, tmp_path):
    settings.NEXUS_BACKUP_KEY = ""

    with pytest.raises(CommandError, match="NEXUS_BACKUP_KEY"):
        call_command("backup", str(tmp_path), "--encrypt")
    assert list(tmp_path.glob("nexus-*")) == []
