"""/client/: the bridge's wheel that matches this hub, built beforehand into NEXUS_STATE_DIR/client."""

import html
from pathlib import Path
from typing import Final

from django.conf import settings
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from gateway import wheel as gateway_wheel

SOURCE: Final = Path(__file__).resolve().parent.parent / "bridge_client"

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>nexus-bridge</title>
<h1>nexus-bridge</h1><p>The program that connects the agent CLIs on your machine to this Nexus.</p>
<ul>{items}</ul><pre>python3 -m venv ~/.nexus-bridge
~/.nexus-bridge/bin/pip install {url}</pre></html>
"""


def wheels() -> list[Path]:
    """Newest last."""
    folder = _folder()
    return sorted(folder.glob("nexus_bridge-*.whl"), key=lambda path: path.stat().st_mtime) if folder.is_dir() else []


def build() -> Path:
    """Build the wheel of this checkout into the folder that is served."""
    folder = _folder()
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return gateway_wheel.build(source=SOURCE, folder=folder)


@require_GET
def listing(_request: HttpRequest) -> HttpResponse:
    names = [path.name for path in wheels()]
    if not names:
        return HttpResponse(
            "There is no wheel yet; the host's operator makes it with: manage.py build_client\n",
            status=404,
            content_type="text/plain",
        )
    items = "".join(f'<li><a href="{html.escape(name)}">{html.escape(name)}</a></li>' for name in reversed(names))
    url = html.escape(f"{settings.NEXUS_PUBLIC_URL}/client/{names[-1]}")
    return HttpResponse(_PAGE.format(items=items, url=url))


@require_GET
def wheel(_request: HttpRequest, name: str) -> FileResponse:
    """Only names that the listing has: nothing of the path comes from outside."""
    for path in wheels():
        if path.name == name:
            return FileResponse(path.open("rb"), as_attachment=True, filename=name)
    raise Http404


def _folder() -> Path:
    return Path(settings.NEXUS_STATE_DIR) / "client"
