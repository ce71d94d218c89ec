"""Reading as far back as any endpoint can tell, and saying what none could."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import TypeVar

from chains.backfill import Backfill, Pruned, UnreadRange, along_with, gap_reason, read_as_far_back, with_gap
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool
from chains.tron.blocks import BlocksPruned
from chains.tron.chain_readers import ChainReaders
from chains.tron.retained_history import MARGIN
from chains.tron.scan.rescan import Rescanner
from chains.types import Cursor, Head, RescanResult, ScanPage, Targets

T = TypeVar("T")


class DeepHistoryReader:
    """
    Asks the endpoints of one chain for what happened, however long ago.

    One that keeps no block so old is no failure: another is asked. Where none holds it, what is left is read
    from the one that goes back furthest, so that what is paid now is seen.
    """

    def __init__(self, pool: EndpointPool, readers: ChainReaders, *, again: Rescanner, backfill: Backfill) -> None:
        self._pool = pool
        self._blocks = readers.blocks
        self._pages = readers.pages
        self._again = again
        self._backfill = backfill

    async def scan(self, targets: Targets, after: Cursor, head: Head, *, reread_ms: int) -> ScanPage:
        """Read the page after a cursor; along with one that is read again in part, what could not be read before."""
        running = reread_ms > 0
        if running:
            self._backfill.going_on(after.position)
        read = partial(self._pages.scan, targets=targets, after=after, head=head, reread_ms=reread_ms)
        page, gap = await read_as_far_back(self._pool, "scan", partial(self._from_oldest, read))
        if gap is not None:
            self._backfill.note(after.position, gap.position, targets.destinations, gap_reason(gap))
            return page
        if not running:
            return page
        return along_with(page, await self._backfill.fill(partial(self._missing, head=head), beside=after.position))

    async def rescan(
        self, destinations: Sequence[str], *, first_ms: int, last_ms: int, avoiding: Collection[Endpoint]
    ) -> RescanResult:
        """Read a stretch of time once more; what no endpoint holds of it is told of every destination."""
        look = partial(self._again.read, destinations=destinations, first_ms=first_ms, last_ms=last_ms)
        read = partial(self._from_oldest, look)
        again, gap = await read_as_far_back(self._pool, "look_again", read, avoiding=avoiding)
        return with_gap(again, destinations, gap)

    async def _missing(self, unread_range: UnreadRange, *, head: Head) -> ScanPage:
        goal = head._replace(position=min(unread_range.until, head.position))
        targets, after = Targets(unread_range.destinations), Cursor(unread_range.after)
        read = partial(self._pages.scan, targets=targets, after=after, head=goal, reread_ms=0)
        return await self._pool.call("scan", read)

    async def _from_oldest(
        self, read: Callable[..., Awaitable[T]], endpoint: Endpoint, *, gap: Pruned | None = None
    ) -> T:
        """Read all, or from the oldest block on that the endpoint holds."""
        if not isinstance(gap, BlocksPruned):
            return await read(endpoint)
        try:
            return await read(endpoint, begin=gap.oldest)
        except BlocksPruned as exc:
            above = await self._blocks.by_number(endpoint, exc.oldest.number + MARGIN)
            raise BlocksPruned(endpoint, above) from exc
