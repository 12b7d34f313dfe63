"""The demo's story: a short conversation that ends in a mention, told step by step as it happens.

It watches like an onlooker: rows in the database for what Nexus does, the chat's REST API for what the room sees.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.demo.chat import Person
from gateway.models import FINAL, Agent, Invocation, Message, State
from runtime.models import ReplyPart

TURN_LIMIT_S = 60.0
ONLINE_LIMIT_S = 45.0
LOOK_EVERY_S = 0.02

CONVERSATION = (
    ("bob", "Morning! The order service needs a database before Friday."),
    ("alice", "We compared three. SQLite is out, two writers is already one too many."),
    ("charlie", "MongoDB would do, but nobody here wants to run a replica set for it."),
    ("alice", "decision: the order service uses Postgres 17 with pgvector as its database, port 5433."),
    ("bob", "Fine. Redis stays a cache then, nothing we can't lose."),
    ("charlie", "Lunch at twelve?"),
)
QUESTION = "what did we decide about the database?"
EXPECTED = "Postgres 17 with pgvector"

Say = Callable[[str], None]


class StoryFailedError(RuntimeError):
    """The round trip did not come out as it should; the text says where."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One mention and what it became."""

    invocation: Invocation
    text: str
    seconds: float
    first_text_s: float
    edits: int


def wait_online(*, slugs: list[str], say: Say) -> None:
    """Until every one of these agents has a live bridge."""
    missing = set(slugs)
    for _ in _looks(ONLINE_LIMIT_S):
        online = _online() & missing
        for slug in sorted(online):
            say(f"@{slug} is online behind its bridge")
        missing -= online
        if not missing:
            return
    raise StoryFailedError(f"no bridge came online for {', '.join(sorted(missing))}; see .nexus/log/")


def talk(*, people: dict[str, Person], room_id: str, say: Say) -> None:
    """The conversation before the question; said once per room."""
    for name, text in CONVERSATION:
        people[name].say(room_id=room_id, text=text)
        say(f"  {name}: {text}")


def ask(*, person: Person, watcher: Person, room_id: str, slug: str, question: str, say: Say) -> Turn:
    """Mention an agent and follow its answer into the room; `watcher` reads often, so no rate limit may bind it."""
    asked_at = time.monotonic()
    message_id = person.say(room_id=room_id, text=f"@{slug} {question}")
    say(f"  {person.username}: @{slug} {question}")
    turn = _follow(watcher=watcher, message_id=message_id, asked_at=asked_at, say=say)
    say(f"  @{slug} is done: first text after {turn.first_text_s:.2f} s, all after {turn.seconds:.2f} s")
    return turn


def check(*, turn: Turn) -> None:
    """The answer stands on what was said, and the row, the chunks and the chat agree."""
    if turn.invocation.state != State.DONE:
        raise StoryFailedError(f"the invocation ended {turn.invocation.state}: {turn.invocation.reason}")
    if EXPECTED not in turn.text:
        raise StoryFailedError(f"the answer does not hold what was decided: {turn.text[:300]!r}")
    if not Message.objects.filter(agent=turn.invocation.agent, text__contains=EXPECTED).exists():
        raise StoryFailedError("the reply is in the room but not in the team's messages")


def _follow(*, watcher: Person, message_id: str, asked_at: float, say: Say) -> Turn:
    seen_state, shown, first_text_s, edits = "", "", 0.0, 0
    for _ in _looks(TURN_LIMIT_S):
        row = Invocation.objects.filter(message__rc_id=message_id).select_related("agent").order_by("-attempt").first()
        if row is None:
            continue
        seconds = time.monotonic() - asked_at
        if row.state != seen_state:
            seen_state = row.state
            say(f"    +{seconds:5.2f} s  {_state_line(row)}")
        text = _reply(watcher=watcher, row=row)
        if text != shown:
            say(f"    +{seconds:5.2f} s  in the room: {_tail(text)}")
            shown, edits, first_text_s = text, edits + 1, first_text_s or seconds
        if row.state in FINAL and row.reply_settled_at is not None:
            return Turn(invocation=row, text=text, seconds=seconds, first_text_s=first_text_s, edits=edits)
    raise StoryFailedError(f"no answer within {TURN_LIMIT_S:.0f} s; the row is {seen_state or 'not there'}")


def _state_line(row: Invocation) -> str:
    if row.state == State.COMPOSED and hasattr(row, "prompt"):
        return f"composed: a prompt of {row.prompt.token_count} tokens in {len(row.prompt.sections)} sections"
    return str(row.state)


def _reply(*, watcher: Person, row: Invocation) -> str:
    parts = ReplyPart.objects.filter(invocation=row).order_by("part").values_list("chat_id", flat=True)
    texts = (watcher.text_of(message_id=chat_id) for chat_id in parts)
    return "\n".join(text for text in texts if text)


def _tail(text: str) -> str:
    line = " / ".join(part for part in text.splitlines() if part.strip())
    return line if len(line) <= 100 else f"… {line[-98:]}"


def _online() -> set[str]:
    return set(Agent.objects.online().values_list("slug", flat=True))


def _looks(limit_s: float) -> Iterator[int]:
    end = time.monotonic() + limit_s
    look = 0
    while time.monotonic() < end:
        yield look
        look += 1
        time.sleep(LOOK_EVERY_S)
