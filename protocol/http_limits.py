"""How long the header of an answer may be that we read as a client, of a node, a receiver or the scanner alike."""

from __future__ import annotations

from typing import Final, TypedDict

MAX_HEADER_BYTES: Final = 64 * 1024  # a line
MAX_HEADERS: Final = 1_000


class HeaderLimits(TypedDict):
    """The arguments by which `aiohttp.ClientSession` and its requests take them."""

    max_line_size: int
    max_field_size: int
    max_headers: int


# aiohttp's own limit of 8,190 bytes cut off whoever sends long cookies or policies (aio-libs/aiohttp#2988): a node
# could not be read, and a webhook that had been delivered counted as undelivered (docs/rules.md, C).
HEADER_LIMITS: Final[HeaderLimits] = {
    "max_line_size": MAX_HEADER_BYTES,
    "max_field_size": MAX_HEADER_BYTES,
    "max_headers": MAX_HEADERS,
}
