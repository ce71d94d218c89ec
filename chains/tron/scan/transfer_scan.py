"""How payments are looked for: the quick way where it can be trusted, else the cheapest of the slower ones."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.rpc.concurrency import is_rate_limited
from chains.rpc.endpoint import Endpoint, Unserved
from chains.tron.blocks import SLOT_MS, BlocksPruned, BlockTimeIndex
from chains.tron.decode import Block
from chains.tron.logs.reader import LogReader
from chains.tron.retained_history import RetainedHistory
from chains.tron.scan.account_scanner import INDEX_LAG_MS, AccountScanner
from chains.tron.scan.block_scanner import BlockScanner
from chains.tron.scan.candidates import CandidateTransactions
from chains.tron.scan.strategy import ScanStrategy, choose_strategy

Failures = dict[str, ChainError]
_LOGS, _BLOCKS, _ACCOUNTS = "JSON-RPC", "receipts of blocks", "histories of accounts"


class ScanRange(NamedTuple):
    """What is to be read."""

    after_ms: int  # everything up to here was read before
    first: int  # the first block to read, a few read before included
    after: Block  # the newest block that was read before
    top: Block


class TransferScan:
    """Finds the transactions that may concern some destinations."""

    def __init__(
        self,
        *,
        blocks: BlockTimeIndex,
        retained: RetainedHistory,
        logs: LogReader,
        block_scanner: BlockScanner,
        account_scanner: AccountScanner,
    ) -> None:
        self._blocks = blocks
        self._held = retained
        self._logs = logs
        self._block_reader = block_scanner
        self._account_reader = account_scanner

    async def find(
        self,
        endpoint: Endpoint,
        destinations: Collection[str],
        *,
        after_ms: int,
        top_ms: int,
        reread_ms: int,
        begin: Block | None = None,
    ) -> CandidateTransactions:
        """
        Look for what happened after one time, at most up to another, which must be that of an irreversible block.

        The answer ends above `after_ms`; `reread_ms` before it are looked at once more. With `begin`
        nothing before that block is looked at.

        Raises:
            ChainUnavailable: nothing new can be read now.
            BlocksPruned: the endpoint holds nothing so old.
        """
        asked = sorted(destinations)
        try:
            top = await self._blocks.at(endpoint, top_ms)
            scan_range = await self._range(endpoint, after_ms, top, reread_ms, begin)
        except BlocksPruned as exc:
            # Histories are another index, which may go back further than the blocks do.
            found = await self._from_histories(endpoint, asked, after_ms, top_ms, reread_ms)
            if found is None:
                raise exc from None
            return found
        try:
            return await self._any_way(endpoint, asked, scan_range, reread_ms)
        except ChainError as exc:
            if is_rate_limited(exc):
                raise
            oldest = await self._held.oldest(endpoint, scan_range.first, top)
            if oldest is None:
                raise
            scan_range = self._held_part(endpoint, scan_range, oldest)
        return await self._any_way(endpoint, asked, scan_range, reread_ms)

    async def _from_histories(
        self, endpoint: Endpoint, asked: list[str], after_ms: int, top_ms: int, reread_ms: int
    ) -> CandidateTransactions | None:
        """Look through histories alone; None where they cannot be read or believed."""
        nowhere = Block(0, top_ms, "")  # their rows tell times: which blocks those are is not asked
        try:
            return await self._account_scanner(endpoint, asked, ScanRange(after_ms, 0, nowhere, nowhere), reread_ms)
        except ChainError as exc:
            if is_rate_limited(exc):
                raise
            return None

    def _held_part(self, endpoint: Endpoint, scan_range: ScanRange, oldest: Block) -> ScanRange:
        """Return a range without what is only looked at once more and no longer held."""
        if oldest.number > scan_range.after.number + 1:
            raise BlocksPruned(endpoint, oldest)
        return scan_range._replace(first=oldest.number)

    async def _any_way(
        self, endpoint: Endpoint, asked: list[str], scan_range: ScanRange, reread_ms: int
    ) -> CandidateTransactions:
        """Look the quick way, else a slower one."""
        usable, failures = self._logs.usable(endpoint), Failures()
        if usable:
            try:
                found = await self._logs.read(endpoint, asked, first=scan_range.first, top=scan_range.top)
            except ChainError as exc:
                if is_rate_limited(exc):  # this concerns every call, and slower ways are more of them
                    raise
                # Whatever is wrong with JSON-RPC, or with one log, payments are found in the same poll.
                failures[_LOGS] = exc
            else:
                if found.end_ms > scan_range.after_ms:
                    return found
                # This node is a block or two behind the one that told the head: the rest is soon read otherwise.
        found_slowly = await self._slowly(endpoint, asked, scan_range, reread_ms, failures)
        if found_slowly is not None:
            return found_slowly
        if not usable:
            # It may be well again: what is avoided for a while must not make the chain blind.
            try:
                return await self._logs.read(endpoint, asked, first=scan_range.first, top=scan_range.top)
            except ChainError as exc:
                if is_rate_limited(exc):
                    raise
                failures[_LOGS] = exc
        raise none_served(failures)

    async def _range(
        self, endpoint: Endpoint, after_ms: int, top: Block, reread_ms: int, begin: Block | None
    ) -> ScanRange:
        if begin is not None:
            return ScanRange(begin.time_ms - 1, begin.number, Block(begin.number - 1, begin.time_ms - 1, ""), top)
        after = await self._blocks.at(endpoint, after_ms)
        if after.time_ms > after_ms:  # the chain began later
            after = Block(after.number - 1, after_ms, "")
        first = max(0, after.number + 1 - -(-reread_ms // SLOT_MS))
        oldest = self._held.known(endpoint)
        scan_range = ScanRange(after_ms, first, after, top)
        return scan_range if oldest is None or oldest.number <= first else self._held_part(endpoint, scan_range, oldest)

    async def _slowly(
        self, endpoint: Endpoint, asked: list[str], scan_range: ScanRange, reread_ms: int, failures: Failures
    ) -> CandidateTransactions | None:
        """Look the cheaper way first; where that fails, the other one may be served. None, and why, when neither is."""
        unread = self._block_reader.unread(scan_range.first, scan_range.top.number)
        strategies = [(_BLOCKS, self._block_scanner), (_ACCOUNTS, self._account_scanner)]
        one_by_one = endpoint.limits.block_receipts.known is False
        if one_by_one or choose_strategy(destinations=len(asked), blocks=unread) is ScanStrategy.ACCOUNTS:
            strategies.reverse()
        for name, strategy in strategies:
            try:
                found = await strategy(endpoint, asked, scan_range, reread_ms)
            except ChainError as exc:
                if is_rate_limited(exc):
                    raise
                failures[name] = exc
                continue
            if found is not None:
                return found
            failures[name] = ChainUnavailable("nothing new is told yet")
        return None

    async def _account_scanner(
        self, endpoint: Endpoint, asked: list[str], scan_range: ScanRange, reread_ms: int
    ) -> CandidateTransactions | None:
        last_ms = await self._account_reader.believable_until(endpoint, scan_range.top)
        if last_ms <= scan_range.after_ms:
            return None  # an index that knows nothing new
        return await self._histories(endpoint, asked, scan_range, reread_ms, last_ms)

    async def _histories(
        self, endpoint: Endpoint, asked: list[str], scan_range: ScanRange, reread_ms: int, last_ms: int
    ) -> CandidateTransactions:
        lag_ms = max(reread_ms, INDEX_LAG_MS) if reread_ms else 0
        first_ms = max(0, scan_range.after_ms + 1 - lag_ms)
        return await self._account_reader.read(endpoint, asked, first_ms=first_ms, last_ms=last_ms)

    async def _block_scanner(
        self, endpoint: Endpoint, asked: list[str], scan_range: ScanRange, reread_ms: int
    ) -> CandidateTransactions | None:
        found = await self._block_reader.read(
            endpoint, asked, first=scan_range.first, after=scan_range.after, top=scan_range.top
        )
        if endpoint.limits.block_receipts.known is False:
            # Read one by one, a block is as empty as it says it is. Histories, though nothing proves that they
            # are not behind, tell what it does not say.
            try:
                found.take(await self._histories(endpoint, asked, scan_range, reread_ms, found.end_ms))
            except ChainError as exc:
                if is_rate_limited(exc):
                    raise
        return found


def none_served(failures: Failures) -> ChainError:
    """Return the error that names every way and why it is not served."""
    if not failures:
        return ChainUnavailable("nothing new can be read now")
    said = "; ".join(
        f"{strategy}: {failures[strategy]}" for strategy in (_LOGS, _BLOCKS, _ACCOUNTS) if strategy in failures
    )
    kinds = (ChainUnavailable, ChainProtocolError, Unserved)
    kind = next((kind for kind in kinds if any(isinstance(e, kind) for e in failures.values())), ChainMisconfigured)
    return kind(f"no way to look for payments is served: {said}")
