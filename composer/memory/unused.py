"""Leaves out what Mem0 loads and never uses here: qdrant's client with gRPC, and a telemetry client. 50 MiB of a host.

Mem0 imports both at its top, whatever it is configured to use.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

PACKAGES: Final = frozenset({"qdrant_client", "posthog"})


def leave_out() -> None:
    """From now on these packages, unless they are loaded already, have every name and nothing behind it."""
    if not any(isinstance(finder, _Empty) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Empty())


class _Empty(MetaPathFinder, Loader):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in PACKAGES else None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__getattr__"] = _made_up


def _made_up(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})
