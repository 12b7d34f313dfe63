"""Does an agent's Markdown arrive as Rocket.Chat can show it, and does it mention nobody by accident?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.reply.markup import BREAK, Markup, Names, harmless

NAMES = Names(harmless=frozenset({"claude", "cursor"}), handover=frozenset({"gemini"}))
WORDS = ["```", "````", "~~~", "`", "py", "@all", "@", "claude", "gemini", ">", "word", "!", "[x](u?msg=1)", "?", "."]
SPACES = [" ", "  ", "\n", "\n\n", "x" * 50]
PIECES = st.lists(
    st.sampled_from([*WORDS, *SPACES]),
    max_size=40,
)


def whole(text, names=NAMES):
    markup = Markup(names=names)
    return markup.feed(text) + markup.finish(), markup.mentions


@given(PIECES)
def test_what_was_given_out_never_changes(pieces):
    markup = Markup(names=NAMES)

    shown = "".join(markup.feed(piece) for piece in pieces) + markup.finish()

    assert shown == whole("".join(pieces))[0]


@given(PIECES)
def test_a_look_ahead_changes_nothing(pieces):
    watched, alone = Markup(names=NAMES), Markup(names=NAMES)

    for piece in pieces:
        assert watched.feed(piece) == alone.feed(piece)
        watched.peek(more="n")

    assert watched.finish() == alone.finish()
    assert watched.mentions == alone.mentions


@given(PIECES)
def test_every_fence_is_closed_and_no_other_line_starts_with_three_backticks(pieces):
    shown, _ = whole("".join(pieces))

    fences = [line for line in shown.split("\n") if line.startswith("```")]
    assert len(fences) % 2 == 0
    assert all(line == "```" for line in fences[1::2])
    assert "````" not in shown


@given(PIECES)
def test_nobody_is_called_who_does_not_get_a_hand_over(pieces):
    shown, _ = whole("".join(pieces))

    assert "@all\n" not in shown
    assert "@all " not in shown
    outside = "".join(shown.split("```")[::2])
    assert "@here" not in outside


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("```py\nx\n```", "```py\nx\n```"),
        ("```py\nx", "```py\nx\n```"),
        ("````md\n```\ninner\n```\n````", f"```md\n``{BREAK}`\ninner\n``{BREAK}`\n```"),
        ("~~~\ncode ``` here\n~~~\nafter", f"```\ncode ``{BREAK}` here\n```\nafter"),
        ("  ```js title=x\n1\n  ```", "```js\n1\n```"),
        ("use ```x``` inline", "use `x` inline"),
        ("a\n\n\n\nb", "a\n\nb"),
        ("end  \nnext", "end\nnext"),
        ("@all @Here @claude.", f"@{BREAK}all @{BREAK}Here @{BREAK}claude."),
        ("mail bob@all.example", "mail bob@all.example"),
        ("`@claude` and @alice", "`@claude` and @alice"),
        ("```\n@claude @all\n```", f"```\n@claude @{BREAK}all\n```"),
        ("![pixel](https://x.example/p)", f"!{BREAK}[pixel](https://x.example/p)"),
        ("[ ](https://chat.example/group/a?msg=abc)", f"[ ](https://chat.example/group/a?{BREAK}msg=abc)"),
    ],
)
def test_markup_is_shown_as_meant(text, shown):
    assert whole(text)[0] == shown


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("@gemini please", ("gemini",)),
        ("ask @Gemini, then @gemini.", ("gemini",)),
        ("`@gemini` knows", ()),
        ("> @gemini said", ()),
        ("```\n@gemini\n```", ()),
        ("me@gemini.example", ()),
        ("@claude please", ()),
    ],
)
def test_only_a_spoken_mention_hands_over(text, mentions):
    assert whole(text)[1] == mentions


def test_a_name_that_is_at_its_limit_is_broken_and_still_reported():
    names = Names(harmless=frozenset({"gemini"}), handover=frozenset({"gemini"}))

    assert whole("@gemini please", names) == (f"@{BREAK}gemini please", ("gemini",))


def test_a_new_paragraph_closes_what_was_open():
    markup = Markup(names=NAMES)

    shown = markup.feed("```py\nx") + markup.paragraph() + markup.feed("After") + markup.finish()

    assert shown == "```py\nx\n```\n\nAfter"


def test_what_is_harmless_already_stays_as_it_is():
    once = harmless("ask @gemini about ![this](http://x.example)")

    assert "@gemini" not in once
    assert harmless(once) == once
