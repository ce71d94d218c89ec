"""The masterchain as far as it was proven: from one block that is trusted, by what validators signed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from chains.errors import ChainProtocolError, ChainUnavailable
from chains.ton.liteserver.proofs import MASTERCHAIN, ProofFailed, follow
from chains.ton.liteserver.tl import Forward, ShardBlock
from config.liteservers import BlockId

MAX_QUESTIONS = 16  # in one go; what was proven by then is kept
MAX_KEYS = 256  # key blocks that are remembered, the newest ones
MAX_BLOCKS = 2_000  # other blocks that are remembered
WHOLE = -(1 << 63)  # the masterchain has one shard

Steps = Callable[[ShardBlock, ShardBlock], Awaitable[list[Forward]]]


class ProvenChain:
    """Remembers what was proven, whoever showed it."""

    def __init__(self, init_block: BlockId) -> None:
        self._keys = [ShardBlock(MASTERCHAIN, WHOLE, init_block)]  # by number
        self._proven: dict[ShardBlock, None] = {}

    async def reach(self, target: ShardBlock, steps: Steps) -> None:
        """
        Prove a block of the masterchain; `steps` asks for what leads from one block to another.

        Raises:
            ProofFailed: what was shown leads elsewhere.
            ChainUnavailable: it is further than one go leads.
            ChainProtocolError: it lies before the block that is trusted.
        """
        if target in self._proven or target in self._keys:
            return
        known = [key for key in self._keys if key.block.seqno < target.block.seqno]
        if not known:
            raise ChainProtocolError("it lies before init_block of TON_LITESERVERS: name an older one")
        reached = known[-1]
        for _ in range(MAX_QUESTIONS):
            shown = await steps(reached, target)
            if not shown:
                raise ProofFailed("nothing leads from a proven block to this one")
            for step in shown:
                proven = follow(reached, step)
                reached = proven.block
                if proven.is_key:
                    self._add(reached)
                await asyncio.sleep(0)  # a step takes a while to compute
            if reached == target:
                self._proven[target] = None
                while len(self._proven) > MAX_BLOCKS:
                    del self._proven[next(iter(self._proven))]
                return
        raise ChainUnavailable(f"proven up to block {reached.block.seqno} by now: a newer init_block is proven sooner")

    def _add(self, key: ShardBlock) -> None:
        if key not in self._keys:
            self._keys = sorted([*self._keys, key], key=lambda one: one.block.seqno)[-MAX_KEYS:]
