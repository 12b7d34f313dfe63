"""Does a host owner run it all from the browser? From the login to an agent that answers, and to its end."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from docker.process import Process
from gateway.demo import chat
from tests.chromium import open_browser
from tests.world.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.timeout(240)]

PASSWORD = "bea's pass phrase"
SLUG = "echo-alice-story"
WAIT_MS = 30_000
SOCKETS = ("bridge", "console")
OPEN_SOCKETS = """(addresses) => Promise.all(addresses.map((address) => new Promise((tell) => {
  const socket = new WebSocket(address);
  socket.onopen = () => tell("open");
  socket.onerror = () => tell("refused");
})))"""


@pytest.fixture
def pages(world: World):
    """Two windows, the admin's and the chat's, and what they complained about."""
    complaints: list[str] = []
    expect.set_options(timeout=WAIT_MS)
    with open_browser() as browser:
        admin, talk = browser.new_context(), browser.new_context()
        admin.on("console", lambda message: complaints.extend([message.text] * (message.type == "error")))
        admin.on("weberror", lambda error: complaints.append(str(error.error)))
        for context in (admin, talk):
            context.set_default_timeout(WAIT_MS)
        yield admin.new_page(), talk.new_page(), complaints
    expect.set_options(timeout=5_000)  # as Playwright has it


def shoot(page, name: str) -> None:
    if folder := os.environ.get("ADMIN_SHOTS"):
        page.screenshot(path=Path(folder) / f"story-{name}.png", full_page=True)


def bea(world: World) -> None:
    """Somebody with a password that the test knows."""
    chat.make_person(admin=world.admin, username="bea", name="Bea", password=PASSWORD)
    world.people["bea"] = chat.log_in(url=world.stack.chat_url, username="bea", password=PASSWORD)


def log_in(page, world: World, token: str) -> None:
    page.get_by_label("Password or admin token").fill(token)
    page.get_by_role("button", name=re.compile("Log in")).click()


def say(talk, text: str) -> None:
    talk.get_by_label("Write a message").fill(text)
    talk.get_by_label("Write a message").press("Enter")


def troubles(page) -> list[str]:
    return page.locator("li", has=page.get_by_role("img", name="in trouble")).all_inner_texts()


def all_is_well(page) -> bool:
    page.reload()
    if found := troubles(page):
        print("in trouble:", *found, sep="\n")
    return not found


def laptop(world: World, *, link: str) -> Process:
    """A developer's: what `nexus-bridge join` leaves in his home is all that `nexus-bridge run` knows."""
    home = world.directory / "laptop"
    home.mkdir()
    program = str(Path(sys.executable).with_name("nexus-bridge"))
    env = {key: value for key, value in os.environ.items() if not key.startswith(("NEXUS_", "XDG_"))}
    env["HOME"] = str(home)
    done = subprocess.run(
        [program, "join", link, "--workdir", str(home / "project")],
        env=env, cwd=home, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bridge token   good" in done.stdout
    (config,) = home.rglob("bridge.toml")
    with config.open("a") as file:  # its last table is the agent's
        file.write('[agent.options]\nscripted = "true"\n')
    return Process(name="bridge-story", argv=(program, "run"), env=env, cwd=home, restart=False)


def test_from_the_login_to_the_last_answer(world: World, pages) -> None:
    admin, talk, complaints = pages
    world.person("alice")
    bea(world)
    room = world.room("story", owner="alice", members=["bea"])

    through_the_door(admin, world)
    bridge_by_a_link(admin, world, room=room)
    question_seen_in_the_console(admin, talk, world)
    endless_run_stopped_from_the_console(admin, talk)
    what_it_saw(admin)
    heard = list(complaints)
    gateway_away_and_back(admin, world)
    complaints[:] = heard  # the browser says of each try that nobody answered
    end_of_the_bridge(admin, world)

    assert complaints == []


def through_the_door(admin, world: World) -> None:
    admin.goto(f"{world.stack.gateway_url}/admin/")
    log_in(admin, world, "not the token at all, but as long as one may be")
    expect(admin.get_by_text("is not right").first).to_be_visible()
    log_in(admin, world, world.stack.env["NEXUS_ADMIN_TOKEN"])
    expect(admin.get_by_role("heading", name="Parts")).to_be_visible()
    # mem0-api loads Mem0 when it is asked first.
    world.until(lambda: all_is_well(admin), what="all parts are well", timeout_s=90)
    shoot(admin, "dashboard")


def bridge_by_a_link(admin, world: World, *, room) -> None:
    """A bridge for Alice, and a link instead of a token."""
    base = world.stack.gateway_url
    admin.get_by_role("link", name="Bridges").click()
    admin.goto(f"{base}/admin/bridges/new/")
    admin.get_by_label("User").fill("alice")
    admin.get_by_label("CLI").select_option("echo")
    admin.get_by_label("Role").fill("story")
    admin.get_by_label("Rooms").fill("story")
    admin.get_by_label("Who may ask").select_option("room")
    admin.get_by_role("button", name="Make the bridge").click()
    expect(admin.get_by_text("only time the token")).to_be_visible()
    admin.get_by_role("link", name="To the bridge").click()
    admin.get_by_role("button", name="Join link").click()
    link = admin.locator("#join-link").inner_text()
    world.stack.add(laptop(world, link=link))
    world.wait_online(SLUG)
    world.wait_in_room(room, [SLUG])
    admin.goto(f"{base}/admin/gateway/bridge/?is=online")
    admin.get_by_role("link", name=SLUG).first.click()


def question_seen_in_the_console(admin, talk, world: World) -> None:
    admin.goto(f"{world.stack.gateway_url}/admin/console/")
    expect(admin.get_by_text("live", exact=True)).to_be_visible()
    talk.goto(world.stack.chat_url)
    form = talk.get_by_role("form", name="Log in")
    form.get_by_label("User name").fill("bea")
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button", name="Log in").click()
    talk.get_by_role("navigation", name="Rooms").get_by_role("button", name="story").click()
    say(talk, f"@{SLUG} what is the answer to question 4711?")
    admin.get_by_role("button", name=re.compile("question 4711")).click()
    expect(admin.locator("#nx-run-state")).to_contain_text("done")
    expect(admin.locator("#nx-output")).to_contain_text("4711")
    expect(talk.get_by_text(re.compile("tokens"))).to_be_visible()
    shoot(admin, "console")


def endless_run_stopped_from_the_console(admin, talk) -> None:
    say(talk, f"@{SLUG} [[hang]] number 4712")
    admin.get_by_role("button", name=re.compile("number 4712")).click()
    expect(admin.locator("#nx-output")).to_contain_text("Waiting.")
    admin.get_by_role("button", name="Stop", exact=True).click()
    expect(admin.locator("#nx-run-state")).to_contain_text("cancelled")
    expect(talk.get_by_text("Stopped by the operator.", exact=True)).to_be_visible()


def what_it_saw(admin) -> None:
    admin.get_by_role("button", name=re.compile("question 4711")).click()
    expect(admin.locator("#nx-output")).to_contain_text("4711")
    admin.get_by_role("link", name="What it saw").click()
    expect(admin.get_by_role("heading", name=re.compile("What it saw"))).to_be_visible()
    expect(admin.locator(".nx-section").last).to_contain_text("question 4711")
    shoot(admin, "prompt")


def gateway_away_and_back(admin, world: World) -> None:
    """The console goes on where it was, and asks again from there."""
    admin.goto(f"{world.stack.gateway_url}/admin/console/")
    expect(admin.get_by_text("live", exact=True)).to_be_visible()
    pid = world.stack.kill("gateway")
    expect(admin.get_by_text("trying again")).to_be_visible()
    assert pid is not None
    world.stack.wait_restarted("gateway", after_pid=pid)
    expect(admin.get_by_text("live", exact=True)).to_be_visible()
    admin.get_by_role("button", name=re.compile("question 4711")).click()
    admin.get_by_role("button", name="Ask again").click()
    expect(admin.get_by_role("button", name=re.compile("question 4711"))).to_have_count(2)


def end_of_the_bridge(admin, world: World) -> None:
    base = world.stack.gateway_url
    (bridge,) = world.query("SELECT id FROM bridges WHERE name = %s", SLUG)
    world.wait_online(SLUG)
    admin.goto(f"{base}/admin/bridges/{bridge['id']}/revoke/")
    admin.get_by_role("button", name=f"Revoke {SLUG}").click()
    expect(admin.get_by_text("is revoked; its connection ends")).to_be_visible()
    world.until(lambda: "revoked" in world.stack.log("bridge-story"), what="the bridge hears that it is revoked")
    admin.goto(f"{base}/admin/gateway/bridge/?is=online")
    expect(admin.get_by_role("link", name=SLUG)).to_have_count(0)
    admin.goto(f"{base}/admin/gateway/bridge/?is=revoked")
    expect(admin.get_by_role("link", name=SLUG).first).to_be_visible()
    world.stack.take_down("bridge-story")


def test_a_page_from_elsewhere_opens_no_socket_of_the_gateway(world: World, pages) -> None:
    admin, _, complaints = pages
    admin.goto(f"{world.stack.gateway_url}/admin/")
    log_in(admin, world, world.stack.env["NEXUS_ADMIN_TOKEN"])
    expect(admin.get_by_role("heading", name="Parts")).to_be_visible()

    # Another port is another origin on the same host, so the browser sends the admin's cookie along. An answer without
    # a policy of its own, and a real one: Chromium keeps made-up pages from loopback before the gateway is asked.
    admin.goto(f"{world.stack.chat_url}/api/v1/nothing")
    opened = admin.evaluate(OPEN_SOCKETS, [f"ws://127.0.0.1:{world.stack.ports.gateway}/ws/{one}/" for one in SOCKETS])

    assert opened == ["refused"] * len(SOCKETS)
    asked = [one for one in complaints if re.search(r"response code: 40[13]", one)]
    assert len(asked) == len(SOCKETS), complaints
