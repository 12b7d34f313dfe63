"""Does a wrong environment say what is wrong, all of it at once?"""

import runpy
from pathlib import Path

import pytest

from nexus_project.env import EXIT_CONFIG, Environment

ROOT = Path(__file__).resolve().parents[2]
GOOD = "kX9vTq2mWz8rLp4nBs6yHd1fGj7cUe3a"


def problems_of(values, read):
    environment = Environment(values=values)
    read(environment)
    return environment.problems


def test_all_missing_variables_are_listed_at_once():
    def read(environment):
        environment.text("NEXUS_A")
        environment.secret("NEXUS_B")

    problems = problems_of({}, read)

    assert [problem.split(";")[0] for problem in problems] == ["NEXUS_A is not set", "NEXUS_B is not set"]


@pytest.mark.parametrize(
    ("value", "word"),
    [("short", "too short"), ("a" * 40, "too simple"), (f"{GOOD}change-me", "example"), (f'"{GOOD}"', "quotes")],
)
def test_a_weak_secret_is_refused_with_the_way_to_make_one(value, word):
    problems = problems_of({"NEXUS_KEY": value}, lambda environment: environment.secret("NEXUS_KEY"))

    assert len(problems) == 1
    assert word in problems[0]


def test_one_value_for_two_secrets_is_refused():
    def read(environment):
        environment.secret("NEXUS_A")
        environment.secret("NEXUS_B")

    problems = problems_of({"NEXUS_A": GOOD, "NEXUS_B": GOOD}, read)

    assert "same value as NEXUS_A" in problems[0]


@pytest.mark.parametrize("value", ["", " x", "x\r", "\ufeffx"])
def test_blanks_quotes_line_ends_and_nothing_are_told(value):
    assert len(problems_of({"NEXUS_A": value}, lambda environment: environment.text("NEXUS_A"))) == 1


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda environment: environment.flag("NEXUS_A", default=False), "perhaps"),
        (lambda environment: environment.whole("NEXUS_A", default=1, at_least=1, at_most=9), "10"),
        (lambda environment: environment.whole("NEXUS_A", default=1, at_least=1, at_most=9), "1.5"),
        (lambda environment: environment.number("NEXUS_A", default=1, at_least=1, at_most=9), "nan"),
        (lambda environment: environment.url("NEXUS_A", schemes=("http",)), "ftp://x"),
        (lambda environment: environment.url("NEXUS_A", schemes=("http",)), "http://x:0"),
        (lambda environment: environment.url("NEXUS_A", schemes=("http",)), "http://x:70000"),
        (lambda environment: environment.choice("NEXUS_A", options=("a", "b"), default="a"), "c"),
        (lambda environment: environment.origin("NEXUS_A"), "nexus.example.org"),
        (lambda environment: environment.origin("NEXUS_A"), "https://nexus.example.org/nexus"),
        (lambda environment: environment.origin("NEXUS_A"), "https://user@nexus.example.org"),
        (lambda environment: environment.origin("NEXUS_A"), "https://nexus.example.org:0"),
        (lambda environment: environment.redis("NEXUS_A"), "redis://:x@127.0.0.1:6380/1"),
        (lambda environment: environment.redis("NEXUS_A"), "127.0.0.1:6380"),
        (lambda environment: environment.database("NEXUS_A"), "postgres://127.0.0.1/nexus"),
        (lambda environment: environment.database("NEXUS_A"), "postgres://nexus:x@127.0.0.1:5433"),
        (lambda environment: environment.database("NEXUS_A"), "mysql://nexus:x@127.0.0.1/nexus"),
        (lambda environment: environment.matching("NEXUS_A", pattern="[a-z]+", what="a name"), "Über"),
        (lambda environment: environment.words("NEXUS_A", default=(), pattern="[a-z]+", what="names"), "a,B"),
    ],
)
def test_a_wrong_value_is_told_by_name(read, value):
    problems = problems_of({"NEXUS_A": value}, read)

    assert len(problems) == 1
    assert problems[0].startswith("NEXUS_A is wrong")


def test_an_unknown_variable_suggests_the_nearest(capsys):
    environment = Environment(values={"NEXUS_PORTT": "1"})
    environment.whole("NEXUS_PORT", default=1, at_least=1, at_most=9)

    with pytest.raises(SystemExit) as stopped:
        environment.finish()

    assert stopped.value.code == EXIT_CONFIG
    assert "did you mean NEXUS_PORT?" in capsys.readouterr().err


def test_a_secret_may_come_from_a_file(tmp_path):
    path = tmp_path / "key"
    path.write_text(f"{GOOD}\n")
    path.chmod(0o600)
    environment = Environment(values={"NEXUS_KEY_FILE": str(path)})

    assert environment.secret("NEXUS_KEY") == GOOD


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NEXUS_ALLOWED_HOSTS", "https://nexus.example.org"),
        ("NEXUS_ALLOWED_HOSTS", "nexus.example.org:443"),
        ("NEXUS_PUBLIC_URL", "https://nexus.example.org/?x=1"),
        ("NEXUS_DATABASE_URL", "postgres://nexus:x@127.0.0.1:70000/nexus"),
        ("NEXUS_REDIS_URL", "redis://:x@127.0.0.1/0"),
        ("NEXUS_EMBEDDER_URL", "http://127.0.0.1:9/v1"),
        ("NEXUS_CHAT_URL", "chat.example.org"),
        ("NEXUS_MCP_COMMANDS", "npx"),
        ("NEXUS_MCP_SECRETS", "secrets.env"),
        ("NEXUS_HOST_USER", "no body"),
        ("NEXUS_FILE_TYPES", "everything"),
        ("NEXUS_SWEEP_S", "nan"),
        ("NEXUS_WORKING_MEMORY", "lots"),
        ("NEXUS_DEBUG", "perhaps"),
        ("NEXUS_LOG_LEVEL", "LOUD"),
        ("NEXUS_SECRET_KEY", "example-example-example-example-example"),
        ("NEXUS_UNKNOWN", "1"),
    ],
)
def test_the_settings_refuse_it_by_name(name, value, monkeypatch, capsys):
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "nexus_project/settings.py"))

    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == EXIT_CONFIG
    assert name in line


def test_a_value_and_a_file_for_it_are_one_too_many(tmp_path):
    path = tmp_path / "key"
    path.write_text(GOOD)
    path.chmod(0o600)
    values = {"NEXUS_KEY": GOOD[::-1], "NEXUS_KEY_FILE": str(path)}

    (problem,) = problems_of(values, lambda environment: environment.secret("NEXUS_KEY"))

    assert "both set" in problem


def test_a_secrets_file_that_others_may_read_is_refused_with_the_cure(tmp_path):
    path = tmp_path / "key"
    path.write_text(GOOD)
    path.chmod(0o644)

    (problem,) = problems_of({"NEXUS_KEY_FILE": str(path)}, lambda environment: environment.secret("NEXUS_KEY"))

    assert f"chmod 600 {path}" in problem


def test_what_belongs_together_comes_together():
    (problem,) = problems_of({"NEXUS_A": "x"}, lambda environment: environment.together("NEXUS_A", needs="NEXUS_B"))

    assert "NEXUS_B is not" in problem


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    problems = problems_of(
        {"NEXUS_KEY_FILE": str(tmp_path / "none")}, lambda environment: environment.secret("NEXUS_KEY")
    )

    assert any("NEXUS_KEY_FILE can't be read" in problem for problem in problems)
