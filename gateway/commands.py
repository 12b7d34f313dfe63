"""What people type with "!" and what their reactions mean. Both change rows only, in the message's own transaction."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.conf import settings
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from gateway import nudges
from gateway.invocations import OPEN, approvals, chat_message_id, may_stop, open_invocation, request_cancel
from gateway.invocations.approvals import Verdict
from gateway.mentions import names_in
from gateway.models import FINAL, Agent, Approval, Invocation, Notice, NoticeKind, Reaction, RoomMember, User
from gateway.rocketchat.events import moment
from runtime.models import ReplyPart

STOP_SIGNS: Final = frozenset({":octagonal_sign:", ":stop_sign:", ":no_entry:"})
RETRY_SIGNS: Final = frozenset({":repeat:"})
ALLOW_SIGNS: Final = frozenset({":white_check_mark:"})
DENY_SIGNS: Final = frozenset({":x:"})
SIGNS: Final = STOP_SIGNS | RETRY_SIGNS | ALLOW_SIGNS | DENY_SIGNS

MAX_ROWS: Final = 50
"""Rows one command may touch."""

_FORM: Final = re.compile(r"\s*(?:@\S+\s+)*!([a-z]+)(?:\s+(.*))?\s*", re.DOTALL | re.IGNORECASE)
_NUMBER: Final = re.compile(r"\s*#?(\d{1,18})\b\s*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command was said, and by whom; row ids, and `ts` in milliseconds."""

    message_id: int
    rc_id: str
    room_id: int
    thread: str
    user_id: int
    ts: int


@dataclass(frozen=True, slots=True)
class Command:
    """`names`: the usernames it mentions, in lower case. `number`: a row's id at the start of `text`."""

    name: str
    text: str
    number: int | None
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Order:
    """A command with who gave it; `act` functions get this."""

    command: Command
    place: Place
    user: User

    def scope(self) -> "QuerySet[Invocation]":
        """The rows it is about: the one it names, or those of its room (its thread), of the agents it mentions."""
        rows = Invocation.objects.filter(room_id=self.place.room_id).select_related("agent", "message", "room")
        if self.command.number is not None:
            return rows.filter(pk=self.command.number)
        if self.command.names:
            rows = rows.filter(agent__bot_account__username__in=self.command.names)
        if self.place.thread:
            rows = rows.filter(Q(thread=self.place.thread) | Q(message__rc_id=self.place.thread))
        return rows


Act = Callable[[Order], str]


@dataclass(frozen=True, slots=True)
class Entry:
    """`works_late`: also when it is read long after it was typed."""

    act: Act
    help: str
    works_late: bool


COMMANDS: dict[str, Entry] = {}


def command(name: str, *, help: str, works_late: bool = False) -> Callable[[Act], Act]:  # noqa: A002  (its own word)
    """Register what `!name` does; it returns what the room is told, or nothing."""

    def register(act: Act) -> Act:
        COMMANDS[name] = Entry(act=act, help=help, works_late=works_late)
        return act

    return register


def parse(text: str, *, usernames: Mapping[str, str]) -> Command | None:
    """The command a message is, if it is one: `!word …`, or behind the mention of an agent; unknown words are talk."""
    if "!" not in text:
        return None
    found = _FORM.fullmatch(text)
    name = found.group(1).lower() if found else ""
    if found is None or name not in COMMANDS:
        return None
    rest = found.group(2) or ""
    known = {username.lower() for username in usernames.values()}
    names = frozenset(name.lower() for name in names_in(text)) & known
    numbered = _NUMBER.fullmatch(rest)
    if numbered is None:
        return Command(name=name, text=rest.strip(), number=None, names=names)
    return Command(name=name, text=numbered.group(2).strip(), number=int(numbered.group(1)), names=names)


