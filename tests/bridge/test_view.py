"""What a person sees in the bridge's terminal."""

import io
import os
import pty
from collections.abc import Callable
from typing import Any

import pytest

from nexus_bridge import events
from nexus_bridge.events import Notice, Permission, Text, ToolCall
from nexus_bridge.orders import Decide, Ending, Kill, Pause, Resume, Start, Stop
from nexus_bridge.packing import Packed
from nexus_bridge.protocol import Person, Prompt, RoomName
from nexus_bridge.view import View, printable
from tests.fakes.hub import prompt_for


class Screen(io.StringIO):
    def __init__(self, *, is_tty: bool) -> None:
        super().__init__()
        self._is_tty = is_tty

    def isatty(self) -> bool:
        return self._is_tty


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


Show = Callable[..., tuple[View, Screen, Clock]]


@pytest.fixture
def show() -> Show:
    def make(*, is_tty: bool = False, shows_prompts: bool = False) -> tuple[View, Screen, Clock]:
        screen, clock = Screen(is_tty=is_tty), Clock()
        return View(out=screen, shows_prompts=shows_prompts, now=clock), screen, clock

    return make


def lines(screen: Screen) -> list[str]:
    """Without the time in front."""
    return [line.partition(" ")[2] for line in screen.getvalue().splitlines()]


def started(prompt: Prompt | None = None) -> Start:
    return Start(prompt=prompt or prompt_for(7, text="the secret question\nand more"), cli_session=None)


def chunk(event: events.AnyEvent) -> Packed:
    kind: Any = events.kind_of(event)
    return kind, events.encode(event)


def test_a_turn_is_told_line_by_line(show: Show) -> None:
    view, screen, clock = show()

    view.starting(hub="wss://x.org", agents=["echo-alice"])
    view.connected(session="s-1")
    view.ordered(started())
    view.said(7, [chunk(Text(delta="not shown")), chunk(ToolCall(id="t", name="Bash", title="git status"))])
    view.said(7, [chunk(Permission(id="p", name="Bash", detail="git push"))])
    view.ordered(Decide(invocation=7, permission="p", allow=True, by="alice", note=""))
    view.said(7, [chunk(Notice(level="warning", text="slow today"))])
    clock.now += 12
    view.ended(7, Ending(outcome="done"))

    assert lines(screen) == [
        "nexus-bridge for echo-alice, connecting to wss://x.org",
        "connected to wss://x.org (session s-1)",
        "#7: bob in #general asks echo-alice",
        "#7 echo-alice: git status",
        "#7 echo-alice: asks the room to allow Bash: git push",
        "#7 echo-alice: allowed by alice",
        "#7 echo-alice: slow today",
        "#7 echo-alice: done after 12 s, 1 tool calls",
    ]


def test_other_orders_and_endings_have_their_lines(show: Show) -> None:
    view, screen, _ = show()

    view.ordered(started(prompt_for(7, room=RoomName(id="r", name="x", kind="dm"))))
    view.ordered(Pause(invocation=7))
    view.ordered(Resume(invocation=7))
    view.ordered(Decide(invocation=7, permission="p", allow=False, by="", note=""))
    view.ordered(Stop(invocation=7, outcome="cancelled", reason="!stop"))
    view.ordered(Kill(invocation=7, reason="dropped"))
    view.ended(7, Ending(outcome="failed", reason="crash", message="out of tea"))
    view.ended(8, Ending(outcome="cancelled", reason="!stop"))
    view.said(8, [chunk(ToolCall(id="t", name="Bash")), ("tool_call", "not json")])
    view.tell("the disk is full")
    view.disconnected(reason="the connection was lost", retry_in_s=1.6)

    assert lines(screen) == [
        "#7: bob in a direct chat asks echo-alice",
        "#7 echo-alice: waiting for the hub to take what was said",
        "#7 echo-alice: goes on",
        "#7 echo-alice: denied by the hub",
        "#7 echo-alice: stopping, !stop",
        "#7 echo-alice: killed, dropped",
        "#7 echo-alice: failed after 0 s, 0 tool calls: out of tea",
        "#8: cancelled: !stop",
        "#8: Bash",
        "the disk is full",
        "not connected: the connection was lost; trying again in 2 s",
    ]


