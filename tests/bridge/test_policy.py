"""What the owner of the machine allows, whatever the hub says."""

import pytest

from nexus_bridge.policy import Act, Audience, Condition, Rules, is_still_allowed, refusal, ruling, summary, verdict
from nexus_bridge.protocol import Person, RuleCount, encode, from_bridge
from tests.fakes.hub import prompt_for

RULES = Rules(
    deny=["WebFetch", "Bash(rm *)"],
    local=["Bash(git push*)"],
    ask=["Bash(git commit*)"],
    allow=["Read", "mcp__nexus__*", "Bash(git *)"],
)


@pytest.mark.parametrize(
    ("tool", "detail", "expected"),
    [
        ("WebFetch", "https://example.org", "deny"),
        ("Bash", "rm -rf build", "deny"),
        ("Bash", "cd build && rm -rf .", "deny"),
        ("Bash", "echo $(rm -rf ~)", "deny"),
        ("Bash", "git push --force", "local"),
        ("Bash", "git commit -m x", "ask"),
        ("Bash", "git status", "allow"),
        ("Bash", "git status; make deploy", "ask"),
        ("Bash", "git log > /etc/passwd", "ask"),
        ("Bash", "git diff `make deploy`", "ask"),
        ("Read", "anything", "allow"),
        ("Read", "a;b", "allow"),
        ("mcp__nexus__search", "", "allow"),
        ("Write", "file", "ask"),
        ("bash", "git status", "ask"),
    ],
)
def test_the_strictest_rule_that_matches_wins(tool: str, detail: str, expected: str) -> None:
    assert verdict(rules=RULES, act=Act(tool=tool, detail=detail)) == expected


def test_what_no_rule_names_is_the_default() -> None:
    assert verdict(rules=Rules(default="deny"), act=Act(tool="Bash", detail="ls")) == "deny"


def test_a_yes_from_the_hub_counts_only_where_the_room_is_asked() -> None:
    assert is_still_allowed(rules=RULES, act=Act(tool="Write", detail="file"))
    assert is_still_allowed(rules=RULES, act=Act(tool="Read", detail="file"))
    assert not is_still_allowed(rules=RULES, act=Act(tool="WebFetch", detail="file"))
    assert not is_still_allowed(rules=RULES, act=Act(tool="Bash", detail="git push"))


def test_everyone_may_ask_when_no_list_says_otherwise() -> None:
    assert refusal(audience=Audience(), offer=prompt_for(7)) is None


@pytest.mark.parametrize("callers", [["bob"], ["@bob"], ["u-bob"], ["alice", "bob"]])
def test_a_caller_is_known_by_name_or_id(callers: list[str]) -> None:
    assert refusal(audience=Audience(callers=callers), offer=prompt_for(7)) is None


@pytest.mark.parametrize("rooms", [["general"], ["#general"], ["r-general"]])
def test_a_room_is_known_by_name_or_id(rooms: list[str]) -> None:
    assert refusal(audience=Audience(rooms=rooms), offer=prompt_for(7)) is None


def test_somebody_else_is_refused_by_name() -> None:
    charlie = Person(id="u-charlie", username="charlie")

    found = refusal(audience=Audience(callers=["bob"]), offer=prompt_for(7, asker=charlie))

    assert found is not None
    assert found.message == "The owner of echo-alice takes no prompts from charlie."


def test_somebody_without_a_name_is_refused_too() -> None:
    found = refusal(audience=Audience(callers=["@"]), offer=prompt_for(7, asker=Person(id="", username="")))

    assert found is not None
    assert "this person" in found.message


def test_another_room_is_refused() -> None:
    found = refusal(audience=Audience(rooms=["backend"]), offer=prompt_for(7))

    assert found is not None
    assert found.reason == "not_allowed"


