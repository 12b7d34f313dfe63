"""What does somebody want to be remembered, about what, and until when?"""

from datetime import UTC, datetime, timedelta

import pytest

from composer.memory.fact_words import MAX_VALUE_CHARS, NotUnderstoodError, read

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "about", "key", "value"),
    [
        ("deploy day: Friday", "room", "deploy day", "Friday"),
        ("Deploy  Day = Friday", "room", "deploy day", "Friday"),
        ("we deploy on Fridays", "room", "", "we deploy on Fridays"),
        ("me editor: vim", "me", "editor", "vim"),
        ("me: I work from Lisbon", "me", "", "I work from Lisbon"),
        ("project owner: Ann", "project", "owner", "Ann"),
        ("team holiday: 24 December", "team", "holiday", "24 December"),
        ("here team lead: Ann", "room", "team lead", "Ann"),
        ("the wiki is at https://wiki.example:8443/x", "room", "", "the wiki is at https://wiki.example:8443/x"),
        ("stand-up at 9:30", "room", "", "stand-up at 9:30"),
        ("for the record: it was Bob", "room", "for the record", "it was Bob"),
        ("menu: soup", "room", "menu", "soup"),
    ],
)
def test_a_fact_is_read(text, about, key, value):
    wish = read(text, now=NOW)

    assert (wish.about, wish.key, wish.value, wish.expires_at) == (about, key, value, None)


@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("for 3 days staging is down", NOW + timedelta(days=3)),
        ("me for 2 weeks: away", NOW + timedelta(weeks=2)),
        ("until 2026-12-24 code freeze", datetime(2026, 12, 24, 23, 59, tzinfo=UTC)),
        ("until 2026-12-24 10:30, me away", datetime(2026, 12, 24, 10, 30, tzinfo=UTC)),
    ],
)
def test_a_fact_may_end(text, until):
    assert read(text, now=NOW).expires_at == until


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "Say what"),
        ("me", "Say what"),
        ("for 3 days", "Say what"),
        ("until 2026-13-45 x", "no date"),
        ("until 2020-01-01 x", "passed already"),
        ("x" * (MAX_VALUE_CHARS + 1), "at most"),
    ],
)
def test_what_cannot_be_kept_is_told(text, what):
    with pytest.raises(NotUnderstoodError, match=what):
        read(text, now=NOW)
