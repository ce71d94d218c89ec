"""Which block stands at a time: blocks come every three seconds at most, but slots are missed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from chains.backfill import Pruned
from chains.errors import ChainProtocolError, ChainUnavailable
from chains.rpc.concurrency import is_rate_limited
from chains.rpc.endpoint import Endpoint
from chains.tron.decode import Block
from chains.tron.rpc.client import BlockNotHeld, TronClient

SLOT_MS = 3_000  # no two blocks are closer than that; this is a rule of the protocol
MAX_KNOWN = 4_096
MAX_STEPS = 64
PRUNED_FOR_S = 600.0  # so long it is believed that an endpoint keeps nothing older: another node may answer there then


class BlocksPruned(Pruned):
    """The endpoint keeps only the newest blocks, or what happened in them; `oldest` is the first it can tell of."""

    def __init__(self, endpoint: Endpoint, oldest: Block) -> None:
        super().__init__(f"{endpoint.label} can tell nothing of what was before block {oldest.number}", oldest.time_ms)
        self.oldest = oldest


class _Oldest(NamedTuple):
    """The oldest block an endpoint was seen to hold, and when."""

    block: Block
    seen_at: float


class BlockTimeIndex:
    """
    Finds blocks by time in a few questions, and remembers them.

    Only irreversible blocks are kept, so what one endpoint said holds for all of them.
    """

    def __init__(self, client: TronClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._oldest: dict[Endpoint, _Oldest] = {}  # of endpoints that were seen to lack what is older
        self._known: dict[int, Block] = {}  # by time

    def remember(self, block: Block) -> None:
        """Remember an irreversible block."""
        known = self._known.setdefault(block.time_ms, block)
        if known != block:
            del self._known[block.time_ms]  # nobody can tell which of the two was right
            raise ChainProtocolError(f"two different irreversible blocks at {block.time_ms}")
        while len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    async def by_number(self, endpoint: Endpoint, number: int) -> Block:
        """Return a block by number."""
        block = await self._client.block(endpoint, number)
        self.remember(block)
        return block

    def oldest(self, endpoint: Endpoint) -> Block | None:
        """Return the oldest block of an endpoint that lacks older ones; None where that is not known."""
        known = self._oldest.get(endpoint)
        return known.block if known is not None and self._clock() - known.seen_at < PRUNED_FOR_S else None

    async def at(self, endpoint: Endpoint, time_ms: int) -> Block:
        """
        Return the newest block that is not younger than a time; the first block when all are.

        Both ends close in from what the rule allows: from above assuming no slot was missed down to
        the time, from below assuming none was missed up to it. Each miss costs one question at most.

        Raises:
            BlocksPruned: the endpoint keeps no block so old.
        """
        if time_ms in self._known:
            return self._known[time_ms]
        self._check_held(endpoint, time_ms)
        high = await self._above(endpoint, time_ms)
        try:
            return await self._search(endpoint, time_ms, high)
        except (ChainUnavailable, ChainProtocolError) as exc:
            if is_rate_limited(exc):
                raise
        # What was remembered may be an endpoint's that lied: once found out, it must not stop the others for ever.
        self._known.clear()
        newest = await self._client.newest(endpoint)
        self.remember(newest)
        try:
            return await self._search(endpoint, time_ms, newest)
        except BlockNotHeld as exc:
            missing = exc.number
        # It keeps the newest blocks alone (java-tron calls that a lite node, and such nodes show the first block).
        oldest = await self._oldest_held(endpoint, missing, newest)
        self._oldest[endpoint] = _Oldest(oldest, self._clock())
        self._check_held(endpoint, time_ms)
        return await self._close_in(endpoint, time_ms, oldest, newest)

    def _check_held(self, endpoint: Endpoint, time_ms: int) -> None:
        oldest = self.oldest(endpoint)
        if oldest is not None and time_ms < oldest.time_ms:
            raise BlocksPruned(endpoint, oldest)

    async def _oldest_held(self, endpoint: Endpoint, missing: int, newest: Block) -> Block:
        """Return the oldest block above one that is missing, in as many questions as its number has binary digits."""
        held = newest
        while held.number - missing > 1:
            middle = (missing + held.number) // 2
            try:
                held = await self.by_number(endpoint, middle)
            except BlockNotHeld:
                missing = middle
        return held

    async def _search(self, endpoint: Endpoint, time_ms: int, high: Block) -> Block:
        if high.time_ms <= time_ms:
            return high
        low, high = await self._bracket(endpoint, time_ms, high)
        return high if low is None else await self._close_in(endpoint, time_ms, low, high)

    async def _close_in(self, endpoint: Endpoint, time_ms: int, low: Block, high: Block) -> Block:
        """Return the newest block that is not younger than a time, between one that is not and one that is."""
        if high.time_ms <= time_ms:
            return high
        for step in range(MAX_STEPS):
            highest = min(high.number - 1, low.number + (time_ms - low.time_ms) // SLOT_MS)
            if highest <= low.number:
                return low
            lowest = max(low.number + 1, high.number - _slots(high.time_ms - time_ms))
            guess = (highest, lowest, (low.number + high.number) // 2)[step % 3]
            block = await self.by_number(endpoint, max(low.number + 1, min(highest, guess)))
            low, high = (block, high) if block.time_ms <= time_ms else (low, block)
        raise ChainProtocolError(f"the times of blocks {low.number} to {high.number} make no sense")

    async def _above(self, endpoint: Endpoint, time_ms: int) -> Block:
        """Return the closest block known to be younger, else the newest one."""
        younger = [known for known in self._known if known > time_ms]
        if younger:
            return self._known[min(younger)]
        newest = await self._client.newest(endpoint)
        self.remember(newest)
        return newest

    async def _bracket(self, endpoint: Endpoint, time_ms: int, high: Block) -> tuple[Block | None, Block]:
        """Return a block that is not younger than a time, and one that is; None when there is no older one."""
        back = _slots(high.time_ms - time_ms)
        while True:
            block = await self.by_number(endpoint, max(0, high.number - back))
            if block.time_ms <= time_ms:
                return block, high
            if block.number == 0:
                return None, block
            high, back = block, back * 2


def _slots(ms: int) -> int:
    """Return how many slots fit into a time, rounded up."""
    return -(-ms // SLOT_MS)
