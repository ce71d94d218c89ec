"""Tables to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

from aiohttp import hdrs, web

from api.console.view import HEADERS
from kernel.web.streams import send

MAX_ROWS: Final = 100_000
# A spreadsheet takes what begins so for a formula, and whoever pays chooses some of the texts.
# The wide forms are the same to those of East Asia.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def cell(value: object) -> str:
    """Return a cell that a spreadsheet takes for text."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def line(values: Iterable[object]) -> bytes:
    """Return one line of a table."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow([cell(value) for value in values])
    return out.getvalue().encode()


async def answer(
    request: web.Request, name: str, heads: Sequence[str], pages: AsyncIterator[Sequence[Sequence[object]]]
) -> web.StreamResponse:
    """Send a table page by page, at most `MAX_ROWS` rows."""
    headers = {
        **HEADERS,
        hdrs.CONTENT_TYPE: "text/csv; charset=utf-8",
        hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}.csv"',
    }
    return await send(request, headers, _lines(heads, pages))


async def _lines(heads: Sequence[str], pages: AsyncIterator[Sequence[Sequence[object]]]) -> AsyncIterator[bytes]:
    yield line(heads)
    left = MAX_ROWS
    async for page in pages:
        yield b"".join(map(line, page[:left]))
        left -= len(page)
        if left <= 0:
            return
