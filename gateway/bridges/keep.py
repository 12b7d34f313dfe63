"""What becomes of a bridge later: another token, or its end."""

from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now

from gateway import audit, bridge_auth, nudges
from gateway.bridges.errors import NoSuchBridgeError
from gateway.invocations import AT_BRIDGE, fail_unsent, interrupt
from gateway.models import Bridge, Invocation, State, ToolToken

OVERLAP_S = 3600.0
"""How long the old token still works, so that its owner can change it without a gap."""


def rotate(*, bridge_id: int, actor: str, overlap_s: float = OVERLAP_S) -> str:
    """A new bridge token. The old one works for `overlap_s` more, or ends its sockets at once with 0."""
    token = bridge_auth.new_bridge_token()
    with transaction.atomic():
        bridge = _lock(bridge_id)
        Bridge.objects.filter(pk=bridge_id).update(
            old_token_digest=bridge.token_digest if overlap_s > 0 else "",
            old_token_until=Now() + timedelta(seconds=overlap_s) if overlap_s > 0 else None,
            token_digest=bridge_auth.digest_of(token),
            token_version=bridge.token_version + 1,
            token_made_at=Now(),
        )
        audit.record(actor=actor, action="bridge_token_rotated", target=bridge.name, overlap_s=overlap_s)
        nudges.hub(bridge_id=bridge_id)
    return token


def revoke(*, bridge_id: int, actor: str) -> None:
    """For good: its sockets close within seconds, its runs end, what waits for it fails, each with a sentence."""
    with transaction.atomic():
        bridge = _lock(bridge_id)
        Bridge.objects.filter(pk=bridge_id).update(revoked_at=Now(), lease_until=None, old_token_digest="")
        ToolToken.objects.filter(bridge_id=bridge_id).delete()
        rows = Invocation.objects.filter(agent__bridge_id=bridge_id)
        unsent = rows.filter(state__in=(State.QUEUED, State.WAITING, State.COMPOSED))
        for pk in unsent.values_list("pk", flat=True):
            fail_unsent(invocation_id=pk, reason="bridge_revoked")
        for pk, fence in rows.filter(state__in=AT_BRIDGE).values_list("pk", "fence"):
            interrupt(invocation_id=pk, fence=fence, reason="bridge_revoked")
        audit.record(actor=actor, action="bridge_revoked", target=bridge.name)
        nudges.hub(bridge_id=bridge_id)


def _lock(bridge_id: int) -> Bridge:
    bridge = Bridge.objects.select_for_update(no_key=True).filter(pk=bridge_id, revoked_at=None).first()
    if bridge is None:
        raise NoSuchBridgeError(bridge_id=bridge_id)
    return bridge
