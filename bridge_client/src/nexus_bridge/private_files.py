"""Files for one CLI alone: a directory 0700, files 0600. The guard removes them with the CLI."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path


def write(files: Mapping[str, str]) -> Path | None:
    if not files:
        return None
    directory = Path(tempfile.mkdtemp(prefix="nexus-cli-"))
    for name, content in files.items():
        with os.fdopen(os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
    return directory


def remove(directory: Path | None) -> None:
    """Where no guard lived to do it."""
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)
