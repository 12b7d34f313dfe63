"""Can a person use the chat page: log in, read, write, react, and read in peace while an answer streams?"""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

from tests.chromium import FLAGS, chromium
from tests.contract.conftest import PASSWORD, Devchat, Person
from tests.contract.npm import npm_modules

# One browser for all of them: starting it takes longer than most of the tests.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

WIDE, NARROW = ViewportSize(width=1440, height=900), ViewportSize(width=390, height=844)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_browser() -> AsyncIterator[Browser]:
    path = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def browser(shared_browser: Browser) -> AsyncIterator[Browser]:
    yield shared_browser
    for context in shared_browser.contexts:
        await context.close()


async def log_in(browser: Browser, devchat: Devchat, person: Person, *, viewport: ViewportSize = WIDE) -> Page:
    page = await browser.new_page(viewport=viewport)
    await page.goto(devchat.url)
    await fill_login(page, person.username, PASSWORD)
    return page


async def fill_login(page: Page, username: str, password: str) -> None:
    form = page.get_by_role("form", name="Log in")
    await form.get_by_label("User name").fill(username)
    await form.get_by_label("Password").fill(password)
    await form.get_by_role("button", name="Log in").click()


async def open_room(page: Page, name: str) -> None:
    await page.get_by_role("navigation", name="Rooms").get_by_role("button", name=name).click()


async def write(page: Page, text: str) -> None:
    await page.get_by_label("Write a message").fill(text)
    await page.get_by_label("Write a message").press("Enter")


async def test_each_view_says_that_it_is_not_rocketchat(browser: Browser, devchat: Devchat, alice: Person) -> None:
    page = await browser.new_page()
    await page.goto(devchat.url)
    await expect(page.get_by_text("It is not Rocket.Chat.")).to_be_visible()

    page = await log_in(browser, devchat, alice)

    await expect(page.get_by_role("button", name="Log out")).to_be_visible()
    await expect(page.get_by_text("It is not Rocket.Chat.")).to_be_visible()


async def test_wrong_passwords_are_named(browser: Browser, devchat: Devchat, alice: Person) -> None:
    page = await browser.new_page()
    await page.goto(devchat.url)

    await fill_login(page, "alice", "wrong")

    await expect(page.get_by_text("User name or password is wrong.")).to_be_visible()


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
async def test_what_one_person_writes_the_other_reads(
    browser: Browser, devchat: Devchat, alice: Person, bob: Person, room: str, viewport: ViewportSize
) -> None:
    page = await log_in(browser, devchat, alice, viewport=viewport)
    await open_room(page, "backend")

    await write(page, "hello *Bob*")
    answer = bob.say(room, "hello Alice")

    await expect(page.get_by_role("region", name="Messages").get_by_text("hello Alice")).to_be_visible()
    await expect(page.locator(".body strong", has_text="Bob")).to_be_visible()
    assert [message["msg"] for message in bob.ok_get("groups.history", roomId=room)["messages"]] == [
        "hello Alice",
        "hello *Bob*",
    ]
    bob.ok_post("chat.update", roomId=room, msgId=answer["_id"], text="hello dear Alice")
    await expect(page.get_by_text("hello dear Alice")).to_be_visible()
    bob.ok_post("chat.delete", roomId=room, msgId=answer["_id"])
    await expect(page.get_by_text("hello dear Alice")).to_have_count(0)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
async def test_a_checker_finds_no_barriers_and_nothing_sticks_out(
    browser: Browser, devchat: Devchat, alice: Person, bob: Person, room: str, viewport: ViewportSize, scheme: Any
) -> None:
    checker = (npm_modules("axe", {"axe-core": "4.14.1"}) / "axe-core" / "axe.min.js").read_text()
    root = bob.say(room, "look:\n```\n" + "a long line of code " * 20 + "\n```\n> quoted @alice\n- listed")
    bob.say(room, "in a thread", tmid=root["_id"])
    alice.ok_post("chat.react", messageId=root["_id"], emoji="eyes")
    page = await log_in(browser, devchat, alice, viewport=viewport)
    await page.emulate_media(color_scheme=scheme)
    await open_room(page, "backend")

    await page.get_by_role("button", name="1 reply").click()
    await expect(page.get_by_role("region", name="Thread").get_by_text("in a thread")).to_be_visible()
    await page.evaluate(checker)
    barriers = await page.evaluate(
        "async () => (await axe.run()).violations.map((each) => [each.id, each.nodes[0].html])"
    )
    overhang = await page.evaluate("() => document.documentElement.scrollWidth - innerWidth")

    assert barriers == []
    assert overhang <= 0


