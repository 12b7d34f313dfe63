"""Chat events in, in batches: store, remember, detect mentions, open invocations."""

from gateway.ingest.batches import Batch, Outcome
from gateway.ingest.replies import store_reply
from gateway.ingest.store import Ingest

__all__ = ["Batch", "Ingest", "Outcome", "store_reply"]
