"""What every address holds on a chain of a simulation, now and ever before, whoever asks."""

from __future__ import annotations

from typing import Any, Protocol

from devnet.ton.ledger import TonLedger
from devnet.tron import ledger as tron_ledger
from tests.e2e import ton_shop
from tests.harness import USDT


class Book(Protocol):
    """The balances of one chain; the treasury is an address nobody asks a payment to, paid all the time."""

    chain_id: int
    token: str
    treasury: str

    async def deposit(self, amount: int) -> None:
        """Pay the treasury."""

    async def take_back(self, deepest: int) -> None:
        """Spend the last deposit a second time, if it is not deeper than that."""

    def balance(self, holder: str) -> int:
        """Return what somebody holds, as far as it is told of in the end."""

    def balances(self, holder: str) -> set[int]:
        """Return everything somebody ever held, on the chain as it is."""


class EvmBook:
    """Of an EVM chain, where a balance may be taken back."""

    token = USDT
    treasury = "0x7" + "0" * 38 + "7"

    def __init__(self, controller: Any) -> None:
        self.chain_id: int = controller.ledger.chain_id
        self._controller = controller
        self._ledger = controller.ledger

    async def deposit(self, amount: int) -> None:
        await self._controller.pay(USDT, self.treasury, amount, None)

    async def take_back(self, deepest: int) -> None:
        await self._controller.spend_twice(self.treasury, deepest)

    def balance(self, holder: str) -> int:
        found: int = self._ledger.balance(USDT, holder, self._ledger.head)
        return found

    def balances(self, holder: str) -> set[int]:
        found: set[int] = self._ledger.balances(USDT, holder)
        return found


class TronBook:
    """Of Tron: only what is solid is told."""

    chain_id = tron_ledger.CHAIN_ID
    token = tron_ledger.USDT
    treasury = tron_ledger.account("the treasury")

    def __init__(self, ledger: tron_ledger.TronLedger) -> None:
        self._ledger = ledger

    async def deposit(self, amount: int) -> None:
        self._ledger.transfer(self.treasury, amount, sender="a depositor")

    async def take_back(self, deepest: int) -> None:
        raise ValueError(f"what is solid is never taken back, {deepest} blocks deep or not")

    def balance(self, holder: str) -> int:
        return self._ledger.balance(holder, self.token, self._ledger.solid)

    def balances(self, holder: str) -> set[int]:
        """Add up block by block: whoever is paid here spends nothing."""
        blocks: dict[int, int] = {}
        for tx in self._ledger.between(0, self._ledger.head):
            for move in tx.moves:
                if (move.to, move.token) == (holder, self.token):
                    blocks[tx.block] = blocks.get(tx.block, 0) + move.amount
        return _sums(blocks.values())


class TonBook:
    """Of TON, where a transfer has arrived or not."""

    chain_id = ton_shop.CHAIN_ID
    token = ton_shop.USDT
    treasury = f"0:{0x7777 << 200:064X}"

    def __init__(self, ledger: TonLedger) -> None:
        self._ledger = ledger

    async def deposit(self, amount: int) -> None:
        self._ledger.pay(self.treasury, amount, master=ton_shop.MASTER)
        self._ledger.advance(1)

    async def take_back(self, deepest: int) -> None:
        raise ValueError(f"what arrived is never taken back, {deepest} blocks deep or not")

    def balance(self, holder: str) -> int:
        return self._ledger.balance(ton_shop.MASTER, holder) or 0

    def balances(self, holder: str) -> set[int]:
        """Add up one by one, in the order in which they were sent: a buyer's message waits for the one before."""
        ours = [p for p in self._ledger.payments if p.row["jetton_master"] == ton_shop.MASTER]
        return _sums(p.credited for p in ours if p.row["destination"] == holder)


def _sums(amounts: Any) -> set[int]:
    found, total = {0}, 0
    for amount in amounts:
        total += amount
        found.add(total)
    return found


def book_of(env: Any) -> Book:
    """Return the balances of an environment's chain."""
    if env.chain_id == tron_ledger.CHAIN_ID:
        return TronBook(env._ledger)
    if env.chain_id == ton_shop.CHAIN_ID:
        return TonBook(env._ledger)
    return EvmBook(env._controller)
