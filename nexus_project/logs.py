"""One log line per event: time, level, logger, fixed text, then what the caller put into `extra`; as text or as JSON.

Whoever writes a line keeps secrets out of it; what a traceback or another's package brings along is masked here.
"""

import logging

from gateway import redaction
from nexus_bridge import logs
from nexus_bridge.logs import at, extra

__all__ = ["JsonFormatter", "LineFormatter"]


class JsonFormatter(logs.JsonFormatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return redaction.masked(super().format(record))


class LineFormatter(logging.Formatter):
    """A single line for people; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        more = "".join(f" {key}={_one_line(value)}" for key, value in extra(record).items())
        line = f"{at(record)} {record.levelname.lower()} {record.name}: {_one_line(record.getMessage())}{more}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return redaction.masked(line)


def _one_line(value: object) -> str:
    """What somebody else wrote must not look like a line of ours."""
    text = str(value)
    return text if text.isprintable() else repr(text)
