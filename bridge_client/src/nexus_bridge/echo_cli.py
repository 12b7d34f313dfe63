"""The echo agent's program: answers with the question and those lines of its prompt that bear on it.

JSON lines on pipes, standard library only; started by file name with `python -I -S`. In: `turn`, `answer`,
`interrupt`. Out: the events of nexus_bridge.events under their own names. With `--scripted` it plays directives in the
question, for tests: [[long N]] [[delay S]] [[hang]] [[crash]] [[exit N]] [[tool NAME]] [[think X]] [[permission X]].
"""

import json
import os
import re
import select
import sys
import time

PIECE = 24
"""Characters per piece of the answer, so that a short one streams too."""
MAX_QUOTED = 8
MAX_QUOTE = 300
"""Characters of one quoted line; the question itself is repeated whole."""
_SHORT_WORDS = (
    "about also and are but can could did does for from had has have her here him his how into its just like not now "
    "our out she should some than that the their them then there they this was were what when where which who why "
    "will with would you your"
)
SHORT_WORDS = frozenset(_SHORT_WORDS.split())
FOLDER = re.compile(r"Files that you write into (.+) are sent to the room")
DIRECTIVE = re.compile(r"\[\[(long|delay|hang|crash|exit|tool|think|file|permission)\b ?([^\]]*)\]\]")
TITLE = re.compile(r"[A-Z][A-Za-z ,']{0,40}")
SPOKEN = re.compile(r"(\S{1,120}): (.*)", re.DOTALL)
MENTION = re.compile(r"(?:@[\w.-]+[,:]?\s+)+")


Frame = dict[str, object]


class InterruptedTurnError(Exception):
    """The bridge asked for the turn's end."""


class Quote:
    """One line of the prompt that somebody said."""

    __slots__ = ("name", "section", "text")

    def __init__(self, *, section: str, name: str, text: str) -> None:
        self.section = section
        self.name = name
        self.text = text


def read_prompt(prompt: str) -> tuple[str, list[Quote]]:
    """(question, quotes) of a prompt: lines `MARK # Title`, `MARK name: text`; the section "Question" is the last.

    Tolerant of prompts made by hand: without marks every line counts, and the last one is the question.
    """
    lines = [line for line in prompt.splitlines() if line.strip()]
    if not lines:
        return "", []
    mark = lines[0].split(" ", 1)[0]
    if len(lines) > 1 and any(line.startswith(mark + " # ") for line in lines):
        lines = [line[len(mark) + 1 :] for line in lines if line.startswith(mark + " ")]
    section, last = "", len(lines) - 1
    quotes: list[Quote] = []
    for number, line in enumerate(lines):
        if line.startswith("# "):
            section = line[2:] if TITLE.fullmatch(line[2:]) else section
            continue
        spoken = SPOKEN.fullmatch(line)
        name, text = spoken.groups() if spoken else ("", line)
        if section or spoken or number == last:
            quotes.append(Quote(section=section, name=name, text=text.replace("\\n", "\n")))
    if not quotes:
        return lines[-1], []
    asked = [quote for quote in quotes if quote.section == "Question"] or quotes[-1:]
    question = MENTION.sub("", "\n".join(quote.text for quote in asked), count=1).strip()
    return question, [quote for quote in quotes if quote not in asked]


def words(text: str) -> set[str]:
    found = re.findall(r"[^\W_]{3,}", text.casefold())
    return {stem(word) for word in found if word not in SHORT_WORDS}


