"""What does the documentation site hold besides docs/? Pages that live with their code, and a link to each decision.

A hook of MkDocs. Links between all these pages are written as the repository has them and led to the page here; a link to
a file that is no page becomes its name.
"""

import re
from pathlib import Path
from posixpath import dirname, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
FROM_ELSEWHERE = {
    "bridge.md": "bridge_client/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")
_NAMED = re.compile(r"`docs/([\w/-]+\.md)`|(?<![`\w/(\[])docs/([\w/-]+\.md)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for place, source in FROM_ELSEWHERE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Decisions are many and come often: the list in the navigation is their folder."""
    pages = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    rows = [{_title(page): f"decisions/{page.name}"} for page in pages]
    for section in config.nav or []:
        for name, entries in section.items():
            if name == "Project":
                section[name] = [
                    {"Decisions": ["decisions/README.md", *rows]} if "Decisions" in entry else entry
                    for entry in entries
                ]
    return config


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs' own
    here = page.file.src_uri
    source = FROM_ELSEWHERE.get(here, f"docs/{here}")
    text = _LINK.sub(lambda link: _led(link, source=source, here=here, files=files), markdown)
    return _NAMED.sub(lambda name: _linked(name, here=here, files=files), text)


def _led(link: re.Match[str], *, source: str, here: str, files: Files) -> str:
    words, target, anchor = link.group(1), link.group(2), link.group(3) or ""
    if re.match(r"[a-z]+:", target):
        return link.group(0)
    wanted = normpath(f"{dirname(source)}/{target}") if dirname(source) else normpath(target)
    place = _place(wanted)
    if place is None or files.get_file_from_path(place) is None:
        # No page: broken links are found by the tests, which look at the repository.
        return words if (ROOT / wanted).exists() else link.group(0)
    return f"[{words}]({relpath(place, dirname(here) or '.')}{anchor})"


def _linked(name: re.Match[str], *, here: str, files: Files) -> str:
    """`docs/x.md` in a text is a link for who reads this as a site."""
    place = name.group(1) or name.group(2)
    if files.get_file_from_path(place) is None or place == here:
        return name.group(0)
    return f"[{place}]({relpath(place, dirname(here) or '.')})"


def _place(wanted: str) -> str | None:
    by_source = {source: place for place, source in FROM_ELSEWHERE.items()}
    if wanted in by_source:
        return by_source[wanted]
    if wanted in ("docs", "docs/decisions"):
        return "decisions/README.md" if wanted.endswith("decisions") else "index.md"
    return wanted.removeprefix("docs/") if wanted.startswith("docs/") else None


def _title(page: Path) -> str:
    return page.read_text(encoding="utf-8").splitlines()[0].lstrip("# ").strip()
