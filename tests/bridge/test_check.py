"""`nexus-bridge` as a command: its exit codes, its sentences, and what `check` finds out."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from nexus_bridge import cli, config, tokens
from nexus_bridge.check import check, powers
from nexus_bridge.errors import ConnectionFailed, CredentialsRefused
from nexus_bridge.files import fetch_files
from nexus_bridge.hub_http import check_health, check_token
from nexus_bridge.journal import Journal
from nexus_bridge.policy import Audience, Rules
from nexus_bridge.protocol import Attachment, Prompt
from nexus_bridge.settings import Agent, Config, Hub
from tests.fakes.hub import FakeHub, prompt_for

pytestmark = pytest.mark.timeout(60)  # seconds; a busy machine is no failure

TOKEN = tokens.make(kind="nxb", secret=b"a" * 32)
HELLO_SHA = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture
async def hub() -> AsyncIterator[FakeHub]:
    async with FakeHub().running() as hub:
        hub.token = TOKEN
        yield hub


@pytest.fixture
def written(hub: FakeHub, tmp_path: Path) -> Config:
    (tmp_path / "work").mkdir()
    path = tmp_path / "bridge.toml"
    path.write_text(
        f'hub = "{hub.url}"\ntoken = "{TOKEN}"\njournal = "{tmp_path / "journal"}"\n'
        f'[[agent]]\nslug = "echo-alice"\ncli = "echo"\nworkdir = "{tmp_path / "work"}"\n'
    )
    path.chmod(0o600)
    return config.load(path=path, env=os.environ)


async def told(written: Config) -> tuple[int, str]:
    said: list[str] = []
    code = await check(config=written, say=said.append)
    return code, "\n".join(said)


# check


async def test_check_finds_everything_in_order(written: Config) -> None:
    code, said = await told(written)

    assert code == 0
    assert "echo-alice: echo, echo 1.0" in said
    assert f"{written.journal}: not there yet" in said
    assert "bridge token   good: bridge b-1 of alice" in said
    assert "What the hub alone could make happen here" in said


async def test_check_does_not_connect_as_a_bridge(hub: FakeHub, written: Config) -> None:
    await told(written)

    assert hub.hellos == []


async def test_check_tells_a_running_bridge_from_a_free_journal(written: Config) -> None:
    journal = Journal.open(directory=written.journal, now=0.0)
    _, running = await told(written)
    journal.close()
    _, free = await told(written)

    assert f"in use, nexus-bridge runs as pid {os.getpid()}" in running
    assert f"{written.journal}: free" in free


async def test_check_tells_what_the_hub_and_the_file_do_not_share(hub: FakeHub, written: Config) -> None:
    hub.check_answer = '{"bridge": "b", "owner": "alice", "agents": [{"slug": "claude-alice"}]}'

    code, said = await told(written)

    assert code == 1
    assert "echo-alice: the hub does not know it for this bridge" in said
    assert "claude-alice: the hub has it for this bridge, the configuration has not" in said


async def test_check_of_a_refused_token_says_so(hub: FakeHub, written: Config) -> None:
    hub.token = "another"

    code, said = await told(written)

    assert code == 77
    assert "refuses this bridge token (HTTP 401)" in said


async def test_check_of_something_else_on_that_port_says_so(hub: FakeHub) -> None:
    hub.check_answer = "<html>"

    with pytest.raises(ConnectionFailed, match="is it your Nexus"):
        await asyncio.to_thread(check_token, hub=Hub(url=hub.url), token=hub.token)


async def test_a_hub_that_is_down_is_a_sentence(unused_port: int) -> None:
    with pytest.raises(ConnectionFailed, match="Connection refused"):
        await asyncio.to_thread(check_health, hub=Hub(url=f"ws://127.0.0.1:{unused_port}"))


async def test_a_redirect_of_the_check_is_not_followed(hub: FakeHub) -> None:
    async with FakeHub().running() as elsewhere:
        hub.redirect_to = elsewhere.url.replace("ws", "http")

        with pytest.raises(ConnectionFailed, match="HTTP 307"):
            await asyncio.to_thread(check_token, hub=Hub(url=hub.url), token=hub.token)

        assert elsewhere.authorizations == []


async def test_a_hub_in_trouble_is_told(hub: FakeHub) -> None:
    hub.refuse_with = HTTPStatus.SERVICE_UNAVAILABLE

    with pytest.raises(ConnectionFailed, match="HTTP 503"):
        await asyncio.to_thread(check_health, hub=Hub(url=hub.url))


def test_a_secure_hub_is_asked_securely(unused_port: int) -> None:
    with pytest.raises(ConnectionFailed, match="Connection refused"):
        check_health(hub=Hub(url=f"wss://127.0.0.1:{unused_port}"))


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (Rules(), "answer in a person's place when it asks for a tool that no rule names"),
        (Rules(), "not change: nothing; add deny or local rules"),
        (Rules(ask=["Bash"]), "asks for Bash and every tool that no rule names"),
        (Rules(ask=["Bash"], default="deny"), "asks for Bash\n"),
        (Rules(default="allow"), "let it use every tool that no rule names, without anybody being asked"),
        (Rules(allow=["Read"]), "let it use without anybody being asked: Read"),
        (Rules(deny=["Write"], local=["Bash"]), "not change: denied: Write; asked at this terminal: Bash"),
        (Rules(default="deny"), "not change: every other tool is denied"),
        (Rules(default="local"), "not change: every other tool is asked at this terminal"),
    ],
)
def test_what_the_hub_could_do_is_said_in_plain_words(agent: Rules, said: str) -> None:
    found = powers(Agent(slug="a", cli="claude", command=["claude"], workdir=Path("/w"), rules=agent))

    assert said in "\n".join(found) + "\n"


def test_lists_of_people_are_the_hubs_word_too() -> None:
    agent = Agent(slug="a", cli="echo", command=[], workdir=Path("/w"), audience=Audience(callers=["bob"]))

    assert any("this bridge believes it" in line for line in powers(agent))


# The command


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out.startswith("nexus-bridge 0.1.0 (protocol 3, 2, 1, Python 3.")


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_bad_configuration_is_exit_code_78_and_one_line_per_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text('hub = "https://x.org"\n')
    path.chmod(0o600)

    code = cli.main([command, "--config", str(path)])

    told = capsys.readouterr().err.splitlines()
    assert code == 78
    assert len(told) == 3
    assert all(line.startswith(f"nexus-bridge: {path}: ") for line in told)


def test_a_journal_in_use_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], other_journal: Path
) -> None:
    (tmp_path / "work").mkdir()
    path = tmp_path / "bridge.toml"
    path.write_text(
        f'hub = "ws://127.0.0.1:1"\ntoken = "{TOKEN}"\njournal = "{other_journal}"\n'
        f'[[agent]]\nslug = "echo-alice"\ncli = "echo"\nworkdir = "{tmp_path / "work"}"\n'
    )
    path.chmod(0o600)

    code = cli.main(["run", "--config", str(path)])

    assert code == 75
    assert f"already running as pid {os.getpid()}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RuntimeError("oops"), 70, "a mistake in nexus-bridge"),
        (CredentialsRefused("no"), 77, "nexus-bridge: no"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_whatever_goes_wrong_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    def fail(arguments: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_act", fail)

    assert cli.main(["version"]) == code
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


# Files


@pytest.fixture
def with_file(hub: FakeHub) -> Prompt:
    hub.files = {"f1": b"hello"}
    return prompt_for(
        7,
        tools_token="nxt_tools",
        attachments=[Attachment(id="f1", name="../a b.txt", size=5, content_type="text/plain", sha256=HELLO_SHA)],
    )


async def test_a_file_is_fetched_with_the_tools_token_into_a_place_of_its_own(hub: FakeHub, with_file: Prompt) -> None:
    fetched = await fetch_files(Hub(url=hub.url), with_file)

    (path,) = fetched.files
    assert path.read_bytes() == b"hello"
    assert path.name == "1-_a_b.txt"
    assert path.parent == fetched.directory
    assert path.parent.stat().st_mode & 0o777 == 0o700
    fetched.remove()
    assert not path.parent.exists()


async def test_a_file_that_is_not_whole_is_left_out_and_told(hub: FakeHub, with_file: Prompt) -> None:
    hub.files["f1"] = b"hell"

    fetched = await fetch_files(Hub(url=hub.url), with_file)

    assert list(fetched.files) == []
    assert fetched.missing == ["../a b.txt could not be fetched: it did not arrive whole"]
    fetched.remove()


async def test_a_file_that_is_too_large_or_gone_is_told(
    hub: FakeHub, with_file: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_bridge.files.MAX_FILE_BYTES", 3)
    monkeypatch.setattr("nexus_bridge.files.MAX_FILES", 2)
    gone = Attachment(id="f/2", name="..", size=1, content_type="", sha256="")
    prompt = prompt_for(7, tools_token="nxt_tools", attachments=[*with_file.attachments, gone, *with_file.attachments])

    fetched = await fetch_files(Hub(url=hub.url), prompt)
    fetched.remove()

    assert len(fetched.missing) == 3
    assert "larger than 50 MiB" in fetched.missing[0]
    assert "HTTP 404" in fetched.missing[1]
    assert fetched.missing[2] == "1 more files are left out; 2 are the most."


async def test_no_files_make_no_directory(hub: FakeHub) -> None:
    fetched = await fetch_files(Hub(url=hub.url), prompt_for(7))

    assert fetched.directory is None
    fetched.remove()


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def other_journal(tmp_path: Path) -> Iterator[Path]:
    journal = Journal.open(directory=tmp_path / "other", now=0.0)
    yield tmp_path / "other"
    journal.close()
