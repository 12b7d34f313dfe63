"""Is a bridge that a busy hub kept waiting told to come again, and not that its token is refused?"""

from types import SimpleNamespace

import pytest
from daphne.ws_protocol import WebSocketProtocol

from gateway.hub.daphne import Protocol

CONNECT_S = 5


@pytest.fixture
def told() -> list[int]:
    """Status codes of refused handshakes."""
    return []


def protocol_after(seconds: float, *, told: list[int]) -> Protocol:
    protocol = Protocol()
    protocol.state = WebSocketProtocol.STATE_CONNECTING
    protocol.server = SimpleNamespace(websocket_connect_timeout=CONNECT_S, protocol_disconnected=lambda _: None)
    protocol.handshake_deferred = SimpleNamespace(errback=lambda denial: told.append(denial.code))
    protocol.duration = lambda: seconds
    return protocol


def test_who_waited_too_long_for_the_hub_hears_503_once(told):
    protocol = protocol_after(CONNECT_S + 1, told=told)

    protocol.check_timeouts()
    protocol.check_timeouts()

    assert told == [503]


def test_who_has_just_knocked_is_left_waiting(told):
    protocol_after(CONNECT_S - 1, told=told).check_timeouts()

    assert told == []
