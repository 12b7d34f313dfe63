"""A model behind an OpenAI-compatible endpoint: chat and vectors, as told, and misbehaving when told to."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from composer.memory.embedder import HashedEmbedder

Answer = tuple[int, bytes]


class FakeModelApi:
    """`say(messages)` is what the model answers; `script` holds answers to give first. `width`: of its vectors."""

    def __init__(self) -> None:
        self.say: Callable[[list[dict[str, str]]], str] = lambda _: ""
        self.width = 384
        self.script: list[Answer] = []
        self.chats: list[dict[str, Any]] = []
        self.embedded: list[str] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, content = fake.script.pop(0) if fake.script else (200, fake.answer(self.path, body))
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def answer(self, path: str, body: dict[str, Any]) -> bytes:
        if path.endswith("/embeddings"):
            texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
            self.embedded += texts
            vectors = [vector[: self.width] for vector in HashedEmbedder().embed(texts)]
            data = [
                {"index": n, "embedding": vector if any(vector) else [1.0, *vector[1:]]}
                for n, vector in enumerate(vectors)
            ]
            return json.dumps({"data": data}).encode()
        self.chats.append(body)
        message = {"role": "assistant", "content": self.say(body["messages"])}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json.dumps(
            {"id": "x", "object": "chat.completion", "created": 1, "model": "fake", "choices": [choice]}
        ).encode()
