"""An invocation's life: the table of states, opening, claiming, transitions, rights."""

from gateway.invocations.claims import Claim, claim_next
from gateway.invocations.notices import chat_message_id, take_back, tell
from gateway.invocations.opening import Asking, open_again, open_invocation, open_row
from gateway.invocations.queue import next_claimable, next_in_room
from gateway.invocations.rights import may_decide, may_stop, refusal
from gateway.invocations.summaries import open_summary
from gateway.invocations.table import AT_BRIDGE, BEFORE_OFFER, EDGES, OPEN
from gateway.invocations.transitions import (
    accepted,
    cancel_without_bridge,
    compose_crashed,
    compose_failed,
    composed,
    ended,
    expire,
    fail_unsent,
    give_up_room,
    interrupt,
    not_taken,
    offer,
    park,
    refused,
    request_cancel,
    unpark,
    wake,
)

__all__ = [
    "AT_BRIDGE",
    "BEFORE_OFFER",
    "EDGES",
    "OPEN",
    "Asking",
    "Claim",
    "accepted",
    "cancel_without_bridge",
    "chat_message_id",
    "claim_next",
    "compose_crashed",
    "compose_failed",
    "composed",
    "ended",
    "expire",
    "fail_unsent",
    "give_up_room",
    "interrupt",
    "may_decide",
    "may_stop",
    "next_claimable",
    "next_in_room",
    "not_taken",
    "offer",
    "open_again",
    "open_invocation",
    "open_row",
    "open_summary",
    "park",
    "refusal",
    "refused",
    "request_cancel",
    "take_back",
    "tell",
    "unpark",
    "wake",
]
