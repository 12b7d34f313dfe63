"""Pages of the site that are no tables: where each is found and what draws it."""

from collections.abc import Callable
from dataclasses import dataclass

from django.http.response import HttpResponseBase

from admin_ui.pages import bridges, console, knowledge, matrix, people, prompt, records, servers, tool_secrets


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
    Page("users/<int:pk>/forget/", "user_forget", people.forget),
    Page("tools/", "tool_matrix", matrix.show),
    Page("mcp/new/", "mcp_new", servers.new),
    Page("mcp/secrets/", "mcp_secrets", tool_secrets.show),
    Page("mcp/<int:pk>/", "mcp_server", servers.show),
    Page("mcp/<int:pk>/define/", "mcp_define", servers.define),
    Page("mcp/<int:pk>/test/", "mcp_test", servers.test),
    Page("mcp/<int:pk>/approve/", "mcp_approve", servers.approve),
    Page("mcp/<int:pk>/off/", "mcp_off", servers.switch_off),
    Page("mcp/<int:pk>/remove/", "mcp_remove", servers.remove),
    Page("audit/verify/", "audit_verify", records.verify),
    Page("audit/export/", "audit_export", records.export),
)

__all__ = ["Page", "pages"]
