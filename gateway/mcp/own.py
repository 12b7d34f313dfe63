"""The hub's own tools: search and read what the room may know anyway, pin, remember, ask a person.

A file comes by value: no tool takes a path, so nothing outside the agent's own words can be sent with it. All of them are bound to the room of the turn that calls. `ask_person` waits, so it is played by `calling`.
"""

import base64
import binascii
import io
import mimetypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any, Final

from django.db import transaction

from composer import asked, landmarks
from composer.memory import recall, scopes
from composer.memory.lines import SPOKEN, Line, select
from composer.models import KINDS, Fact
from gateway import files, redaction
from gateway.mcp.definitions import McpError
from gateway.models import Invocation

MAX_LINES: Final = 50
SEARCHED_TOKENS: Final = 4_000
MAX_LINE_CHARS: Final = 2_000
MAX_FILE_CHARS: Final = 200_000
CONFIDENCE: Final = 0.7
"""What an agent says weighs less than a person's word, and never replaces it."""


class BadArgumentsError(McpError):
    """Told to the model, which can mend them."""


@dataclass(frozen=True, slots=True)
class OwnTool:
    name: str
    description: str
    schema: Mapping[str, Any]
    act: Callable[[Invocation, Mapping[str, Any]], str] | None


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _schema(required: tuple[str, ...] = (), **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def search_memory(run: Invocation, arguments: Mapping[str, Any]) -> str:
    # Searching needs numpy and the room's index, which a gateway has no other use for.
    from composer.retrieval import search

    query, limit = text_argument(arguments, "query", most=2_000), _count(arguments, default=10)
    who = replace(asked.read(invocation_id=run.pk), text=query)
    scope = scopes.of_talk(room_id=who.room_id, rid=who.rid, kind=who.kind)
    heard = recall.start(query=query, scope=scope).hear(own_id=who.question.id)
    found = search.search(asked=who, tokens=SEARCHED_TOKENS, remembered=heard.scores)
    return "\n".join(_line(line) for line in found.lines[:limit]) or "Nothing that bears on it was said here."


def read_room(run: Invocation, arguments: Mapping[str, Any]) -> str:
    before = arguments.get("before")
    if before is not None and (not isinstance(before, int) or isinstance(before, bool) or before < 1):
        raise BadArgumentsError("before: the number of a message, as it stands in brackets")
    limit = _count(arguments, default=20)
    thread = run.thread
    where = f"m.room_id = %s AND (%s = '' OR m.thread = %s OR m.rc_id = %s) AND m.id < %s AND {SPOKEN}"
    lines = select(
        f"{where} ORDER BY m.ts DESC, m.id DESC LIMIT %s",
        [run.room_id, thread, thread, thread, before or 2**62, limit],
    )
    return "\n".join(_line(line) for line in reversed(lines)) or "Nothing was said here before that."


def pin_decision(run: Invocation, arguments: Mapping[str, Any]) -> str:
    number = arguments.get("message", run.message_id)
    kind = arguments.get("kind", "decision")
    if not isinstance(number, int) or isinstance(number, bool):
        raise BadArgumentsError("message: the number of a message, as it stands in brackets")
    if kind not in KINDS:
        raise BadArgumentsError(f"kind: one of {', '.join(KINDS)}")
    with transaction.atomic():
        pinned = landmarks.pin(
            message_id=number, room_id=run.room_id, kind=kind, agent_id=run.agent_id, found_by="agent"
        )
    return f"Pinned as {kind} {pinned}." if pinned else "There is no such message in this room."


def add_fact(run: Invocation, arguments: Mapping[str, Any]) -> str:
    key, value = text_argument(arguments, "key", most=120), text_argument(arguments, "value", most=2_000)
    room = run.room
    scope = scopes.of_talk(room_id=room.pk, rid=room.rid, kind=room.kind)
    with transaction.atomic():
        known = Fact.objects.select_for_update().filter(scope=scope, key=key).first()
        if known is not None and known.set_by_id is not None:
            return f"A person has set {key!r} here to {known.value!r}; an agent does not change that."
        if known is None and Fact.objects.filter(scope=scope, memory_id=None).count() >= 500:
            return "There are 500 facts here already; a person has to make room with `!forget`."
        Fact.objects.update_or_create(
            scope=scope,
            key=key,
            defaults={"value": value, "confidence": CONFIDENCE, "source_message_id": run.message_id},
        )
    return f"Remembered for this room: {key} = {value}"


def send_file(run: Invocation, arguments: Mapping[str, Any]) -> str:
    name = text_argument(arguments, "name", most=120)
    if ("text" in arguments) == ("base64" in arguments):
        raise BadArgumentsError("text or base64: the content, one of the two")
    data = _bytes_of(arguments) if "base64" in arguments else _text_of(arguments).encode()
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    try:
        file = files.keep_for_room(run=run, name=name, content_type=kind, stream=io.BytesIO(data))
    except files.TooManyError:
        return f"This turn has sent {files.MAX_PER_RUN} files, which are the most; {name} was not sent."
    except files.TooLargeError:
        return f"{name} is larger than this hub takes and was not sent."
    return f"{file.name} ({file.size} bytes) goes to the room with your answer."


def _text_of(arguments: Mapping[str, Any]) -> str:
    text = arguments["text"]
    if not isinstance(text, str) or not text or len(text) > MAX_FILE_CHARS:
        raise BadArgumentsError(f"text: 1 to {MAX_FILE_CHARS} characters")
    return redaction.masked(text.encode(errors="replace").decode())


def _bytes_of(arguments: Mapping[str, Any]) -> bytes:
    given = arguments["base64"]
    if not isinstance(given, str) or not given or len(given) > MAX_FILE_CHARS:
        raise BadArgumentsError(f"base64: 1 to {MAX_FILE_CHARS} characters")
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        raise BadArgumentsError("base64: this is not valid Base64") from None


TOOLS: Final = (
    OwnTool(
        "search_memory",
        "Search what this team said before in this room, by meaning. Returns messages with their numbers.",
        _schema(("query",), query=_text("What to look for"), limit={"type": "integer", "minimum": 1, "maximum": 50}),
        search_memory,
    ),
    OwnTool(
        "read_room",
        "Read the last messages of this room or thread, oldest first, with their numbers. `before` pages back.",
        _schema(
            limit={"type": "integer", "minimum": 1, "maximum": 50},
            before={"type": "integer", "description": "Only messages before this number"},
        ),
        read_room,
    ),
    OwnTool(
        "pin_decision",
        "Keep a message of this room word for word for good, as a decision, spec, code, question or action. "
        "Without `message`: the question you answer.",
        _schema(message={"type": "integer"}, kind={"type": "string", "enum": sorted(KINDS)}),
        pin_decision,
    ),
    OwnTool(
        "add_fact",
        "Remember one structured fact for this room, like key 'staging url'. People's own facts are never replaced.",
        _schema(("key", "value"), key=_text("Short name of the fact"), value=_text("What is so")),
        add_fact,
    ),
    OwnTool(
        "send_file",
        "Send a file to this room with your answer: its name and its content, as text or as Base64. A file that is on "
        "disk already need not be read for that: copy it into the folder that your prompt names.",
        _schema(("name",), name=_text("File name"), text=_text("Its content"), base64=_text("Or its bytes")),
        send_file,
    ),
    OwnTool(
        "ask_person",
        "Ask a person in the room a question and wait for the answer, up to ten minutes. Without `person`: who asked you.",
        _schema(("question",), question=_text("The question"), person=_text("A user name in this room")),
        None,
    ),
)


def text_argument(arguments: Mapping[str, Any], name: str, *, most: int) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > most or "\0" in value:
        raise BadArgumentsError(f"{name}: a text of 1 to {most} characters")
    return redaction.masked(value.strip())


def _count(arguments: Mapping[str, Any], *, default: int) -> int:
    value = arguments.get("limit", default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_LINES:
        raise BadArgumentsError(f"limit: a number from 1 to {MAX_LINES}")
    return value


def _line(line: Line) -> str:
    text = " ".join(line.text[:MAX_LINE_CHARS].split())
    return f"[{line.id}] {line.at.astimezone(UTC):%Y-%m-%d %H:%M} {line.name}: {text}"
