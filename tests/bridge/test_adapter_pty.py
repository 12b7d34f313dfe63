"""Is a terminal program's text an answer, whatever it paints, and is a turn's end seen?"""

import itertools
import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_bridge import shell_echo
from nexus_bridge.adapters.base import Profile, Turn
from nexus_bridge.adapters.pty import BadOption, PtyAdapter
from nexus_bridge.events import Done
from nexus_bridge.rendering import LineRenderer
from tests.bridge.turns import LiveCli, done_of, text_of

pytestmark = pytest.mark.timeout(60)  # real processes, on machines that do other things as well

SHELL_ECHO = [sys.executable, shell_echo.__file__]


def adapter(*command: str, **options: str) -> PtyAdapter:
    profile = Profile(
        slug="shell", command=command or ["program"], workdir=Path("/"), inherited=dict(os.environ), options=options
    )
    return PtyAdapter(profile=profile)


@pytest.fixture
async def ask():
    started: list[LiveCli] = []

    async def ask_one(pty: PtyAdapter, *texts: str, **options):
        started.append(await LiveCli.start(pty))
        return [await started[-1].ask(text, **options) for text in texts]

    yield ask_one
    for cli in started:
        await cli.process.kill()


async def test_shell_echo_answers_through_a_real_terminal_in_plain_text(ask):
    prompt = "k # Recent\nk alice: the database is Postgres\nk # Question\nk bob: which database?\n"

    (said,) = await ask(adapter(*SHELL_ECHO), prompt)

    assert done_of(said) == Done(status="ok")
    assert len(said) > 3
    assert text_of(said) == (
        f"{len(prompt)} characters came by a terminal.\n\n"
        "You asked: which database? \n \n"
        "Of the 1 lines I was given, 1 line bears on it: \n"
        "- alice: the database is Postgres \n"
    )


async def test_a_prompt_with_lines_longer_than_the_kernels_arrives_whole(ask):
    long = "k alice: " + "many words about nothing " * 2_000
    prompt = f"k # Recent\n{long}\nk # Question\nk bob: why?\n"

    (said,) = await ask(adapter(*SHELL_ECHO), prompt)

    assert text_of(said).startswith(f"{len(prompt.rstrip()) + 1} characters came by a terminal.")


async def test_a_program_that_needs_cooked_lines_gets_them_folded(ask):
    (said,) = await ask(adapter("/bin/cat", tty="lines"), "ż" * 10_000 + "\nend")

    assert text_of(said).replace("\n", "") == "ż" * 10_000 + "end"


async def test_a_repl_answers_turn_after_turn_until_its_prompt_is_back(ask):
    pty = adapter(sys.executable, "-i", "-q", "-I", mode="repl", ready=">>> ")

    first, second = await ask(pty, "print(6 * 7)", "print('again')")

    assert (text_of(first), done_of(first).status) == ("42\n", "ok")
    assert (text_of(second), done_of(second).status) == ("again\n", "ok")


async def test_a_repl_without_a_known_prompt_ends_its_turn_by_silence(ask):
    (said,) = await ask(adapter(sys.executable, "-i", "-q", "-I", mode="repl", idle_ms="400"), "print(6 * 7)")

    assert "42\n" in text_of(said)
    assert done_of(said) == Done(status="ok")


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        ("exit 0", "empty_output", "The program ended without saying anything."),
        ("echo nearly; exit 3", "crash", "The program ended with exit code 3."),
        ("printf 'fatal: broken'; exit 3", "crash", "The program ended with exit code 3. fatal: broken"),
    ],
)
async def test_a_program_that_fails_says_how(ask, script, kind, words):
    (said,) = await ask(adapter("/bin/sh", "-c", script), "x")

    assert done_of(said) == Done(status="error", error_kind=kind, message=words)


async def test_a_question_at_the_terminal_ends_the_turn_and_is_shown(ask, monkeypatch):
    monkeypatch.setattr("nexus_bridge.adapters.pty.QUESTION_QUIET_S", 0.3)
    (said,) = await ask(adapter("/bin/sh", "-c", "read _; printf 'Password for alice: '; sleep 60"), "x")

    assert done_of(said).error_kind == "needs_input"
    assert "Password for alice:" in done_of(said).message


# What vi prints when it opens a file: on a terminal with a second screen, and on a dumb one.
VI = b'\x1b[?1006;1000h\x1b[?1049h\x1b[22;0;0t\x1b[1;24r\x1b[H\x1b[2J\x1b[24;1H"f.txt" 1L, 6B\x1b[1;1Hhello\r\n~\x1b[1;1H\x1b[?25h'
VI_ON_DUMB = b'\x0c\x1b[24;1H"f.txt" 1L, 6B\x1b[1;1Hhello\r\n~        \x1b[3;1H~       \x1b[1;1H'


