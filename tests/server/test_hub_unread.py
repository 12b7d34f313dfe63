"""Does a bridge that never reads cost the hub more than its bound?"""

from collections.abc import Callable

import pytest
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet.abstract import FileDescriptor

from gateway.hub import daphne


class Reactor:
    """The socket is never ready to be written to."""

    def addWriter(self, _descriptor: object) -> None:  # noqa: N802 - twisted's name
        """Nothing leaves."""


class Stuck(FileDescriptor):
    """twisted's own buffers before a peer that reads nothing."""

    def __init__(self) -> None:
        super().__init__(reactor=Reactor())  # type: ignore[arg-type]
        self.connected = 1
        self.is_aborted = False

    def abortConnection(self) -> None:  # noqa: N802 - twisted's name
        self.is_aborted = True


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []

    def send(protocol: daphne.Protocol, payload: bytes, *_: object, **__: object) -> None:
        sizes.append(len(payload))
        protocol.transport.write(payload)

    monkeypatch.setattr(WebSocketProtocol, "sendMessage", send)
    return sizes


@pytest.fixture
def protocol() -> daphne.Protocol:
    protocol = daphne.Protocol()
    protocol.transport = Stuck()
    return protocol


def test_a_peer_that_reads_nothing_is_hung_up_on_at_the_bound(protocol: daphne.Protocol, sent: list[int]) -> None:
    send: Callable[[bytes], None] = protocol.sendMessage
    for _ in range(40):
        send(bytes(1024 * 1024))

    assert protocol.transport.is_aborted
    assert daphne.MAX_UNREAD_BYTES < sum(sent) <= daphne.MAX_UNREAD_BYTES + 1024 * 1024
