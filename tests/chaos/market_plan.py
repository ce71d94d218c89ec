"""What happens in a run with the marketplace, and when: a pure function of its seed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from tests.chaos.schedule import CONFIRMATIONS, PASSING

Area = Literal["rpc", "chain", "hooks", "calls", "scanner", "marketplace", "clock", "forged"]

SPAN_S = 25.0
BOTH = "proxy", "direct"
BALANCE = "direct_balance", "direct_balance:watch"
EVERY = BOTH + BALANCE
# How a buyer behaves, and on which rails that means something.
RAILS_OF: dict[str, tuple[str, ...]] = {
    "exact": EVERY,
    "parts": EVERY,
    "over": EVERY,
    "twice": BOTH,  # at once: the second one is a duplicate
    "again": BOTH,  # after the seller was paid
    "corrected": BOTH,  # another token first
    "cancelled": EVERY,  # paid after it was cancelled
    "given_up": EVERY,  # a part, then cancelled, then the rest
    "expired": EVERY,  # paid after its time was up
    "silent": ("direct_balance:watch",),  # nobody asks: the watch has to tell
    "unpaid": EVERY,
}
# What strangers do beside an honest purchase (or to one that ended), and on which rails anybody can see it.
STRANGERS: dict[str, tuple[str, ...]] = {
    "dusted": EVERY,  # many crumbs of the right token in one transaction, before the honest payment
    "spammed": BOTH,  # many transfers of another token
    "zeroes": BOTH,  # many transfers of nothing
    "listed": BOTH,  # a crumb from somebody on the sanctions list; on a balance nobody may be known to have sent it
    "afterwards": BOTH,  # many crumbs when the payment is confirmed
    "reused": BOTH,  # many crumbs to the address of a purchase that was cancelled
    "raced": EVERY,  # many crumbs while the buyer cancels
    "plainly": ("proxy",),  # many crumbs to the shop's address, past the proxy
    "coin": ("direct",),  # the chain's own coin
}
KINDS = RAILS_OF | STRANGERS
# The way of webhooks to the marketplace, and of calls to the scanner.
HOOKS = ("cut", "slow", "500", "429", "deaf", "twice", "replay", "every_other")
CALLS = ("cut", "slow", "500", "429", "deaf", "twice")
PROCESS = ("kill", "kill", "terminate", "second", "locked", "disk_full")
REORGS = ("same", "shuffled", "later", "vanish")  # the last one takes what no story needs
FEW = 4  # stories of a run that is too short for every kind


@dataclass(frozen=True, slots=True)
class Story:
    """One purchase and how its buyer behaves."""

    at: float
    kind: str
    rail: str
    pause_s: float  # between two payments


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that goes wrong from a moment on; `seconds` is 0 for what happens at once."""

    at: float
    area: Area
    kind: str
    seconds: float = 0.0
    size: int = 0  # endpoints (a bit each), blocks, or seconds of a clock
    method: str = "*"


@dataclass(frozen=True, slots=True)
class MarketPlan:
    """One run."""

    seed: int
    span_s: float
    confirmations: int
    patient: bool  # whether the end comes without a restart
    stories: tuple[Story, ...]
    troubles: tuple[Trouble, ...]

    @property
    def faults(self) -> Counter[str]:
        """How often each kind of fault is injected."""
        return Counter(f"{t.area}:{t.kind}" for t in self.troubles)


def market_plan(seed: int, *, span_s: float = SPAN_S) -> MarketPlan:
    """Return the run of a seed."""
    chance = random.Random(f"market {seed}")
    confirmations = chance.choice(CONFIRMATIONS)
    troubles = [
        *_rpc(chance, span_s),
        *_chain(chance, span_s, confirmations),
        *_ways(chance, span_s),
        *_processes(chance, span_s),
        *(
            Trouble(chance.uniform(0, span_s * 0.9), "clock", "off", size=chance.randint(-60, 60))
            for _ in _often(span_s, 12)
        ),
        *(Trouble(chance.uniform(0, span_s * 0.9), "forged", "webhook") for _ in _often(span_s, 4)),
    ]
    return MarketPlan(
        seed=seed,
        span_s=span_s,
        confirmations=confirmations,
        patient=chance.random() < 0.5,
        stories=tuple(_stories(chance, span_s)),
        troubles=tuple(sorted(troubles, key=lambda t: t.at)),
    )


def _often(span_s: float, every_s: float) -> range:
    return range(max(1, round(span_s / every_s)))


def _stories(chance: random.Random, span_s: float) -> list[Story]:
    wanted = [("exact", rail) for rail in EVERY]
    odd = [kind for kind in RAILS_OF if kind != "exact"]
    if span_s < SPAN_S:
        few = [*chance.sample(odd, FEW - 2), chance.choice(list(STRANGERS))]
        wanted = [("exact", chance.choice(EVERY)), *((kind, "") for kind in few)]
    else:
        wanted += [(kind, "") for kind in (*odd, *STRANGERS)]
        wanted += [(chance.choice([*odd, *STRANGERS]), "") for _ in _often(span_s - SPAN_S, 3)]
    chance.shuffle(wanted)
    return [
        Story(
            at=0.0 if kind == "expired" else chance.uniform(0.0, span_s * 0.6),
            kind=kind,
            rail=rail or chance.choice(KINDS[kind]),
            pause_s=chance.choice([0.0, 0.3, 2.0]),
        )
        for kind, rail in wanted
    ]


def _rpc(chance: random.Random, span_s: float) -> list[Trouble]:
    found = []
    for _ in _often(span_s, 2.5):
        both = chance.random() < 0.25
        found.append(
            Trouble(
                at=chance.uniform(0, span_s * 0.9),
                area="rpc",
                kind=chance.choice(PASSING),
                seconds=chance.uniform(0.5, 2.0 if both else 5.0),
                size=3 if both else chance.choice([1, 2]),
                method=chance.choice(["*", "eth_getLogs", "eth_getBlockByNumber", "eth_call", "*"]),
            )
        )
    return found


def _chain(chance: random.Random, span_s: float, confirmations: int) -> list[Trouble]:
    """A block that `confirmations` stand on, itself included, is never replaced: that is the promise of the depth."""
    return [
        Trouble(chance.uniform(0, span_s), "chain", chance.choice(REORGS), size=chance.randint(1, confirmations - 1))
        for _ in _often(span_s, 3.0)
    ]


def _ways(chance: random.Random, span_s: float) -> list[Trouble]:
    ways: tuple[tuple[Area, tuple[str, ...], float], ...] = (("hooks", HOOKS, 2.5), ("calls", CALLS, 4.0))
    return [
        Trouble(chance.uniform(0, span_s * 0.9), area, chance.choice(kinds), chance.uniform(0.5, 4.0))
        for area, kinds, every_s in ways
        for _ in _often(span_s, every_s)
    ]


def _processes(chance: random.Random, span_s: float) -> list[Trouble]:
    areas: tuple[Area, ...] = ("scanner", "marketplace")
    found = []
    for area in areas:
        for _ in _often(span_s, 6.0):
            kind = chance.choice(PROCESS)
            length = chance.uniform(1.0, 7.0) if kind in {"locked", "disk_full"} else 0.0
            found.append(Trouble(chance.uniform(0, span_s * 0.9), area, kind, length))
    return found
