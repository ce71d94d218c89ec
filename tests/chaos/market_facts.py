"""What the laboratory knows of a run with the marketplace, and what the marketplace's API and books say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.chaos.facts import Movement
from tests.chaos.market_tales import Bought


@dataclass(frozen=True, slots=True)
class Shown:
    """A pay-in as the API shows it."""

    payment_id: str
    status: str
    escrow: str | None
    amount: int

    @classmethod
    def of(cls, payment: Mapping[str, Any]) -> Shown:
        return cls(payment["id"], payment["status"], payment["escrowState"], int(payment["amountBaseUnits"]))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the ledger, as the table holds it."""

    number: int
    entry: str
    payment_id: str
    token: str  # lower case
    amount: int


@dataclass(frozen=True, slots=True)
class Credited:
    """A transfer that counts towards a payment."""

    tx: str
    event_key: str
    payment_id: str


@dataclass(frozen=True, slots=True)
class Recovery:
    """Money that waits for a person, as the API lists it."""

    payment_id: str
    reason: str
    amount: int | None
    tx: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Recovery:
        amount = row["amountBaseUnits"]
        return cls(row["paymentId"], row["reason"], None if amount is None else int(amount), row["txHash"])


@dataclass(frozen=True, slots=True)
class Payout:
    """An instruction that was carried out."""

    payment_id: str
    amount: int


@dataclass(frozen=True, slots=True)
class MarketOutcome:
    """Everything the judge looks at."""

    bought: tuple[Bought, ...]
    movements: tuple[Movement, ...]  # on the canonical chain, into our addresses
    sent: frozenset[str]  # transactions that buyers ever sent, whatever became of them
    gassed: frozenset[str]  # addresses that were given native coin, to pay out of them
    balances: Mapping[str, int]  # of the token, by address, on the chain
    payments: tuple[Shown, ...]
    ledger: tuple[Line, ...]
    earlier: tuple[tuple[Line, ...], ...]  # the ledger as it was at moments of the run
    credits: tuple[Credited, ...]
    recoveries: tuple[Recovery, ...]
    payouts: tuple[Payout, ...]
    reconciliation: Mapping[str, Any]
    unfinished: tuple[str, ...]  # stories that did not come to their end
    oddities: tuple[str, ...] = ()
