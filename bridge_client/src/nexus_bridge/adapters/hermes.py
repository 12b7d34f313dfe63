"""Hermes over the Agent Client Protocol (`hermes acp`; install hermes-agent[acp,mcp]). Options as for acp."""

import re
from typing import ClassVar, Final

from nexus_bridge.adapters.acp import AcpAdapter, Quirks
from nexus_bridge.adapters.base import Profile
from nexus_bridge.adapters.lines import Frame, text_of
from nexus_bridge.events import AnyEvent, Done

_FAILURE: Final = re.compile(r"HTTP \d{3}\b|Error:|⚠️? ?(?:API|Error)")
_MAX_HELD: Final = 2_000
"""Characters of an answer that looks like an error; more than that is an answer."""


class HermesAdapter(AcpAdapter):
    """Says errors of the model API as if they were its answer: what looks like one waits until the turn's end."""

    kind: ClassVar[str] = "hermes"
    quirks: ClassVar[Quirks] = Quirks(
        title="Hermes",
        program=("hermes",),
        arguments=("acp",),
        names=("HERMES_*", "OPENAI_*", "OPENROUTER_*", "ANTHROPIC_*"),
        takes_http_mcp=True,
        is_failure=_FAILURE,
    )

    def __init__(self, *, profile: Profile) -> None:
        super().__init__(profile=profile)
        self._waiting: list[AnyEvent] = []

    def _updated(self, update: Frame) -> list[AnyEvent]:
        said = super()._updated(update)
        return said if text_of(update, "sessionUpdate") != "agent_message_chunk" else self._held(said)

    def _held(self, said: list[AnyEvent]) -> list[AnyEvent]:
        words = self._output.text
        is_suspect = len(words) < _MAX_HELD and (_FAILURE.match(words) or "HTTP ".startswith(words[:5]))
        if is_suspect:
            self._waiting += said
            return []
        waiting, self._waiting = self._waiting, []
        return waiting + said

    def _prompted(self, *, error: Frame, result: Frame) -> list[AnyEvent]:
        ended = super()._prompted(error=error, result=result)
        waiting, self._waiting = self._waiting, []
        is_failure = any(isinstance(event, Done) and event.status == "error" for event in ended)
        return ended if is_failure else waiting + ended
