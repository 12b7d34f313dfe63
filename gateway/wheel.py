"""Builds a wheel of the bridge from this checkout with the standard library alone: hosts have no build tools.

The same sources give the same bytes. PEP 427 says what stands in a wheel.
"""

import base64
import hashlib
import os
import tomllib
import zipfile
from pathlib import Path
from typing import Any, Final

TAG: Final = "py3-none-any"
_LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT: Final = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"})


def build(*, source: Path, folder: Path) -> Path:
    """Write the wheel of the project in `source` into `folder`; a reader never sees half of it."""
    project: dict[str, Any] = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stem = f"{project['name'].replace('-', '_')}-{project['version']}"
    dist_info = f"{stem}.dist-info"
    contents = _with_record(_package(source / "src") | _metadata(project, folder=dist_info), folder=dist_info)
    path = folder / f"{stem}-{TAG}.whl"
    coming = folder / f".{path.name}.{os.getpid()}"
    try:
        with zipfile.ZipFile(coming, "w", zipfile.ZIP_DEFLATED) as wheel:
            for name, data in contents.items():
                info = zipfile.ZipInfo(name, date_time=_LONG_AGO)
                info.external_attr = 0o644 << 16
                wheel.writestr(info, data, compress_type=zipfile.ZIP_DEFLATED)
        coming.replace(path)
    finally:
        coming.unlink(missing_ok=True)
    return path


def _package(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not _LEFT_OUT.intersection(path.parts)
    }


def _metadata(project: dict[str, Any], *, folder: str) -> dict[str, bytes]:
    head = [
        "Metadata-Version: 2.3",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {one}" for one in project["dependencies"]),
    ]
    scripts = [f"{name} = {target}" for name, target in project["scripts"].items()]
    return {
        f"{folder}/METADATA": _lines(head),
        f"{folder}/WHEEL": _lines(["Wheel-Version: 1.0", "Generator: nexus", "Root-Is-Purelib: true", f"Tag: {TAG}"]),
        f"{folder}/entry_points.txt": _lines(["[console_scripts]", *scripts]),
    }


def _with_record(contents: dict[str, bytes], *, folder: str) -> dict[str, bytes]:
    rows = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in contents.items()]
    return contents | {f"{folder}/RECORD": _lines([*rows, f"{folder}/RECORD,,"])}


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def _lines(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
