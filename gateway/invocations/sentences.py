"""One sentence or two for each reason an invocation ends by: what happened, and what to do. Every reason has one.

`{because}` is the detail of the row (": …", " by …") or nothing, `{agent}` its name, `{id}` its number, `{limit}` the bare detail.
"""

from typing import Final

RETRY: Final = "`!retry` asks again."
STAYS: Final = "What it wrote so far is kept; it does not run again by itself."

SENTENCES: Final[dict[str, str]] = {
    # Before a bridge had it
    "compose_failed": f"I could not build the prompt{{because}}. {RETRY}",
    "poison": "Building the prompt crashed three times, so I stopped. The host's operator finds it as invocation {id}.",
    "stopped": "Stopped{because}.",
    "message_deleted": "The question was deleted, so I stopped.",
    "offline": f"{{agent}} was not online in time, so this question has expired. {RETRY}",
    "agent_disabled": "{agent} has been switched off. Its owner or an admin can switch it on again.",
    "bridge_revoked": "{agent}'s bridge has been revoked, so it can't answer. Its owner needs a new bridge token.",
    "not_allowed": "You may not ask {agent} here{because}. Its owner can change that.",
    "too_old": f"I see this question only now{{because}}, so I have not started by myself. {RETRY}",
    "encrypted": "This room is end-to-end encrypted: I have no key, read nothing here and write nothing here. Ask {agent} in another room.",
    "chain_limit": "This chain of agents has reached its limit of {limit} hops, so it stops here. Ask the next agent yourself to go on.",
    "chain_cost": "This chain of agents has cost ${limit}, which is all it may, so it stops here. Ask the next agent yourself to go on.",
    # The bridge refused
    "refused": "{agent}'s bridge refused this question{because}. Its owner can say why.",
    "unknown_agent": "{agent} is missing in its bridge's configuration. Its owner has to add it there and start the bridge again.",
    "already_started": f"{{agent}}'s bridge had started this question already and does not start one twice. {RETRY}",
    "already_run": f"{{agent}}'s bridge has run this question already and does not run one twice. {RETRY}",
    "lost": f"{{agent}}'s bridge has lost what it knew of this question, so it does not start it. {RETRY}",
    # The run was cut off
    "run_lost": f"The run was cut off on {{agent}}'s machine{{because}}. {STAYS} {RETRY}",
    "journal_lost": f"{{agent}}'s bridge came back without its journal, so the run is lost. {STAYS} {RETRY}",
    "bridge_gone": f"{{agent}}'s bridge has been gone too long, so the run is lost. {STAYS} {RETRY}",
    "bridge_restarted": f"{{agent}}'s bridge was restarted in the middle of this, so the run was cut off. {STAYS} {RETRY}",
    "bridge_stopped": f"{{agent}}'s bridge was shut down in the middle of this, so the run was cut off. {STAYS} {RETRY}",
    "killed": f"{{agent}}'s CLI was killed in the middle of this{{because}}. {STAYS} {RETRY}",
    "interrupted": f"The run was cut off{{because}}. {STAYS} {RETRY}",
    "output_corrupt": f"The answer arrived damaged twice, so I show what is certain. {RETRY}",
    # Limits
    "wall_limit": f"The run took longer than its limit and was stopped. Ask for a smaller step, or: {RETRY}",
    "wall_timeout": f"{{agent}} took longer than its limit and was stopped{{because}}. Ask for a smaller step, or: {RETRY}",
    "idle_timeout": f"{{agent}}'s CLI had gone silent and was stopped{{because}}. {RETRY}",
    "limit": "{agent} has reached a limit of its CLI{because}. Ask for a smaller step, or let its owner raise the limit.",
    "offer_unanswered": f"{{agent}}'s bridge is online but did not take the question. {RETRY}",
    # The bridge or its machine failed
    "spawn_failed": f"{{agent}}'s CLI could not be started{{because}}. Its owner can look with `nexus-bridge check`; then {RETRY}",
    "bridge_error": f"{{agent}}'s bridge made a mistake and gave up. Its owner finds it in the bridge's log. {RETRY}",
    "adapter": f"{{agent}}'s bridge could not read what the CLI said. Its owner finds it in the bridge's log. {RETRY}",
    "stdin_stuck": f"{{agent}}'s CLI stopped reading what it was given, so it was ended. {RETRY}",
    "disk": f"The disk of {{agent}}'s machine takes no more{{because}}. Its owner has to make room; then {RETRY}",
    # The CLI failed
    "auth": f"{{agent}}'s CLI is not logged in, or its key is refused{{because}}. Its owner has to log in; then {RETRY}",
    "rate_limit": f"{{agent}}'s model provider asks it to slow down{{because}}. Wait a little; then {RETRY}",
    "overloaded": f"{{agent}}'s model provider is overloaded{{because}}. Wait a little; then {RETRY}",
    "model": f"{{agent}}'s CLI can't use its model{{because}}. Its owner has to choose another; then {RETRY}",
    "network": f"{{agent}}'s CLI could not reach its model{{because}}. {RETRY}",
    "permission": f"{{agent}} was not permitted what it needed{{because}}. {RETRY}",
    "needs_input": (
        "{agent}'s CLI waits for input that nobody can give it{because}. Its owner can answer that once by hand, or set it up so"
        f" that it does not ask (a login, a key, a flag); then {RETRY}"
    ),
    "empty_output": (
        "{agent}'s CLI ended as if all were well, but gave no answer{because}. Its owner can run it in a terminal and see what"
        f" it misses; then {RETRY}"
    ),
    "crash": f"{{agent}}'s CLI crashed{{because}}. {RETRY}",
    "timeout": f"{{agent}}'s CLI waited too long for its model{{because}}. {RETRY}",
    "session": f"{{agent}}'s CLI could not go on with its earlier session{{because}}. {RETRY}",
    "unknown": f"{{agent}}'s CLI failed{{because}}. {RETRY}",
    "error": f"{{agent}}'s CLI failed{{because}}. {RETRY}",
    # Only the outcome is known
    "failed": f"{{agent}} failed{{because}}. {RETRY}",
    "cancelled": "Stopped{because}.",
}

ENDINGS: Final[dict[str, str]] = {
    "failed": SENTENCES["failed"],
    "cancelled": SENTENCES["cancelled"],
    "interrupted": SENTENCES["interrupted"],
    "expired": f"This question has expired{{because}}. {RETRY}",
    "refused": SENTENCES["refused"],
}
"""For a reason that only a newer bridge knows, by the final state."""