def obey(found: Command, *, place: Place, now: datetime) -> None:
    """Do what the command says and answer it in the room."""
    entry = COMMANDS[found.name]
    is_late = now.timestamp() - place.ts / 1000 > settings.NEXUS_MENTION_MAX_AGE_S
    if is_late and not entry.works_late:
        return
    user = User.objects.get(pk=place.user_id)
    if user.is_foreign_bot:
        return
    text = entry.act(Order(command=found, place=place, user=user))
    if text:
        answer(place=place, text=text)


def answer(*, place: Place, text: str) -> None:
    """Said by an agent that is in the room; by `nexus` where there is none."""
    agents = RoomMember.objects.filter(room_id=place.room_id, agent__isnull=False).order_by("agent_id")
    speaker = agents.values_list("agent_id", flat=True).first()
    Notice.objects.get_or_create(
        chat_id=chat_message_id(f"command:{place.message_id}"),
        defaults={
            "room_id": place.room_id,
            "agent_id": speaker,
            "about_id": place.message_id,
            "kind": NoticeKind.COMMAND,
            "thread": place.thread,
            "text": text,
        },
    )
    nudges.chat(agent_id=speaker, room_id=place.room_id)


@command("stop", help="stops your questions here; `!stop @agent` or `!stop 12` only those", works_late=True)
def stop(order: Order) -> str:
    rows = order.scope().filter(state__in=OPEN, message__ts__lt=moment(order.place.ts)).order_by("pk")[:MAX_ROWS]
    mine = [row for row in rows if may_stop(agent=row.agent, asker_id=row.root_asker_id, user=order.user)]
    for row in mine:
        request_cancel(invocation_id=row.pk, reason="stopped", detail=f"by {order.user.username}")
    if mine:
        return ""
    if rows:
        return "Only who asked, the agent's owner and admins may stop that."
    return "Nothing is open here that could be stopped."


@command("retry", help="asks your last question here again")
def retry(order: Order) -> str:
    rows = order.scope().filter(message_id__lt=order.place.message_id, retries=None).order_by("-message__ts", "-pk")
    mine = [
        row
        for row in rows[:MAX_ROWS]
        if may_stop(agent=row.agent, asker_id=row.root_asker_id, user=order.user) and row.asker_agent_id is None
    ]
    if not mine:
        return "There is no question of yours here that I could ask again."
    row = mine[0]
    if row.state not in FINAL:
        return f"{row.agent.slug} is still at it; `!stop` stops it."
    return "" if _ask_again(row) else f"That question to {row.agent.slug} has been asked again already."


@command("approve", help="allows what an agent asks to do")
def approve(order: Order) -> str:
    return _decide(order, allow=True)


@command("deny", help="refuses it; what follows is told to the agent", works_late=True)
def deny(order: Order) -> str:
    return _decide(order, allow=False)


@command("who", help="names the agents of this room")
def who(order: Order) -> str:
    agents = Agent.objects.filter(memberships__room_id=order.place.room_id, bot_account__isnull=False)
    found = list(agents.select_related("bot_account", "owner").order_by("slug"))
    if not found:
        return "No agent is in this room."
    online = set(agents.filter(bridge__lease_until__gt=Now()).values_list("pk", flat=True))
    lines = [_one_agent(agent, is_online=agent.pk in online) for agent in found]
    return "\n".join(lines)


@command("help", help="shows this")
def show_help(_order: Order) -> str:
    lines = [f"`!{name}` {entry.help}" for name, entry in sorted(COMMANDS.items())]
    lines.append(
        "Mention an agent to ask it; in a direct chat just write. 🛑 on a question stops it, 🔁 asks it again."
    )
    return "\n".join(lines)


def react(reactions: Mapping[str, tuple[str, ...]], *, message_id: int, rc_id: str, bots: Mapping[str, str]) -> None:
    """Act on people's signs on a message, each once by (message, person, sign)."""
    ours = frozenset(bots.values())
    for emoji in reactions.keys() & SIGNS:
        for username in reactions[emoji]:
            if username not in ours:
                _react_one(emoji, username=username, message_id=message_id, rc_id=rc_id)


