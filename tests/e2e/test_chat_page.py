"""What does a person see at the chat page while agents work, on a desk and on a telephone?

With CHAT_PICTURES=folder each scene leaves its picture there, in both widths.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.chromium import open_browser
from tests.contract.test_devchat_page import NARROW, WIDE
from tests.e2e.conftest import MakeRoom
from tests.world.talk import Question, ask
from tests.world.world import Bridged, Room, World

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(240)]

PATIENCE_MS = 30_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as started:
        yield started


class Views:
    """Bob's two screens: the desk's and the telephone's, both in the same room."""

    def __init__(self, browser: Browser, world: World) -> None:
        self.pages = [self._logged_in(browser, world, size) for size in (WIDE, NARROW)]

    def _logged_in(self, browser: Browser, world: World, size: ViewportSize) -> Page:
        page = browser.new_page(viewport=size)
        page.goto(world.stack.chat_url)
        form = page.get_by_role("form", name="Log in")
        form.get_by_label("User name").fill("bob")
        form.get_by_label("Password").fill(world.passwords["bob"])
        form.get_by_role("button", name="Log in").click()
        return page

    def open(self, room: Room) -> None:
        for page in self.pages:
            if page.get_by_role("button", name="Back to the rooms").is_visible():
                page.get_by_role("button", name="Back to the rooms").click()
            page.get_by_role("navigation", name="Rooms").get_by_role("button", name=room.name, exact=False).click()

    def show(self, *texts: str, picture: str) -> None:
        """Each screen shows each of these without scrolling, the last message at the bottom, and nothing sticks out."""
        for page in self.pages:
            for text in texts:
                shown = page.locator("#room-messages").get_by_text(re.compile(text)).last
                expect(shown).to_be_in_viewport(timeout=PATIENCE_MS)
            expect(page.locator("#room-messages > li").last).to_be_in_viewport()
            expect(page.locator("#jump-down")).to_be_hidden()
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), picture
            self._keep(page, picture)

    def _keep(self, page: Page, picture: str) -> None:
        if folder := os.environ.get("CHAT_PICTURES"):
            width = page.viewport_size["width"] if page.viewport_size else 0
            page.screenshot(path=Path(folder) / f"{picture}-{width}.png")

    def close(self) -> None:
        for page in self.pages:
            page.context.close()


@pytest.fixture
def views(browser: Browser, world: World) -> Iterator[Callable[[Room], Views]]:
    """Opens a room on both screens."""
    opened: list[Views] = []

    def open_room(room: Room) -> Views:
        opened.append(Views(browser, world))
        opened[-1].open(room)
        return opened[-1]

    yield open_room
    for each in opened:
        each.close()


LookAt = Callable[[Room], Views]


def test_a_streaming_answer_grows_under_the_eyes(
    world: World, echo: Bridged, make_room: MakeRoom, views: LookAt
) -> None:
    room = make_room(echo.slug)
    seen = views(room)

    text = "[[tool read]] [[tool make]] [[delay 3]] [[long 6]] [[delay 6]] how do we deploy?"
    question = ask(world, person="bob", rid=room.rid, slug=echo.slug, text=text)

    seen.show("working", "make", picture="card")
    question.wait_said("line 6 of 6")
    seen.show("line 6 of 6", picture="streaming")
    question.wait_done()
    seen.show("You asked: how do we deploy", picture="answer")


def test_a_permission_question_and_the_queue_behind_it(
    world: World, echo: Bridged, make_room: MakeRoom, views: LookAt
) -> None:
    busy = world.agent(owner="alice", role="busy", pace_ms=10)
    room = make_room(busy.slug)
    seen = views(room)

    command = "[[permission rm -rf build/cache && make all]] clean up?"
    first = ask(world, person="bob", rid=room.rid, slug=busy.slug, text=command)
    seen.show("rm -rf build/cache", "!approve", picture="permission")
    second = ask(world, person="bob", rid=room.rid, slug=busy.slug, text="and then?")
    third = ask(world, person="alice", rid=room.rid, slug=busy.slug, text="what about me?")
    seen.show("comes next", "is number 2 in its queue", picture="queue")

    world.person("alice").say(room_id=room.rid, text="!approve")
    assert "Allowed" in first.wait_done()
    second.wait_done()
    third.wait_done()
    seen.show("You asked: what about me", picture="decided")


def test_files_go_both_ways(world: World, echo: Bridged, make_room: MakeRoom, views: LookAt) -> None:
    room = make_room(echo.slug)
    seen = views(room)

    text = f"@{echo.slug} [[file report.md]] what is in it?"
    sent = world.person("bob").send_file(room_id=room.rid, name="ci.log", content=b"it failed\n" * 30, text=text)

    Question(world, sent, room.rid, echo.slug).wait_done()
    seen.show("I was given 1-ci.log", "report.md", picture="files")


def test_an_agent_whose_laptop_is_off_says_until_when_it_waits(
    world: World, make_room: MakeRoom, views: LookAt
) -> None:
    away = world.agent(owner="alice", role="away", is_started=False)
    room = make_room(away.slug)
    seen = views(room)

    ask(world, person="bob", rid=room.rid, slug=away.slug, text="anybody home?")

    seen.show("is asleep", picture="offline")
    world.person("bob").say(room_id=room.rid, text="!stop")
    seen.show("Stopped", picture="stopped")
