"""The one place transfers come from, whichever way their transaction was found: its irreversible receipt."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

from chains.errors import ChainError
from chains.rpc.concurrency import gather_individually, is_rate_limited
from chains.rpc.endpoint import Endpoint, Unserved
from chains.tron.decode import BlockReceipts, Receipt
from chains.tron.rpc.client import TronClient

MAX_CACHED_RECEIPTS = 20_000
MAX_CACHED_BLOCKS = 64  # more than what is read again every poll
MAX_ONE_BY_ONE = 20  # receipts of one block, where they are not served together
MAX_TRIED = 10  # receipts looked through for any transfer
MIN_FOR_BLOCK_RECEIPTS = 2  # transactions of one block: then its receipts are asked for in one question

Answer = Receipt | ChainError | None


class TooManyReceipts(Unserved):
    """The receipts of a block are not served together, and are too many to be asked for one by one."""


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
        found = await gather_individually(wanted, partial(self._one, endpoint), alive=alive)
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
        while len(self._kept) > MAX_CACHED_RECEIPTS:
            del self._kept[next(iter(self._kept))]

    def lacks(self, hashes: Iterable[str]) -> list[str]:
        """Return the transactions whose receipts would have to be asked for."""
        return [tx_hash for tx_hash in hashes if tx_hash not in self._kept]

    async def keep_block(self, endpoint: Endpoint, number: int, hashes: Collection[str]) -> None:
        """Read the receipts of a block together and keep those of some transactions."""
        read = await self.whole_block(endpoint, number)
        self.keep([] if read is None else [receipt for receipt in read.receipts if receipt.tx_hash in hashes])

    async def afresh(self, endpoint: Endpoint, hashes: Sequence[str], *, times: Mapping[str, int]) -> list[Answer]:
        """
        Ask for receipts without believing what is remembered, for a second look; answers in the order asked.

        Several transactions of one block (`times` says which are) are read by its receipts, in one question.
        What is remembered tells which block that is, and nothing of what happened in it.
        """
        together = await self._together_afresh(endpoint, hashes, times)
        rest = [tx_hash for tx_hash in hashes if tx_hash not in together]
        ask, alive = partial(self._client.receipt, endpoint), partial(self._client.newest, endpoint)
        singly = dict(zip(rest, await gather_individually(rest, ask, alive=alive), strict=True))
        return [together.get(tx_hash) or singly.get(tx_hash) for tx_hash in hashes]

    async def _together_afresh(
        self, endpoint: Endpoint, hashes: Sequence[str], times: Mapping[str, int]
    ) -> dict[str, Receipt]:
        if endpoint.limits.block_receipts.known is False:
            return {}
        of_block: dict[int, set[str]] = {}
        for tx_hash in hashes:
            if (kept := self._kept.get(tx_hash)) is not None and kept.time_ms == times[tx_hash]:
                of_block.setdefault(kept.block, set()).add(tx_hash)
        found: dict[str, Receipt] = {}
        for number, wanted in of_block.items():
            if len(wanted) >= MIN_FOR_BLOCK_RECEIPTS:
                try:
                    read = await self._client.receipts(endpoint, number)
                except ChainError as exc:  # they are asked for one by one
                    if is_rate_limited(exc):
                        raise
                    continue
                found |= {receipt.tx_hash: receipt for receipt in read.receipts if receipt.tx_hash in wanted}
        return found

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
            read = await self._read_block(endpoint, number)
            if read is None:
                return None
            self._blocks[number] = read._replace(receipts=[receipt for receipt in read.receipts if receipt.transfers])
            while len(self._blocks) > MAX_CACHED_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
        return self._blocks[number]

    async def some_transfer(self, endpoint: Endpoint, number: int) -> Receipt | None:
        """Return any transaction of a block that paid somebody; None when none is found among the first."""
        try:
            receipts = await self.block(endpoint, number)
        except Unserved:
            some = list(await self._client.transactions(endpoint, number))[:MAX_TRIED]
            receipts = list((await self.resolve(endpoint, some)).values())
        return next((receipt for receipt in receipts or [] if receipt.succeeded and receipt.transfers), None)

    async def _read_block(self, endpoint: Endpoint, number: int) -> BlockReceipts | None:
        """Read a block's receipts together where they are served so, else one by one."""
        together = endpoint.limits.block_receipts
        if together.should_try:
            try:
                return await self._together(endpoint, number)
            except Unserved:
                together.refused()
        try:
            return await self._one_by_one(endpoint, number)
        except TooManyReceipts:
            return await self._together(endpoint, number)  # it may be back

    async def _together(self, endpoint: Endpoint, number: int) -> BlockReceipts | None:
        read = await self._client.receipts(endpoint, number)
        endpoint.limits.block_receipts.served()
        if not (read.receipts or read.unreadable) and not await self._client.is_empty(endpoint, number):
            return None
        return read

    async def _one_by_one(self, endpoint: Endpoint, number: int) -> BlockReceipts | None:
        listed = await self._client.transactions(endpoint, number)
        if len(listed) > MAX_ONE_BY_ONE:
            raise TooManyReceipts(f"block {number} has {len(listed)} receipts, which are not served together")
        alive = partial(self._client.newest, endpoint)
        answers = await gather_individually(listed, partial(self._one, endpoint), alive=alive)
        if any(answer is None for answer in answers):
            return None
        receipts = [answer for answer in answers if isinstance(answer, Receipt)]
        told = {receipt.tx_hash for receipt in receipts}
        return BlockReceipts(receipts, [raw for tx_hash, raw in listed.items() if tx_hash not in told])

    def holds_block(self, number: int) -> bool:
        """Say whether a block would be answered without asking."""
        return number in self._blocks
