"""From transactions that may concern us to a page of transfers: nothing is passed by that cannot be told yet."""

from __future__ import annotations

from collections.abc import Collection

from chains.endpoints import Endpoint
from chains.errors import ChainProtocolError, ChainUnavailable
from chains.tron.blocks import BlockFinder
from chains.tron.decode import Receipt, transfers_of
from chains.tron.reader import Reader
from chains.tron.receipts import ReceiptReader
from chains.tron.sighting import Sighting
from chains.types import Cursor, Head, Holding, Movement, ScanPage, Targets, Transfer


class PageReader:
    """Reads pages from one chain."""

    def __init__(self, reader: Reader, *, receipts: ReceiptReader, blocks: BlockFinder, chain_id: int) -> None:
        self._reader = reader
        self._receipts = receipts
        self._blocks = blocks
        self._chain_id = chain_id
        self._told: tuple[int, set[str]] = (-1, set())  # a cursor that is stuck, and what was told above it

    async def scan(
        self, endpoint: Endpoint, *, targets: Targets, after: Cursor, head: Head, reread_ms: int
    ) -> ScanPage:
        """
        Read the page after a cursor.

        Raises:
            ChainUnavailable: a receipt is missing right after the cursor, and all that is above was told.
        """
        found, receipts, end = await self._read(
            endpoint, targets.destinations, after_ms=after.position, top_ms=head.position, reread_ms=reread_ms
        )
        transfers = [
            transfer
            for receipt in receipts
            for transfer in transfers_of(receipt, chain_id=self._chain_id, destinations=targets.destinations)
        ]
        if end <= after.position:
            # The cursor waits for a receipt; what else was found need not wait with it, but is told once.
            end = after.position
            stuck, told = self._told
            fresh = {transfer.tx_hash for transfer in transfers} - (told if stuck == end else set())
            if not fresh:
                raise ChainUnavailable("a transaction into one of our addresses has no receipt yet")
            self._told = (end, fresh | (told if stuck == end else set()))
        return ScanPage(transfers, Cursor(end), time=end // 1000, rows_read=found.rows)

    async def movements(
        self, endpoint: Endpoint, *, wanted: Collection[Holding], first: int, last: int
    ) -> list[Movement]:
        """Return what holders received of tokens between two times, both included, in chain order."""
        holders = frozenset(holding.holder for holding in wanted)
        seen: dict[str, Receipt] = {}
        after, top = first - 1, (await self._blocks.at(endpoint, last)).time_ms
        while after < top:
            _, receipts, end = await self._read(endpoint, holders, after_ms=after, top_ms=top, reread_ms=0)
            if end <= after:
                raise ChainUnavailable("a transaction into one of these addresses has no receipt yet")
            seen |= {receipt.tx_hash: receipt for receipt in receipts}
            after = end
        in_order = sorted(seen.values(), key=lambda receipt: receipt.time_ms)
        moved = [
            _movement(transfer)
            for receipt in in_order
            if first <= receipt.time_ms <= last
            for transfer in transfers_of(receipt, chain_id=self._chain_id, destinations=holders)
        ]
        return [movement for movement in moved if Holding(movement.destination, movement.token) in wanted]

    async def _read(
        self, endpoint: Endpoint, destinations: frozenset[str], *, after_ms: int, top_ms: int, reread_ms: int
    ) -> tuple[Sighting, list[Receipt], int]:
        """Return what was found, the receipts there are, and up to where nothing is missing."""
        found = await self._reader.look(endpoint, destinations, after_ms=after_ms, top_ms=top_ms, reread_ms=reread_ms)
        resolved = await self._receipts.resolve(endpoint, found.hashes)
        for tx_hash in found.hashes:
            if tx_hash not in resolved and (late := await self._late(endpoint, found, tx_hash)) is not None:
                resolved[tx_hash] = late
        _check(found, resolved)
        missing = [tx_hash for tx_hash in found.hashes if tx_hash not in resolved]
        stops = [await self._time_of(endpoint, found, tx_hash) - 1 for tx_hash in missing]
        return found, list(resolved.values()), min([found.end_ms, *stops])

    async def _late(self, endpoint: Endpoint, found: Sighting, tx_hash: str) -> Receipt | None:
        """Look for a receipt among those of its block: the two are indexed apart."""
        number = found.at_block.get(tx_hash)
        if number is None:
            number = (await self._blocks.at(endpoint, found.at_time[tx_hash])).number
        receipts = await self._receipts.block(endpoint, number)
        return next((receipt for receipt in receipts or [] if receipt.tx_hash == tx_hash), None)

    async def _time_of(self, endpoint: Endpoint, found: Sighting, tx_hash: str) -> int:
        if tx_hash in found.at_time:
            return found.at_time[tx_hash]
        return (await self._blocks.by_number(endpoint, found.at_block[tx_hash])).time_ms


def _check(found: Sighting, resolved: dict[str, Receipt]) -> None:
    """What found a transaction and its receipt must agree on where it is."""
    for tx_hash, receipt in resolved.items():
        if found.at_block.get(tx_hash, receipt.block) != receipt.block:
            raise ChainProtocolError(f"the receipt of {tx_hash} is of another block than its log")
        if found.at_time.get(tx_hash, receipt.time_ms) != receipt.time_ms:
            raise ChainProtocolError(f"the receipt of {tx_hash} is of another time than its row")


def _movement(transfer: Transfer) -> Movement:
    return Movement(
        token=transfer.token,
        destination=transfer.destination,
        sender=transfer.sender or "",
        amount=transfer.amount,
        tx_hash=transfer.tx_hash,
        block_number=transfer.block_number,
    )
