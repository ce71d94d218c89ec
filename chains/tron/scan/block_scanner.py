"""Looking for payments block by block, for services whose JSON-RPC cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from chains.errors import ChainUnavailable
from chains.rpc.concurrency import gather_limited
from chains.rpc.endpoint import Endpoint
from chains.tron.blocks import BlockTimeIndex
from chains.tron.decode import Block, BlockReceipts, mentions
from chains.tron.receipts import ReceiptReader
from chains.tron.scan.candidates import CandidateTransactions
from chains.tron.scan.strategy import BLOCKS_A_PAGE


class BlockScanner:
    """Looks for transactions in the receipts of blocks."""

    def __init__(self, *, blocks: BlockTimeIndex, receipts: ReceiptReader) -> None:
        self._blocks = blocks
        self._receipts = receipts

    def unread(self, first: int, last: int) -> int:
        """Return how many of these blocks would have to be asked for."""
        return sum(not self._receipts.holds_block(number) for number in range(first, last + 1))

    async def read(
        self, endpoint: Endpoint, destinations: Sequence[str], *, first: int, after: Block, top: Block
    ) -> CandidateTransactions:
        """
        Look through the receipts of a page of blocks; those up to `after` are read again.

        Raises:
            ChainUnavailable: the receipts of the very first new block are not there yet.
        """
        last = min(top.number, after.number + BLOCKS_A_PAGE)
        numbers = range(first, last + 1)
        lists = await gather_limited(numbers, partial(self._receipts.whole_block, endpoint))
        found = CandidateTransactions(end_ms=0)
        ours, end = set(destinations), last
        for number, read in zip(numbers, lists, strict=True):
            if read is None:
                end = number - 1
                break
            found.rows += len(read.receipts)
            self.take(found, read, ours)
        if end < last and end <= after.number:
            raise ChainUnavailable(f"the node has not got the receipts of block {end + 1} yet")
        found.end_ms = (await self._blocks.by_number(endpoint, end)).time_ms if end < top.number else top.time_ms
        return found

    def take(self, found: CandidateTransactions, read: BlockReceipts, ours: set[str]) -> None:
        """Add the transactions of a block that concern some of ours, and what cannot be read of them."""
        touching = [r for r in read.receipts if any(event.destination in ours for event in r.transfers)]
        self._receipts.keep(touching)
        found.at_block.update((receipt.tx_hash, receipt.block) for receipt in touching)
        for raw in read.unreadable:
            if mentions(raw, ours):  # nobody else's concern; what another question shows of it decides
                found.unreadable[str(raw.get("id"))[:64]] = "its receipt cannot be read"
