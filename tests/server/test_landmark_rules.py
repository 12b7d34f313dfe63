"""Which messages are landmarks by what they say?"""

import pytest

from composer.landmark_rules import is_about_the_same, kind_of, overlap, replaced_number

CODE = "look:\n```python\n" + "x = 1\n" * 13 + "```"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("decision: orders go to Postgres", "decision"),
        ("**Decision**: orders go to Postgres", "decision"),
        ("📌 decided: we ship on Friday", "decision"),
        ("@claude-alice decision: no more retries", "decision"),
        ("After a long talk\nDecision (replaces #12): port 5434", "decision"),
        ("spec: the body is JSON, at most 32 KiB", "spec"),
        ("the contract is https://git.example/api/openapi.yaml now", "spec"),
        ("see https://wiki.example/adr/0012-queue", "spec"),
        ("https://git.example/design-docs/limits.md", "spec"),
        ("TODO @bob: rotate the key", "action"),
        ("- [ ] @bob rotate the key", "action"),
        ("action for @bob: rotate the key", "action"),
        ("open question: who owns the proxy?", "question"),
        (CODE, "code"),
        ("```\n" + "y" * 700 + "\n```", "code"),
    ],
)
def test_what_is_worth_keeping_is_seen(text, kind):
    assert kind_of(text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "we have a decision",
        "I wonder: was the decision: good?",
        "> decision: what somebody else once said",
        "@bob can you look at CI: it is red",
        "todo: tidy up",
        "https://inspect.example/specify?x=1",
        "```\ndecision: in code\n```",
        "!remember decision: x",
        "```\nshort\n```",
        "a: b" * 50_000,
        "@" * 50_000 + ":",
    ],
)
def test_talk_is_talk(text):
    assert kind_of(text) is None


def test_a_later_decision_about_the_same_replaces_the_earlier_only_when_it_says_so():
    earlier = "decision: the orders database listens on port 5433"

    assert is_about_the_same(later="decision: the orders database now listens on port 5434", earlier=earlier)
    assert not is_about_the_same(later="decision: the orders database listens on loopback", earlier=earlier)
    assert not is_about_the_same(later="decision: lunch is now at noon", earlier=earlier)
    assert not is_about_the_same(later="decision: now", earlier=earlier)


def test_a_number_says_what_is_replaced():
    assert replaced_number("decision (replaces #12): x") == 12
    assert replaced_number("decision: fixes #12") is None


def test_words_in_common_are_counted_without_the_common_ones():
    assert overlap(text="The orders database is on 5433", question="where is the orders database?") == 2
