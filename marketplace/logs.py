"""Logs to stdout: readable lines, or one JSON object a line; bearer tokens never."""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime

import orjson

_BEARER = re.compile(r"(Bearer\s+)\S+", re.IGNORECASE)
_QUIET = ("aiohttp.access", "aiosqlite", "alembic", "asyncio", "sqlalchemy")


def _said(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info is not None:
        text = f"{text}\n{formatter.formatException(record.exc_info)}"
    return _BEARER.sub(r"\1***", text)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class ConsoleFormatter(logging.Formatter):
    """`2026-01-01T00:00:00.000Z INFO  marketplace.app message`"""

    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {record.levelname:<5} {record.name} {_said(self, record)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        said = _said(self, record).encode("utf-8", "backslashreplace").decode()
        entry = {
            "ts": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": said,
        }
        return orjson.dumps(entry).decode()


def configure(*, level: str, form: str) -> None:
    """Send everything to stdout in the format asked for."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if form == "json" else ConsoleFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
