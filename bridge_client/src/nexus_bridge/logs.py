"""How does a program write its log? One line per event, as text for people or as JSON for programs; the host's do it alike."""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Final

from nexus_bridge.view import View

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_NUMBERED: Final = re.compile(r"#(\d+)\b[^:]*: ?")

logger = logging.getLogger(__name__)


def at(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds")


def extra(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller put into `extra`, and what filters added."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """A single line, traceback and all."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **extra(record),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class LogView(View):
    """The view of a bridge that nobody looks at: what a person would see becomes lines of the log."""

    def __init__(self) -> None:
        super().__init__(out=sys.stderr)
        self._is_tty = False

    def _line(self, text: str, colour: str = "") -> None:
        level = logging.WARNING if colour == "bad" else logging.INFO
        numbered = _NUMBERED.match(text)
        about = {"program": "bridge", **({"invocation": int(numbered.group(1))} if numbered else {})}
        logger.log(level, "bridge", extra={**about, "text": text})


def set_up(*, is_debug: bool, is_json: bool) -> None:
    """Of the bridge's own process, once."""
    quiet = logging.INFO if is_json else logging.WARNING
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if is_debug else quiet,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    if is_json:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter())
        # Its own lines of connections say less than the view's.
        logging.getLogger("websockets").setLevel(logging.WARNING)
