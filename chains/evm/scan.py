"""Pages of logs, each from whichever endpoint can show all of it, by the best source that is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from chains.errors import (
    ChainError,
    ChainUnavailable,
    LogsBehind,
)
from chains.evm.block_reader import BlockReader
from chains.evm.logs.bloom import BloomCheck
from chains.evm.logs.queries import LOGS_METHOD, LogFilter, LogSource, merge_pages
from chains.evm.logs.reader import LogReader
from chains.evm.rpc.client import RpcClient
from chains.heads.head_track import ObservedHead
from chains.rpc.endpoint import Behind, Endpoint, Unserved
from chains.rpc.endpoint_pool import EndpointPool
from chains.rpc.jsonrpc_messages import Call
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


class PageQuestion(NamedTuple):
    """A page of the running scan."""

    log_filter: LogFilter
    after: Cursor
    head: Head
    reread: int


class PageScanner:
    """Tries the sources of logs and the endpoints of one chain until a page is read."""

    def __init__(
        self,
        client: RpcClient,
        pool: EndpointPool,
        logs: LogReader,
        blocks: BlockReader,
        *,
        blooms: BloomCheck | None,
        withheld: WithheldCheck | None = None,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._pool = pool
        self._logs = logs
        self._blocks = blocks
        self._blooms = blooms
        self._withheld = withheld
        self._clock = clock

    async def head_with_pages(self, endpoint: Endpoint, pages: Sequence[PageQuestion]) -> ObservedHead:
        """
        Return the head of an endpoint, asked for in one request with pages that are read next.

        They go up to blocks that an earlier answer has shown. Up to `latest`, or to a guess, an endpoint that answers
        the calls of a batch side by side may leave out the newest block's logs without an error.
        """
        asked: list[tuple[Rail, list[Call]]] = []
        for log_filter, after, head, reread in pages:
            calls = self._logs.calls_ahead(endpoint, log_filter, after=after, head=head, reread=reread)
            asked += [] if calls is None else [(log_filter.rail, calls)]
        calls, places = merge_pages([calls for _, calls in asked])
        head_calls = self._blocks.head_calls()
        answers = await self._client.batch(endpoint, [*head_calls, *calls])
        rest = answers[len(head_calls) :]
        for (rail, page), mine in zip(asked, places, strict=True):
            self._logs.answered_ahead(endpoint, rail, page, [rest[place] for place in mine])
        return self._blocks.read_head(answers[: len(head_calls)])

    def forget_ahead(self) -> None:
        """Take no answer from before for what is asked from now on."""
        self._logs.forget_ahead()

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
                return await self._first_readable(read, rail=log_filter.rail if prefetch else None)
            except ChainError as exc:
                # The reason why logs were refused helps an operator more than why receipts are not served.
                refused = exc if refused is None or source is not LogSource.RECEIPTS else refused
        raise refused or ChainUnavailable("no endpoint is asked for logs")

    async def _first_readable(
        self,
        read: Callable[[Endpoint], Awaitable[ScanPage | Fork]],
        *,
        avoiding: Collection[Endpoint] = (),
        rail: Rail | None = None,
    ) -> ScanPage | Fork:
        """
        Return a page all of whose logs can be read; where there is none, the page with the fewest others.

        With `rail`, it is one of the running scan.
        """
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
            return await self._pool.call(
                LOGS_METHOD,
                strictly,
                avoiding=avoiding,
                is_answered=lambda endpoint: rail is not None and self._logs.has_answers(endpoint, rail),
            )
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
                page = await self._logs.read(endpoint, log_filter, source, after=after, head=head, prefetch=False)
            except Unserved as exc:
                refused = exc if refused is None or source is not LogSource.RECEIPTS else refused
                continue
            # What is shown is compared with its blocks; for what may be kept back the running scan has asked already.
            shows = isinstance(page, ScanPage) and bool(page.transfers)
            return await self._compared(endpoint, log_filter, source, page, after) if shows else page
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
        return await self._compared(endpoint, log_filter, source, page, after)

    async def _compared(
        self, endpoint: Endpoint, log_filter: LogFilter, source: LogSource, page: ScanPage | Fork, after: Cursor
    ) -> ScanPage | Fork:
        """Return a page that is what its blocks hold, on a chain with proofs."""
        if self._withheld is not None and isinstance(page, ScanPage) and not log_filter.named:
            crowded = self._logs.sources.limits_of(endpoint).crowded_at(self._clock())
            return await self._withheld.check(endpoint, log_filter, source, page, after, crowded=crowded)
        return page
