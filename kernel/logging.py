"""Logs to stdout: readable lines, or one JSON object a line."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

_BEARER = re.compile(r"(Bearer\s+)\S+", re.IGNORECASE)
_QUIET = (
    "aiohttp.access",
    "aiosqlite",
    "alembic",
    "apscheduler",
    "asyncio",
    "httpcore",
    "httpx",
    "pytoniq",
    "sqlalchemy",
    "urllib3",
    "web3",
)
# JSON lets these stand as they are, and what collects logs takes some of them for the end of a line.
_NO_BREAKS = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}
_JSON_INTEGERS = range(-(2**63), 2**64)  # orjson writes no others
_RESERVED = frozenset({"ts", "level", "logger", "message", "traceback"})


def fields(**values: Any) -> dict[str, Any]:
    """Return `extra` for a log call: `log.info("…", extra=fields(chain=56))`."""
    return {"fields": values}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _masked(text: str) -> str:
    return _BEARER.sub(r"\1***", text)


def _line(text: str) -> str:
    """Return text that stays on its line: symbols, paths and errors may come from strangers."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _plain(value: Any) -> Any:
    """Return a value every line of JSON can hold; an event must not be lost for one of its fields."""
    match value:
        case None | bool() | float():
            return value
        case int():
            return value if value in _JSON_INTEGERS else str(value)
        case Mapping():
            return {_text(name): _plain(inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(inner) for inner in value]
        case _:
            return _text(value)


def _text(value: Any) -> str:
    return _masked(str(value)).encode("utf-8", "backslashreplace").decode()


class ConsoleFormatter(logging.Formatter):
    """`2026-01-01T00:00:00.000Z INFO  scanner.worker message key=value`"""

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {name}={value}" for name, value in getattr(record, "fields", {}).items())
        said = _line(_masked(f"{record.getMessage()}{extra}"))
        line = f"{_time(record)} {record.levelname:<5} {record.name} {said}"
        if record.exc_info is None:
            return line
        trace = _masked(self.formatException(record.exc_info)).split("\n")
        return "\n".join([line, *(f"  {_line(part)}" for part in trace)])


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "ts": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _text(record.getMessage()),
        }
        for name, value in getattr(record, "fields", {}).items():
            entry[f"{name}_" if name in _RESERVED else name] = _plain(value)
        if record.exc_info is not None:
            entry["traceback"] = _text(self.formatException(record.exc_info))
        return orjson.dumps(entry).decode().translate(_NO_BREAKS)


def configure(*, level: str, form: str) -> None:
    """Send everything to stdout in the format asked for."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if form == "json" else ConsoleFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
