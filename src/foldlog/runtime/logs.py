"""Structured logs: one JSON object a line, with the correlation id and whatever else the record carries."""

import json
import logging
from datetime import UTC, datetime
from typing import Any, TextIO

_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `logger`, `message`, the record's extra fields, and `exception` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((name, value) for name, value in vars(record).items() if name not in _KNOWN and value != "")
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # A lone surrogate, which no stream takes, becomes the escape that JSON has for it.
        return json.dumps(line, default=str, ensure_ascii=False).encode(errors="backslashreplace").decode()


def log_json(stream: TextIO, level: int = logging.INFO) -> None:
    """Send Foldlog's logs to a stream as JSON lines, unless the program has set up logging of its own."""
    logger = logging.getLogger("foldlog")
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(level)