def test_a_tool_may_be_named_by_its_kind() -> None:
    rules = Rules(deny=["execute(rm *)"], allow=["read"])

    assert verdict(rules=rules, act=Act(tool="shell", kind="execute", detail="rm x")) == "deny"
    assert verdict(rules=rules, act=Act(tool="read_file", kind="read")) == "allow"


@pytest.mark.parametrize(
    ("condition", "act", "is_hit"),
    [
        (Condition("deny", path="/work/secrets/*"), Act("Edit", paths=["/work/secrets/a"]), True),
        (Condition("deny", path="/work/secrets/*"), Act("Edit", paths=["/work/a", "/work/secrets/a"]), True),
        (Condition("deny", path="/work/secrets/*"), Act("Edit", paths=["/work/a"]), False),
        (Condition("allow", path="/work/docs/*"), Act("Edit", paths=["/work/docs/a"]), True),
        (Condition("allow", path="/work/docs/*"), Act("Edit", paths=["/work/docs/a", "/work/b"]), False),
        (Condition("allow", path="/work/docs/*"), Act("Edit"), False),
        (Condition("deny", room=["production"]), Act("Bash", room=["production", "rid1"]), True),
        (Condition("deny", room=["#production"]), Act("Bash", room=["backend", "rid2"]), False),
        (Condition("deny", asker=["@bob"]), Act("Bash", asker=["bob", "uid-bob"]), True),
        (Condition("deny", hours=(22, 6)), Act("Bash", hour=23.5), True),
        (Condition("deny", hours=(22, 6)), Act("Bash", hour=3), True),
        (Condition("deny", hours=(22, 6)), Act("Bash", hour=12), False),
        (Condition("deny", hours=(9, 17.5)), Act("Bash", hour=17.4), True),
        (Condition("deny", tool="Bash(git push*)", room=["x"]), Act("Bash", detail="git push", room=["x"]), True),
        (Condition("deny", tool="Bash(git push*)", room=["x"]), Act("Bash", detail="git log", room=["x"]), False),
    ],
)
def test_a_rule_fits_when_all_it_names_fits(condition: Condition, act: Act, is_hit: bool) -> None:
    found = verdict(rules=Rules(conditions=[condition]), act=act)

    assert found == (condition.verdict if is_hit else "ask")


def test_the_rule_that_decides_is_named() -> None:
    rules = Rules(deny=["Bash(rm *)"], conditions=[Condition("deny", hours=(0, 24), words="rule: deny hours 0-24")])

    assert ruling(rules=rules, act=Act("Bash", detail="rm x")).because == 'deny = ["Bash(rm *)"]'
    assert ruling(rules=rules, act=Act("Read")).because == "rule: deny hours 0-24"
    assert ruling(rules=Rules(), act=Act("Read")).because == 'default = "ask"'


def test_the_hub_is_told_how_many_rules_there_are_and_for_which_tools_not_what_they_say() -> None:
    rules = Rules(
        deny=["Bash(rm *)", "Bash(cat /secret/*)", "WebFetch", "naïve", "x" * 65],
        allow=["Read"],
        conditions=[Condition("deny", tool="edit", path="/secret/*", asker=["bob"])],
        default="local",
    )

    told = summary(agent="claude-alice", rules=rules, audience=Audience(callers=["bob", "dora"]), permission_s=90.5)

    assert told.deny == RuleCount(rules=6, tools=["Bash", "WebFetch", "edit"])
    assert (told.ask, told.allow) == (RuleCount(), RuleCount(rules=1, tools=["Read"]))
    assert (told.default, told.callers, told.rooms) == ("local", 2, 0)
    assert not [word for word in ("secret", "bob", "rm ") if word in encode(told)]
    assert from_bridge(encode(told)) == told


def test_however_many_tools_have_rules_the_frame_stays_small() -> None:
    rules = Rules(deny=[f"{number}-{'x' * 60}" for number in range(1_000)])

    told = summary(agent="claude-alice", rules=rules, audience=Audience(), permission_s=600)

    assert told.deny.rules == 1_000
    assert len(encode(told)) < 4_096
