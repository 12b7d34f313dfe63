"""A mem0-api that keeps memories in a dict and misbehaves when told to."""

import contextlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class FakeMemoryApi:
    """`script` holds answers to give before behaving again: (status, body) or a callable with the handler."""

    def __init__(self) -> None:
        self.memories: dict[int, dict[str, Any]] = {}
        self.searches: list[dict[str, Any]] = []
        self.results: list[dict[str, Any]] | None = None
        self.calls: list[str] = []
        self.script: list[tuple[int, bytes] | Callable[[BaseHTTPRequestHandler], None]] = []
        self.hang = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                fake.handle(self, self.rfile.read(int(self.headers["content-length"])))

            def do_DELETE(self) -> None:
                fake.handle(self, b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.hang.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def handle(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        parts = urlsplit(handler.path)
        self.calls.append(f"{handler.command} {parts.path}")
        if self.script:
            step = self.script.pop(0)
            if callable(step):
                step(handler)
            else:
                _answer(handler, *step)
            return
        if parts.path == "/search":
            self.searches.append(json.loads(body))
            results = (
                self.results if self.results is not None else [{"msg": msg, "score": 0.5} for msg in self.memories]
            )
            _answer(handler, 200, json.dumps({"results": results}).encode())
        elif parts.path in ("/learn", "/reembed"):
            _answer(handler, 200, b'{"done": 0, "left": false}')
        elif handler.command == "DELETE":
            gone = self.memories.pop(int(parse_qs(parts.query)["msg"][0]), None)
            _answer(handler, 200, json.dumps({"removed": int(gone is not None)}).encode())
        else:
            added = json.loads(body)["memories"]
            self.memories |= {memory["msg"]: memory for memory in added}
            results = [{"msg": memory["msg"], "state": "added"} for memory in added]
            _answer(handler, 200, json.dumps({"results": results}).encode())

    def silence(self, _handler: BaseHTTPRequestHandler) -> None:
        """A step of a script: no answer until the fake is closed."""
        self.hang.wait(30)
        _handler.close_connection = True


def _answer(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    # Whoever hangs up on an answer that is too large is right to.
    with contextlib.suppress(ConnectionError):
        handler.wfile.write(body)
