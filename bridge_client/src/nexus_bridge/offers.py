"""Which prompts are taken: never an id seen before, never against the owner's policy, never more than lanes allow."""

from collections.abc import Callable, Sequence
from typing import Final

from nexus_bridge.errors import JournalWriteError
from nexus_bridge.journal import Journal
from nexus_bridge.lanes import Lanes
from nexus_bridge.orders import Ending, Refusal, Start, Stop
from nexus_bridge.output import Output
from nexus_bridge.post import Post
from nexus_bridge.protocol import Accepted, AgentOffer, Cancel, Prompt, Refused
from nexus_bridge.spool import Run

MAX_OPEN_RUNS: Final = 1_024
"""What fits into one `hello`. An offer beyond it goes unanswered, and is sent again."""

Gate = Callable[[Prompt], Refusal | None]
"""The owner's policy: why this prompt is not taken, or None."""


class Offers:
    def __init__(
        self, *, journal: Journal, agents: Sequence[AgentOffer], gate: Gate, lanes: Lanes, output: Output, post: Post
    ) -> None:
        self._journal = journal
        self._slugs = {agent.slug for agent in agents}
        self._gate = gate
        self._lanes = lanes
        self._output = output
        self._post = post
        self._stopping: set[int] = set()
        self._is_closed = False

    def close(self) -> None:
        """The bridge stops: offers go unanswered, and the hub keeps them for whoever comes next."""
        self._is_closed = True
        self._lanes.forget_all()

    def take(self, offer: Prompt, *, now: float) -> None:
        if self._is_answered_from_journal(offer) or self._is_closed:
            return
        if (refusal := self._refusal(offer)) is not None:
            self._journal.refuse(
                invocation=offer.invocation,
                fence=offer.fence,
                reason=refusal.reason,
                message=refusal.message,
                now=now,
            )
            self._refuse(offer, refusal)
        elif self._lanes.wait(offer):
            self.start_waiting(now=now)
        else:
            self._post.tell("too many prompts are waiting; the hub will offer this one again")

    def start_waiting(self, *, now: float) -> None:
        """Begin every turn whose lane is free."""
        while len(self._journal.runs) < MAX_OPEN_RUNS and (offer := self._lanes.next()) is not None:
            refused = Refusal(reason="disk", message="The bridge can't write its journal; its disk may be full.")
            if self._accept(offer, agent=offer.agent, session_key=offer.session_key, now=now) is None:
                self._refuse(offer, refused)
                continue
            self._lanes.take(offer)
            known = self._journal.cli_session(agent=offer.agent, session_key=offer.session_key)
            self._post.order(Start(prompt=offer, cli_session=known))

    def cancel(self, cancel: Cancel, *, now: float) -> None:
        """The hub repeats it until the end comes; the turn is told once."""
        invocation = cancel.invocation
        reason = cancel.reason or "cancelled"
        if invocation in self._lanes.alive:
            if invocation not in self._stopping:
                self._stopping.add(invocation)
                self._post.order(Stop(invocation=invocation, outcome="cancelled", reason=reason))
        elif self._is_unknown(invocation) and len(self._journal.runs) < MAX_OPEN_RUNS:
            self._cancel_unstarted(cancel, reason=reason, now=now)

    def freed(self, invocation: int, *, now: float) -> None:
        self._lanes.free(invocation)
        self._stopping.discard(invocation)
        self.start_waiting(now=now)

    def _is_answered_from_journal(self, offer: Prompt) -> bool:
        """An id seen before is never started again, whatever the hub says."""
        run = self._journal.runs.get(offer.invocation)
        if run is not None and run.fence == offer.fence:
            self._post.send(Accepted(invocation=run.invocation, fence=run.fence))
        elif run is not None:
            self._output.kill(run.invocation, reason="the hub offers it anew")
            self._refuse(offer, Refusal(reason="already_started", message="This bridge has already started it."))
        elif (seen := self._journal.seen(offer.invocation)) is not None:
            message = seen.message or "This bridge has already run it."
            self._refuse(offer, Refusal(reason=seen.reason or "already_run", message=message))
        else:
            return False
        return True

    def _is_unknown(self, invocation: int) -> bool:
        return invocation not in self._journal.runs and self._journal.seen(invocation) is None

    def _refusal(self, offer: Prompt) -> Refusal | None:
        if offer.agent not in self._slugs:
            message = f"The bridge has no agent {offer.agent} in its configuration."
            return Refusal(reason="unknown_agent", message=message)
        return self._gate(offer)

    def _refuse(self, offer: Prompt, refusal: Refusal) -> None:
        self._post.send(
            Refused(invocation=offer.invocation, fence=offer.fence, reason=refusal.reason, message=refusal.message)
        )

    def _accept(self, offer: Prompt | Cancel, *, agent: str, session_key: str, now: float) -> Run | None:
        """On disk before the hub hears of it and before anything starts. None: the disk did not take it."""
        try:
            run = self._journal.accept(
                invocation=offer.invocation, fence=offer.fence, agent=agent, session_key=session_key, now=now
            )
        except JournalWriteError as error:
            self._output.disk_failed(error)
            return None
        self._post.send(Accepted(invocation=run.invocation, fence=run.fence))
        return run

    def _cancel_unstarted(self, cancel: Cancel, *, reason: str, now: float) -> None:
        """Taken and ended in one go, so that a late copy of the offer finds its answer in the journal."""
        offer = self._lanes.forget(cancel.invocation)
        agent, session_key = (offer.agent, offer.session_key) if offer is not None else ("", "")
        run = self._accept(cancel, agent=agent, session_key=session_key, now=now)
        if run is not None:
            message = "It was stopped before it began."
            self._output.end(run, Ending(outcome="cancelled", reason=reason, message=message))
