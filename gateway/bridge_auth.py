"""Bridge tokens: what is stored of them, and whose they are. Their form stands in nexus_bridge/tokens.py.

At rest there is a SHA-256 digest only. Tools tokens are derived, so that each prompt of a CLI session carries the same.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from gateway.models import Bridge, Invocation, Purpose, State, ToolToken
from nexus_bridge import tokens

REFUSAL: Final = "This bridge token is not valid. Ask the owner of the host for a new one: manage.py create_bridge."
"""The one text for unknown, revoked and expired tokens."""

TOO_MANY_TOOLS: Final = "Too many refused tools tokens from this address, or of this one; wait a minute."
TOO_MANY: Final = "Too many refused bridge tokens from this address, or of this one; wait a minute."


@dataclass(frozen=True, slots=True)
class BridgeIdentity:
    """Who a valid token belongs to. Everything else about a bridge comes from the database, never from the bridge."""

    bridge_id: int
    name: str
    token_digest: str


def new_bridge_token() -> str:
    return tokens.make(kind=tokens.BRIDGE, secret=secrets.token_bytes(tokens.SECRET_BYTES))


def tools_token(*, bridge_id: int, token_version: int, agent_id: int, session_key: str) -> str:
    """The token of one CLI session; it changes when the bridge's own token does."""
    seed = f"tools:{bridge_id}:{token_version}:{agent_id}:{session_key}".encode()
    return tokens.make(kind=tokens.TOOLS, secret=hmac.digest(settings.NEXUS_FIELD_KEY.encode(), seed, "sha256"))


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def bearer_of(header: str | bytes | None) -> str | None:
    """The token of an Authorization header, or None when it is not a Bearer one."""
    text = header.decode("latin-1") if isinstance(header, bytes) else header or ""
    scheme, _, token = text.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def find_bridge(*, token: str) -> BridgeIdentity | None:
    """The bridge of a live token. Looked up by digest: no comparison of secrets that could be timed."""
    if not tokens.is_well_formed(token, kind=tokens.BRIDGE):
        return None
    digest = digest_of(token)
    live = Q(token_digest=digest) | Q(old_token_digest=digest, old_token_until__gt=Now())
    bridge = Bridge.objects.filter(live, revoked_at=None).only("pk", "name").first()
    return None if bridge is None else BridgeIdentity(bridge_id=bridge.pk, name=bridge.name, token_digest=digest)


def find_run(*, tools_token: str) -> Invocation | None:
    """The one running turn of the CLI session that this tools token was made for."""
    if not tokens.is_well_formed(tools_token, kind=tokens.TOOLS):
        return None
    found = ToolToken.objects.filter(
        digest=digest_of(tools_token), expires_at__gt=Now(), bridge__revoked_at=None
    ).first()
    if found is None:
        return None
    return (
        Invocation.objects.select_related("agent", "room", "root_asker")
        .filter(agent_id=found.agent_id, session_key=found.session_key, state=State.RUNNING, purpose=Purpose.ANSWER)
        .filter(agent__bridge_id=found.bridge_id)
        .first()
    )
