"""Cursor's agent over the Agent Client Protocol (`cursor-agent acp`). Options as for acp.

Written from the vendor's documentation and others' recordings: it can't be installed where this was made.
"""

from typing import ClassVar

from nexus_bridge.adapters.acp import AcpAdapter, Quirks


class CursorAdapter(AcpAdapter):
    """Its extension requests stall the turn unless they are answered; tools of a session need its own approval first."""

    kind: ClassVar[str] = "cursor"
    quirks: ClassVar[Quirks] = Quirks(
        title="Cursor",
        program=("cursor-agent",),
        arguments=("acp",),
        names=("CURSOR_*",),
        auth_by_variable={"CURSOR_API_KEY": "cursor_login"},
        acknowledged=("cursor/",),
    )
