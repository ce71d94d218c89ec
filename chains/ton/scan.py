"""Pages of transfers from whichever endpoint can tell, and what one could not from another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from chains.backfill import Backfill, Pruned, ReadFrom, UnreadRange, along_with, gap_reason, read_as_far_back
from chains.errors import ChainError
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool
from chains.ton.decode import Row
from chains.ton.transfers import ROUTE, Found, TransferReader
from chains.ton.unreadable_rows import UnreadableRows
from chains.types import Cursor, Head, ScanPage, Targets, Transfer


class TransferScan:
    """Reads the running scan's pages, and remembers what nobody could tell."""

    def __init__(
        self, pool: EndpointPool, reader: TransferReader, *, chain_id: int, clock: Callable[[], float]
    ) -> None:
        self._pool = pool
        self._reader = reader
        self._chain_id = chain_id
        self._unreadable = UnreadableRows()
        self._unread = Backfill("ton", per_second=1, clock=clock)

    def problems(self) -> tuple[str, ...]:
        """Return a sentence for each thing that was passed by."""
        return (*self._unread.problems(), *self._unreadable.problems())

    async def page(self, targets: Targets, after: Cursor, head: Head, *, reread_s: int) -> ScanPage:
        """Read the page after a cursor; along with one that is read again in part, what could not be read before."""
        running = reread_s > 0
        if running:
            self._unread.going_on(after.position)
        owners = sorted(targets.destinations)
        read = partial(self._since, owners=owners, after=after.position, reread_s=reread_s, until=head.position)
        found, gap = await self._read(read)
        self._unreadable.found(found)
        page = self._page(found)
        if gap is not None:
            self._unread.note(after.position, gap.position, targets.destinations, gap_reason(gap))
        elif running:
            missing = partial(self._missing, newest=head.position)
            page = along_with(page, await self._unread.fill(missing, beside=after.position))
        return page

    def _page(self, found: Found) -> ScanPage:
        told = moved(found.rows, self._chain_id)
        return ScanPage(told, Cursor(found.until), time=found.until, rows_read=found.read)

    async def _read(self, read: Callable[..., Awaitable[Found]]) -> tuple[Found, Pruned | None]:
        """Read from one endpoint, and what it cannot tell from another one."""
        asked: list[Endpoint] = []
        found, gap = await read_as_far_back(self._pool, ROUTE, _noting(asked, read))
        return await self._joined(found, read, asked), gap

    async def _joined(self, found: Found, read: Callable[..., Awaitable[Found]], asked: Sequence[Endpoint]) -> Found:
        if not (found.unreadable or found.skipped) or len(self._pool.endpoints) == 1:
            return found
        try:
            return found.joined(await self._pool.call(ROUTE, read, avoiding=asked))
        except ChainError:  # the rest was read, and what is missing is named
            return found

    async def _missing(self, unread_range: UnreadRange, *, newest: int) -> ScanPage:
        after, until = unread_range.after, min(unread_range.until, newest)
        owners, asked = sorted(unread_range.destinations), list[Endpoint]()
        read = partial(self._since, owners=owners, after=after, reread_s=0, until=until)
        found = await self._joined(await self._pool.call(ROUTE, _noting(asked, read)), read, asked)
        self._unreadable.found_late(found)
        if found.skipped:  # the others go on without them
            owner, why = next(iter(found.skipped.items()))
            self._unread.note(
                after, found.until, frozenset(found.skipped), f"transfers to {owner} cannot be read: {why}"
            )
        return self._page(found)

    async def _since(
        self,
        endpoint: Endpoint,
        *,
        owners: Sequence[str],
        after: int,
        reread_s: int,
        until: int,
        gap: Pruned | None = None,
    ) -> Found:
        return await self._reader.since(
            endpoint,
            owners,
            time=max(0, after - reread_s),
            beyond=after,
            until=until,
            whole_from=after if gap is None else None,
        )


def _noting(asked: list[Endpoint], read: Callable[..., Awaitable[Found]]) -> ReadFrom[Found]:
    """Return what reads, and notes which endpoint told it."""

    async def noted(endpoint: Endpoint, *, gap: Pruned | None = None) -> Found:
        found = await read(endpoint, gap=gap)
        asked.append(endpoint)
        return found

    return noted


def moved(rows: Sequence[Row], chain_id: int) -> list[Transfer]:
    """Return the rows that moved something: an aborted sending half moved nothing at all."""
    ordered = sorted(rows, key=lambda row: (row.time, row.lt))
    return [row.transfer(chain_id) for row in ordered if not row.aborted]
