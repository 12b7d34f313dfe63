"""Do secrets stay out of what a CLI says, however it says them?"""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_bridge.masking import MASK, masking, secrets_in
from nexus_bridge.strip import TextStripper

SECRETS = ["nxb_7_aaaaaaaaab", "sk-ant-secret", "sk-ant-secret-and-longer"]


def said(*pieces: str, secrets=SECRETS) -> str:
    cleaner = masking(TextStripper, secrets=secrets)()
    return "".join(map(cleaner.feed, pieces)) + cleaner.finish()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the key is sk-ant-secret.", f"the key is {MASK}."),
        ("sk-ant-secret-and-longer", MASK),
        ("sk-ant-sk-ant-secret", f"sk-ant-{MASK}"),
        ("sk-ant-\x1b[31msecret\x1b[0m", MASK),
        ("sk-ant-secre", "sk-ant-secre"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_a_secret_is_masked_and_nothing_else(text, shown):
    assert said(text) == shown
    assert said(*text) == shown


@given(
    st.lists(st.sampled_from([*SECRETS, "sk-ant-", "secret", "a", "nxb_7_", " "]), max_size=8).map("".join), st.data()
)
def test_no_cut_lets_a_secret_through_or_changes_the_rest(text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))

    shown = said(*(text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])))

    assert not any(secret in shown for secret in SECRETS)
    assert shown == said(text)


def test_values_of_variables_named_like_secrets_count():
    environment = {
        "ANTHROPIC_API_KEY": "sk-ant-secret",
        "github_token": "ghp_123456789",
        "DB_PASSWORD": "short",
        "SSH_AUTH_SOCK": "/run/user/1000/agent",
        "TOKEN_FILE": "/home/alice/token",
        "EDITOR": "/usr/bin/editor",
    }

    assert secrets_in(environment) == ["sk-ant-secret", "ghp_123456789"]


def test_without_secrets_nothing_is_added():
    assert masking(TextStripper, secrets=["", "short"]) is TextStripper
