"""Who and what does a text mention? The rules of the newer servers, which read the syntax tree."""

import pytest

from gateway.devchat.accounts import create_user
from gateway.devchat.mentions import find_channels, find_mentions, find_urls, syntax_tree
from gateway.devchat.rooms import create_room
from gateway.devchat.store import Store


@pytest.fixture
def store() -> Store:
    store = Store()
    alice = create_user(store, username="alice", name="Alice", email="", password="x")
    for username in ("bob", "claude-alice-backend", "dr.who", "under_score"):
        create_user(store, username=username, name=username, email="", password="x")
    create_room(store, kind="c", name="general", creator=alice, members=[])
    create_room(store, kind="p", name="back-end", creator=alice, members=[])
    return store


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("@bob", ["bob"]),
        ("ask (@bob), please", ["bob"]),
        ("@alice: go, @bob!", ["alice", "bob"]),
        ("ask @bob. Then go", []),
        ("@claude-alice-backend, look", ["claude-alice-backend"]),
        ("@dr.who and @under_score", ["dr.who", "under_score"]),
        ("*@bob*", ["bob"]),
        ("@Bob", []),
        ("[@bob](https://example.org)", []),
        ("@bob @bob", ["bob"]),
        ("@all and @here!", ["all", "here"]),
        ("> @bob said", ["bob"]),
        ("mail bob@alice.org", []),
        ("@nobody", []),
        ("@bobby", []),
        ("`@bob`", []),
        ("```\n@bob\n```", []),
        ("```python\n@bob\n```\n@alice", ["alice"]),
        ("```\n@bob is in an open fence", ["bob"]),
        ("https://example.org/@bob", []),
        ("@\u200bbob", []),
        ("＠bob", []),
    ],
)
def test_mentions(store: Store, text: str, names: list[str]) -> None:
    assert [mention["username"] for mention in find_mentions(store, text)] == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("see #general,", ["general"]),
        ("#back-end", ["back-end"]),
        ("issue #12 and a&#general;", []),
        ("`#general`", []),
        ("https://example.org/#general", []),
    ],
)
def test_rooms(store: Store, text: str, names: list[str]) -> None:
    assert [channel["name"] for channel in find_channels(store, text)] == names


def test_links() -> None:
    text = "https://a.example/x. and (http://b.example) `https://c.example`"

    assert [url["url"] for url in find_urls(text)] == ["https://a.example/x", "http://b.example"]


def test_fences_are_code_and_the_rest_is_a_paragraph() -> None:
    tree = syntax_tree("before\n```python\nx = 1\n```\nafter")

    assert [node["type"] for node in tree] == ["PARAGRAPH", "CODE", "PARAGRAPH"]
    assert tree[1]["language"] == "python"
    assert tree[1]["value"][0]["value"]["value"] == "x = 1"
    assert syntax_tree("") == []


@pytest.mark.parametrize("sign", ["@", "#", "`", "*", "[", "https://", "<http://a", "[](", "```x\n", "> @"])
def test_long_runs_of_signs_are_read_quickly(store: Store, sign: str) -> None:
    text = sign * 3_000 + "](x)|"

    # The timeout of the suite is the limit; a pattern that backtracks without end would meet it.
    assert find_mentions(store, text) == find_channels(store, text) == []
    assert syntax_tree(text)
