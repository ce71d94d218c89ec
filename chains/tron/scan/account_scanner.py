"""Looking for payments account by account, and how far what an index of accounts tells can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from chains.errors import ChainError, ChainProtocolError, ChainUnavailable
from chains.rpc.concurrency import gather_limited, is_rate_limited
from chains.rpc.endpoint import Endpoint
from chains.tron.blocks import BlockTimeIndex
from chains.tron.decode import Block
from chains.tron.receipts import ReceiptReader
from chains.tron.rpc.client import MAX_ROWS, TronClient
from chains.tron.scan.block_scanner import BlockScanner
from chains.tron.scan.candidates import CandidateTransactions

INDEX_LAG_MS = 600_000  # how far the index behind account histories may lag without saying so
PROOF_BLOCKS = (0, 1, 2, 20, 200)  # blocks below the newest in which somebody who was paid is looked for
WINDOW_ROWS = 1_000  # a service may end one window of time after so many rows without saying so
MAX_PAGES = 50  # followed by fingerprint, then the next ones are asked for by time


class AccountHistory(NamedTuple):
    """What was read of one account, from when on."""

    first_ms: int
    found: CandidateTransactions


class AccountScanner:
    """Looks for transactions in the histories of accounts."""

    def __init__(
        self,
        client: TronClient,
        *,
        blocks: BlockTimeIndex,
        receipts: ReceiptReader,
        block_scanner: BlockScanner,
        busy_contract: str,
    ) -> None:
        self._client = client
        self._pulse = busy_contract  # a contract that is used all the time
        self._blocks = blocks
        self._receipts = receipts
        self._block_scanner = block_scanner
        self._done: dict[str, AccountHistory] = {}  # accounts that were read before another one failed

    async def believable_until(self, endpoint: Endpoint, top: Block) -> int:
        """
        Return the time in ms up to which histories can be believed, at most that of `top`.

        An index that stands still answers an incomplete history without an error. What it knows of a
        contract that is used in every block gives it away; where it tells of no contract, what it knows of
        somebody who was paid in one of the newest blocks.

        Raises:
            ChainError: nothing proves that it is not behind.
        """
        try:
            newest = await self._client.indexed_until(endpoint, self._pulse)
        except ChainError as exc:
            if is_rate_limited(exc):
                raise
            return await self._proven_until(endpoint, top, exc)
        return top.time_ms if newest >= top.time_ms else newest - 1  # of that block it may not know all

    async def _proven_until(self, endpoint: Endpoint, top: Block, refused: ChainError) -> int:
        """Return up to when the history of somebody who was paid is known to be complete."""
        for below in PROOF_BLOCKS:
            if below >= top.number:
                break
            paid = await self._receipts.some_transfer(endpoint, top.number - below)
            if paid is None:
                continue
            to = paid.transfers[0].destination
            page = await self._client.history(endpoint, to, first=paid.time_ms, last=paid.time_ms, fingerprint=None)
            if any(row.time_ms == paid.time_ms for row in page.rows):
                return paid.time_ms if paid.time_ms == top.time_ms else paid.time_ms - 1
        raise ChainUnavailable(f"nothing proves that its histories are not behind ({refused})")

    async def read(
        self, endpoint: Endpoint, destinations: Sequence[str], *, first_ms: int, last_ms: int
    ) -> CandidateTransactions:
        """Look through the history of every destination."""
        self._done = {address: done for address, done in self._done.items() if done.first_ms <= first_ms}
        found = await gather_limited(destinations, partial(self._remembered, endpoint, first=first_ms, last=last_ms))
        self._done.clear()
        return _combined(found, last_ms)

    async def read_one(self, endpoint: Endpoint, address: str, *, first: int, last: int) -> CandidateTransactions:
        """Look through the history of one destination."""
        found = CandidateTransactions(end_ms=last)
        await self._account(endpoint, address, found, first, last)
        return found

    async def _remembered(self, endpoint: Endpoint, address: str, *, first: int, last: int) -> CandidateTransactions:
        """
        Read one account's history, going on where an attempt stopped that another account's failure ended.

        A thousand accounts take minutes: without this, one failure in a thousand calls would starve them all.
        """
        done = self._done.get(address)
        found = CandidateTransactions(end_ms=last)
        if done is not None:
            found = done.found
            first = max(first, found.end_ms + 1 - INDEX_LAG_MS)
        await self._account(endpoint, address, found, first, last)
        found.end_ms = last
        self._done[address] = AccountHistory(first if done is None else done.first_ms, found)
        return found

    async def _account(
        self, endpoint: Endpoint, address: str, found: CandidateTransactions, first: int, last: int
    ) -> None:
        """Read one account's history to its end, whatever the service forgets to say of the next page."""
        while True:
            newest = await self._pages(endpoint, address, found, first, last)
            if newest is None:
                return
            if newest == first:
                # More rows in one millisecond than fit a page: its block tells them all.
                await self._crowded(endpoint, address, found, first)
                newest = first + 1
            first = newest  # rows of that millisecond may have been cut off: it is read again

    async def _pages(
        self, endpoint: Endpoint, address: str, found: CandidateTransactions, first: int, last: int
    ) -> int | None:
        """
        Follow the fingerprints; None at the end, or where to go on by time.

        A full page without a fingerprint is not the end: the service is known to leave it out. Nor is
        the end of a window with a thousand rows: that was once all it would tell.
        """
        fingerprint, newest, sorted_, rows = None, first, True, 0
        for _ in range(MAX_PAGES):
            page = await self._client.history(endpoint, address, first=first, last=last, fingerprint=fingerprint)
            found.rows += page.length
            found.unreadable |= page.unreadable
            rows += page.length
            if any(not first <= row.time_ms <= last for row in page.rows):
                raise ChainProtocolError("history rows are not of the times asked for")
            for row in page.rows:
                sorted_ = sorted_ and row.time_ms >= newest
                newest = max(newest, row.time_ms)
                # Approvals are listed among transfers. Whom a row is about may be spelt in a way nobody knows.
                if row.kind == "Transfer" and row.destination in {address, None}:
                    found.at_time[row.tx_hash] = row.time_ms
                    if row.event is not None:  # once: rows are repeated from page to page
                        found.told[row.tx_hash] = list({*found.told.get(row.tx_hash, []), row.event})
            fingerprint = page.fingerprint
            if page.length == 0:
                return None  # whatever it says of a next page: one that said so for ever once hung the scan
            if fingerprint is None:
                if page.length < MAX_ROWS and rows < WINDOW_ROWS:
                    return None
                break
        if not sorted_:
            raise ChainProtocolError("history rows are not in the order asked for, and do not say how to go on")
        return newest

    async def _crowded(self, endpoint: Endpoint, address: str, found: CandidateTransactions, time_ms: int) -> None:
        block = await self._blocks.at(endpoint, time_ms)
        read = await self._receipts.whole_block(endpoint, block.number)
        if read is None:
            raise ChainUnavailable(f"the node has not got the receipts of block {block.number} yet")
        self._block_scanner.take(found, read, {address})


def _combined(found: Sequence[CandidateTransactions], end_ms: int) -> CandidateTransactions:
    joined = CandidateTransactions(end_ms)
    for part in found:
        joined.take(part)
    return joined
