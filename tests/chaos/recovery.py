"""
How long a payment waits after a fault is over: `python -m tests.chaos.recovery [--chain evm|tron|ton]`.

A scanner that polls every five seconds watches a chain through one endpoint, or through two. A fault begins, the
payment is made and becomes final, the fault ends, and the clock starts. The rule is 45 seconds at most; a row
that enters an index late is found by the next sweep.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from devnet.evm.anvil import Anvil, anvil
from devnet.receiver import receiver
from devnet.ton.toncenter import TonCenter
from devnet.tron import ledger as tron_ledger
from devnet.tron.trongrid import TronGrid
from tests.chaos import indexer_faults, rpc_faults, schedule
from tests.chaos.rpc_faults import Endpoint
from tests.e2e import ton_shop, tron_shop
from tests.harness import MERCHANT, USDT, environment, prepared, running

POLL_S = 5
MOST_S = 45.0  # docs/rules.md, section C
FAULT_S = 15.0
SWEEP_S = 30  # what enters an index late is found by the next sweep: a shorter one than anybody's default
GIVE_UP_S = 90.0
AT_ONCE = 10
STARTED_S = 60.0
SHAPES = ((1, 1), (2, 1), (2, 2))  # endpoints, and how many of them are faulty
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Case:
    """A fault of so many of so many endpoints."""

    kind: str
    endpoints: int
    faulty: int

    @property
    def most_s(self) -> float:
        """How long a payment may take, once the fault is over."""
        return MOST_S + (SWEEP_S if self.kind == indexer_faults.LATE else 0)


class Site(Protocol):
    """One chain that goes on by itself."""

    kinds: Sequence[str]

    def open(self, count: int) -> AbstractAsyncContextManager[list[Any]]:
        """Open so many endpoints."""

    def environment(self, folder: Path, fronts: Sequence[Any]) -> dict[str, str]:
        """Return the environment of a scanner behind these endpoints."""

    def orders(self) -> list[dict[str, Any]]:
        """Return what is to be registered: one intent a rail."""

    async def pay(self, checkout: dict[str, Any]) -> None:
        """Pay one of them in full; it is final before the fault ends."""

    def inject_fault(self, front: Any, kind: str) -> AbstractAsyncContextManager[None]:
        """Let an endpoint misbehave until the block ends."""


class EvmSite:
    kinds = (*schedule.TRANSIENT, *schedule.FOR_LONG, schedule.LIES)

    def __init__(self, chain: Anvil) -> None:
        self._chain = chain
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def open(self, count: int) -> AsyncIterator[list[Any]]:
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(Endpoint(self._chain.url)) for _ in range(count)]

    def environment(self, folder: Path, fronts: Sequence[Any]) -> dict[str, str]:
        return environment(folder, ",".join(front.url for front in fronts))

    def orders(self) -> list[dict[str, Any]]:
        alone = f"0x9{next(_numbers):039x}"
        return [{"rail": "proxy", "destination": MERCHANT}, {"rail": "direct", "destination": alone}]

    async def pay(self, checkout: dict[str, Any]) -> None:
        async with self._lock:
            if checkout["calldata"] is None:
                await self._chain.transfer(USDT, checkout["destination"], 1000)
            else:
                await self._chain.pay(USDT, checkout["destination"], 1000, checkout["paymentReference"])

    def inject_fault(self, front: Any, kind: str) -> AbstractAsyncContextManager[None]:
        return rpc_faults.inject_fault(front, kind, self._chain, "*")


class TronSite:
    kinds = schedule.OF_FAMILY["tron"]

    def __init__(self) -> None:
        self._ledger = tron_shop.chain_of_today(ago_s=3600)  # it makes blocks faster than the clock goes

    @asynccontextmanager
    async def open(self, count: int) -> AsyncIterator[list[Any]]:
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(TronGrid(self._ledger)) for _ in range(count)]

    def environment(self, folder: Path, fronts: Sequence[Any]) -> dict[str, str]:
        return tron_shop.environment(folder, *fronts)

    def orders(self) -> list[dict[str, Any]]:
        return [{"chainId": tron_ledger.CHAIN_ID, "destination": tron_shop.fresh_address()}]

    async def pay(self, checkout: dict[str, Any]) -> None:
        self._ledger.transfer(checkout["destination"], 1000)
        self._ledger.advance(1)

    async def go_on(self) -> None:
        await self._ledger.produce(every_s=0.4)  # fast enough that what is paid becomes solid while the fault lasts

    def inject_fault(self, front: Any, kind: str) -> AbstractAsyncContextManager[None]:
        return indexer_faults.inject_fault(front, kind)


class TonSite:
    kinds = schedule.OF_FAMILY["ton"]

    def __init__(self) -> None:
        self._ledger = ton_shop.chain_of_today(ago_s=300)

    @asynccontextmanager
    async def open(self, count: int) -> AsyncIterator[list[Any]]:
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(TonCenter(self._ledger)) for _ in range(count)]

    def environment(self, folder: Path, fronts: Sequence[Any]) -> dict[str, str]:
        return ton_shop.environment(folder, *fronts)

    def orders(self) -> list[dict[str, Any]]:
        return [{"chainId": ton_shop.CHAIN_ID, "destination": ton_shop.fresh_address()}]

    async def pay(self, checkout: dict[str, Any]) -> None:
        self._ledger.advance(1)
        self._ledger.pay(ton_shop.parse_address(checkout["destination"], testnet=False), 1000, master=ton_shop.MASTER)

    async def go_on(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._ledger.advance(1)

    def inject_fault(self, front: Any, kind: str) -> AbstractAsyncContextManager[None]:
        return indexer_faults.inject_fault(front, kind)


@asynccontextmanager
async def site_of(family: str) -> AsyncIterator[Site]:
    """Start a chain that goes on until the block ends."""
    if family == "evm":
        async with anvil(block_time=1, accounts=20) as chain:
            yield EvmSite(await prepared(chain))
        return
    site = TronSite() if family == "tron" else TonSite()
    going_on = asyncio.create_task(site.go_on())
    try:
        yield site
    finally:
        going_on.cancel()
        await asyncio.wait([going_on])


async def measure(site: Site, case: Case, starting: asyncio.Lock) -> float | None:
    """Return the seconds from the end of a fault to the confirmation; None when it never came."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="recovery-")))
        fronts = await stack.enter_async_context(site.open(case.endpoints))
        hooks = await stack.enter_async_context(receiver())
        env = site.environment(folder, fronts) | {"POLL_INTERVAL_SEC": str(POLL_S)}
        if case.kind == indexer_faults.LATE:
            env["SWEEP_INTERVAL_SEC"] = str(SWEEP_S)
        async with starting:  # the migrations' library has one context a process
            scanner = await stack.enter_async_context(running(env))
        async with asyncio.timeout(STARTED_S):
            while not scanner.worker.health.polled:  # noqa: ASYNC110 - an operator has no event either
                await asyncio.sleep(0.1)
        checkouts = [await scanner.api.create(callbackUrl=hooks.url(), **order) for order in site.orders()]
        async with AsyncExitStack() as faults:
            for front in fronts[: case.faulty]:
                await faults.enter_async_context(site.inject_fault(front, case.kind))
            for checkout in checkouts:
                await site.pay(checkout["checkoutBlock"])
            await asyncio.sleep(FAULT_S)
        healed = time.monotonic()
        with suppress(AssertionError):  # it never came: that is what is measured
            for checkout in checkouts:
                await scanner.api.status_is(checkout["intentId"], "confirmed", GIVE_UP_S)
            return time.monotonic() - healed
    return None


