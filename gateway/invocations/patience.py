"""How long does a question of an agent wait for its answer? As long as we let it, and no longer than its laptop does."""

from typing import Final

from gateway.models import Agent, Asks

ANSWER_S: Final = 600
MARGIN_S: Final = 1
"""Ours is over a little earlier than the laptop's, so that no yes comes to a question that is denied there."""


def answer_s(*, agent: Agent, kind: str) -> int:
    """What the CLI asked waits at the bridge too, and its owner may have set less."""
    if kind != Asks.PERMISSION or agent.bridge is None or not isinstance(agent.bridge.policies, dict):
        return ANSWER_S
    told = agent.bridge.policies.get(agent.slug)
    waits_s = told.get("permission_s") if isinstance(told, dict) else None
    return min(ANSWER_S, max(1, waits_s - MARGIN_S)) if isinstance(waits_s, int) else ANSWER_S


def in_words(seconds: int) -> str:
    """For a sentence: rounded as a person would say it."""
    if seconds < 90:
        return f"{seconds} seconds"
    return f"{round(seconds / 60)} minutes"
