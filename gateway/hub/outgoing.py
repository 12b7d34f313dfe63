"""What bridges are to be told now, read from the rows: prompts, cancels, decisions."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from composer.models import Prompt as StoredPrompt
from gateway import bridge_auth
from gateway.models import Approval, Asks, File, Invocation, State, ToolToken
from nexus_bridge import protocol

ROUND_LIMIT: Final = 500
DECISION_KNOWN_S: Final = 900
"""A decision older than this was sent, or its run has long gone on without it."""

TOOLS_TOKEN_EXTRA_S: Final = 3600
MAX_FILES: Final = 10


@dataclass(frozen=True, slots=True)
class Errand:
    """A frame for a session. `key` tells repeats of the same frame: an offer or cancel by fence, a decision by id."""

    session: str
    kind: str
    key: tuple[int, int]
    frame: protocol.Frame


@dataclass(frozen=True, slots=True)
class Known:
    """What a connection was told a moment ago, so that a nudge does not build the same prompt again."""

    session: str
    offered: frozenset[tuple[int, int]]


def due(*, known: Iterable[Known]) -> list[Errand]:
    """What these sessions are to be told and have not been told just now."""
    by_session = {one.session: one.offered for one in known}
    rows = Invocation.objects.filter(
        Q(state=State.OFFERED) | Q(state=State.RUNNING, cancel_requested_at__isnull=False),
        bridge_session__in=list(by_session),
    )
    errands: list[Errand] = []
    wanted: list[Invocation] = []
    related = ("agent__bridge", "room", "asker_user", "asker_agent__bot_account", "message", "prompt")
    for row in rows.select_related(*related).order_by("offered_at", "pk")[:ROUND_LIMIT]:
        if row.cancel_requested_at is not None:
            errands.append(_cancel(row))
        elif (row.pk, row.fence) not in by_session[row.bridge_session]:
            wanted.append(row)
    return [*_offers(wanted), *errands, *_decisions(list(by_session))]


def _offers(rows: list[Invocation]) -> list[Errand]:
    if not rows:
        return []
    files = {row.pk: _files(row) for row in rows if row.message.attachments or row.message.thread}
    tools_tokens = _tools_tokens(rows)
    found = []
    for row in rows:
        prompt: StoredPrompt | None = getattr(row, "prompt", None)
        if prompt is not None and prompt.fence == row.fence:
            frame = _prompt(
                row, text=prompt.text, files=files.get(row.pk, []), tools_token=tools_tokens.get(row.pk, "")
            )
            found.append(Errand(session=row.bridge_session, kind="offer", key=(row.pk, row.fence), frame=frame))
    return found


def _files(row: Invocation) -> list[File]:
    """Those of the question and of its thread that are here; the question's own first."""
    about = Q(message_id=row.message_id)
    if thread := row.message.thread:
        about |= Q(message__room_id=row.room_id) & (Q(message__thread=thread) | Q(message__rc_id=thread))
    kept = File.objects.filter(about, message__deleted_at=None, expires_at__gt=Now()).exclude(sha256="")
    found = list(kept.order_by("-message__ts", "pk")[:MAX_FILES])
    return sorted(found, key=lambda file: file.message_id != row.message_id)


def _prompt(row: Invocation, *, text: str, files: list[File], tools_token: str) -> protocol.Prompt:
    return protocol.Prompt(
        invocation=row.pk,
        fence=row.fence,
        agent=row.agent.slug,
        asker=_asker(row),
        room=protocol.RoomName(id=row.room.rid, name=row.room.name[:200], kind=_room_kind(row)),
        prompt=text,
        session_key=row.session_key,
        attachments=[
            protocol.Attachment(
                id=str(file.pk),
                name=file.name[:200],
                size=file.size,
                content_type=file.content_type,
                sha256=file.sha256,
            )
            for file in files
        ],
        tools_token=tools_token,
        limits=protocol.RunLimits(wall_s=settings.NEXUS_RUN_WALL_S, idle_s=settings.NEXUS_RUN_IDLE_S),
    )


def _asker(row: Invocation) -> protocol.Person:
    """The user who asked, or the agent that handed over."""
    if row.asker_user is not None:
        user = row.asker_user
        return protocol.Person(id=user.rocketchat_id, username=user.username, name=user.display_name[:200])
    writer = row.asker_agent
    if writer is None:
        raise AssertionError("a row has an asker: the database says so")
    account = getattr(writer, "bot_account", None)
    return protocol.Person(id=account.rocketchat_id if account else writer.slug, username=writer.slug)


def _room_kind(row: Invocation) -> Literal["channel", "private", "dm"]:
    match row.room.kind:
        case "channel":
            return "channel"
        case "private":
            return "private"
        case _:
            return "dm"


def _tools_tokens(rows: list[Invocation]) -> dict[int, str]:
    """For each row the token of its CLI session; their digests are kept as long as a run may last."""
    tokens: dict[int, str] = {}
    kept: dict[str, ToolToken] = {}
    until = Now() + timedelta(seconds=settings.NEXUS_RUN_WALL_S + TOOLS_TOKEN_EXTRA_S)
    for row in rows:
        bridge = row.agent.bridge
        if bridge is None:
            continue
        token = tokens[row.pk] = bridge_auth.tools_token(
            bridge_id=bridge.pk, token_version=bridge.token_version, agent_id=row.agent_id, session_key=row.session_key
        )
        digest = bridge_auth.digest_of(token)
        kept[digest] = ToolToken(
            digest=digest, bridge=bridge, agent=row.agent, session_key=row.session_key, expires_at=until
        )
    ToolToken.objects.bulk_create(
        kept.values(), update_conflicts=True, unique_fields=["digest"], update_fields=["expires_at"]
    )
    return tokens


def _cancel(row: Invocation) -> Errand:
    frame = protocol.Cancel(invocation=row.pk, fence=row.fence, reason=row.cancel_reason)
    return Errand(session=row.bridge_session, kind="cancel", key=(row.pk, row.fence), frame=frame)


def _decisions(sessions: list[str]) -> list[Errand]:
    decided = Approval.objects.filter(
        kind=Asks.PERMISSION,
        invocation__bridge_session__in=sessions,
        invocation__state=State.RUNNING,
        decided_at__gt=Now() - timedelta(seconds=DECISION_KNOWN_S),
    ).select_related("invocation", "decided_by")
    return [_decision(approval) for approval in decided.order_by("pk")[:ROUND_LIMIT]]


def _decision(approval: Approval) -> Errand:
    row = approval.invocation
    frame = protocol.Decision(
        invocation=row.pk,
        fence=row.fence,
        permission=approval.permission,
        allow=approval.decision == "allow",
        by="" if approval.decided_by is None else approval.decided_by.username,
        note=approval.note or ("nobody answered in time" if approval.decision == "expired" else ""),
    )
    return Errand(session=row.bridge_session, kind="decision", key=(approval.pk, 0), frame=frame)
