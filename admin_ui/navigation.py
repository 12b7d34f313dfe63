"""The site's side bar, and which style sheet and script every page loads."""

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

_GROUPS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    ("", (("Dashboard", "dashboard", "index"), ("Live console", "terminal", "console"))),
    (
        "Work",
        (
            ("Invocations", "play_circle", "gateway_invocation_changelist"),
            ("Approvals", "rule", "gateway_approval_changelist"),
            ("Notices", "campaign", "gateway_notice_changelist"),
        ),
    ),
    (
        "Agents",
        (
            ("Bridges", "cable", "gateway_bridge_changelist"),
            ("Agents", "smart_toy", "gateway_agent_changelist"),
            ("Bot accounts", "badge", "gateway_botaccount_changelist"),
            ("Standing grants", "verified_user", "gateway_grant_changelist"),
        ),
    ),
    (
        "Tools",
        (
            ("MCP servers", "dns", "gateway_mcpserver_changelist"),
            ("Room × tool", "grid_on", "tool_matrix"),
            ("MCP secrets", "key", "mcp_secrets"),
        ),
    ),
    (
        "Team",
        (
            ("Rooms", "forum", "gateway_room_changelist"),
            ("Users", "group", "gateway_user_changelist"),
            ("Projects", "folder", "gateway_project_changelist"),
            ("Messages", "chat", "gateway_message_changelist"),
        ),
    ),
    (
        "Memory",
        (
            ("Landmarks", "push_pin", "composer_landmark_changelist"),
            ("Facts", "fact_check", "composer_fact_changelist"),
            ("Memories", "psychology", "composer_memory_changelist"),
            ("Summaries", "summarize", "composer_summary_changelist"),
        ),
    ),
    (
        "Host",
        (
            ("Audit log", "history", "gateway_auditentry_changelist"),
            ("Staff accounts", "manage_accounts", "auth_user_changelist"),
            ("Set aside", "report", "gateway_setaside_changelist"),
        ),
    ),
)


def groups(_request: HttpRequest) -> list[dict[str, Any]]:
    return [
        {
            "title": title,
            "separator": bool(title),
            "items": [
                {"title": name, "icon": icon, "link": reverse(f"admin:{target}")} for name, icon, target in items
            ],
        }
        for title, items in _GROUPS
    ]


def style(_request: HttpRequest) -> str:
    return static("nexus/nexus.css")


def icon(_request: HttpRequest) -> str:
    return static("nexus/icon.svg")


def script(_request: HttpRequest) -> str:
    return static("nexus/nexus.js")
