"""What backends were told of balances, compared with the chain."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.harness import MERCHANT, USDT
from tests.simulation.evm_environment import LedgerController
from tests.simulation.evm_ledger import EvmLedger, payment_logs
from tests.simulation.plans import Asked, sim_plan
from tests.simulation.watchers import BalanceReceiver, Told, Watchers

NOW = 1_772_000_000
GOOD = Told("watch-0", 0, 5, 5, acknowledged=True, genuine=True)


class Shown:
    """A scanner that shows one balance."""

    def __init__(self, balance: int) -> None:
        self.api = self
        self._balance = balance

    async def call(self, *_: Any) -> tuple[int, Any]:
        return 200, {"watch": {"currentBalance": str(self._balance)}}


async def sentences(monkeypatch: pytest.MonkeyPatch, shown: int, *told: Told) -> list[str]:
    monkeypatch.setattr("tests.simulation.watchers.LOOK_S", 0.01)
    monkeypatch.setattr("tests.simulation.watchers.SETTLED_S", 0.03)
    ledger = EvmLedger(lambda: NOW, random.Random(1), epoch=4)
    ledger.mine(ledger.tx(payment_logs(USDT, MERCHANT, 5, None)))
    receiver = BalanceReceiver()
    receiver.told = list(told)
    controller = LedgerController(ledger, random.Random(1))
    watchers = Watchers(Shown(shown), receiver, controller, sim_plan(Asked(1, family="evm")))
    watchers.safe = True
    watchers._addresses["watch-0"] = MERCHANT
    return await watchers.judged()


@pytest.mark.parametrize(
    ("shown", "told", "sentence"),
    [
        (5, GOOD, None),
        (4, GOOD, "missed: watch-0 shows a balance of 4, the chain 5"),
        (5, Told("watch-0", 0, 4, 4, acknowledged=True, genuine=True), "was told a balance of 4 last"),
        (5, Told("watch-0", 0, 5, 4, acknowledged=True, genuine=True), "invented"),
        (5, Told("watch-0", 0, 5, 5, acknowledged=True, genuine=False), "invented"),
        (5, Told("watch-0", 5, 0, -5, acknowledged=False, genuine=True), "nobody spends"),
        (5, Told("watch-0", 0, 3, 3, acknowledged=False, genuine=True), "never had that balance"),
    ],
)
async def test_each_way_to_be_wrong_is_said(
    monkeypatch: pytest.MonkeyPatch, shown: int, told: Told, sentence: str | None
) -> None:
    found = await sentences(monkeypatch, shown, told)

    assert found == [] if sentence is None else any(sentence in each for each in found), found
