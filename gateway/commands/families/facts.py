"""`!remember`, `!correct`, `!forget` and `!memory`: what is known, and how people set it right."""

import re
from dataclasses import dataclass
from typing import Final

from composer.memory import fact_words, facts, forgetting, scopes
from composer.memory import project as project_memory
from composer.memory.fact_words import NotUnderstoodError
from composer.memory.facts import Known, TooManyFactsError
from gateway import links, pipeline
from gateway.commands.registry import Order, command
from gateway.models import Message, Project, Room, RoomKind
from gateway.rocketchat.events import moment

MAX_LISTED: Final = 20
MAX_SHOWN_CHARS: Final = 200

_NUMBERS: Final = re.compile(r"#?\d{1,18}(?:[\s,]+#?\d{1,18})*")


@dataclass(frozen=True, slots=True)
class View:
    """What the giver of an order may see here: scopes, each with its title; and what he may change."""

    titles: dict[str, str]
    writable: frozenset[str]


@command(
    "remember",
    usage="[me|project|team] [for 3 days|until 2026-12-24] [what:] text",
    help="keeps a fact for this room, about you, for its project, or for everyone",
)
def remember(order: Order) -> str:
    try:
        wish = fact_words.read(_whole_text(order), now=order.now)
    except NotUnderstoodError as error:
        return str(error)
    scope, title = _scope_for(order, wish.about)
    if not scope:
        return title
    try:
        number, is_new = facts.remember(
            scope=scope,
            key=wish.key,
            value=wish.value,
            message_id=order.place.message_id,
            user_id=order.place.user_id,
            expires_at=wish.expires_at,
        )
    except TooManyFactsError as error:
        return str(error)
    until = f" until {wish.expires_at:%Y-%m-%d %H:%M} UTC" if wish.expires_at else ""
    return f"{'Noted' if is_new else 'Corrected'} {title} as `#{number}`{until}. `!forget {number}` takes it away."


@command("correct", usage="number text", help="changes what is known; `!memory` shows the numbers")
def correct(order: Order) -> str:
    text = order.command.text
    if order.command.number is None or not text:
        return "Say which and how: `!correct 12 Monday`. `!memory` shows the numbers."
    if len(text) > fact_words.MAX_VALUE_CHARS:
        return f"That is {len(text)} characters; a fact has at most {fact_words.MAX_VALUE_CHARS}."
    found, problem = _to_change(order, [order.command.number])
    if problem:
        return problem
    number = facts.correct(fact=found[0], value=text, message_id=order.place.message_id, user_id=order.place.user_id)
    return f"Corrected; it is `#{number}` now."


@command("forget", usage="number | name of a fact | me", help="lets go of a fact; `me`: of everything of yours")
def forget(order: Order) -> str:
    text = _whole_text(order)
    words = text.casefold().split()
    if words[:1] == ["me"]:
        return _forget_person(order) if words == ["me", "yes"] else _ask_before_forgetting(order)
    if _NUMBERS.fullmatch(text):
        numbers = [int(number) for number in re.findall(r"\d+", text)]
    else:
        key = " ".join(words)
        numbers = [fact.id for fact in _known(_view(order).writable) if fact.key == key]
    if not numbers:
        return "Say which: `!forget 12`. `!memory` shows the numbers; `!forget me` is about all of yours."
    found, problem = _to_change(order, numbers)
    if problem:
        return problem
    facts.forget(ids=[fact.id for fact in found])
    return "\n".join(["Forgotten:", *(_line(fact, order) for fact in found)])


@command("memory", usage="[me|project|team|learned] [word]", help="shows what is known here, and where it was said")
def memory(order: Order) -> str:
    view = _view(order)
    first, _, rest = _whole_text(order).partition(" ")
    known = _known(view.titles)
    about = {"me": "you", "project": "project", "team": "everyone", "learned": "learned"}.get(first.casefold())
    if about is None:
        word = _whole_text(order).casefold()
        # In a room, somebody's own facts are shown when he asks for them.
        profile = scopes.of_profile(user=order.user.rocketchat_id)
        known = [fact for fact in known if fact.scope != profile]
    else:
        word = rest.casefold()
        known = [
            fact
            for fact in known
            if (fact.is_learned if about == "learned" else view.titles[fact.scope].split(" ")[0] == about)
        ]
    found = [fact for fact in known if word in f"{fact.key} {fact.value}".casefold()]
    return "\n".join([*_listed(found, view, order), _state(order)])


def _listed(found: list[Known], view: View, order: Order) -> list[str]:
    if not found:
        return ["No fact is known here. `!remember deploy day: Friday` sets one; `!pins` lists what is pinned."]
    lines = ["`!correct 12 …` changes one, `!forget 12` lets go of it."]
    title = ""
    for fact in found[:MAX_LISTED]:
        here = "Learned from what was said" if fact.is_learned else f"For {view.titles[fact.scope]}"
        if here != title:
            title = here
            lines.append(f"*{title}*")
        lines.append(_line(fact, order))
    if len(found) > MAX_LISTED:
        lines.append(f"… and {len(found) - MAX_LISTED} more; `!memory` with a word finds them.")
    return lines


