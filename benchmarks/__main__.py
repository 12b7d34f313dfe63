"""`python -m benchmarks [ID …]`: run the scripts that print these figures, or all of them.

Each script is a module of this package with `IDS` and `measure() -> Iterable[Figure]`; it runs in a process of its own, so
that one measurement's memory and connections do not weigh on the next.
"""

import argparse
import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import benchmarks
from benchmarks.figures import Figure, show

SCRIPT_LIMIT_S = 1_200
NOT_SCRIPTS = {"__main__", "figures", "peers", "world", "context_world", "context_growth"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help="figures to measure, such as H1 or B1; default: all")
    parser.add_argument("--script", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.script:
        show(importlib.import_module(f"benchmarks.{options.script}").measure())
        return 0
    wanted = {name.upper() for name in options.ids}
    known = {name: ids_of(name) for name in scripts()}
    if unknown := wanted - {figure for ids in known.values() for figure in ids}:
        parser.error(f"no script prints {', '.join(sorted(unknown))}; known: {sorted(sum(known.values(), ()))}")
    chosen = [name for name, ids in known.items() if ids and (not wanted or wanted & set(ids))]
    return max([run(name) for name in chosen], default=0)


def scripts() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name not in NOT_SCRIPTS]


def ids_of(name: str) -> tuple[str, ...]:
    """The figures a script prints, read without importing it: imports may need settings or services."""
    source = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "IDS":
            return tuple(ast.literal_eval(node.value))
    return ()


def run(name: str) -> int:
    """Run one script; a failure is a row, not the end of the run."""
    argv = [sys.executable, "-m", "benchmarks", "--script", name]
    try:
        code = subprocess.run(argv, timeout=SCRIPT_LIMIT_S, check=False).returncode
    except subprocess.TimeoutExpired:
        code = 124
    if code:
        show([Figure(id=name[:4], what=f"the script {name} failed", value=f"exit {code}", is_met=False)])
    return 1 if code else 0


if __name__ == "__main__":
    raise SystemExit(main())
