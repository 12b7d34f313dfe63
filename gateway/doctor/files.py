"""Is the bridge there that developers download?"""

from collections.abc import Sequence
from typing import Final

from gateway import downloads
from nexus_project.finding import Check, Finding, good, warning


def read_wheel() -> list[str]:
    return [path.name for path in downloads.wheels()]


def judge_wheel(names: Sequence[str]) -> Finding:
    if names:
        return good(f"/client/ serves {names[-1]}")
    return warning("/client/ has no bridge to download", "run: manage.py build_client")


def fix_wheel(_names: Sequence[str]) -> str:
    return f"built {downloads.build().name}"


CHECKS: Final = (Check("files.client", read_wheel, judge_wheel, fix=fix_wheel),)
