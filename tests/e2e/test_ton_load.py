"""A thousand waiting intents on TON cost two calls and their pages, and nobody waits behind a page that is always full."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chains.ton import transfers as paging
from devnet.receiver import Receiver
from devnet.ton.toncenter import TonCenter
from tests.e2e.ton_shop import MASTER, TonShop, fresh_address, run_ton_shop

WAITING = 1_000


async def waiting(ton: TonShop, count: int = WAITING) -> list[str]:
    """Register so many intents; return their addresses."""
    owners = [fresh_address() for _ in range(count)]
    for start in range(0, count, 100):
        await asyncio.gather(
            *(
                ton.sell(intentId=f"order-{start + i}", destination=to)
                for i, to in enumerate(owners[start : start + 100])
            )
        )
    return owners


def spent(center: TonCenter, before: dict[str, int]) -> dict[str, int]:
    """Return the calls made since, by route."""
    return {
        route: count - before.get(route, 0) for route, count in center.calls.items() if count > before.get(route, 0)
    }


async def test_a_cycle_over_a_thousand_waiting_intents_is_the_head_and_one_page(
    hooks: Receiver, tmp_path: Path
) -> None:
    async with run_ton_shop(tmp_path, hooks, POLL_INTERVAL_SEC="3600") as ton:
        await ton.until_chain(lambda chain: chain["lastSuccessAt"])  # the poll of the start is over
        owners = await waiting(ton)
        for _ in range(3):  # the accepted length of a question is learnt, and where to begin
            await ton.see()
        for _ in range(3):
            before = dict(ton.center.calls)
            await ton.see()
            assert spent(ton.center, before) == {"masterchainInfo": 1, "jetton/transfers": 1}
        assert set(ton.center.questions("jetton/transfers")[-1]["owner_address"]) == set(owners)


async def test_a_cycle_with_a_hundred_payments_is_one_call_more(hooks: Receiver, tmp_path: Path) -> None:
    async with run_ton_shop(tmp_path, hooks, POLL_INTERVAL_SEC="3600") as ton:
        await ton.until_chain(lambda chain: chain["lastSuccessAt"])  # the poll of the start is over
        owners = await waiting(ton)
        for _ in range(3):
            await ton.see()
        await ton.pay(owners[0])  # the master is asked once where its wallets are
        for to in owners[1:101]:
            ton.ledger.pay(to, 1000, master=MASTER)
        before = dict(ton.center.calls)

        await ton.see()

        assert spent(ton.center, before) == {"masterchainInfo": 1, "jetton/transfers": 1, "transactions": 1}
        await hooks.wait_until(lambda: len(hooks.distinct) == 101)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE", 3)
    monkeypatch.setattr(paging, "MAX_PAGES", 2)


@pytest.mark.usefixtures("small_pages")
async def test_nobody_waits_behind_an_address_that_fills_every_page(hooks: Receiver, tmp_path: Path) -> None:
    async with run_ton_shop(tmp_path, hooks, POLL_INTERVAL_SEC="3600") as ton:
        await ton.until_chain(lambda chain: chain["lastSuccessAt"])  # the poll of the start is over
        flooded = fresh_address()
        await ton.sell(destination=flooded, amount="1000000")
        quiet = [fresh_address() for _ in range(5)]
        sold = [await ton.sell(destination=to) for to in quiet]
        for to in quiet:
            for _ in range(20):
                ton.ledger.pay(flooded, 1, master=MASTER)
            await ton.pay(to)
            ton.ledger.advance(1)

        assert [(await ton.api.intent(intent_id))["status"] for intent_id in sold] == ["confirmed"] * 5
        questions = ton.center.questions("jetton/transfers")
        assert len(questions) > 5 * 20 // 3


@pytest.mark.usefixtures("small_pages")
async def test_rows_that_come_faster_than_they_are_read_hold_nobody_up(hooks: Receiver, tmp_path: Path) -> None:
    async with run_ton_shop(tmp_path, hooks, POLL_INTERVAL_SEC="3600") as ton:
        await ton.until_chain(lambda chain: chain["lastSuccessAt"])  # the poll of the start is over
        flooded, quiet = fresh_address(), fresh_address()
        await ton.sell(destination=flooded, amount="1000000")
        intent_id = await ton.sell(destination=quiet)
        ton.ledger.pay(quiet, 1000, master=MASTER)
        ton.ledger.advance(1)

        def flood(route: str) -> None:
            if route == "jetton/transfers" and ton.center.calls[route] < 500:
                for _ in range(paging.PAGE):
                    ton.ledger.pay(flooded, 1, master=MASTER)
                ton.ledger.advance(5)

        ton.center.before = flood
        await asyncio.wait_for(ton.scanner.worker.poll(), 60)
        ton.center.before = None

        assert (await ton.api.intent(intent_id))["status"] == "confirmed"
        # The first look at a new address reads the ten minutes before it; five seconds of them pass with every page.
        assert ton.center.calls["jetton/transfers"] < 200
