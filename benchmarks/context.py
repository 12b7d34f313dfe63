"""How much of what a question needs stands in the prompt? Chats with known answers, fed through our own ingest, asked in the room.

    python -m benchmarks.context [--set locomo|busy|busy-threads|realtalk|beam] [--data PATH] [--budgets 1000,2000,4000]
                                 [--sample N] [--rename] [--json FILE] [--dump DIR] [--growth] [--only-growth] [--huge]

The judge, the token count and the sets are those of ../shared/bench/context; without that folder this says so and ends.
`all`: every message of the evidence stands in the prompt word for word; `grounded`: with its speaker and date as well.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.context_growth import growth
from benchmarks.context_huge import huge
from benchmarks.context_world import Product, database
from benchmarks.figures import Figure

IDS = ("X1", "X2")
SHARED = Path(__file__).resolve().parents[1].parent / "shared"
SETS = ("locomo", "busy", "busy-threads", "realtalk", "beam")
GOALS = {
    ("locomo", 1000): 0.76,
    ("locomo", 2000): 0.85,
    ("locomo", 4000): 0.90,
    ("busy-threads", 2000): 0.82,
    ("busy", 2000): 0.71,
}
"""Share of questions, categories 1 to 4, whose evidence is wholly in the prompt."""


def measure() -> Iterator[Figure]:
    """Every third question of the plain set, and how the time to find grows with the room."""
    judge = Judge.load()
    with database():
        if judge is not None:
            for budget, summary in judge.run(options(["--sample", "3", "--budgets", "2000"])).items():
                share = summary["1-4"]["all"]
                yield Figure(
                    id="X1",
                    what=f"evidence wholly in a prompt of {budget} tokens",
                    value=f"{share:.3f}",
                    goal=f"{GOALS['locomo', budget]:.2f}",
                    is_met=share >= GOALS["locomo", budget] and not summary["1-4"]["over"],
                    note=f"grounded {summary['1-4']['grounded']:.3f}, {summary['1-4']['n']} questions",
                )
        yield from growth()


def main() -> int:
    chosen = options(sys.argv[1:])
    if chosen.huge:
        with database():
            for told in huge():
                print(told, flush=True)
        return 0
    judge = None if chosen.only_growth else Judge.load(chosen.shared)
    if judge is None and not chosen.only_growth:
        print(
            f"{chosen.shared}/bench/context is not there: the sets and their judge are kept outside this repository."
        )
        return 0
    with database():
        if judge is not None:
            result = judge.run(chosen)
            for budget, summary in result.items():
                print(line(budget, summary), flush=True)
            print(json.dumps({"bench": "context", "set": chosen.set, "renamed": chosen.rename, "result": result}))
            if chosen.json:
                chosen.json.write_text(json.dumps(result, indent=1))
        if chosen.growth or chosen.only_growth:
            for figure in growth():
                print(f"{figure.what}: {figure.value} (goal {figure.goal}) {figure.note}", flush=True)
    return 0


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.context", description=__doc__)
    parser.add_argument("--set", default="locomo", choices=SETS)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--budgets", default="1000,2000,4000")
    parser.add_argument("--sample", type=int, default=0, help="every n-th question")
    parser.add_argument("--rename", action="store_true", help="fresh speaker names")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--dump", type=Path, help="a folder for the prompts: <question id, / as _>.<budget>.txt")
    parser.add_argument(
        "--growth", action="store_true", help="also: time and memory in rooms of 1k, 10k and 100k messages"
    )
    parser.add_argument("--only-growth", action="store_true")
    parser.add_argument("--huge", action="store_true", help="only: prompts in a room of a million messages")
    parser.add_argument("--shared", type=Path, default=SHARED, help="the folder that holds bench/ and data/")
    return parser.parse_args(arguments)


def line(budget: int, summary: dict[str, Any]) -> str:
    head = summary["1-4"]
    kinds = "  ".join(f"{kind} {part['all']:.3f}" for kind, part in summary.items() if kind != "1-4")
    return (
        f"{budget:5d} tokens  n {head['n']}  all {head['all']:.3f}  any {head['any']:.3f}  frac {head['frac']:.3f}"
        f"  grounded {head['grounded']:.3f}  {kinds}  over {head['over']}"
        f"  compose p50 {head['compose_p50']:.1f} ms  p95 {head['compose_p95']:.1f} ms"
    )


class Judge:
    """The modules of the shared bench, imported by path."""

    def __init__(self, folder: Path) -> None:
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        self.bench = importlib.import_module("bench")
        self.score = importlib.import_module("score")
        self.corpus = importlib.import_module("corpus")

    @classmethod
    def load(cls, shared: Path = SHARED) -> "Judge | None":
        folder = shared / "bench" / "context"
        return cls(folder) if (folder / "bench.py").exists() else None

    def run(self, chosen: argparse.Namespace) -> dict[int, dict[str, Any]]:
        budgets = tuple(map(int, chosen.budgets.split(",")))
        rows: dict[int, list[dict[str, Any]]] = {budget: [] for budget in budgets}
        took: dict[int, list[float]] = {budget: [] for budget in budgets}
        for room in self.rooms(chosen):
            product = Product(room, has_threads=chosen.set == "busy-threads", dump=chosen.dump)
            questions = room.questions[:: chosen.sample] if chosen.sample else room.questions
            scored = self.score.run(product, room, budgets, [*product.announced(questions, len(budgets))])
            for budget in budgets:
                rows[budget] += scored[budget]
                took[budget] += product.took[budget]
            product.close()
        result = {budget: self.score.summary(found) for budget, found in rows.items()}
        for budget, times in took.items():
            times.sort()
            result[budget]["1-4"] |= {
                "compose_p50": times[len(times) // 2] * 1000,
                "compose_p95": times[int(len(times) * 0.95)] * 1000,
            }
        return result

    def rooms(self, chosen: argparse.Namespace) -> list[Any]:
        corpus, bench = self.corpus, self.bench
        load = {"realtalk": corpus.load_realtalk, "beam": corpus.load_beam}.get(chosen.set, corpus.load_locomo)
        rooms = load(chosen.data or corpus.DATA / "locomo_dev.json")
        if chosen.rename:
            rooms = bench.rename(rooms)
        return bench.busy(rooms, chosen.set == "busy-threads") if chosen.set.startswith("busy") else rooms


if __name__ == "__main__":
    raise SystemExit(main())
