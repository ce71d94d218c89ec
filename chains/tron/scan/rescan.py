"""Reading a stretch of time once more, by the histories of accounts: another index than the one logs come from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from chains.errors import ChainError, ChainUnavailable
from chains.rpc.concurrency import gather_individually, is_rate_limited
from chains.rpc.endpoint import Endpoint
from chains.tron.blocks import BlocksPruned
from chains.tron.chain_readers import ChainReaders
from chains.tron.decode import Block
from chains.tron.scan.candidates import CandidateTransactions
from chains.tron.scan.page_reader import told_by_rows
from chains.types import RescanResult

MAX_ROUNDS = 100  # ranges of blocks, where histories cannot be read
MAX_BLOCKS = 1_200  # an hour: a call each, where nothing else is served


class Rescanner:
    """
    Looks again at accounts, each by itself: what cannot be read of one is told of that one.

    Where an endpoint serves no histories, or where nothing proves that they are not behind (nobody pays anybody on
    a quiet chain), its logs are read again: an index that lagged knows more by now.
    """

    def __init__(self, readers: ChainReaders) -> None:
        self._client = readers.client
        self._blocks = readers.blocks
        self._held = readers.retained
        self._logs = readers.logs
        self._by_blocks_reader = readers.block_scanner
        self._account_scanner = readers.account_scanner
        self._pages = readers.pages

    async def read(
        self,
        endpoint: Endpoint,
        *,
        destinations: Sequence[str],
        first_ms: int,
        last_ms: int,
        begin: Block | None = None,
    ) -> RescanResult:
        """
        Return what these received between two times in ms, both included.

        With `begin` no block before that one is looked at; histories go back as far as they do.

        Raises:
            BlocksPruned: this endpoint holds nothing so old.
            ChainError: it can read nothing of it.
        """
        newest = await self._client.newest(endpoint)
        if newest.time_ms // 1000 < last_ms // 1000:
            raise ChainUnavailable(f"its newest irreversible block is {(last_ms - newest.time_ms) // 1000} s too old")
        try:
            known = await self._account_scanner.believable_until(
                endpoint, newest._replace(time_ms=min(newest.time_ms, last_ms))
            )
        except ChainError as exc:
            if is_rate_limited(exc):
                raise
            known = 0
        if known < min(newest.time_ms, last_ms):  # it would leave out the newest, without an error
            whole = await self._whole(endpoint, destinations, first_ms, last_ms, begin)
            return await self._with_histories(whole, endpoint, destinations, first_ms, last_ms)
        return await self._by_histories(endpoint, destinations, first_ms, last_ms)

    async def _by_histories(
        self, endpoint: Endpoint, destinations: Sequence[str], first_ms: int, last_ms: int
    ) -> RescanResult:
        ask = partial(self._account_scanner.read_one, endpoint, first=first_ms, last=last_ms)
        answers = await gather_individually(destinations, ask, alive=partial(self._client.newest, endpoint))
        found, unread = CandidateTransactions(last_ms), {}
        for destination, answer in zip(destinations, answers, strict=True):
            if isinstance(answer, ChainError):
                unread[destination] = str(answer)
            else:
                found.take(answer)
                unread |= dict.fromkeys([destination] if answer.unreadable else [], "a row of it cannot be read")
        transfers = await self._pages.transfers(endpoint, found, frozenset(destinations))
        return RescanResult(transfers, unread, told_by_rows(found))

    async def _with_histories(
        self, whole: RescanResult, endpoint: Endpoint, destinations: Sequence[str], first_ms: int, last_ms: int
    ) -> RescanResult:
        """Add what histories tell, complete or not: they are another index, and may know what the logs do not."""
        try:
            more = await self._by_histories(endpoint, destinations, first_ms, last_ms)
        except ChainError as exc:
            if is_rate_limited(exc):
                raise
            return whole
        told = {(t.tx_hash, t.event_key): t for t in [*more.transfers, *whole.transfers]}
        return RescanResult(list(told.values()), whole.unread, more.unread_logs)

    async def _whole(
        self, endpoint: Endpoint, destinations: Sequence[str], first_ms: int, last_ms: int, begin: Block | None
    ) -> RescanResult:
        """Read by blocks or logs, from the block `begin` on where there is one."""
        if begin is not None:
            if begin.time_ms > last_ms:
                return RescanResult([], {})
            first_ms = max(first_ms, begin.time_ms)
        top = await self._blocks.at(endpoint, last_ms)
        try:
            return await self._by_blocks_or_logs(endpoint, destinations, first_ms, top)
        except ChainError as exc:
            if is_rate_limited(exc):
                raise
            first = await self._blocks.at(endpoint, first_ms)
            oldest = await self._held.oldest(endpoint, first.number, top)
            if oldest is None:
                raise
            raise BlocksPruned(endpoint, oldest) from exc

    async def _by_blocks_or_logs(
        self, endpoint: Endpoint, destinations: Sequence[str], first_ms: int, top: Block
    ) -> RescanResult:
        try:
            return await self._by_logs(endpoint, destinations, first_ms, top)
        except ChainError as exc:
            first = await self._blocks.at(endpoint, first_ms)
            if is_rate_limited(exc) or top.number - first.number > MAX_BLOCKS:
                raise
        return await self._block_scanner(endpoint, destinations, first, top)

    async def _block_scanner(
        self, endpoint: Endpoint, destinations: Sequence[str], first: Block, top: Block
    ) -> RescanResult:
        found, after = CandidateTransactions(top.time_ms), first
        while after.number < top.number:
            page = await self._by_blocks_reader.read(endpoint, destinations, first=after.number, after=after, top=top)
            found.take(page)
            after = await self._blocks.at(endpoint, page.end_ms)
        return RescanResult(await self._pages.transfers(endpoint, found, frozenset(destinations)), {})

    async def _by_logs(
        self, endpoint: Endpoint, destinations: Sequence[str], first_ms: int, top: Block
    ) -> RescanResult:
        found, number = CandidateTransactions(top.time_ms), (await self._blocks.at(endpoint, first_ms)).number
        for _ in range(MAX_ROUNDS):
            page = await self._logs.read(endpoint, destinations, first=number, top=top)
            found.take(page)
            if page.end_ms >= top.time_ms:
                break
            number = (await self._blocks.at(endpoint, page.end_ms)).number + 1
        transfers = await self._pages.transfers(endpoint, found, frozenset(destinations))
        return RescanResult([t for t in transfers if first_ms <= t.block_number], {})
