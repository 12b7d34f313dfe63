"""Is everything there, once, and whole? Compares what was said with the chat, the database and the CLIs' ledger."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.models import FINAL, LIVE
from nexus_bridge import events
from tests.faults.load import Ask, Plan, Said
from tests.world import ledger
from tests.world.ledger import Turn
from tests.world.world import Room, World

REASONS: Final = {
    "bridge_restarted",
    "crash",
    "interrupted",
    "journal_lost",
    "message_deleted",
    "output_lost",
    "run_lost",
    "stopped",
}
"""Why a row may end other than done here. Anything else is a failure of ours, not of the faults."""

_LINE: Final = re.compile(r"line (\d+) of (\d+):")
_QUOTES: Final = re.compile(r"\b(?:Of|None of) the \d+ lines I was given")
_ROWS: Final = """
    SELECT i.id, i.state, i.reason, i.detail, i.attempt, i.lane, i.output_sha256, i.last_seq, i.reply_settled_at,
           a.slug, m.rc_id
    FROM invocations i JOIN agents a ON a.id = i.agent_id JOIN messages m ON m.id = i.message_id ORDER BY i.id
"""


@dataclass(frozen=True, slots=True)
class Truth:
    """One look at everything. `chat` and `stored` by message id."""

    chat: Mapping[str, dict[str, Any]]
    deleted: frozenset[str]
    bots: frozenset[str]
    stored: Mapping[str, list[dict[str, Any]]]
    rows: list[dict[str, Any]]
    chunks: Mapping[int, list[dict[str, Any]]]
    parts: Mapping[int, list[dict[str, Any]]]
    notices: list[dict[str, Any]]
    set_aside: list[dict[str, Any]]
    turns: list[Turn]


def look(*, world: World, rooms: Mapping[str, Room]) -> Truth:
    state = world.chat_state()
    rids = {room.rid for room in rooms.values()}
    stored = world.query(
        "SELECT m.rc_id, m.text, m.stored_at, m.deleted_at FROM messages m JOIN rooms r ON r.id = m.room_id"
        " WHERE r.rid = ANY(%s)",
        list(rids),
    )
    return Truth(
        chat={message["_id"]: message for message in state["messages"] if message["rid"] in rids},
        deleted=frozenset(state["deleted"]),
        bots=frozenset(row["username"] for row in world.query("SELECT username FROM bot_accounts")),
        stored=_grouped(stored, "rc_id"),
        rows=world.query(_ROWS),
        chunks=_grouped(
            world.query("SELECT invocation_id, seq, kind, payload FROM chunks ORDER BY 1, 2"), "invocation_id"
        ),
        parts=_grouped(world.query("SELECT * FROM reply_parts ORDER BY invocation_id, part"), "invocation_id"),
        notices=world.query("SELECT * FROM notices ORDER BY id"),
        set_aside=world.query("SELECT rc_id, reason FROM set_aside"),
        turns=ledger.turns(world.ledger_dir),
    )


def unsettled(truth: Truth, *, plan: Plan, said: Said) -> list[str]:
    """What is still on its way; empty once everything has come to rest."""
    waiting = [f"row {row['id']} is {row['state']}" for row in truth.rows if row["state"] not in FINAL]
    waiting += [
        f"row {row['id']} ({row['state']}) is not settled"
        for row in truth.rows
        if row["state"] in FINAL and row["reply_settled_at"] is None
    ]
    waiting += [
        f"notice {notice['id']} ({notice['kind']}) is not posted"
        for notice in truth.notices
        if notice["posted_revision"] < notice["revision"]
    ]
    waiting += _missing_rows(truth, plan=plan, said=said)
    waiting += _wrong_messages(truth)
    return waiting


def problems(*, truth: Truth, plan: Plan, said: Said) -> list[str]:
    """Every broken promise, a sentence each."""
    asked = {(message_id, slug): ask for message_id, slug, ask in _asked(plan, said)}
    found = _wrong_messages(truth) + _missing_rows(truth, plan=plan, said=said)
    found += _wrong_rows(truth, asked=asked)
    found += [f"a bot's message {one} belongs to no row" for one in _stray_posts(truth)]
    found += [f"message {one['rc_id']} was set aside: {one['reason']}" for one in truth.set_aside]
    found += [
        f"notice {one['id']} still says that row {one['invocation_id']} waits"
        for one in truth.notices
        if one["kind"] == "waiting" and (one["text"] or one["chat_id"] in truth.chat)
    ]
    for row in truth.rows:
        found += _wrong_answer(truth, row=row, ask=asked.get((row["rc_id"], row["slug"])), seed=plan.seed)
    found += _wrong_turns(truth, asked=asked, seed=plan.seed)
    return found


def _asked(plan: Plan, said: Said) -> Iterable[tuple[str, str, Ask]]:
    for ask in plan.asks:
        for slug in ask.agents:
            yield said.asks[ask.number], slug, ask


def _wrong_messages(truth: Truth) -> list[str]:
    """What the chat holds is stored once and as it stands; what is stored beyond that was deleted."""
    found = []
    for message_id, message in truth.chat.items():
        rows = truth.stored.get(message_id, [])
        if len(rows) != 1:
            found.append(f"message {message_id} ({message.get('msg', '')[:40]!r}) is stored {len(rows)} times")
        elif not message.get("t") and rows[0]["text"] != message.get("msg", ""):
            found.append(f"message {message_id} is stored as {rows[0]['text'][:60]!r}, not {message['msg'][:60]!r}")
    for message_id, rows in truth.stored.items():
        if message_id not in truth.chat and any(row["deleted_at"] is None for row in rows):
            found.append(f"message {message_id} ({rows[0]['text'][:40]!r}) is stored and not in the chat")
    return found


def _missing_rows(truth: Truth, *, plan: Plan, said: Said) -> list[str]:
    known = Counter((row["rc_id"], row["slug"]) for row in truth.rows)
    found = []
    for message_id, slug, ask in _asked(plan, said):
        # Deleted before it was ever seen, a question asks nobody.
        was_seen = any(
            row["deleted_at"] is None or row["stored_at"] < row["deleted_at"]
            for row in truth.stored.get(message_id, [])
        )
        least = 0 if message_id in truth.deleted and not was_seen else 1
        if not least <= known[message_id, slug] <= 1:
            found.append(f"question {ask.marker(plan.seed)} to {slug} has {known[message_id, slug]} rows")
    return found


def _wrong_rows(truth: Truth, *, asked: Mapping[tuple[str, str], Ask]) -> list[str]:
    found = []
    for row in truth.rows:
        name = _name(row)
        if (row["rc_id"], row["slug"]) not in asked:
            found.append(f"{name} was asked by nobody")
        if row["state"] in LIVE or row["lane"] is not None:
            found.append(f"{name} still holds a lane")
        if row["state"] not in FINAL:
            found.append(f"{name} has no final state")
        elif row["state"] != "done" and row["reason"] not in REASONS:
            found.append(f"{name} ended for a reason that no fault explains")
    return found


def _stray_posts(truth: Truth) -> list[str]:
    ours = {part["chat_id"] for parts in truth.parts.values() for part in parts}
    ours |= {notice["chat_id"] for notice in truth.notices}
    return [
        f"{message_id} of {message['u']['username']}: {message.get('msg', '')[:60]!r}"
        for message_id, message in truth.chat.items()
        if message["u"]["username"] in truth.bots and not message.get("t") and message_id not in ours
    ]


def _wrong_answer(truth: Truth, *, row: dict[str, Any], ask: Ask | None, seed: int) -> list[str]:
    """One final reply or sentence; for a done row whole, too."""
    name = _name(row)
    said_it = [
        notice
        for notice in truth.notices
        if notice["invocation_id"] == row["id"] and notice["kind"] == "ended" and notice["chat_id"] in truth.chat
    ]
    if row["state"] != "done":
        return [] if len(said_it) == 1 else [f"{name} has {len(said_it)} closing sentences in the chat"]
    found = [f"{name} has a closing sentence beside its answer"] if said_it else []
    parts = [part for part in truth.parts.get(row["id"], []) if not part["is_gone"]]
    missing = [part["part"] for part in parts if part["chat_id"] not in truth.chat]
    if not parts or missing or not all(part["is_final"] for part in parts):
        return [*found, f"{name} has {len(parts)} parts, of which {missing} are not in the chat"]
    shown = "\n".join(truth.chat[part["chat_id"]]["msg"] for part in parts)
    found += _wrong_chunks(row, truth.chunks.get(row["id"], []))
    if ask is not None:
        ask = ask if _is_recorded(row["slug"]) else replace(ask, script="")
        found += _wrong_text(name, shown, ask=ask, seed=seed, where="its reply")
        found += _wrong_text(name, _spoken(truth.chunks.get(row["id"], [])), ask=ask, seed=seed, where="its chunks")
    return found


def _wrong_chunks(row: dict[str, Any], chunks: list[dict[str, Any]]) -> list[str]:
    name = _name(row)
    digest = hashlib.sha256("".join(chunk["payload"] for chunk in chunks).encode()).hexdigest()
    found = [] if digest == row["output_sha256"] else [f"{name} has chunks with another SHA-256 than its end"]
    # The end takes the last seq.
    if [chunk["seq"] for chunk in chunks] != list(range(1, row["last_seq"])):
        found.append(f"{name} has chunks with the wrong seqs")
    return found


def _wrong_text(name: str, text: str, *, ask: Ask, seed: int, where: str) -> list[str]:
    """Only of what the CLI says itself: behind it, it quotes what others said, earlier replies among them."""
    text = _QUOTES.split(text, maxsplit=1)[0]
    found = []
    if text.count("You asked:") != 1 or ask.marker(seed) not in text:
        found.append(f"{name} does not answer its question once in {where}: {text[:80]!r}")
    lines = [(int(number), int(count)) for number, count in _LINE.findall(text)]
    wanted = [int(count) for count in re.findall(r"\[\[long (\d+)\]\]", ask.script)]
    if lines != [(number, count) for count in wanted for number in range(1, count + 1)]:
        found.append(f"{name} has lost, doubled or moved lines in {where}")
    return found


def _spoken(chunks: Iterable[dict[str, Any]]) -> str:
    texts = (events.decode(chunk["payload"]) for chunk in chunks if chunk["kind"] == "text")
    return "".join(event.delta for event in texts if isinstance(event, events.Text))


def _wrong_turns(truth: Truth, *, asked: Mapping[tuple[str, str], Ask], seed: int) -> list[str]:
    """As the CLIs themselves saw it; the host's own agent keeps no ledger."""
    started = Counter((turn.agent, marker) for turn in truth.turns for marker in turn.markers)
    found = [
        f"{turn.agent} began {turn.markers} while its lane was taken" for turn in truth.turns if not turn.is_lane_free
    ]
    found += [
        f"{agent} was started {count} times for {marker}" for (agent, marker), count in started.items() if count > 1
    ]
    for row in truth.rows:
        ask = asked.get((row["rc_id"], row["slug"]))
        keeps_ledger = ask is not None and _is_recorded(row["slug"]) and row["state"] == "done"
        if ask is not None and keeps_ledger and started[row["slug"], ask.marker(seed)] != 1:
            found.append(f"{_name(row)} was done without having been started once")
    return found


def _is_recorded(slug: str) -> bool:
    """Whether this agent's CLI is tests/fakes/recording_cli.py, which plays scripts, and not the host's plain echo."""
    return slug.startswith("echo-")


def _name(row: dict[str, Any]) -> str:
    why = f": {row['reason']} {row['detail'][:80]}" if row["reason"] else ""
    return f"invocation {row['id']} of {row['slug']} ({row['state']}{why})"


def _grouped(rows: Iterable[dict[str, Any]], key: str) -> dict[Any, list[dict[str, Any]]]:
    groups: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row[key]].append(row)
    return dict(groups)
