"""The newest blocks of an endpoint: the irreversible one that is read up to, and the one that tells how old it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from chains.errors import ChainError
from chains.heads.head_track import ObservedHead
from chains.rpc.concurrency import is_rate_limited
from chains.rpc.endpoint import Endpoint, Unserved
from chains.tron.blocks import BlockTimeIndex
from chains.tron.rpc.client import TronClient
from chains.types import Head

NEWEST_INTERVAL_S = 30.0


class AheadOfSolid(NamedTuple):
    """How far an endpoint's newest block was ahead of its newest solid one."""

    asked_at: float
    solid_ms: int
    ahead_ms: int


class NewestBlockReader:
    """Asks endpoints for their newest blocks, and remembers the irreversible ones."""

    def __init__(self, client: TronClient, blocks: BlockTimeIndex, *, clock: Callable[[], float]) -> None:
        self._client = client
        self._blocks = blocks
        self._clock = clock
        self._ahead_of_solid: dict[Endpoint, AheadOfSolid] = {}

    async def read(self, endpoint: Endpoint) -> ObservedHead:
        """Return the newest irreversible block, and the time of the newest of all."""
        block = await self._client.newest(endpoint)
        self._blocks.remember(block)
        newest_ms = await self._newest_ms(endpoint, block.time_ms)
        head = Head(block.time_ms, None, block.time_ms // 1000, finalized=block.time_ms)
        return ObservedHead(head, newest_ms, newest_ms // 1000)

    async def _newest_ms(self, endpoint: Endpoint, solid_ms: int) -> int:
        """
        Return the time of the newest block, solid or not: solid ones are a minute old on a healthy chain.

        While the solid ones go on, their distance from it is asked for now and then only.
        """
        known = self._ahead_of_solid.get(endpoint)
        age_s = 0.0 if known is None else self._clock() - known.asked_at
        if known is not None and solid_ms > known.solid_ms and age_s < NEWEST_INTERVAL_S:
            # No block is made ahead of time: where the chain stood still, solid ones catch up and are less far behind.
            latest_ms = known.solid_ms + known.ahead_ms + int(age_s * 1000)
            return max(solid_ms, min(solid_ms + known.ahead_ms, latest_ms))
        newest_ms = max(solid_ms, await self._newest_of_all_ms(endpoint, solid_ms))
        self._ahead_of_solid[endpoint] = AheadOfSolid(self._clock(), solid_ms, newest_ms - solid_ms)
        return newest_ms

    async def _newest_of_all_ms(self, endpoint: Endpoint, solid_ms: int) -> int:
        """Return the time of the newest block a node tells; one that serves irreversible data alone knows no other."""
        try:
            return (await self._client.newest(endpoint, solid=False)).time_ms
        except Unserved:
            return await self._newest_by_rpc_ms(endpoint, solid_ms)

    async def _newest_by_rpc_ms(self, endpoint: Endpoint, solid_ms: int) -> int:
        try:
            block = await self._client.newest_by_rpc(endpoint)
        except ChainError as exc:
            if is_rate_limited(exc):
                raise
            return solid_ms
        return solid_ms if block is None else block.time_ms
