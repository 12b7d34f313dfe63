"""What does a browser get: the chat page, avatars, uploaded files?"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from gateway.devchat.emoji import EMOJI
from gateway.devchat.workspace import Workspace

STATIC = Path(__file__).parent / "static"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
INLINE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp", "text/plain", "application/pdf")


def routes(workspace: Workspace) -> list[Route | Mount]:
    async def index(_request: Request) -> Response:
        headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
        return FileResponse(STATIC / "index.html", headers=headers)

    async def avatar(request: Request) -> Response:
        image = workspace.uploads.avatar_of(request.path_params["username"].removesuffix(".svg"))
        headers = {"Content-Security-Policy": FILE_POLICY, "X-Content-Type-Options": "nosniff"}
        return Response(image.content, media_type=image.type, headers=headers)

    async def download(request: Request) -> Response:
        file = workspace.store.files.get(request.path_params["file_id"])
        reader = workspace.uploads.reader(headers=request.headers, query=request.query_params, cookies=request.cookies)
        if file is None or not workspace.uploads.may_read(reader, file):
            return JSONResponse({"success": False, "error": "Forbidden"}, 403 if file else 404)
        shows = file["type"] in INLINE_TYPES and "download" not in request.query_params
        return FileResponse(
            workspace.uploads.path_of(file["_id"]),
            media_type=file["type"],
            filename=file["name"],
            content_disposition_type="inline" if shows else "attachment",
            headers={"Content-Security-Policy": FILE_POLICY, "X-Content-Type-Options": "nosniff"},
        )

    async def emoji(_request: Request) -> Response:
        return JSONResponse(EMOJI)

    return [
        Route("/", index),
        Route("/channel/{name}", index),
        Route("/group/{name}", index),
        Route("/direct/{name}", index),
        Route("/avatar/{username}", avatar),
        Route("/file-upload/{file_id}/{name:path}", download),
        Route("/static/emoji.json", emoji),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
