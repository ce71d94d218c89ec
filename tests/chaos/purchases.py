"""What is bought in a run and how it is paid, drawn from a seed's chance."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Rail = Literal["proxy", "direct"]
Family = Literal["evm", "tron", "ton"]

CHAIN_FLOOR = 5  # confirmations the registry asks for on the local chain
BESIDE = 2000  # added to the number of a purchase for the order paid in the same transaction

How = Literal["sent", "fails", "approves", "coin", "bounces", "plain"]
MANY = 40  # transfers of a stranger in one transaction: more than are reported or listed one by one


class Part(NamedTuple):
    """
    One payment: a share of the amount in thousandths, whether the token is the right one, and what becomes of it.

    With `count`, so many transfers of `share` base units each, all in one transaction of a stranger.
    """

    share: int
    right: bool = True
    how: How = "sent"
    count: int = 0


WHOLE = Part(1000)
PARTS: dict[str, tuple[Part, ...]] = {
    "exact": (WHOLE,),
    "partial": (Part(400), Part(600)),
    "over": (Part(1300),),
    "underpaid": (Part(700),),
    "wrong_token": (Part(1000, right=False),),
    "corrected": (Part(1000, right=False), WHOLE),
    "zero": (Part(0),),
    "duplicate": (WHOLE, WHOLE),
    "three_parts": (Part(300), Part(300), Part(800)),
    "late": (WHOLE,),
    "in_time": (WHOLE,),  # whose time runs out soon after
    "cancelled": (WHOLE,),
    "unpaid": (),
    "dusted": (Part(1, count=MANY), WHOLE),
    "spammed": (Part(1, right=False, count=MANY), WHOLE),
    "zeroes": (Part(0, count=MANY), WHOLE),
    "reused": (WHOLE,),  # then the same address is asked for once more, and paid once more
    "raced": (WHOLE,),  # while somebody cancels
    "stranger": (WHOLE,),
    "wrong_destination": (WHOLE,),
    "fee_token": (WHOLE,),
    "silent_token": (WHOLE,),
    "together": (WHOLE,),  # with a second order, in one transaction
    "at_once": (Part(400), Part(0), Part(700)),  # in one transaction
    "crowded": (WHOLE,),  # in one block with strangers
    "failed": (Part(1000, how="fails"),),
    "failed_first": (Part(1000, how="fails"), WHOLE),
    "approved": (Part(1000, how="approves"),),
    "bounced": (Part(1000, how="bounces"),),
    "bounced_first": (Part(1000, how="bounces"), WHOLE),
    "other_token": (WHOLE,),  # an order for another token than the rest's
    "coin": (Part(300, how="coin"), WHOLE),
    "plainly": (Part(1000, how="plain"), WHOLE),  # to the shop's address first, without its reference
    "coins": (Part(300, how="coin"), Part(500, how="coin")),
}
IN_ONE_TRANSACTION = {"together", "at_once"}
# The last one moves nothing and says nothing: without the proxy's event nobody could know of it.
OF_PROXY_ONLY = {"stranger", "wrong_destination", "silent_token", "plainly"}
OF_DIRECT_ONLY = {"reused", "approved", "bounced", "bounced_first", "coin", "coins"}
OF_EVM_ONLY = OF_PROXY_ONLY | {"fee_token", "crowded", "coins"}
OF_TON_ONLY = {"bounced", "bounced_first", "other_token"}
OF_COIN = {"coin", "coins"}
NOT_OF: dict[Family, set[str]] = {
    "evm": OF_TON_ONLY,
    "tron": OF_EVM_ONLY | OF_TON_ONLY,
    "ton": OF_EVM_ONLY | {"approved", "zeroes"},
}
SHORT = {"late", "in_time"}  # whose time runs out within the run
TTL_S = 3  # their time
PAUSES_S = (0.0, 0.3, 2.0)  # before a part
SHORT_PAUSES_S = (0.0, 2.0, TTL_S + 2.0)  # the last one is in time by the chain's minute of grace alone
USUAL = ("exact", "exact", "exact", "partial", "together")


@dataclass(frozen=True, slots=True)
class PlannedPurchase:
    """An order and how its buyer behaves."""

    at: float
    number: int
    kind: str
    rail: Rail
    amount: int
    pauses: tuple[float, ...]  # before each part
    talkative: bool  # asks for the extra events
    beside_rail: Rail | None = None  # of a second order that is paid in the same transaction

    @property
    def beside(self) -> PlannedPurchase | None:
        """The second order, twice as large."""
        if self.beside_rail is None:
            return None
        return replace(
            self, number=self.number + BESIDE, rail=self.beside_rail, amount=2 * self.amount, beside_rail=None
        )


def kinds_of(family: Family, deepest: int, guards: Mapping[str, int | bool | str]) -> list[str]:
    """
    Return the kinds of payment of a run.

    A balance is read as deep as the chain asks, whatever an intent asks: coin is sent only where no
    reorganisation (of at most `deepest` blocks) goes deeper than that.
    """
    safe = family != "evm" or deepest < int(guards.get("confirmationThreshold", CHAIN_FLOOR))
    return [kind for kind in PARTS if kind not in NOT_OF[family] and (safe or kind not in OF_COIN)]


def plan_purchases(rng: random.Random, span_s: float, family: Family, known: list[str]) -> list[PlannedPurchase]:
    """Draw who buys what, when, and how it is paid."""
    kinds = [*known, *rng.choices(USUAL, k=int(span_s * 0.8))]  # every kind at least once
    rng.shuffle(kinds)
    return [_purchase(rng, number, kind, span_s, evm=family == "evm") for number, kind in enumerate(kinds)]


def _purchase(rng: random.Random, number: int, kind: str, span_s: float, *, evm: bool) -> PlannedPurchase:
    def rail() -> Rail:
        return "proxy" if evm and rng.random() < 0.5 else "direct"

    drawn, beside = rail(), rail()
    return PlannedPurchase(
        at=rng.uniform(0.0, span_s * 0.9),
        number=number,
        kind=kind,
        rail="proxy" if kind in OF_PROXY_ONLY else "direct" if kind in OF_DIRECT_ONLY else drawn,
        amount=1000 * rng.randint(1, 10**6) * 10 ** rng.choice([0, 12, 30] if evm else [0, 3, 6]),
        pauses=tuple(rng.choice(SHORT_PAUSES_S if kind in SHORT else PAUSES_S) for _ in PARTS[kind]),
        talkative=rng.random() < 0.3,
        beside_rail=beside if kind == "together" else None,
    )
