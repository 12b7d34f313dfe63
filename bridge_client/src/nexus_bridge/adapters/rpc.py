"""JSON-RPC 2.0 by lines, our side of it: ids of what we asked, frames that wait to be written. Pure."""

from typing import Any, Final

import msgspec

from nexus_bridge.adapters.lines import Frame, text_of

NOT_FOUND: Final = -32601
INTERNAL: Final = -32603


class Rpc:
    """`extra` stands in every frame ("jsonrpc": "2.0", where the other side wants it)."""

    def __init__(self, *, extra: Frame | None = None) -> None:
        self._extra = extra or {}
        self._asked: dict[int, str] = {}
        self._last_id = 0
        self._waiting: list[bytes] = []

    def request(self, method: str, params: Frame) -> bytes:
        self._last_id += 1
        self._asked[self._last_id] = method
        return self._line(id=self._last_id, method=method, params=params)

    def notification(self, method: str, params: Frame | None = None) -> bytes:
        return self._line(method=method) if params is None else self._line(method=method, params=params)

    def response(self, request: Any, result: Frame) -> bytes:  # Any: an id is a number or a text
        return self._line(id=request, result=result)

    def refusal(self, request: Any, *, code: int, message: str) -> bytes:  # Any: as above
        return self._line(id=request, error={"code": code, "message": message})

    def answered(self, frame: Frame) -> str:
        """The method that this response answers; empty when it answers nothing of ours."""
        identity = frame.get("id")
        return self._asked.pop(identity, "") if isinstance(identity, int) else ""

    @staticmethod
    def stray(frame: Frame) -> str:
        """What a frame is counted as that asks nothing and answers nothing of ours."""
        return text_of(frame, "type")[:40] or "no method"

    def later(self, data: bytes) -> None:
        """Keep what must be written until `take`."""
        self._waiting.append(data)

    def take(self) -> bytes:
        taken = b"".join(self._waiting)
        self._waiting.clear()
        return taken

    def _line(self, **fields: object) -> bytes:
        return msgspec.json.encode({**self._extra, **fields}) + b"\n"
