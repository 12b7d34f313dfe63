"""Whom does a message address? Rules only, no database."""

import pytest

from gateway import mentions
from tests.server.chat_words import said

USERNAMES = {"uid-claude": "claude", "uid-echo": "echo.1", "uid-nexus": "nexus"}
AGENTS = {"uid-claude": 1, "uid-echo": 2}


def _asked(text, *, direct=None, owner=None, ids=("claude", "echo"), **fields):
    fields.setdefault("mentions", [{"_id": f"uid-{name}", "username": name} for name in ids])
    message = said(text, **fields)
    return mentions.addressed(message, agents=AGENTS, usernames=USERNAMES, direct=direct, thread_owner=owner)


@pytest.mark.parametrize(
    "text",
    [
        "@claude why?",
        "so (@claude) what",
        "ask @claude.",
        "@claude, @bob: see",
        "hey\n@claude\nlook",
        "**@claude** bold",
        "@CLAUDE loud",
        "> quoted\n@claude not quoted",
        "`code` @claude after code",
        "```\nunclosed @claude",
    ],
)
def test_a_mention_in_prose_asks(text):
    assert _asked(text, ids=("claude",)) == (1,)


@pytest.mark.parametrize(
    "text",
    [
        "`@claude` in code",
        "``@claude`` in code",
        "```\n@claude\n```",
        "```python\n@claude\n```\nafter",
        "> @claude said so",
        "  > @claude said so",
        "see https://example.org/@claude",
        "mail x@claude",
        "@claude-alice is another",
        "@claudette",
        "@сlaude with a foreign letter",
        "nothing",
    ],
)
def test_code_quotes_links_and_other_names_ask_nobody(text):
    assert _asked(text, ids=("claude",)) == ()


def test_a_name_in_the_text_that_the_chat_did_not_find_asks_nobody():
    assert _asked("@claude hello", ids=()) == ()


def test_several_agents_are_asked_once_each_in_the_chats_order():
    assert _asked("@echo.1 and @claude and @claude", ids=("claude", "echo", "claude")) == (1, 2)


def test_groups_and_teams_ask_nobody():
    assert (
        _asked("@all @here", mentions=[{"_id": "all", "username": "all"}, {"_id": "uid-claude", "type": "team"}]) == ()
    )


def test_a_direct_room_needs_no_mention():
    assert _asked("hello", ids=(), direct=1) == (1,)


def test_in_a_thread_of_an_agent_a_reply_without_mention_asks_it():
    assert _asked("and why?", ids=(), owner=2) == (2,)
    assert _asked("@claude and you?", ids=("claude",), owner=2) == (1,)


def test_a_thread_reply_that_turns_to_somebody_else_asks_nobody():
    assert _asked("@bob what do you think?", mentions=[{"_id": "uid-bob", "username": "bob"}], owner=2) == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"t": "uj"},
        {"t": "message_pinned"},
        {"bot": {"i": "js.SDK"}},
        {"private": True},
        {"imported": True},
        {"by": "claude"},
        {"u": {"_id": "rocket.cat", "username": "rocket.cat"}},
    ],
)
def test_only_people_ask(fields):
    message = said("@claude hi", mentions=("claude",), **fields)

    assert not mentions.may_ask(message, programs={*USERNAMES, "rocket.cat"})
    assert mentions.may_ask(said("@claude hi"), programs=USERNAMES)


def test_handovers_are_names_in_an_agents_prose_in_order():
    text = "I ask @echo.1.\n```\n@nobody @claude\n```\nThen @Echo.1 and `@claude` … and @claude!"

    assert mentions.handovers(text=text, agents=[("claude", 1), ("echo.1", 2)]) == [2, 1]


def test_hostile_text_takes_no_time():
    for text in ("`" * 100_000, "```\n" * 20_000, ">" * 100_000, "@" * 100_000, "@a-" * 30_000, "https://" * 20_000):
        mentions.names_in(f"{text}@claude")
