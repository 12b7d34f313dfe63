"""Join codes: a one-shot word that becomes a bridge token, so that no token has to be sent to anybody."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from gateway import audit, bridge_auth
from gateway.bridges.errors import BadJoinCodeError, NoSuchBridgeError
from gateway.bridges.keep import rotate
from gateway.models import Agent, Bridge, JoinCode
from nexus_bridge import tokens

VALID_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Issued:
    """`code` and `url` are told once; the digest alone is stored."""

    code: str
    url: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Joined:
    """What a bridge needs to write its configuration: (slug, CLI kind, parallel) of each agent."""

    token: str
    bridge: str
    owner: str
    agents: tuple[tuple[str, str, int], ...]


def issue_join(*, bridge_id: int, actor: str, valid_s: float = VALID_S) -> Issued:
    """A code for this bridge, good once and for a day; codes issued before and not used are void. Raises NoSuchBridgeError."""
    code = tokens.make(kind=tokens.JOIN, secret=secrets.token_bytes(tokens.SECRET_BYTES))
    with transaction.atomic():
        bridge = Bridge.objects.select_for_update(no_key=True).filter(pk=bridge_id, revoked_at=None).first()
        if bridge is None:
            raise NoSuchBridgeError(bridge_id=bridge_id)
        JoinCode.objects.filter(bridge=bridge, used_at=None).delete()
        row = JoinCode.objects.create(
            bridge=bridge,
            digest=bridge_auth.digest_of(code),
            expires_at=Now() + timedelta(seconds=valid_s),
            created_by=actor[:200],
        )
        audit.record(actor=actor, action="join_code_issued", target=bridge.name)
        row.refresh_from_db()
    return Issued(code=code, url=join_url(code), expires_at=row.expires_at)


def join_url(code: str) -> str:
    """The code stands behind the #: no browser and no proxy sends that part to anybody."""
    return f"{settings.NEXUS_PUBLIC_URL.rstrip('/')}/join#{code}"


def redeem_join(*, code: str) -> Joined:
    """Make this code's bridge token, once. A token that the bridge had before ends. Raises BadJoinCodeError."""
    if not tokens.is_well_formed(code, kind=tokens.JOIN):
        raise BadJoinCodeError
    with transaction.atomic(durable=True):
        live = JoinCode.objects.filter(
            digest=bridge_auth.digest_of(code), used_at=None, expires_at__gt=Now(), bridge__revoked_at=None
        )
        # Who updates the row has used the code; a second one finds it used.
        found = live.select_related("bridge__owner").first()
        if found is None or not JoinCode.objects.filter(pk=found.pk, used_at=None).update(used_at=Now()):
            raise BadJoinCodeError
        bridge = found.bridge
        token = rotate(bridge_id=bridge.pk, actor=f"bridge:{bridge.name}", overlap_s=0)
        agents = Agent.objects.filter(bridge=bridge).order_by("slug").values_list("slug", "cli_kind", "parallel")
        audit.record(actor=f"bridge:{bridge.name}", action="join_code_used", target=bridge.name)
        owner = bridge.owner.username if bridge.owner is not None else ""
        return Joined(token=token, bridge=bridge.name, owner=owner, agents=tuple(agents))
