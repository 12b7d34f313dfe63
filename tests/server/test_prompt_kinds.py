"""How does a whole prompt read to each kind of agent? Golden texts: `REWRITE_PROMPTS=1` writes them anew."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from composer import outline, prompt
from composer.asked import Asked, Person
from composer.compaction import Compacted, Pinned
from composer.memory.lines import Line, Moment, micros
from composer.memory.profiles import Known
from composer.memory.recall import Recalled
from composer.outline import Gathered
from composer.tools import Tool
from gateway.models import CliKind

GOLDEN = Path(__file__).parents[1] / "testdata" / "prompts"
AT = micros(datetime(2026, 11, 22, 9, 0, tzinfo=UTC))
DAY = 86_400_000_000
PERSONAS = {
    "claude": "You look after the backend.\nYou say what you did not check.",
    "gemini": "You review.",
}


def line(number, name, text, *, ago=0, thread=""):
    user = {"alice": 7, "bob": 8}.get(name, 0)
    at = AT - ago * DAY + number * 60_000_000
    return Line(number, f"m{number}", user, 0 if user else 3, name, at, at, thread, text)


def gathered(kind):
    question = line(90, "bob", "")
    asked = Asked(
        invocation_id=42,
        thread="",
        hop=0,
        question=question,
        text=f"@{kind}-alice which port does orders listen on?",
        agent=f"{kind}-alice",
        persona=PERSONAS.get(kind, ""),
        budget=None,
        room_id=3,
        rid="GENERAL",
        kind="channel",
        room_name="backend",
        project=(5, "shop"),
        asker=Person(8, "uid-bob", "bob"),
        writer="",
        cli_kind=kind,
    )
    recalled = [
        line(20, "alice", "orders listens on 5433", ago=9, thread="m19"),
        line(19, "bob", "where does orders listen?", ago=9),
        line(12, "alice", "def port():\n    return 5433", ago=30),
    ]
    return Gathered(
        asked=asked,
        window=[line(80, "alice", "the build is green"), line(81, "claude-alice", "I fixed the linter."), question],
        profiles=[Known(1, "profile:uid-bob", "bob.role", "frontend", None)],
        project=[Known(2, "project:5", "shop.deploys", "on Tuesdays", None)],
        landmarks=[Pinned("decision", line(5, "alice", "decision: orders goes on Postgres", ago=40))],
        summaries=[Compacted(4, "alice: we compared databases", Moment(0, 0), Moment(1, 1), 60)],
        tools=[Tool("github", "issues", "Lists issues", needs_approval=True)],
        recalled=Recalled(recalled),
    )


@pytest.mark.parametrize("kind", sorted(CliKind.values))
def test_the_prompt_of_a_kind_of_agent_reads_as_it_did(kind):
    sections, _ = outline.fit(gathered(kind), total=2_000)
    text = prompt.render(sections, letters=lambda length: "wx"[:length]).text
    path = GOLDEN / f"{kind}.txt"
    if os.environ.get("REWRITE_PROMPTS"):
        path.write_text(text, encoding="utf-8")

    assert text == path.read_text(encoding="utf-8")
