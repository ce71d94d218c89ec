"""Notice native coin at direct destinations: it settles nothing, and nothing is hidden."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from chains.base import ChainAdapter
from chains.errors import ChainError
from chains.types import BalanceKey, Balances, Transfer
from config.catalog import Chain
from kernel.clock import Clock
from kernel.store.database import Database
from kernel.tasks.failure_log import FailureLog
from kernel.tasks.wakeup import Wakeup
from scanner import ingest
from scanner.model import NATIVE, NO_TX, ChainTime
from scanner.page_result import PageResult
from scanner.store import coins, intents
from scanner.store.coins import Seen
from scanner.store.errors import StoreError
from scanner.upkeep.metrics import Metrics

log = logging.getLogger(__name__)

INTERVAL_MS = 5 * 60 * 1000
BATCH_SIZE = 2_000  # addresses read at one block and written in one transaction


class NativeDepositDetector:
    """
    Reads the coin of one chain's direct destinations now and then; a rise is a `wrong_asset` transfer.

    A balance names no transaction and no sender, and what comes and goes between two reads is not seen.
    """

    def __init__(
        self,
        *,
        chain: Chain,
        adapter: ChainAdapter,
        db: Database,
        clock: Clock,
        metrics: Metrics,
        late_watch_ms: int,
        on_events: Callable[[], None],
        chain_time: Callable[[], ChainTime | None] = lambda: None,
    ) -> None:
        """`chain_time` tells what time it is on the chain, by a fresh head; None when none is known."""
        self.wakeup = Wakeup()
        self._chain = chain
        self._adapter = adapter
        self._db = db
        self._clock = clock
        self._metrics = metrics
        self._late_ms = late_watch_ms
        self._chain_time = chain_time
        self._on_events = on_events
        self._next_at = clock.elapsed_ms()
        self._outage = FailureLog(log, f"[scanner] coin balances of chain {chain.chain_id}")

    async def run(self) -> None:
        """Look when it is time, for ever; a chain that cannot be asked is asked again at the next ring."""
        while True:
            await self.wakeup.wait()
            if self._clock.elapsed_ms() < self._next_at:
                continue
            try:
                await self.check()
            except (ChainError, StoreError) as exc:
                self._outage.failed(str(exc))
            else:
                self._outage.recovered()
                self._next_at = self._clock.elapsed_ms() + INTERVAL_MS

    async def check(self) -> None:
        """
        Read every direct destination once. Without one, nothing is asked of anybody.

        Raises:
            ChainError: the chain could not be asked; what was read before is stored.
        """
        # Intents end by the chain's time: a host clock that is ahead would have their addresses forgotten early.
        on_chain = self._chain_time()
        moment = self._clock.now_ms() if on_chain is None else on_chain.ms
        async with self._db.read() as tx:
            destinations = sorted(await intents.direct_destinations(tx, self._chain.chain_id, moment - self._late_ms))
        for start in range(0, len(destinations), BATCH_SIZE):
            fell = await self._look(destinations[start : start + BATCH_SIZE])
            if fell:  # believed at once, one wrong answer of nothing would have the same coin told twice
                await self._look(fell, again=True)

    async def _look(self, destinations: Sequence[str], *, again: bool = False) -> list[str]:
        """Read these; return where less lies than before, which is believed when it is seen `again`."""
        found = await self._adapter.balances([BalanceKey(key, None) for key in destinations], confirmed=True)
        told = zip(destinations, found.amounts, strict=True)
        return await self._store({key: amount for key, amount in told if amount is not None}, found, again=again)

    async def _store(self, seen: dict[str, int], found: Balances, *, again: bool) -> list[str]:
        """One transaction: what is seen now, and what rose since. Nothing changed, nothing is written."""
        async with self._db.read() as tx:
            before = await coins.known(tx, self._chain.chain_id, seen)
        # An address used for one intent alone holds no coin before somebody sends some.
        never = Seen(0, 0)
        was = {key: before.get(key, never) for key in seen}
        # An endpoint that is behind tells of the past: what it shows less of now would be news again later.
        changed = {
            key: amount
            for key, amount in seen.items()
            if amount != was[key].balance and found.position >= was[key].position
        }
        fell = [] if again else [key for key, amount in changed.items() if amount < was[key].balance]
        for key in fell:
            del changed[key]
        if not changed:
            return fell
        rises = [
            self._rise(key, amount - was[key].balance, found)
            for key, amount in changed.items()
            if amount > was[key].balance
        ]
        now = self._clock.now_ms()
        async with self._db.write() as tx:
            recorded = await ingest.record_coins(tx, self._chain.chain_id, rises, now=now)
            await coins.put(tx, self._chain.chain_id, changed, position=found.position)
        self._count(recorded)
        return fell

    def _rise(self, destination: str, amount: int, found: Balances) -> Transfer:
        return Transfer(
            chain_id=self._chain.chain_id,
            tx_hash=NO_TX,
            event_key=f"{destination}@{found.position}",
            log_index=None,
            block_number=found.position,
            block_hash=None,
            block_time=found.time,
            token=NATIVE,
            destination=destination,
            amount=amount,
        )

    def _count(self, recorded: PageResult) -> None:
        for reason, times in recorded.rejected.items():
            self._metrics.rejects.labels(str(self._chain.chain_id), reason).inc(times)
        if recorded.queued:
            self._on_events()
