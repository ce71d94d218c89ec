"""Every jetton transfer to our addresses since a moment, from one endpoint, page by page and none left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from chains.backfill import Pruned
from chains.errors import ChainError, ChainProtocolError, ChainUnavailable
from chains.rpc.endpoint import Endpoint, Unserved
from chains.ton.decode import Row, Tip, parse_block, parse_transfer
from chains.ton.toncenter.address_batches import RETRY_SMALLER, AsksTooMuch
from chains.ton.toncenter.client import TonClient
from chains.ton.toncenter.row_limits import MAX_ROWS, STEP_DOWN
from chains.ton.values import Readable, rows_of

ROUTE = "jetton/transfers"
PAGE = MAX_ROWS
MAX_PAGES = 100  # in one go; what is left follows in the next
# Shards keep their own clocks: logical times and unix times agree to within seconds. A minute is ample.
CLOCKS_APART_S = 60
MANY_UNREADABLE = 3  # rows, and no other in a page: the index speaks another dialect
REMEMBERED_TIPS = 500
OLDEST_USEFUL_S = 600  # a block further below than this would make us read needlessly much


class IndexPruned(Pruned):
    """The index begins later than what is asked for."""

    def __init__(self, endpoint: Endpoint, begins: int) -> None:
        moment = datetime.fromtimestamp(begins, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        super().__init__(f"the index of {endpoint.label} begins at {moment}", begins)


class Side(NamedTuple):
    """Which side of a transfer the owners that are asked about stand on."""

    direction: str  # as TonCenter calls it
    owner_of: Callable[[Row], str]


RECEIVED = Side("in", attrgetter("destination"))
SENT = Side("out", attrgetter("source"))


class Found(NamedTuple):
    """Rows, and the moment up to which they are complete."""

    rows: list[Row]
    until: int  # unix seconds
    read: int  # rows answered, with repetitions
    unreadable: dict[str, str] = {}  # rows that could not be read, and why  # noqa: RUF012 - never changed
    skipped: dict[str, str] = {}  # owners that could not be read, and why  # noqa: RUF012

    def joined(self, other: Found) -> Found:
        """Return what two endpoints told of the same question; missing is what neither could tell."""
        rows = {row.key: row for row in [*other.rows, *self.rows]}
        read = {row.tx_hash for row in rows.values()}
        return Found(
            list(rows.values()),
            min(self.until, other.until),
            self.read + other.read,
            {name: why for name, why in self.unreadable.items() if name not in read},
            {owner: why for owner, why in self.skipped.items() if owner in other.skipped},
        )


class TransferReader:
    """Reads `/jetton/transfers` in order of logical time: the order by unix time has no tie-break."""

    def __init__(self, client: TonClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        # Oldest first: which logical time it was when. Each endpoint's own word: one that made up a logical time
        # far ahead would have all the others asked from there on, and what lies below would never be read.
        self._tips: dict[Endpoint, list[Tip]] = {}
        self._newest: dict[Endpoint, Tip] = {}

    async def tip(self, endpoint: Endpoint) -> Tip:
        """Return the newest masterchain block of an endpoint, and remember its logical time."""
        tip = await self._client.tip(endpoint)
        self._newest[endpoint] = tip
        known = [each for each in self._tips.get(endpoint, []) if each.lt < tip.lt and each.time < tip.time]
        self._tips[endpoint] = [*known[-REMEMBERED_TIPS:], tip]
        return tip

    async def since(
        self,
        endpoint: Endpoint,
        owners: Sequence[str],
        *,
        time: int,
        beyond: int,
        until: int,
        whole_from: int | None = None,
    ) -> Found:
        """
        Return what was sent to these owners from `time` on, complete up to `until`.

        Where there is very much, complete up to a moment between `beyond` and `until`.

        Raises:
            ChainUnavailable: the endpoint has not indexed `until` yet.
            ChainProtocolError: its rows are not what was asked for.
            IndexPruned: it has nothing so old as `whole_from`, where that is said.
        """
        await self._hold(endpoint, until)
        lt = await self.lt_at(endpoint, time - CLOCKS_APART_S)
        begins = self._client.begins(endpoint)
        # Both must say so: that it shows no older block, and which one is its first.
        if whole_from is not None and lt == 0 and begins is not None and begins > whole_from:
            raise IndexPruned(endpoint, begins)
        read = partial(self._pages, endpoint, lt=lt, beyond=beyond, until=until)
        skipped: dict[str, str] = {}
        parts = await self._client.address_batches.ask(endpoint, owners, read, skipped=skipped)
        rows = {row.key: row for part in parts for row in part.rows}
        complete = min((part.until for part in parts), default=until)
        unreadable = {name: why for part in parts for name, why in part.unreadable.items()}
        return Found(list(rows.values()), complete, sum(part.read for part in parts), unreadable, skipped)

    async def between(self, endpoint: Endpoint, owners: Sequence[str], *, first_lt: int, last_lt: int) -> list[Row]:
        """Return what was sent to these owners between two logical times, both included."""
        read = partial(self._pages, endpoint, lt=first_lt, last_lt=last_lt)
        parts = await self._client.address_batches.ask(endpoint, owners, read)
        return list({row.key: row for part in parts for row in part.rows}.values())

    async def sent_between(
        self, endpoint: Endpoint, senders: Sequence[str], *, first_lt: int, last_lt: int
    ) -> Readable[Row]:
        """Return what these sent between two logical times, both included, and why the rest cannot be read."""
        read = partial(self._pages, endpoint, lt=first_lt, last_lt=last_lt, side=SENT)
        parts = await self._client.address_batches.ask(endpoint, senders, read)
        rows = {row.key: row for part in parts for row in part.rows}
        unreadable = {name: why for part in parts for name, why in part.unreadable.items()}
        return Readable(list(rows.values()), unreadable)

    async def _hold(self, endpoint: Endpoint, until: int) -> None:
        """Another endpoint may have told us the head: what this one has not indexed it cannot list."""
        known = self._newest.get(endpoint)
        if known is None or known.time < until:
            known = await self.tip(endpoint)
        if known.time < until:
            raise ChainUnavailable(f"the index is {until - known.time} s behind another endpoint")

    async def lt_at(self, endpoint: Endpoint, time: int) -> int:
        """Return a logical time that nothing after `time` lies below."""
        for tip in reversed(self._tips.get(endpoint, [])):
            if time - OLDEST_USEFUL_S <= tip.time <= time:
                return tip.lt
        question = [("workchain", "-1"), ("end_utime", str(max(0, time))), ("sort", "desc"), ("limit", "1")]
        try:
            blocks = rows_of(await self._client.get(endpoint, "blocks", question), "blocks")
        except Unserved:
            return 0  # it tells of no block but the newest: an address of one payment has few rows in all
        if not blocks:
            return 0  # the index begins later: read all it has
        block = parse_block(blocks[0])
        if block.time > time:
            raise ChainProtocolError("blocks were not answered as asked: end_utime was ignored")
        self._tips[endpoint] = sorted([*self._tips.get(endpoint, []), block])
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
        side: Side = RECEIVED,
    ) -> Found:
        """Read page after page, to the end or, with `beyond`, at least to later than that."""
        rows: list[Row] = []
        unreadable: dict[str, str] = {}
        offset = pages = read = 0
        limit = self._client.row_limits.of(endpoint, ROUTE, most=PAGE)
        size, refused = limit.size, False
        while True:
            try:
                page = await self._page(endpoint, owners, lt, last_lt, offset, size, side)
            except RETRY_SMALLER as exc:
                fewer = self._fewer(endpoint, owners, size, exc)
                if fewer is None:
                    raise
                if not refused:
                    await self.tip(endpoint)  # one that answers nothing at all is down, and no number helps
                size, refused = fewer, True
                continue
            if refused:
                limit.refused(size * 2)
                refused = False
            rows += page.rows
            unreadable |= page.unreadable
            pages += 1
            got = len(page.rows) + len(page.unreadable)
            read += got
            if got < size:
                return Found(rows, until, read, unreadable)
            limit.served(size)
            if not page.rows:
                offset += got
                continue
            last = page.rows[-1]
            if last.lt > lt:
                lt, offset = last.lt, 0  # inclusive: rows of that logical time may be on both pages
            else:
                offset += got  # a whole page of one logical time
            so_far = min(until, last.time - CLOCKS_APART_S)
            enough = so_far == until or (pages >= MAX_PAGES and so_far > (beyond or 0))
            if beyond is not None and enough:  # rows may come as fast as they are read
                return Found(rows, so_far, read, unreadable)

    def _fewer(self, endpoint: Endpoint, owners: Sequence[str], size: int, refused: ChainError) -> int | None:
        """Return how many rows to ask for after a refusal; None when fewer owners are to be asked about."""
        if len(owners) > 1:
            return (
                self._client.row_limits.fewer(endpoint, ROUTE, size, refused)
                if isinstance(refused, AsksTooMuch)
                else None
            )
        return None if size == 1 else max(1, size // STEP_DOWN)  # one owner with very many rows

    async def _page(
        self,
        endpoint: Endpoint,
        owners: Sequence[str],
        lt: int,
        last_lt: int | None,
        offset: int,
        limit: int,
        side: Side,
    ) -> Readable[Row]:
        question = [("owner_address", owner) for owner in owners]
        question += [("direction", side.direction), ("sort", "asc"), ("limit", str(limit)), ("start_lt", str(lt))]
        if last_lt is not None:
            question.append(("end_lt", str(last_lt)))
        if offset:
            question.append(("offset", str(offset)))
        answer = await self._client.get(endpoint, ROUTE, question)
        raw = rows_of(answer, "jetton_transfers")
        page = Readable[Row].of(raw, parse_transfer)
        if not page.rows and len(strange := _not_of_strangers(page.unreadable)) >= MANY_UNREADABLE:
            raise ChainProtocolError(f"jetton transfers cannot be read: {strange[0]}")
        _check(page.rows, owners=frozenset(owners), lt=lt, full=len(raw) >= limit, owner_of=side.owner_of)
        return page


def _not_of_strangers(unreadable: Mapping[str, str]) -> list[str]:
    """Return why rows cannot be read, without what whoever deploys a jetton can cause: they must stop nobody."""
    return [why for why in unreadable.values() if not is_of_strangers(why)]


def is_of_strangers(why: str) -> bool:
    """Say whether whoever deploys a jetton can make a row unreadable so: it is no transfer of anything real."""
    return why.startswith(("jetton_master", "source"))


def _check(rows: Sequence[Row], *, owners: frozenset[str], lt: int, full: bool, owner_of: Callable[[Row], str]) -> None:
    """TonCenter ignores parameters it does not know: what comes back must be what was asked for."""
    if any(owner_of(row) not in owners for row in rows):
        raise ChainProtocolError("jetton transfers to somebody else were answered: a filter was ignored")
    if any(row.lt < lt for row in rows):
        raise ChainProtocolError("jetton transfers below start_lt were answered: it was ignored")
    if full and any(row.lt < before.lt for before, row in pairwise(rows)):
        raise ChainProtocolError("a full page of jetton transfers is not in order: what it leaves out is unknown")
