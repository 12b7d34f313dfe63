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


TOKENS = [
    "nxb_" + "a" * 43 + "_0123abcd",
    "sk-ant-api03-" + "Ab1-" * 8,
    "sk-" + "a1B2" * 12,
    "ghp_" + "a1B2c3" * 6,
    "github_pat_" + "a1_" * 10,
    "glpat-" + "a-1_b" * 5,
    "xoxb-1234567890-abcdef",
    "AKIA" + "ABCD1234" * 2,
    "AIza" + "a-B_1" * 7,
    "hf_" + "abcDEF123" * 4,
    "sk_live_" + "abc123" * 4,
    "SG." + "a" * 22 + "." + "b" * 43,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlc2ln",
    "-----BEGIN RSA PRIVATE KEY-----\n" + ("A1b2" * 16 + "\n") * 3 + "c3=\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\\n" + "A1b2" * 16 + "\\n-----END PRIVATE KEY-----",
]


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: token[:14])
def test_what_looks_like_a_token_is_masked_wherever_it_is_cut(token):
    text = f"it is {token} ok"

    assert said(text, secrets=[]) == f"it is {MASK} ok"
    assert said(*text, secrets=[]) == f"it is {MASK} ok"
    for cut in range(len(text)):
        assert said(text[:cut], text[cut:], secrets=[]) == f"it is {MASK} ok"


@pytest.mark.parametrize(
    "text",
    [
        "a risk-assessment-and-mitigation-plan-of-the-task-force",
        "the file begins with -----BEGIN PRIVATE KEY----- and then come lines",
        "ghp_ is how they begin, sk- too, and eyJ. as well",
        "files, pages, AKIA, npm_config_cache, hf_hub_download, nxb_",
    ],
)
def test_words_that_only_begin_like_tokens_are_shown(text):
    assert said(text, secrets=[]) == text
    assert said(*text, secrets=[]) == text


@given(
    st.lists(st.sampled_from([*TOKENS, *SECRETS, "sk-", "ghp_", "s", " ", "eyJ", "-----BEGIN "]), max_size=5),
    st.data(),
)
def test_tokens_and_known_words_side_by_side_are_masked_the_same_however_they_are_cut(parts, data):
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))

    shown = said(*(text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])))

    assert shown == said(text)
    assert not any(secret in shown for secret in (*SECRETS, *TOKENS))


def test_what_might_be_a_secret_for_ever_is_not_held_for_ever():
    cleaner = masking(TextStripper, secrets=[])()

    shown = "".join(cleaner.feed("eyJ" + "a" * 5_000) for _ in range(20))

    assert len(shown) > 50_000
