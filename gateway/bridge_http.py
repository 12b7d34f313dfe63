"""What bridges ask over HTTP: is my token good, and the files of a running turn, both ways."""

import json
from typing import Final
from urllib.parse import quote, unquote

from django.conf import settings
from django.db.models.functions import Now
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from gateway import bridge_auth, bridges, files
from gateway.bridge_auth import REFUSAL, TOO_MANY, TOO_MANY_TOOLS, bearer_of, digest_of
from gateway.guessing import FailureLimit
from gateway.models import Agent, Bridge, File, Invocation

TOOLS_REFUSAL: Final = "This tools token belongs to no running turn."
MAX_JOIN_BYTES: Final = 4096

_JOIN_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Join Nexus</title>
<h1>Join Nexus</h1><p>This link is for the program <code>nexus-bridge</code> on your own machine, not for a browser:</p>
<pre>nexus-bridge join '&lt;this link, with what stands behind the #&gt;'</pre>
<p><a href="/client/">Get nexus-bridge</a></p></html>
"""

_failures = FailureLimit()
_tools_failures = FailureLimit()
"""Apart: a CLI that asks on after its turn must not keep its bridge out."""


@require_GET
def check(request: HttpRequest) -> JsonResponse:
    """Tells a bridge token's owner what the hub knows of it, without connecting."""
    token = bearer_of(request.headers.get("Authorization"))
    guess = {"address": str(request.META.get("REMOTE_ADDR")), "secret": digest_of(token) if token else ""}
    if _failures.is_over(**guess):
        return error(429, "rate_limited", TOO_MANY)
    identity = bridge_auth.find_bridge(token=token) if token and not request.GET else None
    if identity is None:
        _failures.failed(**guess)
        return error(401, "bad_token", REFUSAL)
    bridge = Bridge.objects.select_related("owner").get(pk=identity.bridge_id)
    agents = Agent.objects.filter(bridge=bridge).order_by("slug").values("slug", "cli_kind", "is_enabled")
    return JsonResponse(
        {
            "bridge": bridge.name,
            "owner": bridge.owner.username if bridge.owner is not None else "",
            "agents": list(agents),
            "is_online": Bridge.objects.filter(pk=bridge.pk, lease_until__gt=Now()).exists(),
        }
    )


@csrf_exempt
@require_POST
def join(request: HttpRequest) -> JsonResponse:
    """A one-shot join code becomes a bridge token. The code comes in the body, where no log keeps it."""
    code = _code_of(request.body)
    guess = {"address": str(request.META.get("REMOTE_ADDR")), "secret": digest_of(code) if code else ""}
    if _failures.is_over(**guess):
        return error(
            429, "rate_limited", "Too many refused join codes from this address, or of this one; wait a minute."
        )
    try:
        joined = bridges.redeem_join(code=code)
    except bridges.BadJoinCodeError as problem:
        _failures.failed(**guess)
        return error(401, "bad_join_code", f"{str(problem).capitalize()}.")
    agents = [{"slug": slug, "cli_kind": cli, "parallel": parallel} for slug, cli, parallel in joined.agents]
    answer = JsonResponse({"token": joined.token, "bridge": joined.bridge, "owner": joined.owner, "agents": agents})
    answer["Cache-Control"] = "no-store"
    return answer


@require_GET
def join_page(_request: HttpRequest) -> HttpResponse:
    """Somebody opened the join link in a browser."""
    return HttpResponse(_JOIN_PAGE)


def _code_of(body: bytes) -> str:
    try:
        found = json.loads(body[:MAX_JOIN_BYTES])
    except ValueError:
        return ""
    code = found.get("code") if isinstance(found, dict) else None
    return code if isinstance(code, str) else ""


@require_GET
def fetch_file(request: HttpRequest, file_id: int) -> HttpResponse | FileResponse:
    """A file of the room in which the turn runs. Whatever else exists is not there for this turn."""
    run = _run_of(request)
    if isinstance(run, JsonResponse):
        return run
    kept = File.objects.filter(pk=file_id, message__room_id=run.room_id, message__deleted_at=None)
    file = kept.filter(expires_at__gt=Now()).exclude(sha256="").first()
    path = files.path_of(sha256=file.sha256) if file is not None else None
    if file is None or path is None or not path.is_file():
        return error(404, "no_such_file", "The file is gone, or not of this room.")
    response = FileResponse(path.open("rb"), content_type="application/octet-stream")
    response["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(file.name, safe='')}"
    return response


@csrf_exempt
@require_POST
def send_file(request: HttpRequest) -> JsonResponse:
    """A file that the turn made for its room; its id goes into the run's `file` event."""
    run = _run_of(request)
    if isinstance(run, JsonResponse):
        return run
    name, kind = unquote(request.headers.get("X-File-Name", "file")), request.headers.get("Content-Type", "")
    try:
        file = files.keep_for_room(run=run, name=name, content_type=kind, stream=request)
    except files.TooManyError:
        return error(409, "too_many", f"A run may send {files.MAX_PER_RUN} files.")
    except files.TooLargeError:
        return error(413, "too_large", f"A file may have {settings.NEXUS_FILE_MAX_MIB} MiB.")
    return JsonResponse({"id": str(file.pk), "size": file.size, "sha256": file.sha256}, status=201)


def error(status: int, code: str, message: str) -> JsonResponse:
    """The form every HTTP error of the gateway has."""
    return JsonResponse({"error": {"code": code, "message": message}}, status=status)


def _run_of(request: HttpRequest) -> Invocation | JsonResponse:
    """The turn of this tools token, or why not."""
    token = bearer_of(request.headers.get("Authorization"))
    guess = {"address": str(request.META.get("REMOTE_ADDR")), "secret": digest_of(token) if token else ""}
    if _tools_failures.is_over(**guess):
        return error(429, "rate_limited", TOO_MANY_TOOLS)
    run = bridge_auth.find_run(tools_token=token) if token else None
    if run is None:
        _tools_failures.failed(**guess)
        return error(401, "bad_token", TOOLS_REFUSAL)
    return run
