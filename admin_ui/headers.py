"""What may a browser do with our pages? Content-Security-Policy by path, and no caching of what is private."""

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

_COMMON: Final = "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

SITE_POLICY: Final = (
    # Unfold's pages run on Alpine, which evaluates the expressions in their attributes, and set styles inline.
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    f"connect-src 'self'; {_COMMON}"
)
DOCS_POLICY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    f"connect-src 'self'; {_COMMON}"
)
OTHER_POLICY: Final = "default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"


def security_headers(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """A middleware."""

    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        path = request.path
        is_site, is_api = path.startswith("/admin/"), path.startswith("/api/")
        policy = SITE_POLICY if is_site else DOCS_POLICY if path.startswith("/api/v1/docs") else OTHER_POLICY
        response.headers.setdefault("Content-Security-Policy", policy)
        if is_site or is_api:
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    return respond
