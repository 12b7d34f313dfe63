"""The form of tokens: `nxb_<43 signs of secret>_<8 signs of checksum>`, and `nxt_…` for the tools token of a session,
`nxj_…` for a join code, which becomes a bridge token once.

256 random bits. The checksum tells a token that was cut off or mistyped from one that the hub does not know.
"""

import base64
import hmac
import re
import zlib
from typing import Final, Literal

BRIDGE: Final = "nxb"
TOOLS: Final = "nxt"
JOIN: Final = "nxj"
SECRET_BYTES: Final = 32

_FORM = re.compile(r"^(nx[bjt])_[A-Za-z0-9_-]{43}_[0-9a-f]{8}\Z")


def make(*, kind: Literal["nxb", "nxj", "nxt"], secret: bytes) -> str:
    """The token of 32 secret bytes."""
    body = f"{kind}_{base64.urlsafe_b64encode(secret).decode().rstrip('=')}"
    return f"{body}_{_checksum(body)}"


def is_well_formed(token: str, *, kind: Literal["nxb", "nxj", "nxt"]) -> bool:
    """Form and checksum; says nothing about whether the hub knows it."""
    found = _FORM.match(token)
    return found is not None and found[1] == kind and hmac.compare_digest(_checksum(token[:-9]), token[-8:])


def _checksum(body: str) -> str:
    return f"{zlib.crc32(body.encode()):08x}"
