"""The command `nexus-bridge`: run, check, version. Whatever goes wrong is a sentence and an exit code."""

import argparse
import asyncio
import contextlib
import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nexus_bridge import __version__, config
from nexus_bridge.bridge import run_bridge
from nexus_bridge.check import check
from nexus_bridge.errors import BridgeError, ConfigError
from nexus_bridge.protocol import VERSIONS
from nexus_bridge.settings import Config
from nexus_bridge.view import View

EXIT_INTERRUPTED: Final = 130

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if arguments.debug else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    try:
        return _act(arguments)
    except ConfigError as error:
        for problem in error.problems:
            _complain(problem)
        return error.exit_code
    except BridgeError as error:
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; there is nobody to tell, and Python must not try at exit.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the rest of the process
        return 0
    except Exception as error:
        # The outermost frame: a person gets a sentence; the traceback is there for whoever asks for it.
        logger.debug("the bridge made a mistake", exc_info=True)
        _complain(f"a mistake in nexus-bridge {__version__}: {type(error).__name__}: {error}; --debug shows where")
        return os.EX_SOFTWARE


def _act(arguments: argparse.Namespace) -> int:
    if arguments.command == "version":
        print(_version())
        return 0
    found = _config(arguments)
    if arguments.command == "check":
        return asyncio.run(check(config=found, say=print))
    view = View(shows_prompts=arguments.show_prompts)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(run_bridge(config=found, view=view, env=dict(os.environ)))
    return 0


def _config(arguments: argparse.Namespace) -> Config:
    path = Path(arguments.config).expanduser() if arguments.config else config.default_path(os.environ)
    return config.load(path=path.absolute(), env=os.environ)


def _version() -> str:
    protocols = ", ".join(str(one) for one in VERSIONS)
    return f"nexus-bridge {__version__} (protocol {protocols}, Python {platform.python_version()})"


def _complain(text: str) -> None:
    print(f"nexus-bridge: {text}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nexus-bridge", description="Connects the agent CLIs of this machine to Nexus."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="connect and answer prompts until Ctrl-C")
    run.add_argument("--show-prompts", action="store_true", help="show the text of prompts in this terminal")
    checked = commands.add_parser("check", help="check the configuration, the CLIs and the hub; changes nothing")
    version = commands.add_parser("version", help="print the version")
    for one in (run, checked):
        one.add_argument("--config", metavar="FILE", help="default: ~/.config/nexus-bridge/bridge.toml")
    for one in (run, checked, version):
        one.add_argument("--debug", action="store_true", help="log everything to stderr; may hold prompts")
    return parser
