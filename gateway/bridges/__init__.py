"""Making, rotating and revoking bridges: one function each, for the command, the site and the API."""

from gateway.bridges.errors import (
    BadJoinCodeError,
    BadNameError,
    BridgeError,
    ChatTroubleError,
    NoSuchBridgeError,
    NoSuchRoomError,
    NoSuchUserError,
    TakenError,
    UnknownCliError,
)
from gateway.bridges.joining import Issued, Joined, issue_join, join_url, redeem_join
from gateway.bridges.keep import revoke, rotate
from gateway.bridges.making import Made, create, ensure_host
from gateway.bridges.naming import slug_of
from gateway.bridges.setup import config_of, config_text, instructions, join_instructions

__all__ = [
    "BadJoinCodeError",
    "BadNameError",
    "BridgeError",
    "ChatTroubleError",
    "Issued",
    "Joined",
    "Made",
    "NoSuchBridgeError",
    "NoSuchRoomError",
    "NoSuchUserError",
    "TakenError",
    "UnknownCliError",
    "config_of",
    "config_text",
    "create",
    "ensure_host",
    "instructions",
    "issue_join",
    "join_instructions",
    "join_url",
    "redeem_join",
    "revoke",
    "rotate",
    "slug_of",
]
