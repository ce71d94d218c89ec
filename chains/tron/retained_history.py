"""From which block on an endpoint can tell what happened: some keep only the newest blocks, or receipts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from chains.rpc.endpoint import Endpoint, Unserved
from chains.tron.blocks import PRUNED_FOR_S, BlockTimeIndex
from chains.tron.decode import Block
from chains.tron.receipts import ReceiptReader
from chains.tron.rpc.client import BlockNotHeld

PENDING_RECEIPT_BLOCKS = 200  # receipts that are missing so far below the newest block may still come
MARGIN = 20  # blocks above the oldest, where that one is dropped before it is read
PROBED_DEPTHS = (0, 20, 200, 2_000)  # blocks below the newest in which receipts are looked for


class _RetainedFrom(NamedTuple):
    """The oldest block of which an endpoint was seen to have the receipts, and when."""

    block: Block
    seen_at: float


class RetainedHistory:
    """
    Knows the oldest block of which an endpoint tells everything.

    A node that was started from a snapshot holds 65,536 blocks of which it has neither receipts nor logs, for
    ever, and answers for them without an error (java-tron#6676).
    """

    def __init__(
        self, blocks: BlockTimeIndex, receipts: ReceiptReader, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._blocks = blocks
        self._receipts = receipts
        self._clock = clock
        self._retained_from: dict[Endpoint, _RetainedFrom] = {}

    def known(self, endpoint: Endpoint) -> Block | None:
        """Return the oldest block it tells of, if it was seen to lack older ones."""
        retained_from = self._retained_from.get(endpoint)
        receipts = (
            retained_from.block
            if retained_from is not None and self._clock() - retained_from.seen_at < PRUNED_FOR_S
            else None
        )
        found = [block for block in (receipts, self._blocks.oldest(endpoint)) if block is not None]
        return max(found, default=None)

    async def oldest(self, endpoint: Endpoint, first: int, top: Block) -> Block | None:
        """
        Return the oldest block above `first` of which it tells everything; None when the past is not what is missing.

        What is missing everywhere is an outage, and what is missing near the newest block may still come.
        """
        known = self.known(endpoint)
        if known is not None and known.number > first:
            return known
        first = max(1, first)  # the first block of all is empty, and is held where those after it are not
        held = await self._is_held(endpoint, first)
        if held and (top.number - first < PENDING_RECEIPT_BLOCKS or await self._has_receipts(endpoint, first)):
            return None
        high = await self._newer(endpoint, first, top)
        if high is None:
            return None
        low = first
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if await self._has_receipts(endpoint, middle) else (middle, high)
        try:
            block = await self._blocks.by_number(endpoint, high)
        except BlockNotHeld:  # it was dropped meanwhile
            block = await self._blocks.by_number(endpoint, high + MARGIN)
        self._retained_from[endpoint] = _RetainedFrom(block, self._clock())
        return block

    async def _newer(self, endpoint: Endpoint, first: int, top: Block) -> int | None:
        for below in PROBED_DEPTHS:
            number = top.number - below
            if number > first and await self._has_receipts(endpoint, number):
                return number
        return None

    async def _is_held(self, endpoint: Endpoint, number: int) -> bool:
        try:
            await self._blocks.by_number(endpoint, number)
        except BlockNotHeld:
            return False
        return True

    async def _has_receipts(self, endpoint: Endpoint, number: int) -> bool:
        """Say whether a block's receipts are there; where receipts of blocks are not served, whether the block is."""
        try:
            return await self._receipts.whole_block(endpoint, number) is not None
        except BlockNotHeld:
            return False
        except Unserved:
            return await self._is_held(endpoint, number)
