"""One tool call of one turn: may it, must somebody be asked, do it, write down that it happened."""

import asyncio
import hashlib
import json
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from channels.db import database_sync_to_async

from gateway import audit
from gateway.invocations import approvals
from gateway.invocations.patience import ANSWER_S
from gateway.mcp import definitions, offered, own, registry, upstream
from gateway.mcp.definitions import McpError
from gateway.mcp.offered import Session, Tool
from gateway.models import Approval, Asks, Invocation, McpServer, User
from nexus_bridge import events

logger = logging.getLogger(__name__)

MAX_ARGUMENT_BYTES: Final = 262_144
LOOK_S: Final = 0.5
"""How often a call that waits for a person looks whether he has answered."""

START_S: Final = 3.0
"""A CLI may call before the word that its turn runs has come."""


@dataclass(frozen=True, slots=True)
class Outcome:
    text: str
    is_error: bool = False


async def call(session: Session, *, name: str, arguments: Mapping[str, Any]) -> Outcome:
    """Never raises: what is wrong is told to the model."""
    began = time.monotonic()
    run = await _run_of(session)
    if run is None:
        return Outcome("This turn is over, so nothing was done.", is_error=True)
    tool = await database_sync_to_async(offered.named)(room_id=run.room_id, name=name)
    if tool is None:
        await _record(run, name=name, server="", outcome="refused", arguments=arguments, began=began)
        return Outcome(f"This room has no leave for {name}.", is_error=True)
    outcome, word = await _checked(run, tool, arguments)
    server = "nexus" if tool.server is None else tool.server.name
    await _record(run, name=tool.name, server=server, outcome=word, arguments=arguments, began=began)
    return outcome


async def _run_of(session: Session) -> Invocation | None:
    until = time.monotonic() + START_S
    while True:
        run: Invocation | None = await database_sync_to_async(offered.running)(session)
        is_late = time.monotonic() > until
        if run is not None or is_late or not await database_sync_to_async(offered.is_about_to_run)(session):
            return run
        await asyncio.sleep(0.05)


async def _checked(run: Invocation, tool: Tool, arguments: Mapping[str, Any]) -> tuple[Outcome, str]:
    if len(json.dumps(arguments)) > MAX_ARGUMENT_BYTES:
        return Outcome("The arguments are too long.", is_error=True), "bad_arguments"
    if tool.needs_approval:
        refusal = await _refusal(run, tool, arguments)
        if refusal is not None:
            return Outcome(refusal, is_error=True), "denied"
    try:
        return await _do(run, tool, arguments)
    except McpError as error:
        return Outcome(str(error), is_error=True), "failed"
    except Exception:
        # The outermost frame of a call: a mistake in here must cost the model this one answer.
        logger.exception("tool call broke", extra={"tool": tool.shown_name, "invocation": run.pk})
        return Outcome("The hub made a mistake; the operator finds it in the log.", is_error=True), "failed"


async def _do(run: Invocation, tool: Tool, arguments: Mapping[str, Any]) -> tuple[Outcome, str]:
    if tool.server is not None:
        return await _upstream(tool.server, tool.name, arguments)
    act = next(one.act for one in own.TOOLS if one.name == tool.name)
    if act is None:
        return await _ask_person(run, arguments), "done"
    return Outcome(await database_sync_to_async(act)(run, arguments)), "done"


async def _upstream(server: McpServer, tool: str, arguments: Mapping[str, Any]) -> tuple[Outcome, str]:
    seen: list[Mapping[str, Any]] = []

    def is_as_approved(tools: list[Mapping[str, Any]]) -> bool:
        seen.extend(tools)
        found = definitions.hash_of(transport=server.transport, definition=server.definition, tools=tools)
        return found == server.approved_hash

    answer = await upstream.call_tool(
        registry.endpoint_of(server), tool=tool, arguments=arguments, is_as_approved=is_as_approved
    )
    if answer is None:
        await database_sync_to_async(registry.note_tools)(server=server, tools=seen, actor="hub")
        words = f"{server.name} is not any more what was approved, so it is off until an admin has looked at it."
        return Outcome(words, is_error=True), "changed"
    return Outcome(answer.text, is_error=answer.is_error), "error" if answer.is_error else "done"


# People


async def _refusal(run: Invocation, tool: Tool, arguments: Mapping[str, Any]) -> str | None:
    """Ask in the room; why the call may not happen, or None when somebody said yes."""
    server = "" if tool.server is None else tool.server.name
    permission = events.Permission(
        id=f"mcp:{secrets.token_hex(8)}",
        name=f"mcp__{server}__{tool.name}",
        tool="mcp",
        detail=json.dumps(arguments, ensure_ascii=False, indent=1),
    )
    question = await database_sync_to_async(approvals.ask_once)(
        invocation_id=run.pk,
        permission=permission.id,
        tool=permission.name,
        tool_kind="mcp",
        detail=permission.detail,
        kind=Asks.TOOL,
    )
    if question is None:
        return "Too many questions of this turn wait for an answer already."
    answered = await _answered(question)
    if answered.decision == "allow":
        return None
    if answered.decision == "deny":
        return f"The people in the room said no. {answered.note}".rstrip()
    return "Nobody answered in time, so it was not done."


async def _ask_person(run: Invocation, arguments: Mapping[str, Any]) -> Outcome:
    words = own.text_argument(arguments, "question", most=2_000)
    person = arguments.get("person")
    asked = await database_sync_to_async(_person)(run, str(person) if person else "")
    if asked is None:
        return Outcome(f"There is no {person} in this room.", is_error=True)
    question = await database_sync_to_async(approvals.ask_once)(
        invocation_id=run.pk,
        permission=f"ask:{secrets.token_hex(8)}",
        tool="question",
        detail=words,
        kind=Asks.QUESTION,
        asked=asked,
    )
    if question is None:
        return Outcome("Too many questions of this turn wait for an answer already.", is_error=True)
    answered = await _answered(question)
    if answered.decision != "allow":
        return Outcome(f"{asked.username} did not answer in time. Go on with what you know.")
    by = answered.decided_by.username if answered.decided_by is not None else asked.username
    return Outcome(f"{by} answered: {answered.note}")


def _person(run: Invocation, name: str) -> User | None:
    if not name:
        return run.root_asker
    members = User.objects.filter(memberships__room_id=run.room_id, is_foreign_bot=False)
    return members.filter(username=name.removeprefix("@")).first()


async def _answered(question: Approval) -> Approval:
    """Until somebody decides or the time is up; the row is the only word that counts."""
    until = time.monotonic() + ANSWER_S + 30
    while not question.decision and time.monotonic() < until:
        await asyncio.sleep(LOOK_S)
        question = await database_sync_to_async(Approval.objects.select_related("decided_by").get)(pk=question.pk)
    return question


async def _record(
    run: Invocation, *, name: str, server: str, outcome: str, arguments: Mapping[str, Any], began: float
) -> None:
    """Of the arguments only a digest: the log holds no prompt."""
    digest = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()[:16]
    await database_sync_to_async(audit.record)(
        actor=f"agent:{run.agent.slug}",
        action="tool_called",
        target=f"invocation:{run.pk}",
        server=server,
        tool=name,
        outcome=outcome,
        arguments_sha256=digest,
        room=run.room_id,
        ms=round((time.monotonic() - began) * 1000),
    )
