"""The state of one worker's scenario, and the assertion that follows every step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from devnet.runner.chain_actor import ChainActor
from devnet.runner.checks import Recipients
from devnet.runner.facts import ExpectedPayment, Finding, FindingKind, FlowFailed, Purchase
from devnet.runner.http_client import HttpClient
from devnet.runner.notification_list import is_notified
from devnet.runner.notification_listener import Listeners, NotificationListener
from devnet.runner.user import User

UNIT = 10**18
BPS = 10_000  # basis points of the whole


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentMethod:
    """How a buyer pays."""

    name: str
    mode: str | None = None

    @property
    def body(self) -> dict[str, str]:
        return {"rail": self.name} | ({} if self.mode is None else {"mode": self.mode})


PAYMENT_METHODS = {
    "proxy": PaymentMethod(name="proxy"),
    "direct": PaymentMethod(name="direct"),
    "direct_balance": PaymentMethod(name="direct_balance", mode="check"),
    "direct_balance:watch": PaymentMethod(name="direct_balance", mode="watch"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelContext:
    """What all workers of a level share."""

    market: HttpClient
    scanner: HttpClient
    scanner_key: str
    chain_actor: ChainActor
    admin: User
    listeners: Listeners
    paid: dict[str, str]  # payment id to its buyer: what others must not see
    shown: set[str]  # goods that somebody was shown
    log: Callable[[str], None]  # for a person who watches

    async def ask_scanner(self, operation: str, path: str) -> dict[str, Any]:
        """Ask the scanner, as its operator."""
        status, answer = await self.scanner.request(operation, "GET", path, token=self.scanner_key)
        if status != 200:
            raise FlowFailed(f"{operation}: {status} {answer}")
        return dict(answer)


@dataclass(slots=True)
class Scenario:
    """One worker's scenario; `serial` is its number in the whole run."""

    context: LevelContext
    purchase: Purchase
    serial: int
    rail: PaymentMethod
    buyer: User = field(init=False)
    sellers: dict[str, User] = field(default_factory=dict)
    prices: dict[str, int] = field(default_factory=dict)  # offer id to base units
    wallet: str = ""
    sellers_wallet: str = ""
    answer: dict[str, Any] = field(default_factory=dict)  # of opening the payment
    tx_hash: str = ""
    currency: str = "USDT"  # of the price
    product_type: str = "physical_product"
    due: int = 0  # base units that are asked for; the price where it is in the token
    fee_bps: int = 0  # that the platform takes, as the accepted offer says
    agreed_bps: int | None = None  # what an admin set for its sellers
    buyer_bps: int = 0  # that a split gives back
    pools: dict[str, str] = field(default_factory=dict)  # seller to the stock they sell from
    stocked: dict[str, frozenset[str]] = field(default_factory=dict)  # seller to their codes
    share_id: str = ""
    surplus: int = 0  # base units that this buyer pays too much
    terms: Mapping[str, Any] = field(default_factory=dict)  # what the sellers' offers ask for besides
    instruction: dict[str, Any] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)
    late: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def price(self) -> int:
        """The price in base units; no two scenarios of a run share one, so a mix-up is seen."""
        return (10 + self.serial % 40) * UNIT + self.serial * 10**9

    @property
    def expected_payment(self) -> ExpectedPayment:
        chain_actor = self.context.chain_actor
        return ExpectedPayment(
            chain_id=chain_actor.chain_id, token=chain_actor.token, amount=self.due, wallet=self.wallet
        )

    @property
    def payout(self) -> int:
        """What the seller is paid: what the buyer does not get back, less the fee, which is rounded down."""
        rest = self.due - self.due * self.buyer_bps // BPS
        return rest - rest * self.fee_bps // BPS

    @property
    def winner(self) -> User:
        return self.sellers[self.purchase.winner]

    @property
    def losers(self) -> list[str]:
        return [seller for seller in self.purchase.sellers if seller != self.purchase.winner]

    @property
    def path(self) -> str:
        return f"/api/marketplace/purchase-requests/{self.purchase.request_id}"

    def update_purchase(self, **known: Any) -> None:
        """Record who or what is part of the purchase."""
        self.purchase = replace(self.purchase, **known)

    def fail(self, finding: Finding) -> None:
        """
        Record what must never happen, and end this scenario.

        Raises:
            FlowFailed: always.
        """
        self.findings.append(finding)
        raise FlowFailed(f"{finding.kind}: {finding.detail}")

    def listener(self, user_id: str) -> NotificationListener:
        return self.context.listeners.by_user[user_id]

    async def assert_notified(self, users: Iterable[str], kind: str, about: str) -> None:
        """Assert that each of these users is notified, and so far no other user."""
        in_time = await asyncio.gather(*(is_notified(self.listener(user), kind, about) for user in users))
        self.late += in_time.count(False)
        recipients = Recipients([self.purchase], [self.context.admin.user_id], self.context.listeners.sellers)
        allowed = recipients.audience(kind, about) or frozenset()
        strangers = self.context.listeners.by_subject[kind, about] - allowed
        if strangers:
            self.fail(Finding(FindingKind.WRONG_RECIPIENT, f"{kind} about {about} was received by {sorted(strangers)}"))


def decimal(amount: int) -> str:
    """Write 18-decimal base units as the marketplace reads them."""
    whole, part = divmod(amount, UNIT)
    return f"{whole}.{part:018d}".rstrip("0").rstrip(".")
