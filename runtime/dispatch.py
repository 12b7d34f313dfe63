"""Hands a composed invocation to its agent's bridge, and never waits for the answer."""

import logging

from gateway import invocations
from gateway.watch import traces
from gateway.watch.about import about_invocation

logger = logging.getLogger(__name__)


def dispatch(*, invocation_id: int) -> bool:
    """Offer the row to the live bridge, or park it. A second call for the same row changes nothing."""
    with about_invocation(invocation_id), traces.span("run", invocation_id=invocation_id):
        is_offered = invocations.offer(invocation_id=invocation_id)
        logger.info("dispatched", extra={"offered": is_offered})
    return is_offered
