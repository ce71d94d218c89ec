"""Logs to stdout: readable lines, or one JSON object a line."""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

from config.settings import LogSettings

_BEARER = re.compile(r"(Bearer\s+)\S+", re.IGNORECASE)
_QUIET = ("aiohttp.access", "aiosqlite", "apscheduler", "alembic", "asyncio", "sqlalchemy", "web3")


def fields(**values: Any) -> dict[str, Any]:
    """Return `extra` for a log call: `log.info("…", extra=fields(chain=56))`."""
    return {"fields": values}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    return _BEARER.sub(r"\1***", record.getMessage())


class ConsoleFormatter(logging.Formatter):
    """`2026-01-01T00:00:00.000Z INFO  scanner.worker message key=value`"""

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {name}={value}" for name, value in getattr(record, "fields", {}).items())
        line = f"{_time(record)} {record.levelname:<5} {record.name} {_message(record)}{extra}"
        return line if record.exc_info is None else f"{line}\n{self.formatException(record.exc_info)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "ts": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        entry |= getattr(record, "fields", {})
        if record.exc_info is not None:
            entry["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str).decode()


def configure(settings: LogSettings) -> None:
    """Send everything to stdout in the format asked for."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else ConsoleFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
