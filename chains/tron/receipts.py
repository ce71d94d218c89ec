"""The one place transfers come from, whichever way their transaction was found: its irreversible receipt."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from chains.endpoints import Endpoint
from chains.gather import gather_apart
from chains.tron.client import TronClient
from chains.tron.decode import BlockReceipts, Receipt

MOST_KEPT = 20_000
BLOCKS_KEPT = 64  # more than what is read again every poll


class ReceiptReader:
    """Reads receipts, and remembers them, so that what is read again every poll costs nothing."""

    def __init__(self, client: TronClient) -> None:
        self._client = client
        self._kept: dict[str, Receipt] = {}
        self._blocks: dict[int, BlockReceipts] = {}

    async def resolve(self, endpoint: Endpoint, hashes: Iterable[str]) -> dict[str, Receipt]:
        """Return the receipts of these transactions, without those the node does not hold or show readably (yet)."""
        wanted = list(dict.fromkeys(hashes))
        alive = partial(self._client.newest, endpoint)
        found = await gather_apart(wanted, partial(self._one, endpoint), alive=alive)
        return {receipt.tx_hash: receipt for receipt in found if isinstance(receipt, Receipt)}

    async def _one(self, endpoint: Endpoint, tx_hash: str) -> Receipt | None:
        receipt = self._kept.get(tx_hash)
        if receipt is None:
            receipt = await self._client.receipt(endpoint, tx_hash)
            # Kept at once: when a later question fails, the next attempt has that much less to ask.
            self.keep([] if receipt is None else [receipt])
        return receipt

    def keep(self, receipts: Iterable[Receipt]) -> None:
        """Remember receipts that will be asked for."""
        self._kept.update((receipt.tx_hash, receipt) for receipt in receipts)
        while len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]

    async def block(self, endpoint: Endpoint, number: int) -> list[Receipt] | None:
        """
        Return the receipts with transfers of one block; None when the node has not got them yet.

        The list of a block that is not indexed is empty, as is that of an empty block: the block tells.
        """
        read = await self.whole_block(endpoint, number)
        return None if read is None else read.receipts

    async def whole_block(self, endpoint: Endpoint, number: int) -> BlockReceipts | None:
        """Return the same with those that cannot be read."""
        if number not in self._blocks:
            read = await self._client.receipts(endpoint, number)
            if not (read.receipts or read.unreadable) and not await self._client.is_empty(endpoint, number):
                return None
            self._blocks[number] = read._replace(receipts=[receipt for receipt in read.receipts if receipt.credits])
            while len(self._blocks) > BLOCKS_KEPT:
                del self._blocks[next(iter(self._blocks))]
        return self._blocks[number]

    def holds_block(self, number: int) -> bool:
        """Say whether a block would be answered without asking."""
        return number in self._blocks
