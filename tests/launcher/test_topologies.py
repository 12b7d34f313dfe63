"""Does each recipe of docs/topologies.md, typed as it stands there, make a host that starts and leaves no door open?"""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from docker.programs import CHECKOUT
from tests.launcher.test_compose_words import run, values

RECIPES: Final = re.findall(
    r"^ *make up ((?:\w+=\S+ ?)+)$", (CHECKOUT / "docs/topologies.md").read_text(), re.MULTILINE
)
_DANGERS: Final = (
    "from nexus_project import start;"
    " print([one.text for check, one in start.dangers() if check.startswith('settings.')])"
)
"""Of the settings: the files of this machine are not those of the recipe's."""


def judged(written: dict[str, str]) -> str:
    """What a start says that others can reach: refusals of settings on stderr, dangers as a list."""
    settings = {name: value for name, value in written.items() if name.startswith("NEXUS_")}
    settings["DJANGO_SETTINGS_MODULE"] = "nexus_project.settings"
    done = subprocess.run(
        [sys.executable, "-c", _DANGERS],
        cwd=CHECKOUT,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.stdout.strip() + done.stderr


def typed(recipe: str, path: Path) -> dict[str, str]:
    done = run("env", str(path), **dict(word.split("=", 1) for word in shlex.split(recipe)))
    assert done.returncode == 0, done.stderr
    return values(path)


def test_every_topology_has_a_recipe() -> None:
    assert len(RECIPES) >= 5


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_makes_settings_that_a_start_accepts(recipe: str, tmp_path: Path) -> None:
    written = typed(recipe, tmp_path / "settings")

    assert judged(written) == "[]"


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_opens_what_its_page_says_and_no_more(recipe: str, tmp_path: Path) -> None:
    written = typed(recipe, tmp_path / "settings")

    has_tls = "tls" in written["COMPOSE_PROFILES"].split(",")
    asked = dict(word.split("=", 1) for word in shlex.split(recipe)).get("BIND_ADDRESS")
    assert has_tls == ("TLS=" in recipe)
    assert written["BIND_ADDRESS"] == (asked or ("127.0.0.1" if has_tls else "0.0.0.0"))  # noqa: S104 - what the page says
    assert written["NEXUS_PUBLIC_URL"].startswith("https://" if has_tls else "http://")


def test_the_settings_for_a_proxy_of_ones_own_are_accepted_too(tmp_path: Path) -> None:
    page = (CHECKOUT / "docs/topologies.md").read_text(encoding="utf-8")
    own = dict(re.findall(r"`(NEXUS_[A-Z_]+)=([^`]*example\.org)`", page))
    written = typed("HOST=127.0.0.1 BIND_ADDRESS=127.0.0.1", tmp_path / "settings")

    assert set(own) == {"NEXUS_PUBLIC_URL", "NEXUS_ALLOWED_HOSTS", "NEXUS_CHAT_URL"}
    assert judged(written | own) == "[]"
    assert written["NEXUS_HOST_HUB"] == "http://127.0.0.1:4000"
