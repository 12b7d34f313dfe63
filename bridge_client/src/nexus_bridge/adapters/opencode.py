"""opencode over the Agent Client Protocol (`opencode acp`). Options as for acp.

It allows all its tools by itself unless its own configuration says otherwise, so that is what the bridge gives it.
"""

import json
from typing import ClassVar, Final

from nexus_bridge.adapters.acp import AcpAdapter, Quirks

ASKS: Final = {"edit": "ask", "bash": "ask", "webfetch": "ask", "external_directory": "ask"}


class OpencodeAdapter(AcpAdapter):
    kind: ClassVar[str] = "opencode"
    quirks: ClassVar[Quirks] = Quirks(
        title="opencode",
        program=("opencode",),
        arguments=("acp",),
        names=("OPENCODE_*", "OPENAI_*", "ANTHROPIC_*", "OPENROUTER_*"),
        settings={
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_PERMISSION": json.dumps(ASKS),
        },
    )
