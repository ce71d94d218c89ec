"""What backends were told of balances, compared with the chain."""

from __future__ import annotations

import random
from typing import Any

import pytest

from devnet.ton.ledger import TonLedger
from devnet.tron import ledger as tron_ledger
from tests.e2e import ton_shop
from tests.harness import MERCHANT, USDT
from tests.simulation.balance_books import EvmBook, TonBook, TronBook
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
    watchers = Watchers(Shown(shown), receiver, EvmBook(controller), sim_plan(Asked(1, family="evm")))
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


async def test_on_tron_every_balance_is_one_after_a_block_and_the_last_one_is_solid() -> None:
    ledger = tron_ledger.TronLedger.until(NOW * 1000)
    book = TronBook(ledger)
    await book.deposit(5)
    await book.deposit(6)
    ledger.advance(1)
    await book.deposit(7)
    ledger.fail(book.treasury, 100, keeps_logs=True)
    ledger.transfer(book.treasury, 1000, token=tron_ledger.account("another token"))
    ledger.advance(1)
    ledger.send_coin(book.treasury, 9)

    assert book.balances(book.treasury) == {0, 11, 18}
    assert book.balance(book.treasury) == 0
    ledger.settle()
    assert book.balance(book.treasury) == 18


async def test_on_ton_what_is_on_its_way_is_in_no_balance() -> None:
    ledger = TonLedger(NOW)
    book = TonBook(ledger)
    await book.deposit(5)
    sent = ledger.pay(book.treasury, 6, master=ton_shop.MASTER, pending=True)
    ledger.pay(book.treasury, 1000, name="bounce", master=ton_shop.MASTER)

    assert (book.balances(book.treasury), book.balance(book.treasury)) == ({0, 5}, 5)
    sent.pending = False
    assert (book.balances(book.treasury), book.balance(book.treasury)) == ({0, 5, 11}, 11)