async def test_text_is_shown_as_text_and_never_as_markup(
    browser: Browser, devchat: Devchat, alice: Person, bob: Person, room: str
) -> None:
    text = (
        "<img src=x onerror=alert(1)> [click](javascript:alert(1)) [fine](https://example.org)\n```\n<b>code</b>\n```"
    )
    bob.say(room, text)
    page = await log_in(browser, devchat, alice)

    await open_room(page, "backend")

    body = page.locator(".body")
    await expect(body.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()
    await expect(body.locator("pre")).to_have_text("<b>code</b>")
    assert await body.locator("img").count() == 0
    assert [await link.get_attribute("href") for link in await body.locator("a").all()] == ["https://example.org/"]


async def test_a_table_is_shown_as_one(
    browser: Browser, devchat: Devchat, alice: Person, bob: Person, room: str
) -> None:
    bob.say(room, "| Name | 値 |\n|---|--:|\n| a `x|y` | **12** |\n| short |\n| \\| | <b>1</b> |\nand on")
    page = await log_in(browser, devchat, alice)
    await open_room(page, "backend")
    table = page.get_by_role("table")

    assert [await row.all_inner_texts() for row in [table.get_by_role("columnheader"), table.get_by_role("cell")]] == [
        ["Name", "値"],
        ["a x|y", "12", "short", "", "|", "<b>1</b>"],
    ]
    await expect(page.get_by_text("and on", exact=True)).to_be_visible()


async def test_a_reader_above_is_not_moved_by_a_streaming_answer_and_one_at_the_bottom_stays_there(
    browser: Browser, devchat: Devchat, alice: Person, bob: Person, room: str
) -> None:
    for number in range(40):
        bob.say(room, f"line {number}\nand more of it")
    answer = bob.say(room, "it begins")
    page = await log_in(browser, devchat, alice)
    await open_room(page, "backend")
    await expect(page.get_by_text("it begins")).to_be_visible()
    # With it the page hears of a scroll.
    next_frame = "() => new Promise(seen => requestAnimationFrame(() => requestAnimationFrame(seen)))"
    # A promise, for the page's policy lets no script be polled that comes as text.
    at_bottom = """() => new Promise(seen => {
        const scroller = document.getElementById('room-scroll');
        const look = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 2 ? seen() : requestAnimationFrame(look);
        look();
    })"""
    await page.evaluate(at_bottom)

    await page.evaluate("document.getElementById('room-scroll').scrollTop = 300")
    await page.evaluate(next_frame)
    bob.ok_post("chat.update", roomId=room, msgId=answer["_id"], text="it grows\n" * 30)
    await expect(page.get_by_text("it grows").first).to_be_attached()
    position = await page.evaluate("document.getElementById('room-scroll').scrollTop")
    await page.evaluate("document.getElementById('room-scroll').scrollTop = 1e6")
    await page.evaluate(next_frame)
    bob.ok_post("chat.update", roomId=room, msgId=answer["_id"], text="it is long now\n" * 60)
    await expect(page.get_by_text("it is long now").first).to_be_attached()
    await page.evaluate(at_bottom)

    assert abs(position - 300) < 2


async def test_reactions_threads_typing_and_files_are_usable(
    browser: Browser, devchat: Devchat, alice: Person, bob: Person, room: str, tmp_path: Path
) -> None:
    message = bob.say(room, "shall we deploy?")
    (tmp_path / "plan.txt").write_text("at noon")
    page = await log_in(browser, devchat, alice)
    await open_room(page, "backend")
    row = page.get_by_role("listitem").filter(has_text="shall we deploy?")

    await row.hover()
    await row.get_by_role("button", name="Add a reaction").click()
    await row.get_by_role("button", name="white check mark").click()
    await expect(row.get_by_role("button", name=re.compile("white check mark: alice"))).to_be_visible()
    await row.hover()
    await row.get_by_role("button", name="Reply in a thread").click()
    await page.get_by_label("Reply in the thread").fill("after lunch")
    await page.get_by_label("Reply in the thread").press("Enter")
    await expect(page.get_by_role("region", name="Thread").get_by_text("after lunch")).to_be_visible()
    await page.locator("#room-composer input[type=file]").set_input_files(tmp_path / "plan.txt")

    await expect(row.get_by_role("button", name="1 reply")).to_be_visible()
    link = page.get_by_role("link", name="plan.txt")
    await expect(link).to_be_visible()
    assert bob.ok_get("chat.getMessage", msgId=message["_id"])["message"]["reactions"] == {
        ":white_check_mark:": {"usernames": ["alice"]}
    }
    async with devchat.realtime(bob) as client:
        await client.call("stream-notify-room", f"{room}/user-activity", "bob", ["user-typing"], {})
        await expect(page.get_by_text("bob is typing…")).to_be_visible()


async def test_rooms_and_direct_messages_are_opened_from_the_page(
    browser: Browser, devchat: Devchat, alice: Person, bob: Person
) -> None:
    page = await log_in(browser, devchat, alice)

    await page.get_by_role("button", name="New room").click()
    await page.get_by_label("Name", exact=True).fill("deploys")
    await page.get_by_role("textbox", name="Members").fill("bob")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("heading", name="#deploys")).to_be_visible()
    await page.get_by_role("button", name="New direct message").click()
    await page.get_by_role("dialog").get_by_label("User name").fill("bob")
    await page.get_by_role("dialog").get_by_role("button", name="Open").click()
    await expect(page.get_by_role("heading", name="Bob")).to_be_visible()
    await write(page, "just you")

    direct = alice.ok_post("im.create", username="bob")["room"]["_id"]
    await expect(page.locator(".body", has_text="just you")).to_be_visible()
    assert [message["msg"] for message in bob.ok_get("im.history", roomId=direct)["messages"]] == ["just you"]


async def test_the_page_comes_back_after_its_socket_is_cut(
    browser: Browser, devchat: Devchat, alice: Person, bob: Person, room: str
) -> None:
    page = await log_in(browser, devchat, alice)
    await open_room(page, "backend")
    await expect(page.get_by_text("online", exact=True)).to_be_visible()

    devchat.control("POST", "restart_sockets")
    bob.say(room, "said while you were away")

    await expect(page.get_by_text("said while you were away")).to_be_visible(timeout=15_000)
