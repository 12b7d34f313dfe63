"""Does a workspace come back as it was, and does it refuse a file that is none of its own?"""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from gateway.devchat import snapshot
from gateway.devchat.store import Store
from tests.contract.conftest import ADMIN_PASSWORD, PASSWORD, ROOT, Devchat, start_devchat


@pytest.mark.timeout(40)
def test_everything_survives_a_restart(tmp_path: Path) -> None:
    flags = ("--snapshot", str(tmp_path / "state" / "devchat.json"), "--no-limits")
    process, port = start_devchat(tmp_path, *flags)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
        devchat = Devchat(port, http)
        alice = devchat.add_user("alice")
        room = devchat.add_room("backend", owner=alice)
        first, second = alice.say(room, "kept"), alice.say(room, "deleted")
        alice.ok_post("chat.update", roomId=room, msgId=first["_id"], text="kept and edited")
        alice.ok_post("chat.delete", roomId=room, msgId=second["_id"])
        files = {"file": ("plan.txt", b"at noon", "text/plain")}
        kept = http.post(f"/api/v1/rooms.media/{room}", files=files, headers=alice.headers).json()["file"]
        alice.ok_post(f"rooms.mediaConfirm/{room}/{kept['_id']}")
    process.terminate()
    process.wait(10)

    process, port = start_devchat(tmp_path, *flags, ADMIN_PASS="another one")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
        again = Devchat.__new__(Devchat)
        again.http, again.port = http, port
        alice.http = http
        synced = alice.ok_get("chat.syncMessages", roomId=room, lastUpdate="2020-01-01T00:00:00.000Z")["result"]
        pages = alice.ok_get("chat.syncMessages", roomId=room, type="UPDATED", next="1")["result"]["updated"]
        content = http.get(kept["url"], headers=alice.headers).content
        admin = again.log_in("admin", ADMIN_PASSWORD)
        fresh_login = again.log_in("alice", PASSWORD)
    process.terminate()
    process.wait(10)

    assert [message["msg"] for message in synced["updated"]] == ["", "kept and edited"]
    assert [each["_id"] for each in synced["deleted"]] == [second["_id"]]
    assert [message["msg"] for message in pages] == ["kept and edited", ""]
    assert content == b"at noon"
    assert admin.id
    assert fresh_login.id == alice.id
    assert "a password" not in (tmp_path / "state" / "devchat.json").read_text()
    assert (tmp_path / "state" / "devchat.json").stat().st_mode & 0o077 == 0


def test_a_missing_file_is_a_fresh_start(tmp_path: Path) -> None:
    assert snapshot.read(Store(), tmp_path / "none.json") is False


@pytest.mark.parametrize("content", ["not json", "{}", '{"format":99}', "[]"])
def test_strange_files_are_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "devchat.json"
    path.write_text(content)

    with pytest.raises(snapshot.SnapshotError, match=r"devchat\.json"):
        snapshot.read(Store(), path)


def test_stopping_is_clean(tmp_path: Path) -> None:
    process, _ = start_devchat(tmp_path, TMPDIR=str(tmp_path))
    held = list(tmp_path.glob("devchat-*"))

    process.terminate()

    assert process.wait(10) == 0
    assert len(held) == 1
    assert list(tmp_path.glob("devchat-*")) == []


def test_a_taken_port_is_named(devchat_port: int) -> None:
    command = [sys.executable, "-m", "gateway.devchat", "--port", str(devchat_port)]

    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=8, check=False)

    assert ran.returncode == 2
    assert f"Port {devchat_port} on 127.0.0.1 is taken; choose another with --port." in ran.stderr
