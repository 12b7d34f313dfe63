"""Chat events in, in batches: store, remember, detect mentions, open invocations."""

from gateway.ingest.batches import Batch, Outcome
from gateway.ingest.places import note_room, place_membership, sync_members, sync_subscriptions
from gateway.ingest.replies import store_reply
from gateway.ingest.store import Ingest

__all__ = [
    "Batch",
    "Ingest",
    "Outcome",
    "note_room",
    "place_membership",
    "store_reply",
    "sync_members",
    "sync_subscriptions",
]
