"""Does docs/adapters.md claim of real CLIs what the matrix holds, no more and no less?"""

import re
from pathlib import Path

from tests.clis.kits import KITS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")


def table() -> dict[str, dict[str, str]]:
    """By case, then by CLI."""
    lines = PAGE[PAGE.index("| case |") :].partition("\n\n")[0].splitlines()
    _, *kinds = (word.strip() for word in lines[0].strip("|").split("|"))
    rows = ([word.strip() for word in line.strip("|").split("|")] for line in lines[2:])
    return {case: dict(zip(kinds, cells, strict=True)) for case, *cells in rows}


def test_every_case_of_the_matrix_stands_in_the_table_for_every_cli():
    matrix = (ROOT / "tests" / "clis" / "test_matrix.py").read_text(encoding="utf-8")
    cases = re.findall(r"^async def test_(\w+)", matrix, re.MULTILINE)

    assert list(table()) == cases
    assert all(list(cells) == [kit.kind for kit in KITS] for cells in table().values())


def test_a_no_is_a_hole_with_a_reason():
    holes = {(case, kit.kind) for kit in KITS for case in kit.holes}

    assert {(case, kind) for case, cells in table().items() for kind, cell in cells.items() if cell == "no"} == holes
    assert {cell for cells in table().values() for cell in cells.values()} <= {"yes", "no"}
    assert all(reason for kit in KITS for reason in kit.holes.values())
