"""Is what the pages show right? Code blocks parse, and the words, flags and settings they name exist."""

import ast
import json
import re
import shlex
import subprocess
import tomllib
from argparse import ArgumentParser, _SubParsersAction
from typing import Final

import pytest
import yaml
from django.core.management import get_commands, load_command_class
from drf_spectacular.generators import SchemaGenerator

from nexus_bridge.cli import _parser
from tests.docs.pages import PAGES, ROOT, Block, blocks, typed

OURS: Final = ("gateway", "composer", "runtime", "admin_ui")
LANGUAGES: Final = {"bash", "python", "json", "toml", "yaml", "text", "caddy", "nginx", "ini", "sql"}
NOT_SETTINGS: Final = {"NEXUS_X", "NEXUS_X_FILE", "NEXUS_BRIDGE_CONFIG", "NEXUS_WRITE_GOLDEN"}
"""Stand-ins, and variables that are read by the bridge and by tests."""

COMMON_FLAGS: Final = {"--help", "--version", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color"}
COMMON_FLAGS_TOO: Final = {"--force-color", "--skip-checks"}


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def make_words() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):.*##", page("Makefile"), re.MULTILINE))


def our_commands() -> dict[str, set[str]]:
    """Each command of ours with its own flags."""
    found = {}
    for name, app in get_commands().items():
        if app in OURS:
            parser = load_command_class(app, name).create_parser("manage.py", name)
            flags = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
            found[name] = flags - COMMON_FLAGS - COMMON_FLAGS_TOO
    return found


def bridge_commands() -> dict[str, set[str]]:
    (chosen,) = [action for action in _parser()._actions if isinstance(action, _SubParsersAction)]
    return {name: _flags(parser) for name, parser in chosen.choices.items()}


def _flags(parser: ArgumentParser) -> set[str]:
    return {
        flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")
    } - COMMON_FLAGS


@pytest.mark.parametrize("block", list(blocks()), ids=lambda block: block.place)
def test_a_block_says_its_language_and_parses(block: Block) -> None:
    match block.language:
        case "bash":
            done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr
        case "python":
            ast.parse(block.text)
        case "json":
            _parse_json(block.text)
        case "toml":
            tomllib.loads(block.text)
        case "yaml":
            list(yaml.safe_load_all(block.text))
    assert block.language in LANGUAGES, "say which language, or text"


def _parse_json(text: str) -> None:
    """One value, or one a line."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        for line in text.splitlines():
            json.loads(line)


def test_every_make_word_in_the_pages_exists() -> None:
    named = {(where, word) for where, text in typed() for word in re.findall(r"(?:^|&& |; )make ([a-z][a-z-]*)", text)}

    assert {(where, word) for where, word in named if word not in make_words()} == set()


def test_every_command_of_manage_py_in_the_pages_exists_with_its_flags() -> None:
    known = our_commands()
    missing = []
    for where, text in typed():
        for words in re.findall(r"(?:manage\.py |make manage ARGS=\")([^\"|&;]+)", text):
            name, *rest = words.split() or [""]
            if not re.fullmatch(r"[a-z_]+", name) or (name in get_commands() and name not in known):
                continue
            flags = {word.partition("=")[0] for word in rest if word.startswith("--")}
            if name not in known or flags - known[name] - COMMON_FLAGS - COMMON_FLAGS_TOO:
                missing.append(f"{where}: manage.py {words}")

    assert missing == []


def test_every_command_of_the_bridge_in_the_pages_exists_with_its_flags() -> None:
    known = bridge_commands()
    missing = []
    for where, text in typed():
        for words in re.findall(r"(?:^|/|\s)nexus-bridge ((?!-)[^|&;]+)", text):
            name, *rest = _split(words)
            flags = {word.partition("=")[0] for word in rest if word.startswith("--")}
            if name not in known or flags - known[name] - COMMON_FLAGS:
                missing.append(f"{where}: nexus-bridge {words}")

    assert missing == []


def _split(words: str) -> list[str]:
    try:
        return shlex.split(words)
    except ValueError:
        return words.split()


def test_every_setting_that_the_pages_name_exists() -> None:
    known = set(re.findall(r'"(NEXUS_[A-Z0-9_]+)"', page("nexus_project/settings.py")))
    known |= {f"{name}_FILE" for name in known} | NOT_SETTINGS
    named = {
        (path.name, name)
        for path in PAGES
        for name in re.findall(r"\bNEXUS_[A-Z0-9_]*[A-Z0-9]\b(?!_\*|…|\*)", path.read_text(encoding="utf-8"))
    }

    assert {one for one in named if one[1] not in known} == set()


def test_every_word_of_make_is_described() -> None:
    missing = [word for word in make_words() - {"help"} if f"`make {word}" not in page("docs/commands.md")]

    assert missing == []


def test_every_command_of_manage_py_and_its_flags_are_described() -> None:
    assert _undescribed(our_commands(), prefix="") == []


def test_every_command_of_the_bridge_and_its_flags_are_described() -> None:
    own = {name: flags - {"--config", "--debug"} for name, flags in bridge_commands().items()}

    assert _undescribed(own, prefix="nexus-bridge ") == []


def _undescribed(known: dict[str, set[str]], *, prefix: str) -> list[str]:
    """Each has a row of its own, which names all its flags."""
    rows = [line for line in page("docs/commands.md").splitlines() if line.startswith("| `")]
    missing = []
    for name, flags in known.items():
        row = next((row for row in rows if re.match(rf"\| `{prefix}{name}\b", row)), None)
        missing += [name] if row is None else [f"{name} {flag}" for flag in flags if f"`{flag}`" not in row]
    return missing


def test_every_path_of_the_rest_api_is_described() -> None:
    paths = SchemaGenerator(urlconf="nexus_project.urls").get_schema(request=None, public=True)["paths"]

    missing = [path for path in paths if f"`{path.removeprefix('/api/v1')}`" not in page("docs/api.md")]

    assert missing == []


def test_every_file_of_the_repository_that_the_pages_name_exists() -> None:
    top = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")} - {"site", "dist"}
    missing = []
    for where, text in typed():
        if (
            re.fullmatch(r"[a-z_]+/[a-z0-9_./-]*", text)
            and text.partition("/")[0] in top
            and not (ROOT / text).exists()
        ):
            missing.append(f"{where}: {text}")

    assert missing == []
