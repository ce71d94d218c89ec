"""Read due balance watches of one chain, all at one block, and queue what changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chains.base import ChainAdapter
from chains.errors import ChainError
from chains.types import BalanceKey, Balances, TokenReceipt
from config.catalog import Chain
from kernel.clock import Clock
from kernel.logging import fields
from kernel.store.database import Database
from kernel.tasks.failure_log import FailureLog
from kernel.tasks.wakeup import Wakeup
from scanner import events
from scanner.model import ChainTime, Watch, WatchStatus
from scanner.store import outbox, watches
from scanner.store.errors import StoreError
from scanner.upkeep.watch_schedule import next_due

log = logging.getLogger(__name__)

BATCH_SIZE = 2_000  # watches read at one block and written in one transaction


class BalanceWatcher:
    """Runs when its wakeup is set. One chain's hanging node delays no other chain."""

    def __init__(
        self,
        *,
        chain: Chain,
        adapter: ChainAdapter,
        db: Database,
        clock: Clock,
        on_events: Callable[[], None],
        chain_time: Callable[[], ChainTime | None] = lambda: None,
    ) -> None:
        """`chain_time` tells what time it is on the chain, by a fresh head; None when none is known."""
        self.wakeup = Wakeup()
        self._chain = chain
        self._adapter = adapter
        self._db = db
        self._clock = clock
        self._on_events = on_events
        self._chain_time = chain_time
        self._outage = FailureLog(log, f"[balance-watch] chain {chain.chain_id}")

    async def run(self) -> None:
        """Check at every ring, for ever."""
        while True:
            await self.wakeup.wait()
            try:
                await self.check_due()
                self._outage.recovered()
            except StoreError as exc:
                self._outage.failed(str(exc))

    async def check_due(self) -> int:
        """Read every watch whose time has come; return how many. Without one, nothing is asked of anybody."""
        done = 0
        while due := await self._due():
            done += len(due)
            await self._check(due)
        return done

    async def _due(self) -> list[Watch]:
        async with self._db.read() as tx:
            return await watches.due(tx, self._chain.chain_id, self._clock.now_ms(), limit=BATCH_SIZE)

    async def _check(self, due: Sequence[Watch]) -> None:
        alive = [watch for watch in due if not self._is_over(watch)]
        found = await self._read(alive)
        amounts = _amounts(alive, found) if found else {}
        changed = [w for w in alive if _changed(w, amounts.get(w.watch_id))]
        behind = await self._behind(changed, found) if found and changed else {}
        await self._write(due, amounts, found, behind)

    def _is_over(self, watch: Watch) -> bool:
        """Say whether its time is up by both clocks: a host's that is days ahead would end every watch for good."""
        on_chain = self._chain_time()
        now = self._clock.now_ms()
        return watch.expires_at <= (now if on_chain is None else min(now, on_chain.ms))

    async def _read(self, alive: Sequence[Watch]) -> Balances | None:
        """Read all at one block; None when the chain could not be asked."""
        if not alive:
            return None
        holdings = [BalanceKey(watch.address_key, watch.token_key) for watch in alive]
        try:
            return await self._adapter.balances(holdings, confirmed=True)
        except ChainError as exc:
            log.warning("[balance-watch] balance read error", extra=fields(chain=self._chain.chain_id, error=str(exc)))
            return None

    async def _behind(
        self, changed: Sequence[Watch], found: Balances
    ) -> Mapping[BalanceKey, list[TokenReceipt]] | None:
        """Return the transfers behind changes by holding; None when the chain does not tell."""
        positions = [watch.last_position for watch in changed if watch.last_position is not None]
        if not positions:
            return None
        holdings = [BalanceKey(watch.address_key, watch.token_key) for watch in changed]
        try:
            seen = await self._adapter.token_receipts(holdings, first=min(positions) + 1, last=found.position)
        except ChainError as exc:
            log.debug("[balance-watch] transfers are not told: %s", exc)
            return None
        grouped: dict[BalanceKey, list[TokenReceipt]] = {holding: [] for holding in holdings}
        for movement in seen:
            grouped.setdefault(BalanceKey(movement.destination, movement.token), []).append(movement)
        return grouped

    async def _write(
        self,
        due: Sequence[Watch],
        amounts: Mapping[str, int | None],
        found: Balances | None,
        behind: Mapping[BalanceKey, list[TokenReceipt]] | None,
    ) -> None:
        """One transaction: when each is read next, and what to tell."""
        now = self._clock.now_ms()
        async with self._db.write() as tx:
            # As they stand now: a change may have been acknowledged, or a watch stopped, during the read.
            watching = await watches.still_watching(tx, [watch.watch_id for watch in due])
            after = [self._after(watch, amounts.get(watch.watch_id), found, now) for watch in watching]
            rows: list[dict[str, Any]] = []
            settled: list[str] = []  # nothing to tell any more
            for watch in watching:
                amount = amounts.get(watch.watch_id)
                if amount is None:
                    continue
                if _changed(watch, amount):
                    rows.append(events.balance_changed(watch, amount, _of(watch, behind), now))
                else:
                    settled.append(watch.watch_id)
            await outbox.supersede(tx, outbox.WATCH, settled)
            told = {row["subject_id"]: row["event_id"] for row in rows}
            await outbox.supersede(tx, outbox.WATCH, list(told), but=list(told.values()))
            await outbox.requeue(tx, rows)
            await watches.checked(tx, after)
        if rows:
            self._on_events()

    def _after(self, watch: Watch, amount: int | None, found: Balances | None, now: int) -> Watch:
        if self._is_over(watch):
            return watch._replace(status=WatchStatus.EXPIRED, updated_at=now)
        following = watch._replace(next_check_at=next_due(watch.created_at, now), updated_at=now)
        if amount is None or found is None:
            if found is not None:
                log.warning(
                    "[balance-watch] balance read error",
                    extra=fields(chain=watch.chain_id, watch=watch.watch_id, error=_why(watch, found)),
                )
            return following
        return following._replace(last_checked_at=now, last_position=found.position)


def _amounts(asked: Sequence[Watch], found: Balances) -> dict[str, int | None]:
    """Return the balances by watch; what is older than the last read was true once, and is no news."""
    told = zip(asked, found.amounts, strict=True)
    return {watch.watch_id: None if _is_old(watch, found) else amount for watch, amount in told}


def _is_old(watch: Watch, found: Balances) -> bool:
    return watch.last_position is not None and found.position < watch.last_position


def _why(watch: Watch, found: Balances) -> str:
    return "the endpoint is behind the last read" if _is_old(watch, found) else "the contract tells no balance"


def _changed(watch: Watch, amount: int | None) -> bool:
    return amount is not None and amount != watch.current_balance


def _of(watch: Watch, behind: Mapping[BalanceKey, list[TokenReceipt]] | None) -> list[TokenReceipt] | None:
    if behind is None or watch.token_key is None or watch.last_position is None:
        return None
    mine = behind.get(BalanceKey(watch.address_key, watch.token_key))
    return None if mine is None else [movement for movement in mine if movement.block_number > watch.last_position]
