"""Does a container's health check believe only who says that he is well?"""

import http.server
import threading
from collections.abc import Iterator

import pytest

from docker import healthy, start


class Door(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()
        self.wfile.write(b'{"problems": ["a question waits"]}')

    def log_message(self, *args: object) -> None:
        """Silent."""


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Door]]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Door)
    monkeypatch.setitem(start.PORTS, "sweep", server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Door
    server.shutdown()
    server.server_close()
    Door.status = 200


def test_who_answers_well_is_well(door: type[Door]) -> None:
    assert healthy.main(["sweep"]) == 0


def test_who_says_what_is_stuck_is_not(door: type[Door], capsys: pytest.CaptureFixture[str]) -> None:
    door.status = 503

    assert healthy.main(["sweep"]) == 1
    assert "a question waits" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["postman"]])
def test_an_unknown_program_is_not_well(words: list[str]) -> None:
    assert healthy.main(words) == 1


def test_who_does_not_answer_is_not_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(start.PORTS, "chat", 1)

    assert healthy.main(["chat"]) == 1
    assert "does not answer" in capsys.readouterr().err
