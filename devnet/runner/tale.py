"""What one worker's story knows so far, and the assertion that follows every step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from devnet.runner.ears import Ears, Hall
from devnet.runner.facts import Deal, Fault, Finding, FlowFailed, Owed
from devnet.runner.lists import told
from devnet.runner.person import Line, Person
from devnet.runner.street import Street
from devnet.runner.verdicts import Cast

UNIT = 10**18


@dataclass(frozen=True, slots=True, kw_only=True)
class Rail:
    """How a buyer pays."""

    name: str
    mode: str | None = None

    @property
    def body(self) -> dict[str, str]:
        return {"rail": self.name} | ({} if self.mode is None else {"mode": self.mode})


RAILS = {
    "proxy": Rail(name="proxy"),
    "direct": Rail(name="direct"),
    "direct_balance": Rail(name="direct_balance", mode="check"),
    "direct_balance:watch": Rail(name="direct_balance", mode="watch"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What all workers of a level share."""

    market: Line
    scanner: Line
    scanner_key: str
    street: Street
    admin: Person
    hall: Hall
    paid: dict[str, str]  # payment id to its buyer: what others must not see
    say: Callable[[str], None]  # for a person who watches

    async def at_scanner(self, operation: str, path: str) -> dict[str, Any]:
        """Ask the scanner, as its operator."""
        status, answer = await self.scanner.ask(operation, "GET", path, token=self.scanner_key)
        if status != 200:
            raise FlowFailed(f"{operation}: {status} {answer}")
        return dict(answer)


@dataclass(slots=True)
class Tale:
    """One worker's story; `serial` is its number in the whole run."""

    world: World
    deal: Deal
    serial: int
    rail: Rail
    buyer: Person = field(init=False)
    sellers: dict[str, Person] = field(default_factory=dict)
    prices: dict[str, int] = field(default_factory=dict)  # offer id to base units
    wallet: str = ""
    sellers_wallet: str = ""
    answer: dict[str, Any] = field(default_factory=dict)  # of opening the payment
    tx_hash: str = ""
    beyond: int = 0  # base units that this buyer pays too much
    terms: Mapping[str, Any] = field(default_factory=dict)  # what the sellers' offers ask for besides
    instruction: dict[str, Any] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)
    late: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def lowest(self) -> int:
        """The price in base units; no two stories of a run agree on one, so a mix-up cannot hide."""
        return (10 + self.serial % 40) * UNIT + self.serial * 10**9

    @property
    def owed(self) -> Owed:
        street = self.world.street
        return Owed(chain_id=street.chain_id, token=street.token, amount=self.lowest, wallet=self.wallet)

    @property
    def winner(self) -> Person:
        return self.sellers[self.deal.winner]

    @property
    def losers(self) -> list[str]:
        return [seller for seller in self.deal.sellers if seller != self.deal.winner]

    @property
    def path(self) -> str:
        return f"/api/marketplace/purchase-requests/{self.deal.request_id}"

    def learn(self, **known: Any) -> None:
        """Note who or what is part of the deal."""
        self.deal = replace(self.deal, **known)

    def accuse(self, finding: Finding) -> None:
        """
        Note what must never happen, and end this story.

        Raises:
            FlowFailed: always.
        """
        self.findings.append(finding)
        raise FlowFailed(f"{finding.fault}: {finding.detail}")

    def ears(self, user_id: str) -> Ears:
        return self.world.hall.ears[user_id]

    async def told(self, users: Iterable[str], kind: str, about: str) -> None:
        """Assert that each of these people is told, and so far nobody who must not be."""
        in_time = await asyncio.gather(*(told(self.ears(user), kind, about) for user in users))
        self.late += in_time.count(False)
        cast = Cast([self.deal], [self.world.admin.user_id], self.world.hall.sellers)
        allowed = cast.audience(kind, about) or frozenset()
        strangers = self.world.hall.by_subject[kind, about] - allowed
        if strangers:
            self.accuse(Finding(Fault.WRONG_RECIPIENT, f"{kind} about {about} was heard by {sorted(strangers)}"))


def decimal(amount: int) -> str:
    """Write 18-decimal base units as the marketplace reads them."""
    whole, part = divmod(amount, UNIT)
    return f"{whole}.{part:018d}".rstrip("0").rstrip(".")
