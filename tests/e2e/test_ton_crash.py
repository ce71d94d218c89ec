"""
SIGKILL at any moment, on TON: the set of delivered events equals the set of payments, each settled once.

`CRASH_KILLS` and `CRASH_PAYMENTS` set the size of the long run; `CRASH_SEED` repeats a run.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from devnet.receiver import Receiver
from devnet.ton.toncenter import TonCenter
from tests.e2e.crashes import SEED, Size, acknowledged, confirmed, of_size, rows, settled_for_good
from tests.e2e.ton_shop import CHAIN_ID, MASTER, chain_of_today, environment, fresh_address
from tests.harness import SECRET, Api, intent_body, process

# The simulator kills between any two steps; here real processes die on a real disk.
pytestmark = [pytest.mark.process, pytest.mark.long]


class TonCrashShop:
    """A backend that keeps registering and buyers who keep paying, whatever happens to the scanner."""

    def __init__(self, center: TonCenter, hooks: Receiver, session: aiohttp.ClientSession) -> None:
        self._ledger = center.ledger
        self._hooks = hooks
        self._session = session
        self.url = ""
        self.paid: dict[str, str] = {}
        self.sold = asyncio.Condition()

    async def sell(self, count: int, chance: random.Random) -> None:
        for number in range(count):
            to = fresh_address()
            await self._register(f"order-{number}", to, 1000 + number)
            self._ledger.advance(1)
            await self._pay(f"order-{number}", to, 1000 + number, chance)
            async with self.sold:
                self.sold.notify_all()

    async def _pay(self, order: str, to: str, amount: int, chance: random.Random) -> None:
        """Pay whole or in two parts, with something that must not count, and let the receiving half take its time."""
        if chance.random() < 0.3:
            self._ledger.pay(to, amount, master=MASTER, name="bounce")
            self._ledger.advance(1)  # what is of one second has no order
        if chance.random() < 0.3:
            self._ledger.pay(to, 1, master=MASTER)
            self._ledger.advance(1)
            amount -= 1
        payment = self._ledger.pay(to, amount, master=MASTER, pending=chance.random() < 0.5)
        self.paid[order] = payment.tx_hash
        self._ledger.advance(1)
        await asyncio.sleep(chance.uniform(0, 0.1))  # the moments of everything are what is random here
        payment.pending = False
        self._ledger.advance(1)

    async def _register(self, order: str, to: str, amount: int) -> None:
        """Register until it is acknowledged: the same request again is harmless."""
        body = intent_body(
            intentId=order, chainId=CHAIN_ID, destination=to, amount=str(amount), callbackUrl=self._hooks.url()
        )
        await acknowledged(lambda: Api(self.url, self._session), body)


@of_size(Size(kills=5, payments=30))
@pytest.mark.timeout(3600)
async def test_killed_at_random_moments_nothing_is_missed_invented_or_doubled(
    hooks: Receiver, tmp_path: Path, size: Size
) -> None:
    chance = random.Random(SEED)
    async with TonCenter(chain_of_today()) as center, aiohttp.ClientSession() as session:
        env = environment(tmp_path, center)
        shop = TonCrashShop(center, hooks, session)
        selling: asyncio.Task[None] | None = None
        for kill in range(size.kills):
            async with process(env, session) as scanner:
                shop.url = scanner.api.url
                selling = selling or asyncio.create_task(shop.sell(size.payments, random.Random(SEED)))
                await sales(shop, selling, (kill + 1) * size.payments // (size.kills + 1))
                await asyncio.sleep(chance.uniform(0.0, 0.3))  # the moment of the kill is what is random here
                await scanner.kill()
        assert selling is not None
        async with process(env, session) as scanner:
            shop.url = scanner.api.url
            await selling
            await hooks.wait_until(lambda: len(confirmed(hooks)) >= size.payments, 60)
            await settled_for_good(tmp_path)
            assert await scanner.terminate() == 0

    assert confirmed(hooks) == shop.paid
    assert all(d.verified(SECRET) for d in hooks.distinct.values())
    assert rows(tmp_path, "SELECT count(*) FROM intents WHERE status = 'confirmed'") == [(size.payments,)]
    made = {p.tx_hash for p in center.ledger.payments}
    good = {p.tx_hash for p in center.ledger.payments if p.credited}
    kept = rows(tmp_path, "SELECT tx_hash, counted, settled, coalesce(reason, '') FROM transfers")
    assert {tx for tx, *_ in kept} == made
    assert len(kept) == len(made)
    assert {row for row in kept if row[0] in good} == {(tx, 1, 1, "") for tx in good}
    assert {row for row in kept if row[0] not in good} == {(tx, 0, 0, "reverted") for tx in made - good}
    per_intent = Counter(d.json["intentId"] for d in hooks.distinct.values())
    assert set(per_intent.values()) == {1}


async def sales(shop: TonCrashShop, selling: asyncio.Task[None], count: int) -> None:
    """Wait until so many were paid: each life of the scanner sees some."""
    async with asyncio.timeout(60), shop.sold:
        await shop.sold.wait_for(lambda: len(shop.paid) >= count or selling.done())
