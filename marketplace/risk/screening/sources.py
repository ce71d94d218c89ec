"""Where the list comes from: a file somebody keeps up to date, or a download."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import aiohttp

from marketplace.risk.screening.sdn import SdnParser, UnreadableList

CHUNK = 1 << 20
MAX_BYTES = 512 << 20  # the advanced list was 80 MB in 2023


@dataclass(frozen=True, slots=True)
class Published:
    """A list on its way in: when it was published or last fetched (unix ms), and its bytes."""

    as_of: int
    pieces: AsyncIterator[bytes]


class Source(Protocol):
    """Where the list comes from."""

    def __call__(self) -> AbstractAsyncContextManager[Published]:
        """
        Open the list from its beginning.

        Raises:
            OSError, ClientError, TimeoutError, UnreadableList: it cannot be had now.
        """


def from_path(path: Path) -> Source:
    """Read a file that somebody keeps up to date; it is as old as its last change."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Published]:
        file = await asyncio.to_thread(path.open, "rb")
        try:
            changed = os.fstat(file.fileno()).st_mtime_ns // 1_000_000

            async def pieces() -> AsyncIterator[bytes]:
                while piece := await asyncio.to_thread(file.read, CHUNK):
                    yield piece

            yield Published(changed, pieces())
        finally:
            file.close()

    return opened


def from_url(session: aiohttp.ClientSession, url: str, now_ms: Callable[[], int], timeout_s: float = 900) -> Source:
    """Download the list; it is as old as the download."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Published]:
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=30, sock_read=60)
        async with session.get(url, timeout=timeout) as response:  # OFAC redirects to signed addresses
            if response.status != HTTPStatus.OK:
                raise UnreadableList(f"its server answered {response.status}")
            yield Published(now_ms(), response.content.iter_chunked(CHUNK))

    return opened


@dataclass(frozen=True, slots=True)
class SanctionsList:
    """Canonical addresses with their entries, and how many entries of our chains could not be read."""

    listed: Mapping[str, str]
    unreadable: int


async def read_list(pieces: AsyncIterator[bytes]) -> SanctionsList:
    """
    Return what a list says, parsed off the event loop.

    Raises:
        UnreadableList: it is no SDN list, not a whole one, or too large to be one.
    """
    parser, size = SdnParser(), 0
    async for piece in pieces:
        size += len(piece)
        if size > MAX_BYTES:
            raise UnreadableList(f"is larger than {MAX_BYTES} bytes")
        await asyncio.to_thread(parser.feed, piece)
    await asyncio.to_thread(parser.feed, b"", last=True)
    return SanctionsList(parser.listed, parser.unreadable)