def _react_one(emoji: str, *, username: str, message_id: int, rc_id: str) -> None:
    people = list(User.objects.filter(username=username, is_foreign_bot=False)[:2])
    # The chat names who reacted by username only; where that is not one person we know, nobody has reacted.
    if len(people) != 1:
        return
    _, is_new = Reaction.objects.get_or_create(message_id=message_id, actor=username, emoji=emoji)
    if not is_new:
        return
    user = people[0]
    rows = _rows_of(message_id=message_id, rc_id=rc_id)
    if emoji in STOP_SIGNS:
        for row in rows.filter(state__in=OPEN)[:MAX_ROWS]:
            if may_stop(agent=row.agent, asker_id=row.root_asker_id, user=user):
                request_cancel(invocation_id=row.pk, reason="stopped", detail=f"by {user.username}")
    elif emoji in RETRY_SIGNS:
        for row in rows.filter(state__in=FINAL, retries=None, asker_agent=None)[:MAX_ROWS]:
            if may_stop(agent=row.agent, asker_id=row.root_asker_id, user=user):
                _ask_again(row)
    else:
        card = Notice.objects.filter(chat_id=rc_id, kind=NoticeKind.CARD, invocation__isnull=False).first()
        if card is not None and card.invocation_id is not None:
            approvals.decide(invocation_id=card.invocation_id, user=user, allow=emoji in ALLOW_SIGNS)


def _rows_of(*, message_id: int, rc_id: str) -> "QuerySet[Invocation]":
    """The rows that a message asks, or that it is a reply or a notice of."""
    parts = ReplyPart.objects.filter(chat_id=rc_id).values("invocation_id")
    notices = Notice.objects.filter(chat_id=rc_id, invocation__isnull=False).values("invocation_id")
    about = Q(message_id=message_id) | Q(pk__in=parts) | Q(pk__in=notices)
    return Invocation.objects.filter(about).select_related("agent", "message", "room").order_by("pk")


def _ask_again(row: Invocation) -> bool:
    again = open_invocation(
        message=row.message,
        room=row.room,
        agent=row.agent,
        root_asker=row.root_asker,
        retry_of=row,
        thread=row.thread,
    )
    return again is not None


def _decide(order: Order, *, allow: bool) -> str:
    open_ones = Approval.objects.filter(decision="", expires_at__gt=Now())
    rows = list(order.scope().filter(pk__in=open_ones.values("invocation_id")).order_by("pk")[:MAX_ROWS])
    if not rows:
        return "Nothing waits for a decision here."
    mine = [row for row in rows if _may_decide(row.agent, user=order.user)]
    if not mine:
        return f"{Verdict.NOT_ALLOWED.value.capitalize()}."
    if len(mine) > 1:
        # A yes must not land on another command than the one its giver has read.
        choices = ", ".join(f"`!{order.command.name} {row.pk}` ({row.agent.slug})" for row in mine)
        return f"Several runs wait for a decision; say which: {choices}."
    verdict = approvals.decide(invocation_id=mine[0].pk, user=order.user, allow=allow, note=order.command.text)
    return "" if verdict == Verdict.DECIDED else f"{verdict.value.capitalize()}."


def _may_decide(agent: Agent, *, user: User) -> bool:
    return agent.owner_id == user.pk or agent.approvers.filter(pk=user.pk).exists()


def _one_agent(agent: Agent, *, is_online: bool) -> str:
    # Without the @: a list of agents must not ask them all.
    account = getattr(agent, "bot_account", None)
    name = account.username if account is not None else agent.slug
    state = "switched off" if not agent.is_enabled else "online" if is_online else "offline"
    owner = f", of {agent.owner.username}" if agent.owner is not None else ""
    return f"`{name}` ({agent.cli_kind}{owner}): {state}"
