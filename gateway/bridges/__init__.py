"""Making, rotating and revoking bridges: one function each, for the command, the site and the API."""

from gateway.bridges.errors import (
    BadNameError,
    BridgeError,
    ChatTroubleError,
    NoSuchBridgeError,
    NoSuchRoomError,
    NoSuchUserError,
    TakenError,
    UnknownCliError,
)
from gateway.bridges.keep import revoke, rotate
from gateway.bridges.making import Made, create, ensure_host
from gateway.bridges.naming import slug_of
from gateway.bridges.setup import config_text, instructions

__all__ = [
    "BadNameError",
    "BridgeError",
    "ChatTroubleError",
    "Made",
    "NoSuchBridgeError",
    "NoSuchRoomError",
    "NoSuchUserError",
    "TakenError",
    "UnknownCliError",
    "config_text",
    "create",
    "ensure_host",
    "instructions",
    "revoke",
    "rotate",
    "slug_of",
]
