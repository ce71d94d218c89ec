"""From transactions that may concern us to a page of transfers, of which one that is strange stops no other."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from chains.errors import ChainError, ChainUnavailable
from chains.rpc.concurrency import is_rate_limited
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool
from chains.tron.blocks import BlockTimeIndex
from chains.tron.decode import Block, Receipt, missing_in, transfers_of
from chains.tron.receipts import MIN_FOR_BLOCK_RECEIPTS, ReceiptReader
from chains.tron.scan.candidates import CandidateTransactions
from chains.tron.scan.transfer_scan import TransferScan
from chains.tron.transfer_log import number_equals, transfer_from_log
from chains.types import BalanceKey, Cursor, Head, ScanPage, Targets, TokenReceipt, Transfer, UnreadableLog

MAX_NAMED = 20
# Of forty alike in one transaction a row shows one: how many there were is known once its receipt is.
ONE_OF_ITS_EQUALS = "a row of a history told of it, and no endpoint shows its receipt"


class PageReader:
    """
    Reads pages from one chain.

    What a transaction holds is in its receipt. Where the receipt is missing or cannot be read, what the
    log or the row said is told instead: it is judged by its receipt before it counts, and keeps nobody
    else waiting. One missing receipt once held the cursor, and with it every payment of the chain.
    """

    def __init__(
        self,
        scan: TransferScan,
        *,
        receipts: ReceiptReader,
        blocks: BlockTimeIndex,
        chain_id: int,
        pool: EndpointPool,
    ) -> None:
        self._scan = scan
        self._pool = pool
        self._receipts = receipts
        self._blocks = blocks
        self._chain_id = chain_id
        self.unreadable: dict[str, str] = {}  # what was passed by, the newest few, and why

    async def scan(
        self,
        endpoint: Endpoint,
        *,
        targets: Targets,
        after: Cursor,
        head: Head,
        reread_ms: int,
        begin: Block | None = None,
    ) -> ScanPage:
        """
        Read the page after a cursor, or from the block `begin` on.

        Raises:
            BlocksPruned: the endpoint holds nothing so old.
        """
        found, transfers = await self._read(
            endpoint,
            targets.destinations,
            after_ms=after.position,
            top_ms=head.position,
            reread_ms=reread_ms,
            begin=begin,
        )
        end = max(after.position, found.end_ms)
        return ScanPage(transfers, Cursor(end), time=end // 1000, rows_read=found.rows, unread=told_by_rows(found))

    async def token_receipts(
        self, endpoint: Endpoint, *, wanted: Collection[BalanceKey], first: int, last: int
    ) -> list[TokenReceipt]:
        """Return what holders received of tokens between two times, both included, in chain order."""
        holders = frozenset(holding.holder for holding in wanted)
        after, top = first - 1, (await self._blocks.at(endpoint, last)).time_ms
        seen: dict[tuple[str, str], Transfer] = {}
        while after < top:
            found, transfers = await self._read(endpoint, holders, after_ms=after, top_ms=top, reread_ms=0)
            if found.end_ms <= after:
                raise ChainUnavailable("nothing more can be read now")
            seen |= {(transfer.tx_hash, transfer.event_key): transfer for transfer in transfers}
            after = found.end_ms
        in_order = sorted(seen.values(), key=lambda transfer: transfer.block_number)
        moved = [_movement(transfer) for transfer in in_order if first <= transfer.block_number <= last]
        return [movement for movement in moved if BalanceKey(movement.destination, movement.token) in wanted]

    async def _read(
        self,
        endpoint: Endpoint,
        destinations: frozenset[str],
        *,
        after_ms: int,
        top_ms: int,
        reread_ms: int,
        begin: Block | None = None,
    ) -> tuple[CandidateTransactions, list[Transfer]]:
        """Return what was found, and the transfers in it."""
        found = await self._scan.find(
            endpoint, destinations, after_ms=after_ms, top_ms=top_ms, reread_ms=reread_ms, begin=begin
        )
        return found, await self.transfers(endpoint, found, destinations)

    async def transfers(
        self, endpoint: Endpoint, found: CandidateTransactions, destinations: frozenset[str]
    ) -> list[Transfer]:
        """Return the transfers of candidates into these."""
        await self._read_together(endpoint, found)
        resolved = await self._receipts.resolve(endpoint, found.hashes)
        for tx_hash in found.hashes:
            if tx_hash not in resolved and (receipt := await self._late(endpoint, found, tx_hash)) is not None:
                resolved[tx_hash] = receipt
        resolved |= await self._elsewhere(endpoint, [tx_hash for tx_hash in found.hashes if tx_hash not in resolved])
        transfers: list[Transfer] = []
        for tx_hash in found.hashes:
            if (receipt := resolved.get(tx_hash)) is not None:
                transfers += transfers_of(receipt, chain_id=self._chain_id, destinations=destinations)
                # What a log or a row says and its receipt does not is judged, and shown with a reason: not hidden.
                unshown = [c for c in missing_in(receipt, found.told.get(tx_hash, ())) if c.destination in destinations]
                transfers += [transfer_from_log(tx_hash, receipt.time_ms, c, self._chain_id) for c in unshown]
            elif told := found.told.get(tx_hash):
                time_ms = await self._time_of(endpoint, found, tx_hash)
                if tx_hash in found.at_time:
                    found.by_row[tx_hash] = time_ms
                ours = [event for event in number_equals(told) if event.destination in destinations]
                transfers += [transfer_from_log(tx_hash, time_ms, event, self._chain_id) for event in ours]
            else:
                found.unreadable[tx_hash] = "it has no receipt, and its row cannot be read"
        self._note(found)
        return transfers

    async def _read_together(self, endpoint: Endpoint, found: CandidateTransactions) -> None:
        """
        Read the receipts of blocks with several candidates in one question a block.

        A stranger chooses how many transactions there are, and paid for a thousand of them less than a
        thousand questions cost us. What cannot be read so is read one by one.
        """
        if endpoint.limits.block_receipts.known is False:
            return
        by_block: dict[int, set[str]] = {}
        by_time: dict[int, set[str]] = {}
        for tx_hash in self._receipts.lacks(found.hashes):
            number = found.at_block.get(tx_hash)
            if number is None:
                by_time.setdefault(found.at_time[tx_hash], set()).add(tx_hash)
            else:
                by_block.setdefault(number, set()).add(tx_hash)
        for time_ms, hashes in by_time.items():
            if len(hashes) >= MIN_FOR_BLOCK_RECEIPTS:
                await self._keep_block(endpoint, hashes, time_ms=time_ms)
        for number, hashes in by_block.items():
            if len(hashes) >= MIN_FOR_BLOCK_RECEIPTS:
                await self._keep_block(endpoint, hashes, number=number)

    async def _keep_block(
        self, endpoint: Endpoint, hashes: set[str], *, number: int | None = None, time_ms: int = 0
    ) -> None:
        try:
            number = (await self._blocks.at(endpoint, time_ms)).number if number is None else number
            await self._receipts.keep_block(endpoint, number, hashes)
        except ChainError as exc:
            if is_rate_limited(exc):
                raise

    def _note(self, found: CandidateTransactions) -> None:
        self.unreadable |= found.unreadable
        while len(self.unreadable) > MAX_NAMED:
            del self.unreadable[next(iter(self.unreadable))]

    async def _late(self, endpoint: Endpoint, found: CandidateTransactions, tx_hash: str) -> Receipt | None:
        """Look for a receipt among those of its block: the two are indexed apart."""
        try:
            number = found.at_block.get(tx_hash)
            if number is None:
                number = (await self._blocks.at(endpoint, found.at_time[tx_hash])).number
            receipts = await self._receipts.block(endpoint, number)
        except ChainError as exc:
            if is_rate_limited(exc):
                raise
            return None
        return next((receipt for receipt in receipts or [] if receipt.tx_hash == tx_hash), None)

    async def _elsewhere(self, endpoint: Endpoint, hashes: list[str]) -> dict[str, Receipt]:
        """
        Look for receipts at the other endpoints.

        A row of a history does not say which of its equals it is: of forty alike in one transaction it is one.
        """
        if not hashes:
            return {}
        found: dict[str, Receipt] = {}
        ask = partial(self._receipts.resolve, hashes=hashes)
        for _, receipts in await self._pool.call_all("gettransactioninfobyid", ask, excluding=[endpoint]):
            found |= receipts
        return found

    async def _time_of(self, endpoint: Endpoint, found: CandidateTransactions, tx_hash: str) -> int:
        if tx_hash in found.at_time:
            return found.at_time[tx_hash]
        return (await self._blocks.by_number(endpoint, found.at_block[tx_hash])).time_ms


def told_by_rows(found: CandidateTransactions) -> tuple[UnreadableLog, ...]:
    """Return what has to be read again, once `PageReader.transfers` has looked for the receipts."""
    return tuple(UnreadableLog(time_ms, tx_hash, ONE_OF_ITS_EQUALS) for tx_hash, time_ms in found.by_row.items())


def _movement(transfer: Transfer) -> TokenReceipt:
    return TokenReceipt(
        token=transfer.token,
        destination=transfer.destination,
        sender=transfer.sender or "",
        amount=transfer.amount,
        tx_hash=transfer.tx_hash,
        block_number=transfer.block_number,
    )