def stem(word: str) -> str:
    """Near enough that "database" meets "databases" and "decide" meets "decided"."""
    for ending in ("ing", "ed", "es", "s", "d", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


def bearing_on(question: str, quotes: list[Quote]) -> list[Quote]:
    """The quotes that share most words with the question, in the prompt's order."""
    wanted = words(question)
    scored = [(len(wanted & words(quote.text)), -number, quote) for number, quote in enumerate(quotes)]
    best = sorted((entry for entry in scored if entry[0]), key=lambda entry: entry[:2], reverse=True)[:MAX_QUOTED]
    return [quote for _, _, quote in sorted(best, key=lambda entry: -entry[1])]


def answer_to(question: str, quotes: list[Quote]) -> str:
    found = bearing_on(question, quotes)
    said = f"You asked: {question}\n\n" if question else "You asked nothing.\n\n"
    if not quotes:
        return f"{said}I was given nothing that the team had said before."
    if not found:
        return f"{said}None of the {len(quotes)} lines I was given bears on it."
    lines = [f"- {quote.name or quote.section}: {shortened(quote.text)}" for quote in found]
    which = "line bears" if len(found) == 1 else "lines bear"
    return f"{said}Of the {len(quotes)} lines I was given, {len(found)} {which} on it:\n" + "\n".join(lines)


def shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_QUOTE else text[:MAX_QUOTE] + "…"


class Echo:
    def __init__(self, *, scripted: bool, pace_s: float, session: str) -> None:
        self.scripted = scripted
        self.pace_s = pace_s
        self.session = session
        self.received = b""
        self.frames: list[Frame] = []
        self.message = 0
        self.questions = 0
        self.said = 0
        self.folder = ""
        self.given: object = None
        self.added: list[str] = []

    def run(self) -> None:
        self.say("session", id=self.session, model="echo")
        while True:
            frame = self.next_frame(None)
            if frame is None:
                return
            if frame.get("type") == "turn":
                self.given = frame.get("files")
                self.play(str(frame.get("text", "")))

    def play(self, prompt: str) -> None:
        self.said = 0
        self.folder = (FOLDER.findall(prompt) or [""])[-1]
        try:
            if isinstance(self.given, list) and self.given:
                self.text(f"I was given {self.described(self.given)}.\n\n")
            question, quotes = read_prompt(prompt)
            if self.scripted:
                for match in DIRECTIVE.finditer(question):
                    self.direct(match[1], match[2].strip())
                question = DIRECTIVE.sub("", question).strip()
            self.text(answer_to(question, quotes))
            while self.added:
                self.text(f"\n\nMeanwhile {self.added.pop(0)}")
        except InterruptedTurnError:
            self.say("done", status="interrupted")
            return
        self.say("usage", input_tokens=len(prompt) // 4 + 1, output_tokens=self.said // 4 + 1)
        self.say("done", status="ok")

    def direct(self, name: str, value: str) -> None:
        match name:
            case "long":
                lines = (
                    f"line {n} of {value}: the quick brown fox jumps over the lazy dog\n"
                    for n in range(1, int(value) + 1)
                )
                self.text("".join(lines), piece=400)
            case "delay":
                self.pause(float(value))
            case "hang":
                self.text("Waiting.\n")
                self.pause(None)
            case "crash":
                self.text("About to crash.\n")
                os.kill(os.getpid(), 9)
            case "exit":
                sys.exit(int(value or 0))
            case "think":
                self.say("thinking", delta=value)
            case "tool":
                self.tool(value or "look")
            case "file":
                self.leave(value or "notes.txt")
            case "permission":
                self.ask(value or "touch file")

    def described(self, files: list[object]) -> str:
        # Without pathlib, which would take longer to import than the rest of this program.
        named = [(str(path).rpartition("/")[2], os.stat(str(path)).st_size) for path in files]  # noqa: PTH116
        return ", ".join(f"{name} ({size} bytes)" for name, size in named)

    def leave(self, name: str) -> None:
        """Write a file for the room, as an agent would with its own tools."""
        path = f"{self.folder or '.'}/{name.rpartition('/')[2]}"
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(f"This is {name}, written by the echo agent.\n" * 20)
        self.text(f"I wrote {name}.\n\n")

    def tool(self, name: str) -> None:
        self.questions += 1
        identity = f"tool-{self.questions}"
        self.say(
            "tool_call", id=identity, name=name, tool="execute", title=f"{name} something", input=f"{name} --please"
        )
        self.say("tool_result", id=identity, ok=True, output=f"{name} is done")

    def ask(self, command: str) -> None:
        self.questions += 1
        identity = f"ask-{self.questions}"
        self.say("tool_call", id=identity, name="shell", tool="execute", title=command, input=command)
        self.say("permission", id=identity, tool_call=identity, name="shell", title=command, detail=command)
        frame = self.next_answer(identity)
        allowed = bool(frame.get("allow"))
        self.say("tool_result", id=identity, ok=allowed, denied=not allowed, output=str(frame.get("note", "")))
        self.text(f"{'Allowed' if allowed else 'Denied'}: {command}\n")

    def next_answer(self, identity: str) -> Frame:
        while True:
            frame = self.next_frame(None)
            if frame is None:
                sys.exit(0)
            if frame.get("type") == "interrupt":
                raise InterruptedTurnError
            if frame.get("type") == "answer" and frame.get("id") == identity:
                return frame

    def text(self, text: str, *, piece: int = PIECE) -> None:
        self.message += 1
        for start in range(0, len(text), piece):
            self.say("text", delta=text[start : start + piece], message=f"m{self.message}")
            self.said += piece
            self.pause(self.pace_s)

    def pause(self, seconds: float | None) -> None:
        """Wait so long, None for ever; an interrupt ends it. A turn that comes meanwhile waits its turn."""
        until = None if seconds is None else time.monotonic() + seconds
        later: list[Frame] = []
        while True:
            left = None if until is None else until - time.monotonic()
            frame = self.next_frame(left if left is None else max(left, 0.0))
            if frame is None:
                sys.exit(0)
            if frame.get("type") == "interrupt":
                raise InterruptedTurnError
            if frame.get("type") == "steer":
                self.added.append(str(frame.get("text", "")))
                continue
            if frame.get("type") == "nothing":
                self.frames = later + self.frames
                return
            later.append(frame)

    def next_frame(self, timeout: float | None) -> Frame | None:
        """The next frame, None at end-of-file, {"type": "nothing"} when none came in time."""
        while not self.frames:
            ready, _, _ = select.select([0], [], [], timeout)
            if not ready:
                return {"type": "nothing"}
            data = os.read(0, 1 << 20)
            if not data:
                return None
            *lines, self.received = (self.received + data).split(b"\n")
            self.frames += [frame for frame in map(self.decode, lines) if frame]
        return self.frames.pop(0)

    def decode(self, line: bytes) -> Frame:
        try:
            frame = json.loads(line)
        except ValueError:
            frame = None
        if not isinstance(frame, dict):
            self.say("notice", level="warning", text="a line that is no frame")
            return {}
        return frame

    def say(self, kind: str, **fields: object) -> None:
        line = json.dumps({"type": kind, **fields}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        while line:
            line = line[os.write(1, line) :]


def main(arguments: list[str]) -> None:
    if "--version" in arguments:
        os.write(1, b"echo 1.0\n")
        return
    resumed = arguments[arguments.index("--resume") + 1] if "--resume" in arguments else ""
    if resumed.startswith("forgotten"):
        os.write(2, b"No session with this id\n")
        sys.exit(3)
    pace = float(arguments[arguments.index("--pace-ms") + 1]) if "--pace-ms" in arguments else 20.0
    session = resumed or "echo-" + os.urandom(8).hex()
    Echo(scripted="--scripted" in arguments, pace_s=pace / 1000, session=session).run()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(130)
