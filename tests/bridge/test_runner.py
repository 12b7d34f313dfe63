"""What the runner does with CLIs: turns, limits, questions, stops, the pool. The processes are in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from nexus_bridge import events
from nexus_bridge.adapters.base import Capabilities, Profile, Spawn
from nexus_bridge.adapters.base import Turn as AdapterTurn
from nexus_bridge.events import AnyEvent, Done, File, Notice, Permission, Text, ToolCall
from nexus_bridge.files import Fetched
from nexus_bridge.masking import MASK
from nexus_bridge.orders import Add, Decide, Ending, Kill, Pause, Resume, Start, Stop
from nexus_bridge.packing import Packed
from nexus_bridge.policy import Rules
from nexus_bridge.process import SpawnFailed, StdinStuck
from nexus_bridge.protocol import RunLimits
from nexus_bridge.runner import Runner
from nexus_bridge.settings import Agent, Limits
from nexus_bridge.strip import TextStripper
from tests.fakes.hub import prompt_for

pytestmark = pytest.mark.timeout(60)  # seconds; a busy machine is no failure


class FakeProcess:
    """A CLI whose lines the test writes and whose stdin the test reads."""

    def __init__(self, spawn: Spawn) -> None:
        self.spawn = spawn
        self.stdin = ""
        self.is_killed = False
        self.is_stuck = False
        self.turn_count = 0
        self.settled_count = 0
        self.interrupt_count = 0
        self.is_stdin_closed = False
        self.limit_hit = ""
        self.stderr_tail = ""
        self.awaits_input = False
        self.memory_mib = 0
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._exited = asyncio.Event()
        self._code = 0

    # The test's side

    def says(self, *said: AnyEvent) -> None:
        for event in said:
            self._lines.put_nowait(events.encode(event).encode() + b"\n")

    def writes(self, data: bytes) -> None:
        self._lines.put_nowait(data)

    def exits(self, code: int = 0) -> None:
        self._code = code
        self._exited.set()
        self._lines.put_nowait(b"")

    # The runner's side

    async def read(self) -> bytes:
        data = await self._lines.get()
        if not data:
            self._lines.put_nowait(b"")
        return data

    def write(self, data: bytes) -> None:
        if self.is_stuck:
            raise StdinStuck("The CLI does not read its input.")
        self.stdin += data.decode()

    def close_stdin(self) -> None:
        self.is_stdin_closed = True

    def interrupt(self) -> None:
        self.interrupt_count += 1

    def begin_turn(self) -> None:
        self.turn_count += 1

    async def settle(self) -> None:
        self.settled_count += 1

    async def wait(self) -> int:
        await self._exited.wait()
        return self._code

    async def kill(self) -> None:
        self.is_killed = True
        if not self._exited.is_set():
            self.exits(-9)

    async def gone(self) -> None: ...


class LineAdapter:
    """Events as JSON lines; what it writes are words."""

    kind: ClassVar[str] = "echo"
    capabilities: ClassVar[Capabilities] = Capabilities(interrupt=True, permissions=True)
    can_interrupt = True
    quiet_s = 0.0

    def __init__(self, *, profile: Profile) -> None:
        self.profile = profile
        self._is_open = False

    @classmethod
    def version_argv(cls, command: Sequence[str]) -> Sequence[str]:
        return [*command, "--version"]

    def spawn(self) -> Spawn:
        return Spawn(argv=["fake"], env={}, cwd=self.profile.workdir, quiet_ends_turn_s=self.quiet_s)

    def start(self) -> bytes:
        return b"start;"

    def turn(self, turn: AdapterTurn) -> bytes:
        self._is_open = True
        return f"turn {turn.text} {len(turn.files)};".encode()

    def feed(self, data: bytes) -> list[AnyEvent]:
        if data == b"broken\n":
            raise ValueError("no such line")
        event = events.decode(data)
        self._is_open &= not isinstance(event, Done)
        return [event] if event is not None else []

    def quiet(self) -> list[AnyEvent]:
        self._is_open = False
        return [Done(status="ok")]

    def outgoing(self) -> bytes:
        return b""

    def answer(self, permission: str, *, allow: bool, note: str) -> bytes:
        return f"answer {permission} {allow} {note};".encode()

    def interrupt(self) -> bytes:
        return b"interrupt;" if self.can_interrupt else b""

    def close(self) -> bytes:
        return b"close;"

    def exited(self, *, code: int, stderr_tail: str) -> list[AnyEvent]:
        return [Done(status="error", error_kind="crash", message=stderr_tail)] if self._is_open else []


class Host:
    """The session's side: remembers what it is told."""

    def __init__(self) -> None:
        self.chunks: dict[int, list[list[Packed]]] = {}
        self.endings: dict[int, Ending] = {}
        self.free: list[int] = []
        self.cli_sessions: dict[int, str] = {}
        self._changed = asyncio.Condition()

    def spool(self, invocation: int, chunks: Sequence[Packed]) -> None:
        self.chunks.setdefault(invocation, []).append(list(chunks))

    def end(self, invocation: int, ending: Ending) -> None:
        assert invocation not in self.endings
        self.endings[invocation] = ending

    def freed(self, invocation: int) -> None:
        assert invocation in self.endings
        self.free.append(invocation)

    def cli_session(self, invocation: int, id: str) -> None:  # noqa: A002
        self.cli_sessions[invocation] = id

    def said(self, invocation: int) -> list[AnyEvent | None]:
        return [events.decode(payload) for batch in self.chunks.get(invocation, []) for _, payload in batch]

    def notices(self, invocation: int) -> list[str]:
        return [event.text for event in self.said(invocation) if isinstance(event, Notice)]


