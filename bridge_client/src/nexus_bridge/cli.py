"""The command `nexus-bridge`: run, join, init, check, doctor, policy, service. Whatever goes wrong is a sentence and an exit code."""

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

from nexus_bridge import __version__, config, logs, service, setup
from nexus_bridge.bridge import run_bridge
from nexus_bridge.check import check
from nexus_bridge.doctor import doctor
from nexus_bridge.errors import BridgeError, ConfigError
from nexus_bridge.policy_command import policy_test
from nexus_bridge.protocol import VERSIONS
from nexus_bridge.view import View

EXIT_INTERRUPTED: Final = 130

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    logs.set_up(is_debug=arguments.debug, is_json=getattr(arguments, "json_logs", False))
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
    match arguments.command:
        case "version":
            print(_version())
            return 0
        case "join" | "init":
            return _set_up(arguments)
        case "service":
            return _service(arguments)
        case "doctor":
            return asyncio.run(doctor(path=_path(arguments), env=os.environ, say=print))
    found = config.load(path=_path(arguments), env=os.environ)
    if arguments.command == "check":
        return asyncio.run(check(config=found, say=print))
    if arguments.command == "policy":
        return policy_test(config=found, arguments=arguments, say=print)
    view = logs.LogView() if arguments.json_logs else View(shows_prompts=arguments.show_prompts)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(run_bridge(config=found, view=view, env=dict(os.environ)))
    return 0


def _set_up(arguments: argparse.Namespace) -> int:
    """Write the configuration, then look whether it works."""
    path = _path(arguments)
    if arguments.command == "join":
        setup.join(
            link=arguments.link,
            path=path,
            env=os.environ,
            ask=_ask,
            say=print,
            workdir=arguments.workdir,
            insecure_lan=arguments.insecure_lan,
        )
    else:
        setup.init(path=path, env=os.environ, ask=_ask, say=print)
    found = config.load(path=path, env=os.environ)
    return asyncio.run(check(config=found, say=print))


def _service(arguments: argparse.Namespace) -> int:
    unit = service.unit(platform=sys.platform, home=Path.home(), config=_path(arguments), env=os.environ)
    if arguments.action == "show":
        print(unit.text)
    elif arguments.action == "install":
        config.load(path=_path(arguments), env=os.environ)
        service.install(unit, say=print)
    else:
        service.remove(unit, say=print)
    return 0


def _ask(question: str, default: str) -> str:
    """Of a person; where there is none, the default."""
    if not sys.stdin.isatty():
        return default
    answer = input(f"{question}{f' [{default}]' if default else ''}: ").strip()
    return answer or default


def _path(arguments: argparse.Namespace) -> Path:
    path = Path(arguments.config).expanduser() if arguments.config else config.default_path(os.environ)
    return path.absolute()


def _version() -> str:
    protocols = ", ".join(str(one) for one in VERSIONS)
    return f"nexus-bridge {__version__} (protocol {protocols}, Python {platform.python_version()})"


def _complain(text: str) -> None:
    print(f"nexus-bridge: {text}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nexus-bridge", description="Connects the agent CLIs of this machine to Nexus."
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="connect and answer prompts until Ctrl-C")
    run.add_argument("--show-prompts", action="store_true", help="show the text of prompts in this terminal")
    run.add_argument("--json-logs", action="store_true", help="write one JSON object a line to stderr, for programs")
    checked = commands.add_parser("check", help="check the configuration, the CLIs and the hub; changes nothing")
    doctored = commands.add_parser("doctor", help="look for what is wrong or soon will be; changes nothing")
    joined = commands.add_parser("join", help="write the configuration from a one-shot join link")
    joined.add_argument("link", help="the whole link, in quotes")
    joined.add_argument("--workdir", default="", help="the directory the CLIs work in; asked for when left out")
    joined.add_argument("--insecure-lan", action="store_true", help="accept ws:// in your own network")
    initial = commands.add_parser("init", help="ask for everything and write the configuration")
    served = commands.add_parser("service", help="start the bridge at login (systemd or launchd)")
    served.add_argument("action", choices=["install", "remove", "show"])
    tried = commands.add_parser("policy", help="try out the rules: policy test --tool Bash --detail 'rm -rf x'")
    _add_policy(tried)
    version = commands.add_parser("version", help="print the version")
    for one in (run, checked, doctored, joined, initial, served, tried):
        one.add_argument("--config", metavar="FILE", help="default: ~/.config/nexus-bridge/bridge.toml")
    for one in (run, checked, doctored, joined, initial, served, tried, version):
        one.add_argument("--debug", action="store_true", help="log everything to stderr; may hold prompts")
    return parser


def _add_policy(tried: argparse.ArgumentParser) -> None:
    tried.add_argument("action", choices=["test"])
    tried.add_argument("agent", nargs="?", default="", help="its slug; the first when left out")
    tried.add_argument("--tool", required=True, help="as the CLI names it, like Bash, shell, write_file")
    tried.add_argument("--detail", default="", help="the command, or what else the tool is given")
    tried.add_argument("--kind", default="", help="read, edit, execute, search, fetch, mcp")
    tried.add_argument("--path", action="append", default=[], help="a file it is about; may be repeated")
    tried.add_argument("--asker", default="", help="who asks")
    tried.add_argument("--room", default="", help="where")
    tried.add_argument("--hour", type=float, default=12.0, help="time of day, 13.5 for half past one")
