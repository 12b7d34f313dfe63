"""The table of an invocation's life: every edge there is, and who takes it. The database trigger refuses any other."""

from typing import Final

from gateway.models.invocations import FINAL, LIVE, State

OPEN: Final = tuple(state for state in State if state not in FINAL)
BEFORE_OFFER: Final = (State.QUEUED, State.WAITING, State.COMPOSING, State.COMPOSED)
AT_BRIDGE: Final = (State.OFFERED, State.RUNNING)

EDGES: Final[dict[tuple[State, State], str]] = {
    (State.QUEUED, State.COMPOSING): "the claim",
    (State.QUEUED, State.WAITING): "the claim, when no bridge is live",
    (State.QUEUED, State.FAILED): "bridge revoked or deleted, agent disabled, right withdrawn",
    (State.QUEUED, State.CANCELLED): "!stop or a deleted message",
    (State.QUEUED, State.EXPIRED): "wait_until",
    (State.WAITING, State.QUEUED): "hello, or the gateway's loop",
    (State.WAITING, State.FAILED): "bridge revoked or deleted, agent disabled",
    (State.WAITING, State.CANCELLED): "!stop or a deleted message",
    (State.WAITING, State.EXPIRED): "wait_until",
    (State.COMPOSING, State.COMPOSED): "prompt stored",
    (State.COMPOSING, State.QUEUED): "lease gone",
    (State.COMPOSING, State.FAILED): "third crash, or an error with a reason",
    (State.COMPOSING, State.CANCELLED): "!stop or a deleted message",
    (State.COMPOSING, State.EXPIRED): "wait_until",
    (State.COMPOSED, State.OFFERED): "dispatch to a live bridge",
    (State.COMPOSED, State.WAITING): "dispatch, when the bridge is gone",
    (State.COMPOSED, State.FAILED): "bridge revoked or deleted, agent disabled",
    (State.COMPOSED, State.CANCELLED): "!stop or a deleted message",
    (State.COMPOSED, State.EXPIRED): "wait_until",
    (State.OFFERED, State.RUNNING): "accepted, or a hello that lists it",
    (State.OFFERED, State.QUEUED): "a hello of the same journal that does not list it",
    (State.OFFERED, State.REFUSED): "the bridge's policy",
    (State.OFFERED, State.INTERRUPTED): "hello of another journal; bridge revoked or deleted",
    (State.OFFERED, State.EXPIRED): "bridge gone at wait_until",
    (State.OFFERED, State.CANCELLED): "cancel requested and then end, or 15 s later",
    (State.OFFERED, State.FAILED): "cancel requested by the hub, offer unanswered",
    (State.RUNNING, State.DONE): "end",
    (State.RUNNING, State.FAILED): "end, or cancel requested by the hub at the wall limit",
    (State.RUNNING, State.CANCELLED): "cancel requested and then end, or 15 s later",
    (State.RUNNING, State.INTERRUPTED): "the run is lost, the bridge is gone too long, another journal, revoked",
}

TIME_FIELD: Final[dict[State, str]] = {
    State.QUEUED: "queued_at",
    State.COMPOSING: "composing_at",
    State.COMPOSED: "composed_at",
    State.OFFERED: "offered_at",
    State.RUNNING: "running_at",
    **dict.fromkeys(FINAL, "ended_at"),
}

MAX_CRASHES: Final = 3
CANCEL_GRACE_S: Final = 15
WALL_GRACE_S: Final = 60
OFFER_ANSWER_S: Final = 60
GONE_S: Final = 8 * 3600
"""A running row whose bridge is gone longer than this is lost."""

__all__ = ["AT_BRIDGE", "BEFORE_OFFER", "EDGES", "FINAL", "LIVE", "OPEN", "TIME_FIELD", "State"]
