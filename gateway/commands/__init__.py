"""What people type with "!" and what their reactions mean. Both change rows only, in the message's own transaction.

A family of commands is one file in `families/`; what lies there is found by itself.
"""

import importlib
import pkgutil

from gateway.commands import families
from gateway.commands.obeying import answer, obey
from gateway.commands.reading import parse
from gateway.commands.registry import COMMANDS, Command, Place
from gateway.commands.signs import react

for _module in pkgutil.iter_modules(families.__path__):
    importlib.import_module(f"{families.__name__}.{_module.name}")

__all__ = ["COMMANDS", "Command", "Place", "answer", "obey", "parse", "react"]
