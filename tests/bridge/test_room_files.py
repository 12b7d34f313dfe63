"""Is what an agent leaves in its folder sent, and nothing from anywhere else?"""

import os
from pathlib import Path
from typing import IO, Any

import pytest

from nexus_bridge import events, room_files
from nexus_bridge.hub_http import FileNotTaken
from nexus_bridge.room_files import folder_of, prepare, send_files
from nexus_bridge.settings import Hub
from tests.fakes.hub import prompt_for

HUB = Hub(url="ws://127.0.0.1:1/ws/bridge/")


class Shelf:
    """Takes what a bridge sends, in place of HTTP."""

    def __init__(self) -> None:
        self.taken: dict[str, bytes] = {}
        self.most = 100

    def send(self, *, name: str, size: int, file: IO[bytes], **_: Any) -> str:
        if len(self.taken) >= self.most:
            raise FileNotTaken("the hub takes no more files of this run")
        self.taken[name] = file.read()
        assert len(self.taken[name]) == size
        return str(len(self.taken))


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf()
    monkeypatch.setattr(room_files, "send", shelf.send)
    return shelf


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = prepare(workdir=tmp_path, invocation=7)
    assert folder is not None
    return folder


async def told(folder: Path) -> list[str]:
    said = await send_files(hub=HUB, prompt=prompt_for(7, tools_token="nxt_tools"), folder=folder)
    return [event.text if isinstance(event, events.Notice) else f"{event.name} {event.content_type}" for event in said]


async def test_plain_files_are_sent_and_the_folder_is_gone(folder: Path, shelf: Shelf, tmp_path: Path) -> None:
    (folder / "report.pdf").write_bytes(b"pdf")
    (folder / "empty").touch()

    assert await told(folder) == ["empty application/octet-stream", "report.pdf application/pdf"]
    assert shelf.taken == {"report.pdf": b"pdf", "empty": b""}
    assert not folder.exists()
    assert (tmp_path / ".nexus-files" / ".gitignore").read_text() == "*\n"


async def test_nothing_from_outside_leaves_by_a_link_a_second_name_a_pipe_or_a_folder(
    folder: Path, shelf: Shelf, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (folder / "a-link").symlink_to(secret)
    (folder / "b-name").hardlink_to(secret)
    os.mkfifo(folder / "c-pipe")
    (folder / "d-folder").mkdir()

    sentences = await told(folder)

    assert shelf.taken == {}
    assert [sentence.split(":")[0] for sentence in sentences] == [
        f"{name} was not sent" for name in ("a-link", "b-name", "c-pipe", "d-folder")
    ]


async def test_a_folder_that_was_swapped_for_a_link_is_not_entered(folder: Path, shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "key").write_text("secret")
    folder.rmdir()
    folder.symlink_to(tmp_path / "home")

    assert await told(folder) == []
    assert (tmp_path / "home" / "key").exists()


async def test_too_many_and_too_large_files_stay_behind_with_a_sentence(
    folder: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_files, "MAX_FILES", 2)
    monkeypatch.setattr(room_files, "MAX_FILE_BYTES", 3)
    for name in ("a", "c", "d"):
        (folder / name).write_bytes(b"x")
    (folder / "b").write_bytes(b"long")

    sentences = await told(folder)

    assert sorted(shelf.taken) == ["a", "c"]
    assert sentences[1].startswith("b was not sent: it is larger")
    assert sentences[-1] == "More files was not sent: 2 are the most."


async def test_what_the_hub_does_not_take_is_told(folder: Path, shelf: Shelf) -> None:
    shelf.most = 0
    (folder / "a").touch()

    assert await told(folder) == ["a was not sent: the hub takes no more files of this run."]


def test_a_working_directory_that_can_not_be_written_has_no_folder(tmp_path: Path) -> None:
    (tmp_path / ".nexus-files").symlink_to(tmp_path)

    assert prepare(workdir=tmp_path, invocation=7) is None
    assert folder_of(workdir=tmp_path, invocation=7).name == "7"