def test_prompts_are_shown_only_to_who_asked_for_them(show: Show) -> None:
    silent, closed, _ = show()
    chatty, opened, _ = show(shows_prompts=True)

    silent.ordered(started())
    chatty.ordered(started())

    assert "secret" not in closed.getvalue()
    assert "    the secret question" in opened.getvalue()


def test_a_name_can_not_move_the_cursor_or_turn_the_line(show: Show) -> None:
    view, screen, _ = show(shows_prompts=True)
    evil = Person(id="x", username="bob\x1b[2J\u202e\r\n")

    view.ordered(started(prompt_for(7, asker=evil, text="\x1b]52;c;evil\x07")))

    assert "\x1b" not in screen.getvalue()
    assert "\u202e" not in screen.getvalue()
    assert len(lines(screen)) == 2
    assert printable("a\tb") == "a b"


def test_colours_and_status_are_for_a_tty(show: Show) -> None:
    view, screen, clock = show(is_tty=True)

    view.ordered(started())
    clock.now += 5
    view.status()
    view.tell("hello")
    view.status()
    view.ended(7, Ending(outcome="done"))
    view.status()

    assert "\x1b[2m  running: #7 echo-alice 5 s\x1b[0m\r\x1b[K" in screen.getvalue()
    assert screen.getvalue().count("running") == 2
    assert "\x1b[31mhello\x1b[0m" in screen.getvalue()


async def test_nothing_but_lines_goes_to_a_file(show: Show) -> None:
    view, screen, _ = show()

    view.ordered(started())
    view.status()
    await view.keep_status()

    assert "running" not in screen.getvalue()
    assert "\x1b" not in screen.getvalue()


def test_a_terminal_that_is_closed_does_not_matter() -> None:
    class Closed(Screen):
        def write(self, text: str, /) -> int:
            raise BrokenPipeError

    view = View(out=Closed(is_tty=True), now=Clock())

    view.ordered(started())
    view.status()


async def test_a_question_without_a_terminal_is_denied(show: Show) -> None:
    view, screen, _ = show()

    assert not await view.ask("claude-alice", Permission(id="p", name="Bash", detail="rm -rf ~"))
    assert lines(screen) == ["claude-alice: Bash needs an answer at a terminal; denied"]


@pytest.mark.parametrize(("typed", "is_allowed"), [("y\n", True), ("YES\n", True), ("\n", False), ("n\n", False)])
async def test_the_person_at_the_terminal_answers(
    show: Show, monkeypatch: pytest.MonkeyPatch, typed: str, is_allowed: bool
) -> None:
    ours, theirs = pty.openpty()
    view, screen, _ = show(is_tty=True)
    with os.fdopen(theirs, "r") as stdin, os.fdopen(ours, "w") as keyboard:
        monkeypatch.setattr("sys.stdin", stdin)
        keyboard.write(typed)
        keyboard.flush()

        answer = await view.ask("claude-alice", Permission(id="p", name="Bash", detail="git push\n--force"))

    assert answer is is_allowed
    assert "    --force" in screen.getvalue()


async def test_nobody_at_the_terminal_is_no(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexus_bridge.view.LOCAL_ANSWER_S", 0.02)
    ours, theirs = pty.openpty()
    view, _, _ = show(is_tty=True)
    with os.fdopen(theirs, "r") as stdin, os.fdopen(ours, "w"):
        monkeypatch.setattr("sys.stdin", stdin)

        assert not await view.ask("claude-alice", Permission(id="p", title="Bash"))
