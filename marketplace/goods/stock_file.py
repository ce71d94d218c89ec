"""What a seller uploads: a CSV file of goods, read whole or refused whole, with the lines that are wrong. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

MAX_ROWS = 1000
MAX_CONTENT = 4096
MAX_PROBLEMS = 50  # that are named; the rest is counted
MAX_TIME = 64
CONTENT, EXPIRES = "content", "expiresAt"
COLUMNS = ((CONTENT,), (CONTENT, EXPIRES))
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class FileItem:
    """One good of a file, and the line it begins at."""

    line: int
    content: str = field(repr=False)
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a line; never what stands in it."""

    line: int
    message: str


class BadStockFile(ValueError):
    """A file that is not taken, and why; `count` problems, of which the first are named."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems[:MAX_PROBLEMS])
        self.count = len(problems)
        first = self.problems[0]
        super().__init__(f"line {first.line} {first.message}")


def read_stock(raw: bytes, now: int) -> list[FileItem]:
    """
    Return the goods of a file, in its order. Cells are data: what looks like a formula is a code like any other.

    Raises:
        BadStockFile: names each line that is wrong.
    """
    rows = list(_rows(_text(raw)))
    if not rows:
        raise BadStockFile([Problem(1, f"must name the columns: {CONTENT}, or {CONTENT},{EXPIRES}")])
    names = tuple(cell.strip() for cell in rows[0][1])
    if names not in COLUMNS:
        raise BadStockFile([Problem(rows[0][0], f"must name the columns: {CONTENT}, or {CONTENT},{EXPIRES}")])
    if len(rows) - 1 > MAX_ROWS:
        raise BadStockFile([Problem(rows[MAX_ROWS + 1][0], f"is beyond the {MAX_ROWS} goods a file may have")])
    if len(rows) == 1:
        raise BadStockFile([Problem(rows[0][0], "is the only one: there are no goods in the file")])
    return _judged(rows[1:], len(names), now)


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw[: exc.start].count(b"\n") + 1
        raise BadStockFile([Problem(line, "is not UTF-8: save the file as CSV UTF-8")]) from None


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Return each row with the line it begins at; empty lines are no rows."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins = 1
    try:
        for cells in reader:
            if any(cells):
                yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as exc:
        raise BadStockFile([Problem(begins, f"is no CSV: {exc}")]) from None


def _judged(rows: Sequence[tuple[int, list[str]]], columns: int, now: int) -> list[FileItem]:
    items, problems, seen = [], [], dict[str, int]()
    for line, cells in rows:
        content, expires = cells[0], cells[1].strip() if len(cells) > 1 else ""
        expires_at = _moment(expires)
        why = _wrong(content, cells, columns) or _expired(expires, expires_at, now)
        if why is None and content in seen:
            why = f"has the same content as line {seen[content]}"
        if why is not None:
            problems.append(Problem(line, why))
            continue
        seen[content] = line
        items.append(FileItem(line, content, expires_at))
    if problems:
        raise BadStockFile(problems)
    return items


def _wrong(content: str, cells: Sequence[str], columns: int) -> str | None:
    if len(cells) > columns:
        return f"has {len(cells)} cells, and there are {columns} columns"
    if not content.strip():
        return "has no content"
    if len(content) > MAX_CONTENT:
        return f"has more than {MAX_CONTENT} characters"
    return "has control characters" if _UNPRINTABLE.search(content) else None


def _expired(text: str, expires_at: int | None, now: int) -> str | None:
    if not text:
        return None
    if expires_at is None:
        return f"has an {EXPIRES} that is no RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z"
    return None if expires_at > now else f"has an {EXPIRES} in the past"


def _moment(text: str) -> int | None:
    """Return unix milliseconds of an RFC 3339 time; None when it is none."""
    if not text or len(text) > MAX_TIME:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return None
        return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1000
    except (ValueError, OverflowError):
        return None