@pytest.mark.parametrize("painted", [VI, VI_ON_DUMB], ids=["second screen", "dumb"])
def test_an_editor_ends_the_turn_when_it_falls_silent_however_its_output_is_cut(painted):
    for cut in range(len(painted)):
        pty = adapter()
        pty.turn(Turn(text="commit it"))
        pty.feed(painted[:cut])
        pty.feed(painted[cut:])

        done = done_of(pty.quiet())
        assert done.error_kind == "needs_input"
        assert "fills the screen" in done.message


@pytest.mark.parametrize(
    "painted",
    [
        VI + b"\x1b[24;1H\x1b[?1049l\x1b[?25h",
        b"\x1b[H\x1b[2Jcleared",
        b"\x1b[1;1Hup",
        b"10%\x1b[2A\x1b[2K20%\x1b[80G|",
    ],
    ids=["editor that was left", "cleared screen", "first row", "progress bars"],
)
def test_a_program_that_works_in_silence_is_no_editor(painted):
    pty = adapter()
    pty.turn(Turn(text="work"))
    pty.feed(painted)

    assert pty.quiet() == []


async def test_an_interrupted_program_ends_interrupted(ask):
    (said,) = await ask(
        adapter("/bin/sh", "-c", "trap 'exit 130' INT; echo working; while :; do sleep 0.05; done"),
        "x",
        interrupt_at="working",
    )

    assert done_of(said) == Done(status="interrupted")


def test_control_characters_in_a_prompt_are_not_typed():
    typed = adapter().turn(Turn(text="a\x03b\x04c\x1b[201~d\r\ne"))

    assert typed == b"abcd\ne\n\x04"


def test_a_bracketed_paste_keeps_lines_together():
    typed = adapter(mode="repl", ready="> ", paste="bracketed", enter="cr")
    typed.feed(b"> ")

    assert typed.turn(Turn(text="a\nb")) == b"\x1b[200~a\nb\x1b[201~\r"


def test_without_paste_a_prompt_is_one_line():
    typed = adapter(mode="repl", ready="> ")
    typed.feed(b"> ")

    assert typed.turn(Turn(text="a\nb")) == b"a b\n"


@pytest.mark.parametrize("sign", ["/quit", "!rm", "@file", "#x", ":q", ".exit"])
def test_what_a_program_would_take_for_its_command_is_broken(sign):
    assert adapter().turn(Turn(text=sign)).decode() == f"\u200b{sign}\n\x04"


def test_a_turn_waits_until_the_repl_is_ready_and_its_greeting_is_no_answer():
    pty = adapter(mode="repl", ready="> ")

    assert pty.turn(Turn(text="x")) == b""
    assert pty.feed(b"Welcome\n> ") == []
    assert pty.outgoing() == b"x\n"
    said = pty.feed(b"answer\n> ")

    assert text_of(said) == "answer\n"
    assert done_of(said).status == "ok"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "daemon"}, 'Option `mode` of a pty agent is "daemon"; it may be oneshot or repl.'),
        ({"mode": "repl"}, "needs `ready` or `idle_ms`"),
        ({"mode": "repl", "ready": "("}, "Option `ready` of a pty agent is no regular expression"),
        ({"idle_ms": "soon"}, 'Option `idle_ms` of a pty agent is "soon"; it must be a whole number.'),
    ],
)
def test_a_wrong_option_is_named_with_what_it_may_be(options, words):
    with pytest.raises(BadOption, match=re.escape(words)):
        adapter(**options)


def test_a_missing_command_is_named():
    with pytest.raises(BadOption, match="needs `command`"):
        PtyAdapter(profile=Profile(slug="shell", command=[], workdir=Path("/"))).spawn()


PAINTED = {
    "progress bar": (b"10%\r50%\r\x1b[2K100%\ndone\n", "10%\n100%\ndone\n"),
    "line ends of a terminal": (b"a\r\nb\r\r\nc", "a\nb\nc"),
    "spinner before any text": (b"\r|\r/\r-\rready\n", "ready\n"),
    "redrawn line without end": (b"a\rb", "a\nb"),
    "colours": (b"\x1b[32mok\x1b[0m\r\n", "ok\n"),
}


@pytest.mark.parametrize(("painted", "shown"), PAINTED.values(), ids=PAINTED)
def test_what_is_painted_becomes_lines(painted, shown):
    renderer = LineRenderer()

    assert renderer.feed(painted) + renderer.finish() == shown


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"ab", b"\x1b[1m", b"\xc5\xbc", b"\x1b]0;t\x07", b"\b"]), max_size=25),
    st.data(),
)
def test_any_cut_of_the_same_bytes_gives_the_same_text(pieces, data):
    painted = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(painted)), max_size=6)))
    whole, cut = LineRenderer(), LineRenderer()

    said = "".join(cut.feed(painted[a:b]) for a, b in itertools.pairwise([0, *cuts, len(painted)]))

    assert said + cut.finish() == whole.feed(painted) + whole.finish()