async def table(family: str, kinds: Sequence[str]) -> dict[Case, float | None]:
    """Measure every fault, a few beside each other."""
    places, starting = asyncio.Semaphore(AT_ONCE), asyncio.Lock()
    found: dict[Case, float | None] = {}
    async with site_of(family) as site, asyncio.TaskGroup() as group:

        async def one(case: Case) -> None:
            async with places:
                found[case] = await measure(site, case, starting)

        for kind in kinds or site.kinds:
            for shape in SHAPES:
                group.create_task(one(Case(kind, *shape)))
    return found


def _cell(case: Case, seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f}" if seconds <= case.most_s else f"**{seconds:.1f}**"


def show(family: str, found: dict[Case, float | None]) -> str:
    """Return the table, in seconds after the fault ended."""
    lines = [f"| {family}: fault | the only endpoint | one of two | both of two |", "|---|---|---|---|"]
    for kind in sorted({case.kind for case in found}):
        cells = [_cell(case, found[case]) for case in (Case(kind, *shape) for shape in SHAPES)]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.recovery", description=__doc__)
    parser.add_argument("--chain", choices=("evm", "tron", "ton"), default="evm")
    parser.add_argument("kinds", nargs="*", help="faults; all of them without a name")
    asked = parser.parse_args()
    found = asyncio.run(table(asked.chain, asked.kinds))
    sys.stdout.write(show(asked.chain, found) + "\n")
    late = [case for case, seconds in found.items() if seconds is None or seconds > case.most_s]
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