def _state(order: Order) -> str:
    rows = Message.objects.filter(room_id=order.place.room_id, deleted_at=None, system_type="").exclude(text="")
    waiting = rows.filter(remembered_at=None).exclude(pk=order.place.message_id).count()
    told = f", {waiting} of them not remembered yet" if waiting else ""
    return f"{rows.count()} messages of this room can be recalled{told}."


def _scope_for(order: Order, about: str) -> tuple[str, str]:
    """Where it is kept and what that is called; or nothing, and why."""
    room = _room(order)
    if about == "me":
        return scopes.of_profile(user=order.user.rocketchat_id), "about you"
    if about == "team":
        if order.user.role != "admin":
            return "", "Only admins may tell everyone. For this room alone: `!remember here …`."
        return scopes.GLOBAL, "for everyone"
    if about == "project":
        if room.project is None or room.kind == RoomKind.DM:
            return "", "This room belongs to no project; say it in a room of the project."
        return scopes.of_project(project_id=room.project.pk), f"for project {room.project.slug}"
    return scopes.of_talk(room_id=room.pk, rid=room.rid, kind=room.kind), (
        "for this chat" if room.kind == RoomKind.DM else "for this room"
    )


def _view(order: Order) -> View:
    room, user = _room(order), order.user
    talk = scopes.of_talk(room_id=room.pk, rid=room.rid, kind=room.kind)
    profile = scopes.of_profile(user=user.rocketchat_id)
    is_direct = room.kind == RoomKind.DM
    tagged = (room.project.pk, room.project.slug) if room.project is not None else None
    projects = project_memory.projects(room_id=room.pk, is_direct=is_direct, tagged=tagged, user_id=user.pk)
    titles = {talk: "this chat" if is_direct else "this room", profile: "you"}
    titles |= {scopes.of_project(project_id=pk): f"project {slug}" for pk, slug in projects}
    writable = set(titles) | ({scopes.GLOBAL} if user.role == "admin" else set())
    return View(titles=titles | {scopes.GLOBAL: "everyone"}, writable=frozenset(writable))


def _to_change(order: Order, numbers: list[int]) -> tuple[list[Known], str]:
    """The facts with these numbers, if they may be changed here and by him; else why not."""
    view = _view(order)
    by_number = {fact.id: fact for fact in _known(view.titles)}
    missing = [number for number in numbers if number not in by_number]
    if missing:
        return [], f"There is no `#{missing[0]}` here. `!memory` shows what is known."
    found = [by_number[number] for number in dict.fromkeys(numbers)]
    if any(fact.scope not in view.writable for fact in found):
        return [], "Only admins may change what everyone is told."
    others = [fact for fact in found if _is_anothers(fact, order)]
    if others:
        return (
            [],
            f"`#{others[0].id}` was given to the project by {others[0].set_by}; he, its managers or admins may change it.",
        )
    return found, ""


def _is_anothers(fact: Known, order: Order) -> bool:
    """What somebody gave to a project is read in other rooms too: not every member of this one may take it away."""
    kind, _, number = fact.scope.partition(":")
    if kind != "project" or fact.set_by in ("", order.user.username) or order.user.role == "admin":
        return False
    return not Project.objects.filter(pk=int(number), managers=order.user).exists()


def _ask_before_forgetting(order: Order) -> str:
    count = Message.objects.filter(user=order.user, deleted_at=None).count()
    return (
        f"That takes all {count} messages you have written so far, in every room, out of my memory for good: also their"
        " pins, facts, summaries and the prompts that held them. The chat itself keeps its messages, and what agents"
        " have answered stays. Write `!forget me yes` if you mean it."
    )


def _forget_person(order: Order) -> str:
    forgetting.ask(user=order.user, until=moment(order.place.ts), last_message_id=order.place.message_id)
    pipeline.remember()
    return "What you have set about yourself is gone; what you wrote follows within a few minutes."


def _known(of_scopes: "dict[str, str] | frozenset[str]") -> list[Known]:
    return facts.known(scopes=list(of_scopes), limit=2_000)


def _line(fact: Known, order: Order) -> str:
    text = " ".join(fact.value.replace("`", "'").split())
    text = text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
    key = "" if fact.is_note or fact.is_learned else f"{fact.key}: "
    notes = [fact.set_by] if fact.set_by else []
    # Of another room, and so of a direct chat, not even the address is told.
    if fact.rc_id and fact.room_id == order.place.room_id:
        notes.append(links.to_message(rc_id=fact.rc_id, label="where"))
    if fact.expires_at:
        notes.append(f"until {fact.expires_at:%Y-%m-%d}")
    return f"`#{fact.id}` {key}{text}" + (f" ({', '.join(notes)})" if notes else "")


def _whole_text(order: Order) -> str:
    """A fact may begin with a number, which was read as that of a row."""
    number = "" if order.command.number is None else str(order.command.number)
    return f"{number} {order.command.text}".strip()


def _room(order: Order) -> Room:
    return Room.objects.select_related("project").get(pk=order.place.room_id)
