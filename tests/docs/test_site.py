"""Does the documentation become a site that needs nobody's network, with every page in its place?"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.docs.pages import ROOT

FETCHED: Final = re.compile(
    r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=\"?((?:https?:)?//[^\s\">]+)", re.IGNORECASE
)
NOT_FETCHED: Final = re.compile(r"<link\b[^>]*\brel=\"?(?:canonical|prev|next)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built strictly: a page outside the navigation, a broken link or a broken anchor is a failure."""
    place = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return place


def test_every_page_is_in_the_site(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in ROOT.glob("docs/**/*.md")]

    missing = [str(page) for page in pages if page.name != "README.html" and not (site / page).exists()]

    assert missing == []
    assert all((site / f"{name}.html").exists() for name in ("bridge", "changelog", "contributing"))


def test_no_page_makes_a_browser_fetch_from_elsewhere(site: Path) -> None:
    found = {
        (page.name, address)
        for page in site.rglob("*.html")
        for address in FETCHED.findall(NOT_FETCHED.sub("<kept", page.read_text(encoding="utf-8")))
    }

    assert found == set()


def test_links_to_pages_of_the_repository_lead_to_pages_of_the_site(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")

    assert 'href="bridge.html"' in home or "href=bridge.html" in home
    assert "bridge_client/README.md" not in home
