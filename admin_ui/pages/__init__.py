"""Pages of the site that are no tables: where each is found and what draws it."""

from collections.abc import Callable
from dataclasses import dataclass

from django.http.response import HttpResponseBase

from admin_ui.pages import bridges, console, knowledge, matrix, prompt, records


@dataclass(frozen=True, slots=True)
class Page:
    path: str
    name: str
    view: Callable[..., HttpResponseBase]


pages = (
    Page("console/", "console", console.show),
    Page("prompts/<int:pk>/", "prompt", prompt.show),
    Page("bridges/new/", "bridge_new", bridges.new),
    Page("bridges/<int:pk>/rotate/", "bridge_rotate", bridges.rotate),
    Page("bridges/<int:pk>/revoke/", "bridge_revoke", bridges.revoke),
    Page("bridges/<int:pk>/join/", "bridge_join", bridges.join),
    Page("bridges/<int:pk>/bridge.toml", "bridge_config", bridges.config),
    Page("confirm/", "confirm", bridges.confirm),
    Page("landmarks/<int:pk>/pin/", "landmark_pin", knowledge.pin),
    Page("tools/", "tool_matrix", matrix.show),
    Page("audit/verify/", "audit_verify", records.verify),
    Page("audit/export/", "audit_export", records.export),
)

__all__ = ["Page", "pages"]
