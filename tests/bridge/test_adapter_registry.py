"""Does a CLI kind find its adapter, and does every adapter keep the contract?"""

import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from nexus_bridge import protocol
from nexus_bridge.adapters import UnknownCliKind, adapter_class, known_kinds
from nexus_bridge.adapters.base import Adapter, Capabilities, Profile, Spawn, Turn
from nexus_bridge.events import Done
from tests.bridge.recordings import TESTDATA

DOCS = Path(__file__).parents[2] / "docs" / "adapters.md"
EACH_KIND = pytest.mark.parametrize("kind", known_kinds())


def make(kind: str) -> Adapter:
    return adapter_class(kind)(profile=Profile(slug="agent", command=["program"], workdir=Path("/work")))


def test_the_kinds_of_this_version_are_known():
    assert {"claude", "echo", "pty"} <= set(known_kinds())
    assert set(known_kinds()) <= set(get_args(protocol.CliKind))


def test_an_unknown_kind_is_answered_with_the_known_ones():
    with pytest.raises(
        UnknownCliKind, match=re.escape('There is no CLI kind "clod"; known ones: ' + ", ".join(known_kinds()))
    ):
        adapter_class("clod")


@EACH_KIND
def test_an_adapter_has_every_method_of_the_contract_with_its_parameters(kind):
    for name, method in inspect.getmembers(Adapter, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.signature(getattr(adapter_class(kind), name)).parameters.keys() == (
                inspect.signature(method).parameters.keys() - ({"self"} if name == "version_argv" else set())
            ), name


@EACH_KIND
def test_an_adapter_says_what_it_can_and_how_to_start(kind):
    adapter = make(kind)

    assert isinstance(adapter.capabilities, Capabilities)
    assert isinstance(adapter.spawn(), Spawn)
    assert adapter.spawn().env["TERM"] == "dumb"
    assert next(iter(adapter_class(kind).version_argv(["program", "--flag"]))) == "program"


@EACH_KIND
def test_the_death_of_a_process_ends_an_open_turn_and_only_that(kind):
    adapter = make(kind)
    assert [event for event in adapter.exited(code=1, stderr_tail="") if isinstance(event, Done)] == []

    adapter.turn(Turn(text="x"))

    assert len([event for event in adapter.exited(code=1, stderr_tail="") if isinstance(event, Done)]) == 1


@EACH_KIND
def test_an_adapter_is_documented(kind):
    assert f"### {kind}" in DOCS.read_text()


def test_every_adapter_of_a_real_cli_has_recordings():
    # Cursor has an installer of its own only, which is not available where this is made.
    for kind in set(known_kinds()) - {"echo", "pty", "cursor"}:
        assert list((TESTDATA / kind).glob("*")), kind
