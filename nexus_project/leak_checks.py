"""Do secrets show where they don't belong: in a command line, in a log?"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from django.conf import settings

from nexus_project.finding import Check, Finding, critical, good, skipped
from nexus_project.setting_checks import read_neighbours

TAIL: Final = 4 * 1024 * 1024
"""Bytes of each log that are looked through."""

SHORTEST: Final = 12
"""Signs of a secret that can be told from a word."""


def read_told() -> list[str]:
    """`PID program` of each process whose command line holds one of our secrets."""
    secrets = [value.encode() for value in read_neighbours().values() if len(value) >= SHORTEST]
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if any(secret in line for secret in secrets):
            program = line.partition(b"\0")[0].decode(errors="replace")
            found.append(f"{entry.name} {Path(program).name}")
    return found


def judge_told(found: Sequence[str]) -> Finding:
    if found:
        return critical(
            f"the command line of {', '.join(found)} shows a secret to everybody on this machine",
            "give secrets by environment or file, never as an argument",
        )
    return good("no command line shows a secret")


def log_files() -> list[Path]:
    """What the launcher and its like write; containers' and systemd's logs are not ours to read."""
    return sorted((Path(settings.NEXUS_STATE_DIR) / "log").glob("*.log"))


def tails(paths: Sequence[Path]) -> Iterator[tuple[Path, bytes]]:
    for path in paths:
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - TAIL))
                yield path, file.read(TAIL)
        except OSError:
            continue


def read_logs() -> list[str] | None:
    """Names of logs that hold one of our secrets; None where there is none to read."""
    known = [value.encode() for value in read_neighbours().values() if len(value) >= SHORTEST]
    return logs_with(known)


def logs_with(words: Sequence[bytes]) -> list[str] | None:
    paths = log_files()
    if not paths:
        return None
    return [path.name for path, text in tails(paths) if any(word in text for word in words)]


def judge_logs(found: Sequence[str] | None) -> Finding:
    if found is None:
        return skipped("logs are not kept in NEXUS_STATE_DIR here")
    if found:
        return critical(
            f"{', '.join(found)} hold a secret",
            "change that secret, remove those lines, and tell us: no log may hold one",
        )
    return good("logs hold no secret")


CHECKS: Final = (
    Check("files.told", read_told, judge_told),
    Check("logs.secrets", read_logs, judge_logs),
)
