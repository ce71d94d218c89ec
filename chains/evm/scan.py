"""Pages of logs, each from whichever endpoint can show all of it, by the best source that is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from functools import partial
from typing import TYPE_CHECKING

from chains.errors import (
    ChainError,
    ChainUnavailable,
    LogsBehind,
)
from chains.evm.block_reader import BlockReader
from chains.evm.logs.bloom import BloomCheck
from chains.evm.logs.queries import LogFilter, LogSource
from chains.evm.logs.reader import LogReader
from chains.rpc.endpoint import Behind, Endpoint, Unserved
from chains.rpc.endpoint_pool import EndpointPool
from chains.types import (
    Cursor,
    Fork,
    Head,
    Rail,
    ScanPage,
)

if TYPE_CHECKING:
    from chains.evm.proofs.withheld import WithheldCheck

RESCAN_PAUSE_FACTOR = 9  # a rescan pauses so many times as long as its last query took


class PageScanner:
    """Tries the sources of logs and the endpoints of one chain until a page is read."""

    def __init__(
        self,
        pool: EndpointPool,
        logs: LogReader,
        blocks: BlockReader,
        *,
        blooms: BloomCheck | None,
        withheld: WithheldCheck | None = None,
        clock: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._logs = logs
        self._blocks = blocks
        self._blooms = blooms
        self._withheld = withheld
        self._clock = clock

    async def read(
        self,
        log_filter: LogFilter,
        after: Cursor,
        head: Head,
        *,
        reread: int = 0,
        prefetch: bool = True,
    ) -> ScanPage | Fork:
        """
        Read the page after a cursor from any endpoint, from the source that shows most and is served.

        Raises:
            ChainError: no endpoint serves any source; why logs were refused comes before why receipts were.
        """
        refused: ChainError | None = None
        for source in self._logs.sources.worth_trying(log_filter, self._pool.endpoints):
            read = partial(
                self._read_from,
                log_filter=log_filter,
                source=source,
                after=after,
                head=head,
                reread=reread,
                prefetch=prefetch,
            )
            try:
                return await self._first_readable(read)
            except ChainError as exc:
                # The reason why logs were refused helps an operator more than why receipts are not served.
                refused = exc if refused is None or source is not LogSource.RECEIPTS else refused
        raise refused or ChainUnavailable("no endpoint is asked for logs")

    async def _first_readable(
        self,
        read: Callable[[Endpoint], Awaitable[ScanPage | Fork]],
        *,
        avoiding: Collection[Endpoint] = (),
    ) -> ScanPage | Fork:
        """Return a page all of whose logs can be read; where there is none, the page with the fewest others."""
        incomplete: list[ScanPage] = []
        lagging: list[Behind] = []

        async def strictly(endpoint: Endpoint) -> ScanPage | Fork:
            try:
                page = await read(endpoint)
            except Behind as exc:
                lagging.append(exc)
                raise
            if isinstance(page, ScanPage) and page.unread:
                incomplete.append(page)
                raise Unserved(f"shows logs that cannot be read: {page.unread[0].why}")
            return page

        try:
            return await self._pool.call("eth_getLogs", strictly, avoiding=avoiding)
        except ChainError as exc:
            if lagging and not incomplete:
                raise LogsBehind(str(exc), time=lagging[0].time) from exc
            if not incomplete:
                raise
            return min(incomplete, key=lambda page: len(page.unread))

    async def between(self, log_filter: LogFilter, head: Head, *, since: int, until: int) -> AsyncIterator[ScanPage]:
        """Read the blocks between two moments, from another endpoint than the running scan's where there is one."""
        scanning = {self._pool.preferred}
        started = self._clock()
        ends = []
        for moment in (since - 1, until):
            look = partial(self._blocks.newest_until, time=moment, head=head.position)
            ends.append(await self._pool.call("eth_getBlockByNumber", look, avoiding=scanning))
        cursor, goal = Cursor(ends[0]), Head(ends[1], None, until)
        while cursor.position < goal.position:
            # A rescan takes a tenth of the time: the running scan, which finds payments first, needs the rest.
            await asyncio.sleep(RESCAN_PAUSE_FACTOR * (self._clock() - started))
            started = self._clock()
            read = partial(self._read_from_best_source, log_filter=log_filter, after=cursor, head=goal)
            page = await self._first_readable(read, avoiding=scanning)
            if isinstance(page, Fork):
                raise ChainUnavailable("the chain was reorganised meanwhile")
            yield page
            cursor = page.cursor

    async def _read_from_best_source(
        self, endpoint: Endpoint, *, log_filter: LogFilter, after: Cursor, head: Head
    ) -> ScanPage | Fork:
        """Read a page from this endpoint alone, from the best source it serves: a rescan wants another answer."""
        refused: Unserved | None = None
        for source in self._logs.sources.worth_trying(log_filter, [endpoint]):
            try:
                return await self._logs.read(endpoint, log_filter, source, after=after, head=head, prefetch=False)
            except Unserved as exc:
                refused = exc if refused is None or source is not LogSource.RECEIPTS else refused
        raise refused or Unserved("serves no logs")

    async def _read_from(
        self,
        endpoint: Endpoint,
        *,
        log_filter: LogFilter,
        source: LogSource,
        after: Cursor,
        head: Head,
        reread: int,
        prefetch: bool,
    ) -> ScanPage | Fork:
        page = await self._logs.read(
            endpoint, log_filter, source, after=after, head=head, reread=reread, prefetch=prefetch
        )
        if self._blooms is not None and log_filter.rail is Rail.PROXY and isinstance(page, ScanPage):
            await self._blooms.check(endpoint, page, after.position + 1)
        if self._withheld is not None and isinstance(page, ScanPage) and not log_filter.named:
            crowded = self._logs.sources.limits_of(endpoint).crowded_at(self._clock())
            return await self._withheld.check(endpoint, log_filter, source, page, after, crowded=crowded)
        return page
