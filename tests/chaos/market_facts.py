"""What the laboratory knows of a run with the marketplace, and what the marketplace's API and ledger say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.chaos.facts import ChainTransfer, Coin, UnmatchedRow


@dataclass(frozen=True, slots=True)
class OpenedPayment:
    """A payment that was opened, as its buyer knows it; addresses in lower case."""

    kind: str
    rail: str
    payment_id: str
    price: int
    token: str
    destination: str
    reference: str | None  # of the proxy rail
    ended: bool  # every payment that needs to count comes after its end
    fee_bps: int = 0  # that the platform takes of what the seller is paid
    buyer_bps: int = 0  # that a split gives back to the buyer
    screened: bool = False  # the seller wants nothing from whoever is on the sanctions list

    @property
    def is_balance(self) -> bool:
        return self.rail.startswith("direct_balance")

    @property
    def parts(self) -> dict[str, int]:
        """Return what the price is divided into when it leaves, by the entry of the ledger."""
        back = self.price * self.buyer_bps // 10_000
        fee = (self.price - back) * self.fee_bps // 10_000
        return {"refund": back, "platform_fee": fee, "release": self.price - back - fee}


@dataclass(frozen=True, slots=True)
class ShownPayment:
    """A pay-in as the API shows it."""

    payment_id: str
    status: str
    escrow: str | None
    amount: int

    @classmethod
    def of(cls, payment: Mapping[str, Any]) -> ShownPayment:
        return cls(payment["id"], payment["status"], payment["escrowState"], int(payment["amountBaseUnits"]))


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """A line of the ledger, as the table holds it."""

    number: int
    entry: str
    payment_id: str
    token: str  # lower case
    amount: int


@dataclass(frozen=True, slots=True)
class CreditedRow:
    """A transfer that counts towards a payment."""

    tx: str
    event_key: str
    payment_id: str


@dataclass(frozen=True, slots=True)
class RecoveryRow:
    """Money that waits for a person, as the API lists it."""

    payment_id: str
    reason: str
    amount: int | None
    tx: str | None
    count: int = 1  # transfers in it
    token: str | None = None  # lower case; None where it is unknown

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> RecoveryRow:
        amount, token = row["amountBaseUnits"], row["tokenAddress"]
        return cls(
            payment_id=row["paymentId"],
            reason=row["reason"],
            amount=None if amount is None else int(amount),
            tx=row["txHash"],
            count=row["count"],
            token=None if token is None else token.lower(),
        )


@dataclass(frozen=True, slots=True)
class MessageCount:
    """How often one message was received: a notification by a user, or an event by the marketplace."""

    who: str
    what: str
    about: str
    times: int


@dataclass(frozen=True, slots=True)
class Payout:
    """An instruction that was carried out."""

    payment_id: str
    amount: int


@dataclass(frozen=True, slots=True)
class MarketOutcome:
    """Everything the judge looks at."""

    opened: tuple[OpenedPayment, ...]
    transfers: tuple[ChainTransfer, ...]  # on the canonical chain, into our addresses
    sent: frozenset[str]  # transactions that buyers ever sent, whatever became of them
    gassed: frozenset[str]  # addresses that were given native coin, to pay out of them
    balances: Mapping[str, int]  # of the token, by address, on the chain
    payments: tuple[ShownPayment, ...]
    ledger: tuple[LedgerLine, ...]
    earlier: tuple[tuple[LedgerLine, ...], ...]  # the ledger as it was at moments of the run
    credits: tuple[CreditedRow, ...]
    recoveries: tuple[RecoveryRow, ...]
    payouts: tuple[Payout, ...]
    unmatched: tuple[UnmatchedRow, ...]  # what the scanner lists as settling nothing
    coins: tuple[Coin, ...]  # the chain's own coin, into our addresses, but what pays for payouts
    listed: frozenset[str]  # wallets of people on the sanctions list
    notices: tuple[MessageCount, ...]  # to people
    events: tuple[MessageCount, ...]  # to the marketplace
    hours: int  # that went by, as the daemons saw it, begun ones too
    reconciliation: Mapping[str, Any]
    unfinished: tuple[str, ...]  # scenarios that did not come to their end
    anomalies: tuple[str, ...] = ()
