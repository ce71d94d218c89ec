"""Every jetton transfer to our addresses since a moment, from one endpoint, page by page and none left out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from chains.endpoints import Endpoint
from chains.errors import ChainProtocolError, ChainUnavailable
from chains.ton.client import TonClient
from chains.ton.decode import Row, Tip, parse_block, parse_transfer, rows_of

PAGE = 1_000  # TonCenter's own limit
MOST_PAGES = 100  # in one go; what is left follows in the next
# Shards keep their own clocks: logical times and unix times agree to within seconds. A minute is ample.
CLOCKS_APART_S = 60
REMEMBERED_TIPS = 500
OLDEST_USEFUL_S = 600  # a block further below than this would make us read needlessly much


class Found(NamedTuple):
    """Rows, and the moment up to which they are complete."""

    rows: list[Row]
    until: int  # unix seconds
    read: int  # rows answered, with repetitions


class TransferReader:
    """Reads `/jetton/transfers` in order of logical time: the order by unix time has no tie-break."""

    def __init__(self, client: TonClient) -> None:
        self._client = client
        self._tips: list[Tip] = []  # oldest first: which logical time it was when
        self._newest: dict[Endpoint, Tip] = {}

    async def tip(self, endpoint: Endpoint) -> Tip:
        """Return the newest masterchain block of an endpoint, and remember its logical time."""
        tip = await self._client.tip(endpoint)
        self._newest[endpoint] = tip
        if not self._tips or tip.time > self._tips[-1].time:
            self._tips = [*self._tips[-REMEMBERED_TIPS:], tip]
        return tip

    async def since(self, endpoint: Endpoint, owners: Sequence[str], *, time: int, beyond: int, until: int) -> Found:
        """
        Return what was sent to these owners from `time` on, complete up to `until`.

        Where there is very much, complete up to a moment between `beyond` and `until`.

        Raises:
            ChainUnavailable: the endpoint has not indexed `until` yet.
            ChainProtocolError: its rows are not what was asked for.
        """
        await self._hold(endpoint, until)
        lt = await self._lt_at(endpoint, time - CLOCKS_APART_S)
        read = partial(self._pages, endpoint, lt=lt, beyond=beyond, until=until)
        parts = await self._client.in_parts(endpoint, owners, read)
        rows = {row.key: row for part in parts for row in part.rows}
        complete = min((part.until for part in parts), default=until)
        return Found(list(rows.values()), complete, sum(part.read for part in parts))

    async def between(self, endpoint: Endpoint, owners: Sequence[str], *, first_lt: int, last_lt: int) -> list[Row]:
        """Return what was sent to these owners between two logical times, both included."""
        read = partial(self._pages, endpoint, lt=first_lt, last_lt=last_lt)
        parts = await self._client.in_parts(endpoint, owners, read)
        return list({row.key: row for part in parts for row in part.rows}.values())

    async def _hold(self, endpoint: Endpoint, until: int) -> None:
        """Another endpoint may have told us the head: what this one has not indexed it cannot list."""
        known = self._newest.get(endpoint)
        if known is None or known.time < until:
            known = await self.tip(endpoint)
        if known.time < until:
            raise ChainUnavailable(f"the index is {until - known.time} s behind another endpoint")

    async def _lt_at(self, endpoint: Endpoint, time: int) -> int:
        """Return a logical time that nothing after `time` lies below."""
        for tip in reversed(self._tips):
            if time - OLDEST_USEFUL_S <= tip.time <= time:
                return tip.lt
        question = [("workchain", "-1"), ("end_utime", str(max(0, time))), ("sort", "desc"), ("limit", "1")]
        blocks = rows_of(await self._client.get(endpoint, "blocks", question), "blocks")
        if not blocks:
            return 0  # the index begins later: read all it has
        block = parse_block(blocks[0])
        if block.time > time:
            raise ChainProtocolError("blocks were not answered as asked: end_utime was ignored")
        self._tips = sorted([*self._tips, block])
        return block.lt

    async def _pages(
        self,
        endpoint: Endpoint,
        owners: Sequence[str],
        *,
        lt: int,
        last_lt: int | None = None,
        beyond: int | None = None,
        until: int = 0,
    ) -> Found:
        """Read page after page, to the end or, with `beyond`, at least to later than that."""
        rows: list[Row] = []
        offset = pages = 0
        while True:
            page = await self._page(endpoint, owners, lt, last_lt, offset)
            rows += page
            pages += 1
            if len(page) < PAGE:
                return Found(rows, until, len(rows))
            last = page[-1]
            if last.lt > lt:
                lt, offset = last.lt, 0  # inclusive: rows of that logical time may be on both pages
            else:
                offset += len(page)  # a whole page of one logical time
            so_far = min(until, last.time - CLOCKS_APART_S)
            enough = so_far == until or (pages >= MOST_PAGES and so_far > (beyond or 0))
            if beyond is not None and enough:  # rows may come as fast as they are read
                return Found(rows, so_far, len(rows))

    async def _page(
        self, endpoint: Endpoint, owners: Sequence[str], lt: int, last_lt: int | None, offset: int
    ) -> list[Row]:
        question = [("owner_address", owner) for owner in owners]
        question += [("direction", "in"), ("sort", "asc"), ("limit", str(PAGE)), ("start_lt", str(lt))]
        if last_lt is not None:
            question.append(("end_lt", str(last_lt)))
        if offset:
            question.append(("offset", str(offset)))
        answer = await self._client.get(endpoint, "jetton/transfers", question)
        rows = [parse_transfer(row) for row in rows_of(answer, "jetton_transfers")]
        _check(rows, owners=frozenset(owners), lt=lt)
        return rows


def _check(rows: Sequence[Row], *, owners: frozenset[str], lt: int) -> None:
    """TonCenter ignores parameters it does not know: what comes back must be what was asked for."""
    if any(row.destination not in owners for row in rows):
        raise ChainProtocolError("jetton transfers to somebody else were answered: a filter was ignored")
    if any(row.lt < lt for row in rows):
        raise ChainProtocolError("jetton transfers below start_lt were answered: it was ignored")
    if len(rows) >= PAGE and any(row.lt < before.lt for before, row in pairwise(rows)):
        raise ChainProtocolError("a full page of jetton transfers is not in order: what it leaves out is unknown")
