"""The registry: which adapter serves a CLI kind. A new module in this package with an adapter class is all it takes."""

import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from types import MappingProxyType

from nexus_bridge.adapters.base import Adapter
from nexus_bridge.errors import BridgeError


class UnknownCliKind(BridgeError):
    """Nothing here speaks to a CLI of that kind; the text lists the known ones."""

    def __init__(self, kind: str) -> None:
        super().__init__(f'There is no CLI kind "{kind}"; known ones: {", ".join(known_kinds())}.')


def adapter_class(kind: str) -> type[Adapter]:
    """The adapter of a CLI kind; raises UnknownCliKind."""
    try:
        return _adapters()[kind]
    except KeyError:
        raise UnknownCliKind(kind) from None


def known_kinds() -> list[str]:
    return sorted(_adapters())


@cache
def _adapters() -> MappingProxyType[str, type[Adapter]]:
    return MappingProxyType({found.kind: found for found in _found()})


def _found() -> Iterator[type[Adapter]]:
    """Every class with a `kind` that is defined in a module of this package."""
    for module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
        for candidate in vars(import_module(module.name)).values():
            if isinstance(candidate, type) and candidate.__module__ == module.name and _is_adapter(candidate):
                yield candidate


def _is_adapter(candidate: type) -> bool:
    return isinstance(getattr(candidate, "kind", None), str) and candidate is not Adapter
