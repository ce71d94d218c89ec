"""Backends on one PostgreSQL as processes: one is killed or stopped, and the others go on with all it had begun."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from marketplace.app import LEASE_S
from marketplace.scheduler import SWEEP
from tests import postgres
from tests.harness import FakeClock, Process, process
from tests.marketplace.accepted_purchase import AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import FakeScanner, deliver
from tests.marketplace.harness import (
    ADMIN,
    Api,
    DirectLink,
    Running,
    environment,
    login,
    on_postgresql,
    running,
)

pytestmark = [pytest.mark.process, postgres.needed]


@pytest.fixture
async def url(postgresql: postgres.Server) -> AsyncIterator[str]:
    async with postgresql.database() as found:
        yield found


@asynccontextmanager
async def backends(env: Mapping[str, str], session: aiohttp.ClientSession, count: int) -> AsyncIterator[list[Process]]:
    """Start several processes at once."""
    async with AsyncExitStack() as stack:
        starting = [stack.enter_async_context(process(env, session, "marketplace")) for _ in range(count)]
        yield list(await asyncio.gather(*starting))


LEADER = """
    SELECT n.node_id FROM leases l JOIN nodes n ON n.incarnation = l.holder AND n.seen_at > now_ms() - ?::bigint
    WHERE l.name = ?
"""


async def until_led(url: str, *, but: str = "") -> str:
    """Wait until a process that is alive sweeps and return its id."""
    async with asyncio.timeout(30):
        while True:
            found = DirectLink(url).execute(LEADER, [round(LEASE_S * 1000), SWEEP]).fetchone()
            if found is not None and found[0] != but:
                return str(found[0])
            await asyncio.sleep(0.1)


async def until_expired(purchase: AcceptedPurchase) -> None:
    async with asyncio.timeout(30):
        while (await purchase.payment())["status"] != "cancelled":  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.1)


def of(processes: list[Process], node_id: str) -> Process:
    return next(each for each in processes if node_id.endswith(f":{each.process.pid}"))


async def people(env: Mapping[str, str], scanner: FakeScanner, count: int) -> list[AcceptedPurchase]:
    """Open payments through a backend of this test that is gone afterwards."""
    async with running(env) as market:
        purchases = [await accept_purchase(market, scanner, FakeClock()) for _ in range(count)]
        for purchase in purchases:
            await purchase.open()
        return purchases


def at(purchase: AcceptedPurchase, backend: Process, session: aiohttp.ClientSession) -> None:
    """Let the people of a purchase talk to a process."""
    for name in ("buyer", "seller"):
        person: Api = getattr(purchase, name)
        setattr(purchase, name, Api(backend.api.url, session, person.token, person.user_id))


async def test_the_webhooks_of_a_killed_process_have_one_effect_through_another(
    tmp_path: Path, fake_scanner: FakeScanner, url: str
) -> None:
    env = environment(tmp_path, fake_scanner.url, **on_postgresql(url))
    purchases = await people(env, fake_scanner, 6)
    async with aiohttp.ClientSession() as session, backends(env, session, 2) as (first, second):
        events = {purchase.payment_id: fake_scanner.pay(purchase.payment_id) for purchase in purchases}

        async def tell(backend: Process) -> list[int]:
            async def one(purchase: AcceptedPurchase) -> int:
                api = Api(backend.api.url, session, purchase.buyer.token)
                try:
                    return (await deliver(api, events[purchase.payment_id]))[0]
                except aiohttp.ClientError:
                    return 0

            return await asyncio.gather(*map(one, purchases))

        begun = asyncio.create_task(tell(first))
        await asyncio.sleep(0.03)
        await first.kill()
        await begun
        assert await tell(second) == [200] * len(purchases)

        rows = DirectLink(url).execute("SELECT payment_id, entry_type FROM funds_ledger_entries").fetchall()
        assert Counter(rows) == {(p.payment_id, kind): 1 for p in purchases for kind in ("payment_detected", "hold")}


async def test_another_process_sweeps_when_the_one_that_did_is_killed(
    tmp_path: Path, fake_scanner: FakeScanner, url: str
) -> None:
    env = environment(
        tmp_path, fake_scanner.url, **on_postgresql(url), MARKETPLACE_SWEEP_SEC="0.2", PAYMENT_TTL_HOURS="0.001"
    )
    async with aiohttp.ClientSession() as session, backends(env, session, 3) as processes:
        led = await until_led(url)
        await of(processes, led).kill()
        began = asyncio.get_running_loop().time()
        next_one = await until_led(url, but=led)
        assert asyncio.get_running_loop().time() - began <= 2 * LEASE_S + 1
        stopped = of(processes, next_one)
        stopped.process.send_signal(signal.SIGSTOP)  # longer than a lease: a third one takes over
        third = await until_led(url, but=next_one)
        assert third not in {led, next_one}

        backend = of(processes, third)
        nobody = Api(backend.api.url, session)
        market = Running(None, nobody, await login(nobody, *ADMIN), tmp_path, url)  # type: ignore[arg-type]  # not here
        purchase = await accept_purchase(market, fake_scanner, FakeClock())
        await purchase.open()
        await until_expired(purchase)

        stopped.process.send_signal(signal.SIGCONT)  # it wakes up and knows no better for a moment
        at(purchase, stopped, session)
        await until_expired(purchase)
        told = DirectLink(url).execute(
            "SELECT count(*) FROM notifications WHERE type = 'payment_expired' AND related_id = ?",
            [purchase.payment_id],
        )
        assert told == [(1,)]
        assert await stopped.terminate() == 0
        assert await backend.terminate() == 0
        assert DirectLink(url).execute("SELECT holder FROM leases WHERE holder IS NOT NULL").fetchall() == []
