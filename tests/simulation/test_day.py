"""A simulated day: what is bought in it, and chains that make blocks by the clock."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.e2e import ton_shop, tron_shop
from tests.simulation import day
from tests.simulation.evm_ledger import EvmLedger
from tests.simulation.plans import CHAINS, SPAN_S

NOW = 1_772_000_000


def test_a_day_has_four_chains_five_hundred_orders_and_one_restart() -> None:
    plans = day.day_plans(7, SPAN_S)
    numbers = [purchase.number for plan in plans for purchase in plan.purchases]

    assert tuple(plan.family for plan in plans) == CHAINS
    assert len(set(numbers)) == len(numbers) == 500
    assert {plan.span_s for plan in plans} == {day.DAY_S}
    assert [fault.kind for plan in plans for fault in plan.faults] == ["terminate"]


def test_hours_of_a_day_have_as_many_orders_an_hour() -> None:
    assert [len(plan.purchases) for plan in day.day_plans(7, day.DAY_S / 4)] == [31] * 4


def test_an_evm_chain_makes_blocks_by_the_clock_until_it_is_stopped() -> None:
    now = float(NOW)
    ledger = EvmLedger(lambda: now, random.Random(1), epoch=4)
    ledger.mine()
    head = ledger.head
    stop = day._keep_evm(ledger, 3)
    now += 31
    ledger.keep_up()
    assert (ledger.head - head, ledger.blocks[-1].time) == (10, NOW + 30)
    stop()
    now += 300
    ledger.keep_up()
    assert ledger.head - head == 10


async def test_tron_and_ton_make_blocks_when_they_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    tron, ton = tron_shop.chain_of_today(), ton_shop.chain_of_today()
    grid: Any = type("Grid", (), {"before": None})()
    asked: list[str] = []

    async def count(what: str) -> None:
        asked.append(what)

    center: Any = type("Center", (), {"_count": staticmethod(count)})()
    stops = [day._keep_tron(tron, [grid]), day._keep_ton(ton, [center])]
    head, sealed, moment = tron.head, len(ton.blocks), max(tron.times[-1] / 1000, ton.now)
    monkeypatch.setattr(day.time, "time", lambda: moment + 60)
    grid.before("a route")
    await center._count("a question")

    assert (tron.head - head, asked) == (20, ["a question"])
    assert len(ton.blocks) - sealed == (moment + 60 - ton_now(ton, sealed)) // day.TON_BLOCK_S
    for stop in stops:
        stop()
    sealed = len(ton.blocks)
    monkeypatch.setattr(day.time, "time", lambda: moment + 600)
    await center._count("another")
    assert (grid.before, len(ton.blocks)) == (None, sealed)


def ton_now(ledger: Any, sealed: int) -> int:
    """Return what time the block before the new ones told."""
    moment: int = ledger.blocks[sealed - 1][0]
    return moment
