"""The JavaScript peers: Bun and BullMQ from npm, installed once below the ignored folder."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
SHARED = CHECKOUT.parent / "shared" / "bench"
FOLDER = CHECKOUT / ".nexus" / "cache" / "npm" / "bench"
PACKAGES = ("bun", "bullmq", "ioredis")
INSTALL_LIMIT_S = 240


@cache
def bun() -> Path | None:
    """Bun's program beside the packages a peer needs; None where npm or the measuring tools are not to be had."""
    if not SHARED.is_dir():
        return None
    found = _program()
    if found is None and shutil.which("npm"):
        FOLDER.mkdir(parents=True, exist_ok=True)
        argv = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(FOLDER), *PACKAGES]
        try:
            subprocess.run(argv, cwd=FOLDER, capture_output=True, timeout=INSTALL_LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            return None
        found = _program()
    return found


def modules() -> Path:
    return FOLDER / "node_modules"


def _program() -> Path | None:
    return next(iter((FOLDER / "node_modules" / "@oven").glob("*/bin/bun")), None)
