"""How payments are looked for: the quick way where it can be trusted, else the cheapest of the slower ones."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from chains.endpoints import Endpoint
from chains.tron.blocks import SLOT_MS, BlockFinder
from chains.tron.decode import Block
from chains.tron.logs import LogReader, NoIndex
from chains.tron.plan import Way, cheapest
from chains.tron.sighting import Sighting
from chains.tron.slow import INDEX_LAG_MS, SlowReader


class Stretch(NamedTuple):
    """What is to be read."""

    after_ms: int  # everything up to here was read before
    first: int  # the first block to read, a few read before included
    after: Block  # the newest block that was read before
    top: Block


class Reader:
    """Finds the transactions that may concern some destinations."""

    def __init__(self, *, blocks: BlockFinder, logs: LogReader, slow: SlowReader) -> None:
        self._blocks = blocks
        self._logs = logs
        self._slow = slow

    async def look(
        self, endpoint: Endpoint, destinations: Collection[str], *, after_ms: int, top_ms: int, reread_ms: int
    ) -> Sighting:
        """
        Look for what happened after one time, at most up to another, which must be that of an irreversible block.

        The answer ends above `after_ms`; `reread_ms` before it are looked at once more.

        Raises:
            ChainUnavailable: nothing new can be read now.
        """
        asked = sorted(destinations)
        stretch = await self._stretch(endpoint, after_ms, top_ms, reread_ms)
        if self._logs.usable(endpoint):
            try:
                found = await self._logs.read(endpoint, asked, first=stretch.first, top=stretch.top)
            except NoIndex:
                return await self._slowly(endpoint, asked, stretch, reread_ms)
            if found.end_ms > after_ms:
                return found
            # This node is a block or two behind the one that told the head: the rest is soon read otherwise.
        return await self._slowly(endpoint, asked, stretch, reread_ms)

    async def _stretch(self, endpoint: Endpoint, after_ms: int, top_ms: int, reread_ms: int) -> Stretch:
        top = await self._blocks.at(endpoint, top_ms)
        after = await self._blocks.at(endpoint, after_ms)
        if after.time_ms > after_ms:  # the chain began later
            after = Block(after.number - 1, after_ms, "")
        first = max(0, after.number + 1 - -(-reread_ms // SLOT_MS))
        return Stretch(after_ms, first, after, top)

    async def _slowly(self, endpoint: Endpoint, asked: list[str], stretch: Stretch, reread_ms: int) -> Sighting:
        unread = self._slow.unread(stretch.first, stretch.top.number)
        if cheapest(destinations=len(asked), blocks=unread) is Way.ACCOUNTS:
            last_ms = await self._slow.believable_until(endpoint, stretch.top)
            if last_ms > stretch.after_ms:
                lag_ms = max(reread_ms, INDEX_LAG_MS) if reread_ms else 0
                first_ms = max(0, stretch.after_ms + 1 - lag_ms)
                return await self._slow.by_accounts(endpoint, asked, first_ms=first_ms, last_ms=last_ms)
        return await self._slow.by_blocks(endpoint, asked, first=stretch.first, after=stretch.after, top=stretch.top)
