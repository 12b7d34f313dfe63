"""Does text reach the chat without control characters, escape residue or bidi overrides, however it was cut?"""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.reply.cleaning import HELD_LIMIT, Cleaner, clean

BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
NOISE = st.text(
    alphabet=st.sampled_from(list("ab[]0;31m\\\x1b\x9b\x9d\x9c\x07\r\n\t\x00\x85\u202e\u2028 ?é🙂P^_")), max_size=60
)


def cut(text, places):
    pieces, last = [], 0
    for place in sorted(places):
        pieces.append(text[last:place])
        last = place
    return [*pieces, text[last:]]


@given(NOISE)
def test_nothing_but_newline_and_tab_controls_what_is_shown(text):
    shown = clean(text)

    controls = {sign for sign in shown if unicodedata.category(sign) in ("Cc", "Cs")}
    assert controls <= {"\n", "\t"}
    assert not set(shown) & BIDI
    shown.encode()


@given(NOISE, st.sets(st.integers(0, 60)))
def test_where_the_stream_is_cut_changes_nothing(text, places):
    cleaner = Cleaner()

    pieces = "".join(cleaner.feed(piece) for piece in cut(text, places))

    assert pieces == clean(text)


@given(NOISE)
def test_cleaning_twice_is_cleaning_once(text):
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b1;31mred", "red"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x1bP1;2q#data\x1b\\b", "ab"),
        ("a\x1b(Bb", "ab"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("a\x1b]52;c;cGF5bG9hZA==", "a"),
        ("safe\u202egnp.exe", "safegnp.exe"),
        ("\ud83d\ude42", "\ufffd\ufffd"),
        ("👩\u200d💻 stays", "👩\u200d💻 stays"),
    ],
)
def test_known_sequences_leave_no_residue(raw, shown):
    assert clean(raw) == shown


def test_a_sequence_without_end_does_not_hold_the_text_for_ever():
    cleaner = Cleaner()

    cleaner.feed("\x1b]0;" + "x" * HELD_LIMIT)

    assert cleaner.feed("here again") == "here again"
