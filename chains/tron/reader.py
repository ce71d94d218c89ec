"""How payments are looked for: the quick way where it can be trusted, else the cheapest of the slower ones."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from chains.endpoints import Endpoint
from chains.errors import ChainError, ChainUnavailable
from chains.gather import wants_a_pause
from chains.tron.blocks import SLOT_MS, BlockFinder
from chains.tron.candidates import CandidateTransactions
from chains.tron.decode import Block
from chains.tron.logs import LogReader
from chains.tron.plan import Way, cheapest
from chains.tron.slow import INDEX_LAG_MS, SlowReader


class ScanRange(NamedTuple):
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
    ) -> CandidateTransactions:
        """
        Look for what happened after one time, at most up to another, which must be that of an irreversible block.

        The answer ends above `after_ms`; `reread_ms` before it are looked at once more.

        Raises:
            ChainUnavailable: nothing new can be read now.
        """
        asked = sorted(destinations)
        span = await self._range(endpoint, after_ms, top_ms, reread_ms)
        usable = self._logs.usable(endpoint)
        if usable:
            try:
                found = await self._logs.read(endpoint, asked, first=span.first, top=span.top)
            except ChainError as exc:
                if wants_a_pause(exc):  # this concerns every call, and slower ways are more of them
                    raise
                # Whatever is wrong with JSON-RPC, or with one log, payments are found in the same poll.
                return await self._slowly(endpoint, asked, span, reread_ms)
            if found.end_ms > after_ms:
                return found
            # This node is a block or two behind the one that told the head: the rest is soon read otherwise.
        try:
            return await self._slowly(endpoint, asked, span, reread_ms)
        except ChainError as exc:
            if usable or wants_a_pause(exc):
                raise
            # It may be well again: what is avoided for a while must not make the chain blind.
            return await self._logs.read(endpoint, asked, first=span.first, top=span.top)

    async def _range(self, endpoint: Endpoint, after_ms: int, top_ms: int, reread_ms: int) -> ScanRange:
        top = await self._blocks.at(endpoint, top_ms)
        after = await self._blocks.at(endpoint, after_ms)
        if after.time_ms > after_ms:  # the chain began later
            after = Block(after.number - 1, after_ms, "")
        first = max(0, after.number + 1 - -(-reread_ms // SLOT_MS))
        return ScanRange(after_ms, first, after, top)

    async def _slowly(
        self, endpoint: Endpoint, asked: list[str], span: ScanRange, reread_ms: int
    ) -> CandidateTransactions:
        """Look the cheaper way first; where that fails, the other one may be served."""
        unread = self._slow.unread(span.first, span.top.number)
        ways = [self._by_blocks, self._by_accounts]
        if cheapest(destinations=len(asked), blocks=unread) is Way.ACCOUNTS:
            ways.reverse()
        failures: list[ChainError] = []
        for way in ways:
            try:
                found = await way(endpoint, asked, span, reread_ms)
            except ChainError as exc:
                if wants_a_pause(exc):
                    raise
                failures.append(exc)
                continue
            if found is not None:
                return found
        raise failures[0] if failures else ChainUnavailable("nothing new can be read now")

    async def _by_accounts(
        self, endpoint: Endpoint, asked: list[str], span: ScanRange, reread_ms: int
    ) -> CandidateTransactions | None:
        last_ms = await self._slow.believable_until(endpoint, span.top)
        if last_ms <= span.after_ms:
            return None  # an index that knows nothing new
        lag_ms = max(reread_ms, INDEX_LAG_MS) if reread_ms else 0
        first_ms = max(0, span.after_ms + 1 - lag_ms)
        return await self._slow.by_accounts(endpoint, asked, first_ms=first_ms, last_ms=last_ms)

    async def _by_blocks(
        self,
        endpoint: Endpoint,
        asked: list[str],
        span: ScanRange,
        reread_ms: int,  # noqa: ARG002 - `span` begins that much earlier
    ) -> CandidateTransactions | None:
        return await self._slow.by_blocks(endpoint, asked, first=span.first, after=span.after, top=span.top)