class Bench:
    """A runner with everything round it in the test's hands."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.host = Host()
        self.processes: list[FakeProcess] = []
        self.profiles: list[Profile] = []
        self.spawn_error: Exception | None = None
        self.fetched = Fetched()
        self.asked_locally: list[Permission] = []
        self.local_answer = False
        self.inherited: dict[str, str] = {}
        self.left: list[str] = []
        self.adapter: type[LineAdapter] = LineAdapter
        self.runner = self.make()

    def make(self, *, rules: Rules | None = None, **limits: Any) -> Runner:
        agent = Agent(
            slug="echo-alice", cli="echo", command=["fake"], workdir=self.tmp_path, parallel=4, rules=rules or Rules()
        )
        self.runner = Runner(
            agents={agent.slug: agent},
            limits=Limits(**limits),
            host=self.host,
            make_adapter=self._adapter,
            start_process=self._start,
            fetch_files=self._fetch,
            send_files=self._send,
            cleaner=TextStripper,
            ask_locally=self._ask_locally,
            inherited=self.inherited,
            mcp_url="ws://hub/mcp/",
        )
        return self.runner

    def _adapter(self, agent: Agent, profile: Profile) -> LineAdapter:
        self.profiles.append(profile)
        return self.adapter(profile=profile)

    async def _start(self, spawn: Spawn) -> FakeProcess:
        if self.spawn_error is not None:
            raise self.spawn_error
        self.processes.append(FakeProcess(spawn))
        return self.processes[-1]

    async def _fetch(self, prompt: object) -> Fetched:
        return self.fetched

    async def _send(self, prompt: object, folder: Path) -> list[Any]:
        self.left = sorted(path.name for path in folder.iterdir())
        return [File(id=str(number), name=name, size=1) for number, name in enumerate(self.left)]

    async def _ask_locally(self, agent: str, question: Permission) -> bool:
        self.asked_locally.append(question)
        return self.local_answer

    def start(self, invocation: int = 7, *, cli_session: str | None = None, **more: Any) -> None:
        self.runner.obey(Start(prompt=prompt_for(invocation, **more), cli_session=cli_session))

    async def process(self, number: int = 0, *, has: str = "turn") -> FakeProcess:
        await until(lambda: len(self.processes) > number and has in self.processes[number].stdin)
        return self.processes[number]

    async def ended(self, invocation: int = 7) -> Ending:
        await until(lambda: invocation in self.host.free)
        return self.host.endings[invocation]


async def until(is_so: Callable[[], object], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.001)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    for process in bench.processes:
        process.exits()
    await bench.runner.close()


# A turn


async def test_a_turn_is_started_read_and_ended_by_done(bench: Bench) -> None:
    bench.start(text="what?")
    cli = await bench.process()

    cli.says(
        events.Session(id="s-1"), Text(delta="four"), events.Usage(input_tokens=3, cost_usd=0.5), Done(status="ok")
    )
    ending = await bench.ended()

    assert cli.stdin == "start;turn what? 0;"
    assert ending.outcome == "done"
    assert (ending.usage.input_tokens, ending.usage.cost_usd) == (3, 0.5)
    assert bench.host.cli_sessions == {7: "s-1"}
    assert bench.host.said(7)[-1] == Done(status="ok")
    assert (cli.turn_count, cli.settled_count, cli.is_killed) == (1, 1, False)


async def test_the_first_words_leave_at_once_and_the_next_are_packed(bench: Bench) -> None:
    bench.start()
    cli = await bench.process()

    cli.says(Text(delta="first"))
    await until(lambda: 7 in bench.host.chunks)
    cli.says(*(Text(delta=str(number)) for number in range(9)))
    cli.says(Done(status="ok"))
    await bench.ended()

    assert len(bench.host.chunks[7][0]) == 1
    assert Text(delta="012345678") in bench.host.said(7)


async def test_a_cli_that_pours_is_not_packed_for_long(bench: Bench) -> None:
    bench.start()
    cli = await bench.process()
    cli.says(Text(delta="first"))
    await until(lambda: bench.host.said(7))

    cli.says(*(Text(delta="x" * 1_000) for _ in range(200)))
    cli.says(Done(status="ok"))
    await bench.ended()

    assert len(bench.host.chunks[7]) >= 4


async def test_usage_adds_up_over_a_turn(bench: Bench) -> None:
    bench.start()
    cli = await bench.process()

    cli.says(
        events.Usage(input_tokens=1, cost_usd=0.25),
        events.Usage(output_tokens=2, cached_tokens=-4),
        events.Usage(cost_usd=0.5),
        Done(status="ok"),
    )
    usage = (await bench.ended()).usage

    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cost_usd) == (1, 2, 0, 0.75)


@pytest.mark.parametrize(
    ("done", "outcome", "reason"),
    [
        (Done(status="error", error_kind="rate_limit", message="slow down"), "failed", "rate_limit"),
        (Done(status="limit"), "failed", "limit"),
        (Done(status="interrupted"), "interrupted", "interrupted"),
    ],
)
async def test_what_the_cli_says_of_its_end_is_told(bench: Bench, done: Done, outcome: str, reason: str) -> None:
    bench.start()
    cli = await bench.process()

    cli.says(done)
    ending = await bench.ended()

    assert (ending.outcome, ending.reason, ending.message) == (outcome, reason, done.message)


async def test_what_a_cli_says_of_its_failure_is_cleaned_and_masked_like_the_rest(bench: Bench) -> None:
    bench.inherited = {"DEPLOY_PASSWORD": "correct-horse-battery"}
    bench.make()
    bench.start()
    cli = await bench.process()

    cli.says(Done(status="error", error_kind="auth", message="no \x1b[31mlogin\0 for correct-horse-battery"))
    ending = await bench.ended()

    assert (ending.reason, ending.message) == ("auth", f"no login for {MASK}")
    assert "correct-horse" not in str(bench.host.said(7))


async def test_a_cli_that_ends_in_its_turn_is_a_crash_with_its_last_words(bench: Bench) -> None:
    bench.start()
    cli = await bench.process()
    cli.stderr_tail = "out of tea"

    cli.exits(3)
    ending = await bench.ended()

    assert (ending.outcome, ending.reason, ending.exit_code) == ("failed", "crash", 3)
    assert ending.message == "out of tea"


async def test_a_tree_that_took_too_much_is_told_so(bench: Bench) -> None:
    bench.start()
    cli = await bench.process()
    cli.limit_hit = "memory"

    cli.exits(-9)

    assert "took too much (memory)" in (await bench.ended()).message


async def test_a_program_that_does_not_start_fails_the_run(bench: Bench) -> None:
    bench.spawn_error = SpawnFailed("can't start claude: not found")

    bench.start()
    ending = await bench.ended()

    assert (ending.outcome, ending.reason, ending.message) == (
        "failed",
        "spawn_failed",
        "can't start claude: not found",
    )


async def test_a_mistake_of_the_bridge_still_ends_the_run(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.spawn_error = RuntimeError("oops")

    bench.start()

    assert (await bench.ended()).reason == "bridge_error"


async def test_output_that_the_adapter_stumbles_over_fails_the_run(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start()
    cli = await bench.process()

    cli._lines.put_nowait(b"broken\n")
    ending = await bench.ended()

    assert (ending.outcome, ending.reason) == ("failed", "adapter")
    assert cli.is_killed


async def test_a_cli_that_reads_nothing_fails_the_run(bench: Bench) -> None:
    bench.start()
    cli = await bench.process()
    cli.is_stuck = True

    cli.says(Permission(id="p", name="Bash"))
    await until(lambda: bench.host.said(7))
    bench.runner.obey(Decide(invocation=7, permission="p", allow=True, by="alice", note=""))
    ending = await bench.ended()

    assert (ending.outcome, ending.reason) == ("failed", "stdin_stuck")


async def test_a_forgotten_cli_session_is_started_afresh_once(bench: Bench) -> None:
    bench.start(cli_session="old")
    cli = await bench.process()

    cli.says(Done(status="error", error_kind="session"))
    again = await bench.process(1)
    again.says(Text(delta="new start"), Done(status="ok"))
    ending = await bench.ended()

    assert ending.outcome == "done"
    assert [profile.resume_id for profile in bench.profiles] == ["old", None]
    assert cli.is_killed
    assert [event for event in bench.host.said(7) if isinstance(event, Done)] == [Done(status="ok")]


async def test_a_cli_that_only_falls_silent_is_asked_whether_it_is_done(bench: Bench) -> None:
    class QuietAdapter(LineAdapter):
        quiet_s = 0.02

    bench.adapter = QuietAdapter
    bench.start()
    cli = await bench.process()

    cli.says(Text(delta="that was it"))
    ending = await bench.ended()

    assert ending.outcome == "done"
    assert not cli.is_killed


async def test_files_come_with_the_turn_and_missing_ones_are_told(bench: Bench, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    directory.mkdir()
    bench.fetched = Fetched(directory=directory, files=[directory / "a"], missing=["b.txt could not be fetched."])

    bench.start()
    cli = await bench.process()
    cli.says(Done(status="ok"))
    await bench.ended()

    assert "turn hello 1;" in cli.stdin
    assert bench.host.notices(7) == ["b.txt could not be fetched."]
    assert not directory.exists()


async def test_a_turn_that_is_stopped_does_not_wait_for_its_files(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = asyncio.Event()

    async def fetch_for_ever(prompt: object) -> Fetched:
        await never.wait()
        return Fetched()

    monkeypatch.setattr(bench, "_fetch", fetch_for_ever)
    bench.make()
    bench.start()
    bench.runner.obey(Stop(invocation=7, outcome="cancelled", reason="!stop"))

    ending = await bench.ended()

    assert ending.outcome == "cancelled"
    assert bench.processes == []


# Limits


async def test_a_turn_over_its_wall_time_is_stopped_and_failed(bench: Bench) -> None:
    bench.make(wall_s=0.05)
    bench.start()
    cli = await bench.process(has="interrupt")

    cli.says(Done(status="interrupted"))
    ending = await bench.ended()

    assert (ending.outcome, ending.reason) == ("failed", "wall_timeout")


async def test_the_hubs_smaller_limit_counts(bench: Bench) -> None:
    bench.start(limits=RunLimits(idle_s=0.05))
    cli = await bench.process(has="interrupt")

    cli.says(Done(status="interrupted"))

    assert (await bench.ended()).reason == "idle_timeout"


async def test_a_silent_cli_that_waits_for_input_is_told_from_one_that_is_stuck(bench: Bench) -> None:
    bench.start(limits=RunLimits(idle_s=0.05))
    cli = await bench.process()
    cli.awaits_input = True
    await until(lambda: "interrupt" in cli.stdin)

    cli.says(Done(status="interrupted"))
    ending = await bench.ended()

    assert (ending.outcome, ending.reason) == ("failed", "needs_input")
    assert "waits for input" in ending.message


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [([], 0, "empty_output"), ([], 3, "crash"), ([Text(delta="I begin")], 0, "crash")],
    ids=["nothing", "nothing but a code", "half"],
)
async def test_a_cli_that_ends_well_without_a_word_gave_no_answer(
    bench: Bench, said: list[AnyEvent], code: int, reason: str
) -> None:
    bench.start()
    cli = await bench.process()

    cli.says(*said)
    cli.exits(code)

    assert ((await bench.ended()).outcome, bench.host.endings[7].reason) == ("failed", reason)


async def test_a_kept_cli_that_ends_without_a_word_gave_no_answer_to_this_turn(bench: Bench) -> None:
    bench.start(1, session_key="a")
    cli = await bench.process()
    cli.says(Text(delta="four"), Done(status="ok"))
    await bench.ended(1)

    bench.start(2, session_key="a")
    await until(lambda: cli.turn_count == 2)
    cli.exits()

    assert (await bench.ended(2)).reason == "empty_output"


async def test_lines_that_no_adapter_can_read_are_a_warning_and_the_run_goes_on(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    class CountingAdapter(LineAdapter):
        noise = 0
        unknown: ClassVar[dict[str, int]] = {"brand_new": 1}

        def feed(self, data: bytes) -> list[AnyEvent]:
            self.noise += data == b"not json\n"
            return [] if data == b"not json\n" else super().feed(data)

    bench.adapter = CountingAdapter
    bench.start()
    cli = await bench.process()

    cli.writes(b"not json\n")
    cli.says(Text(delta="four"), Done(status="ok"))

    assert (await bench.ended()).outcome == "done"
    (warning,) = [one for one in caplog.records if one.getMessage() == "adapter_parse"]
    assert (vars(warning)["lines"], vars(warning)["unknown"]) == (1, 1)


async def test_waiting_for_a_person_is_not_idle(bench: Bench) -> None:
    bench.make(idle_s=0.5, permission_s=1.5)
    bench.start()
    cli = await bench.process()

    cli.says(Permission(id="p", name="Bash"))
    await bench.process(has="answer p False")
    cli.says(Done(status="ok"))
    ending = await bench.ended()

    assert ending.outcome == "done"
    assert bench.host.notices(7) == ["Bash was denied. Nobody answered in time."]


async def test_silence_that_the_hub_caused_is_not_idle(bench: Bench) -> None:
    bench.make(idle_s=0.05)
    bench.start()
    cli = await bench.process()
    bench.runner.obey(Pause(invocation=7))

    await asyncio.sleep(0.15)  # three times the limit, in which nothing may happen
    assert 7 not in bench.host.endings
    bench.runner.obey(Resume(invocation=7))
    cli.says(Done(status="ok"))

    assert (await bench.ended()).outcome == "done"


async def test_a_paused_cli_is_not_read(bench: Bench) -> None:
    bench.start()
    cli = await bench.process()
    cli.says(Text(delta="one"))
    await until(lambda: bench.host.said(7))
    bench.runner.obey(Pause(invocation=7))

    cli.says(Text(delta="two"))  # at most what was already being read
    await until(cli._lines.empty)
    cli.says(Text(delta="three"), Done(status="ok"))
    await asyncio.sleep(0.02)
    unread = cli._lines.qsize()
    bench.runner.obey(Resume(invocation=7))
    await bench.ended()

    assert unread == 2


# Questions


async def ask(bench: Bench, rules: Rules, *, name: str = "Bash", detail: str = "git push") -> FakeProcess:
    bench.make(rules=rules)
    bench.start()
    cli = await bench.process()
    cli.says(Permission(id="p", name=name, detail=detail))
    return cli


async def test_a_question_goes_to_the_room_and_the_answer_to_the_cli(bench: Bench) -> None:
    cli = await ask(bench, Rules())
    await until(lambda: any(isinstance(event, Permission) for event in bench.host.said(7)))

    bench.runner.obey(Decide(invocation=7, permission="p", allow=True, by="alice", note="go on"))
    bench.runner.obey(Decide(invocation=7, permission="p", allow=False, by="bob", note="too late"))
    cli.says(Done(status="ok"))
    await bench.ended()

    assert "answer p True go on;" in cli.stdin
    assert "too late" not in cli.stdin


async def test_a_question_hides_nothing_of_what_would_be_done(bench: Bench) -> None:
    command = "echo status \x1b]0;x; rm -rf ~ #\x07 \x9dmore\n\u202edone"
    cli = await ask(bench, Rules(), detail=command)
    await until(lambda: any(isinstance(event, Permission) for event in bench.host.said(7)))

    (question,) = [event for event in bench.host.said(7) if isinstance(event, Permission)]
    cli.says(Done(status="ok"))
    await bench.ended()

    assert question.detail == r"echo status \x1b]0;x; rm -rf ~ #\x07 \x9dmore" + "\n" + r"\u202edone"


async def test_a_no_from_the_room_is_told_with_its_reason(bench: Bench) -> None:
    cli = await ask(bench, Rules())
    await until(lambda: any(isinstance(event, Permission) for event in bench.host.said(7)))

    bench.runner.obey(Decide(invocation=7, permission="p", allow=False, by="alice", note="not on Fridays"))
    cli.says(Done(status="ok"))
    await bench.ended()

    assert "answer p False not on Fridays;" in cli.stdin
    assert bench.host.notices(7) == ["Bash was denied. not on Fridays"]


async def test_what_the_owner_allows_is_not_asked(bench: Bench) -> None:
    cli = await ask(bench, Rules(allow=["Bash(git *)"]))

    await bench.process(has="answer p True")

    assert bench.host.said(7) == []
    cli.says(Done(status="ok"))


async def test_what_the_owner_denies_is_not_asked_and_told(bench: Bench) -> None:
    await ask(bench, Rules(deny=["Bash(git push*)"]))

    await bench.process(has="answer p False")

    assert bench.host.notices(7) == ["Bash was denied. The owner's policy denies this."]


async def test_a_question_too_long_to_be_shown_whole_is_denied_not_cut(bench: Bench) -> None:
    await ask(bench, Rules(), detail="echo harmless; " * 3_000 + "rm -rf /")

    cli = await bench.process(has="answer p False")

    assert "too long to be shown whole" in bench.host.notices(7)[0]
    assert not any(isinstance(event, Permission) for event in bench.host.said(7))
    cli.says(Done(status="ok"))


async def test_secrets_the_bridge_knows_are_masked_in_what_the_cli_says(bench: Bench) -> None:
    bench.start(tools_token="nxt_secret_word")
    cli = await bench.process()

    cli.says(Text(delta="my token is nxt_sec"), Text(delta="ret_word, and nxt_sec"), Done(status="ok"))
    await bench.ended()

    assert "".join(event.delta for event in bench.host.said(7) if isinstance(event, Text)) == (
        "my token is [secret], and nxt_sec"
    )


async def test_a_cli_whose_turn_failed_is_not_kept(bench: Bench) -> None:
    bench.start(1, session_key="room")
    cli = await bench.process()
    cli.says(Done(status="error", error_kind="needs_input", message="It asks for a password."))
    await bench.ended(1)

    assert cli.is_killed


async def test_a_local_question_is_answered_at_the_terminal_and_not_by_the_hub(bench: Bench) -> None:
    bench.local_answer = True
    cli = await ask(bench, Rules(local=["Bash"]))

    await bench.process(has="answer p True")
    cli.says(Done(status="ok"))
    await bench.ended()

    assert [question.id for question in bench.asked_locally] == ["p"]
    assert not any(isinstance(event, Permission) for event in bench.host.said(7))


async def test_the_hub_can_not_allow_what_is_asked_locally(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    never = asyncio.Event()

    async def nobody_there(agent: str, question: Permission) -> bool:
        await never.wait()
        return True

    monkeypatch.setattr(bench, "_ask_locally", nobody_there)
    cli = await ask(bench, Rules(local=["Bash"]))
    await until(lambda: bench.host.notices(7))

    bench.runner.obey(Decide(invocation=7, permission="p", allow=True, by="mallory", note=""))
    cli.says(ToolCall(id="t", name="Bash"))
    await until(lambda: any(isinstance(event, ToolCall) for event in bench.host.said(7)))

    assert "answer" not in cli.stdin
    cli.says(Done(status="ok"))
    await bench.ended()


async def test_a_question_asked_twice_is_one_question(bench: Bench) -> None:
    cli = await ask(bench, Rules())
    cli.says(Permission(id="p", name="Bash"), Done(status="ok"))
    await bench.ended()

    assert sum(isinstance(event, Permission) for event in bench.host.said(7)) == 1


# Stops


async def test_a_cli_that_obeys_stays_for_the_next_turn(bench: Bench) -> None:
    bench.start()
    cli = await bench.process()
    bench.runner.obey(Stop(invocation=7, outcome="cancelled", reason="!stop"))
    await bench.process(has="interrupt")

    cli.says(Done(status="interrupted"))
    ending = await bench.ended()
    bench.start(8)
    await bench.process(has="turn hello 0;interrupt;turn hello 0;")

    assert (ending.outcome, ending.reason) == ("cancelled", "!stop")
    assert not cli.is_killed
    assert len(bench.processes) == 1


async def test_an_answer_that_came_before_the_stop_counts(bench: Bench) -> None:
    bench.start()
    cli = await bench.process()
    bench.runner.obey(Stop(invocation=7, outcome="cancelled", reason="!stop"))

    cli.says(Done(status="ok"))

    assert (await bench.ended()).outcome == "done"


async def test_a_cli_that_does_not_obey_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexus_bridge.turn.OBEY_S", 0.05)
    bench.start()
    cli = await bench.process()

    bench.runner.obey(Stop(invocation=7, outcome="cancelled", reason="!stop"))
    ending = await bench.ended()

    assert ending.outcome == "cancelled"
    assert cli.is_killed


async def test_a_cli_without_an_interrupt_gets_a_signal(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexus_bridge.turn.OBEY_S", 0.05)

    class DeafAdapter(LineAdapter):
        can_interrupt = False

    bench.adapter = DeafAdapter
    bench.start()
    cli = await bench.process()

    bench.runner.obey(Stop(invocation=7, outcome="cancelled", reason="!stop"))
    await bench.ended()

    assert cli.interrupt_count == 1


async def test_a_kill_asks_nobody(bench: Bench) -> None:
    bench.start()
    cli = await bench.process()

    bench.runner.obey(Kill(invocation=7, reason="dropped"))
    ending = await bench.ended()

    assert cli.is_killed
    assert "interrupt" not in cli.stdin
    assert ending.outcome == "interrupted"


async def test_a_kill_overtakes_a_stop(bench: Bench) -> None:
    bench.start()
    cli = await bench.process()
    bench.runner.obey(Stop(invocation=7, outcome="cancelled", reason="!stop"))
    await bench.process(has="interrupt")

    bench.runner.obey(Kill(invocation=7, reason="dropped"))
    await bench.ended()

    assert cli.is_killed


async def test_a_turn_stopped_before_its_cli_is_up_never_gets_its_prompt(bench: Bench) -> None:
    bench.start()
    bench.runner.obey(Stop(invocation=7, outcome="cancelled", reason="!stop"))

    ending = await bench.ended()

    assert ending.outcome == "cancelled"
    assert all("turn" not in process.stdin for process in bench.processes)


async def test_orders_for_a_turn_that_is_over_do_nothing(bench: Bench) -> None:
    bench.runner.obey(Stop(invocation=99, outcome="cancelled", reason="!stop"))

    assert bench.host.endings == {}


async def test_closing_kills_what_runs_and_what_idles(bench: Bench) -> None:
    bench.start(7)
    busy = await bench.process()
    bench.start(8, session_key="other")
    idle = await bench.process(1)
    idle.says(Done(status="ok"))
    await bench.ended(8)
    idle.exits()

    await bench.runner.close()

    assert busy.is_killed
    assert idle.is_killed
    assert bench.runner.session_count == 0


# The pool


async def finish_turn(bench: Bench, invocation: int, number: int, **more: Any) -> FakeProcess:
    before = bench.processes[number].stdin.count("turn") if number < len(bench.processes) else 0
    bench.start(invocation, **more)
    await until(lambda: len(bench.processes) > number and bench.processes[number].stdin.count("turn") > before)
    cli = bench.processes[number]
    cli.says(Done(status="ok"))
    await bench.ended(invocation)
    return cli


async def test_a_room_keeps_its_cli_and_another_room_gets_its_own(bench: Bench) -> None:
    await finish_turn(bench, 1, 0, session_key="a")
    await finish_turn(bench, 2, 0, session_key="a")
    await finish_turn(bench, 3, 1, session_key="b")

    assert len(bench.processes) == 2
    assert bench.runner.session_count == 2


async def test_an_idle_cli_is_stopped_after_a_while(bench: Bench) -> None:
    bench.make(idle_stop_s=0.02)
    cli = await finish_turn(bench, 1, 0)

    await until(lambda: "close" in cli.stdin)
    cli.exits()
    await until(lambda: cli.is_killed)

    assert cli.is_stdin_closed


async def test_the_cli_idle_longest_makes_room_for_another(bench: Bench) -> None:
    bench.make(live_clis=2)
    first = await finish_turn(bench, 1, 0, session_key="a")
    second = await finish_turn(bench, 2, 1, session_key="b")

    await finish_turn(bench, 3, 2, session_key="c")
    await until(lambda: "close" in first.stdin)

    assert "close" not in second.stdin


async def test_over_the_pools_memory_the_cli_idle_longest_ends_first(bench: Bench) -> None:
    bench.make(pool_memory_mib=1_000)
    first = await finish_turn(bench, 1, 0, session_key="a")
    second = await finish_turn(bench, 2, 1, session_key="b")
    first.memory_mib = second.memory_mib = 400
    bench.start(3, session_key="c")
    third = await bench.process(2)
    third.memory_mib = 300

    third.says(Done(status="ok"))
    await until(lambda: "close" in first.stdin)

    await bench.ended(3)
    assert "close" not in second.stdin + third.stdin
    assert bench.runner.session_count == 2


async def test_memory_that_a_busy_cli_takes_costs_idle_ones_and_never_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_bridge.pool.MEMORY_CHECK_S", 0.01)
    bench.make(pool_memory_mib=1_000)
    idle = await finish_turn(bench, 1, 0, session_key="a")
    bench.start(2, session_key="b")
    busy = await bench.process(1)

    busy.memory_mib = 5_000
    await until(lambda: "close" in idle.stdin)

    busy.says(Text(delta="four"))
    await until(lambda: 2 in bench.host.chunks)
    assert "close" not in busy.stdin
    assert not busy.is_killed


async def test_before_a_cli_starts_those_over_the_pools_memory_end(bench: Bench) -> None:
    bench.make(pool_memory_mib=1_000)
    first = await finish_turn(bench, 1, 0, session_key="a")
    first.memory_mib = 1_500

    bench.start(2, session_key="b")
    await bench.process(1)

    assert "close" in first.stdin


async def test_without_a_cap_memory_ends_nothing(bench: Bench) -> None:
    bench.make(pool_memory_mib=0)
    first = await finish_turn(bench, 1, 0, session_key="a")
    first.memory_mib = 10**6

    await finish_turn(bench, 2, 1, session_key="b")

    assert "close" not in first.stdin


async def test_a_cli_that_ended_while_idle_is_replaced(bench: Bench) -> None:
    first = await finish_turn(bench, 1, 0)
    first.exits()
    await until(lambda: next(iter(bench.runner._pool._live.values())).is_gone)

    await finish_turn(bench, 2, 1)

    assert len(bench.processes) == 2


async def test_a_cli_for_one_turn_is_not_kept(bench: Bench) -> None:
    class OneShotAdapter(LineAdapter):
        def spawn(self) -> Spawn:
            return replace(super().spawn(), close_stdin_after_turn=True)

    bench.adapter = OneShotAdapter
    first = await finish_turn(bench, 1, 0)
    first.exits()

    await finish_turn(bench, 2, 1)

    assert first.is_stdin_closed
    assert len(bench.processes) == 2


async def test_another_tools_token_needs_another_process(bench: Bench) -> None:
    first = await finish_turn(bench, 1, 0, tools_token="nxt_one")
    first.exits()

    await finish_turn(bench, 2, 1, tools_token="nxt_two")

    assert [profile.mcp_token for profile in bench.profiles] == ["nxt_one", "nxt_two"]
    assert "close" in first.stdin


async def test_without_a_tools_token_there_is_no_tools_address(bench: Bench) -> None:
    await finish_turn(bench, 1, 0)

    assert bench.profiles[0].mcp_url == ""


def test_an_order_is_plain_data() -> None:
    order = Start(prompt=prompt_for(7), cli_session=None)

    assert msgspec.json.decode(msgspec.json.encode(order.prompt), type=type(order.prompt)) == order.prompt


# Files for the room


async def test_an_agent_is_told_of_its_folder_and_what_lies_there_is_sent_before_the_end(
    bench: Bench, tmp_path: Path
) -> None:
    bench.start(tools_token="nxt_one")
    cli = await bench.process()
    folder = tmp_path / ".nexus-files" / "7"
    assert f"Files that you write into {folder} are sent to the room" in cli.stdin
    (folder / "plan.txt").write_text("plan")

    cli.says(Text(delta="See the file."), Done(status="ok"))
    await bench.ended()

    assert File(id="0", name="plan.txt", size=1) in bench.host.said(7)
    assert not folder.exists()


async def test_a_stopped_turn_sends_no_files(bench: Bench, tmp_path: Path) -> None:
    bench.start(tools_token="nxt_one")
    await bench.process()
    (tmp_path / ".nexus-files" / "7" / "plan.txt").write_text("plan")

    bench.runner.obey(Stop(invocation=7, outcome="cancelled", reason="stopped"))
    await bench.ended()

    assert bench.left == []
    assert not (tmp_path / ".nexus-files" / "7").exists()


# Words added on the way


async def test_what_a_person_adds_reaches_the_running_cli_once(bench: Bench) -> None:
    class SteeredAdapter(LineAdapter):
        def steer(self, text: str) -> bytes:
            return f"steer {text};".encode()

    bench.adapter = SteeredAdapter
    bench.start()
    cli = await bench.process()

    for _ in range(2):
        bench.runner.obey(Add(invocation=7, id=3, text="use staging", by="bob"))
    cli.says(Done(status="ok"))
    await bench.ended()

    assert cli.stdin.count("steer bob adds: use staging;") == 1


async def test_a_cli_that_takes_nothing_more_is_not_written_to(bench: Bench) -> None:
    bench.start()
    cli = await bench.process()
    before = cli.stdin

    bench.runner.obey(Add(invocation=7, id=3, text="use staging", by="bob"))
    cli.says(Done(status="ok"))
    await bench.ended()

    assert cli.stdin == before
    assert bench.host.notices(7) == ["This CLI takes nothing more while it works."]
