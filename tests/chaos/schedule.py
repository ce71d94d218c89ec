"""What happens in a run, and when: a pure function of its seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.chaos.payments import Family, Purchase, kinds_of, purchases

SPAN_S = 25.0
CONFIRMATIONS = (5, 8, 12)
MOST_SKEW_S = 200  # a clock that drifts
FAR_OFF_S = (-1200, 1200)  # a clock that is wrong

PASSING = (
    "timeout",
    "slow",
    "cut",
    "5xx",
    "429",
    "html",
    "wrong_json",
    "nulls",
    "nonsense",
    "refused",
    "truncated",
    "repeats",
    "reorders",
    "no_batches",
    "short_ranges",
    "stale",
    "lagging",
    "batch_object",
    "batch_first_id",
    "batch_each",
    "batch_413",
    "batch_429",
    "batch_cut",
    "needs_address",
    "few_topics",
    "few_rows",
    "null_receipts",
    "renumbers",
    "no_finalized",
    "no_block_receipts",
    "big_headers",
    "odd_fields",
)
EPOCH = 4  # blocks; what the local chain calls final lies two of them below its head
LIES = "lies_ahead"  # one endpoint makes up a head: found out when two have to agree on it
WITHHELD = "withholds"  # the proxy's events are left out, without an error; found out when `bloomCheck` is on
FOR_LONG = ("wrong_chain", "no_ranges")  # an endpoint that does this is left alone for minutes: never both of them
INDEXERS = ("timeout", "cut", "5xx", "429", "html", "wrong_json", "empty")
OF_FAMILY: dict[Family, tuple[str, ...]] = {
    "evm": PASSING,
    "tron": (
        *INDEXERS,
        *("no_jsonrpc", "no_batches", "lagging", "unconfirmed", "reversed", "repeated", "no_fingerprint"),
        *("few_topics", "few_logs", "few_calls", "few_blocks", "index_lag", "renumbers", "odd_logs", "late_rows"),
        "null_receipts",
    ),
    "ton": (
        *INDEXERS,
        *("behind", "stale", "wrong_order", "repeats", "hides_aborted", "non_final"),
        *("few_owners", "odd_rows", "strange_master", "late_rows"),
    ),
}
# What an endpoint may be like for good: nothing heals, and payments are confirmed in time all the same.
HABITS: dict[Family, tuple[str, ...]] = {
    "evm": (
        *("batch_object", "batch_first_id", "batch_each", "batch_413", "batch_429", "batch_cut"),
        *("needs_address", "few_topics", "few_rows", "renumbers", "no_block_receipts", "big_headers", "odd_fields"),
    ),
    "tron": ("few_topics", "few_logs", "few_calls", "few_blocks", "renumbers", "odd_logs"),
    "ton": ("few_owners", "odd_rows", "strange_master"),
}
OF_ONE: dict[Family, tuple[str, ...]] = {  # what the other endpoint has to make up for
    "evm": ("null_receipts", "no_finalized"),
    "tron": ("null_receipts",),
    "ton": (),
}
RECEIVER = ("down", "500", "429", "slow", "redirect", "lying", "silent")
PROCESS = ("kill", "kill", "terminate", "second", "locked", "disk_full", "clock", "far_off")
REORGS = ("same", "shuffled", "later", "vanish")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that goes wrong from a moment on; `seconds` is 0 for what happens at once."""

    at: float
    area: Literal["rpc", "receiver", "process", "chain"]
    kind: str
    seconds: float = 0.0
    size: int = 0  # endpoints (a bit each), blocks, or seconds of a clock


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    family: Family
    span_s: float
    confirmations: int
    patient: bool  # whether the end comes without a restart
    guards: dict[str, int | bool | str]  # of the registry: what endpoints are checked against
    purchases: tuple[Purchase, ...]
    troubles: tuple[Trouble, ...]
    habits: tuple[tuple[str, ...], ...] = ()  # of each endpoint, from before the start to after the end

    @property
    def faults(self) -> Counter[str]:
        """How often each kind of fault is injected."""
        passing = Counter(f"{t.area}:{t.kind}" for t in self.troubles if t.kind != "mine")
        return passing + Counter(f"habit:{kind}" for kinds in self.habits for kind in kinds)


def plan(seed: int, *, span_s: float = SPAN_S, family: Family = "evm") -> Plan:
    """Return the run of a seed."""
    chance = random.Random(seed)
    evm = family == "evm"
    confirmations = chance.choice(CONFIRMATIONS)
    troubles = [*_rpc(chance, span_s, family), *_receiver(chance, span_s), *_process(chance, span_s)]
    troubles += _chain(chance, span_s, confirmations if evm else 0)
    guards: dict[str, int | bool | str] = {"rpcQuorum": 2} if chance.random() < 0.3 and evm else {}
    if evm and chance.random() < 0.5:
        guards["confirmationThreshold"] = confirmations
    if evm and chance.random() < 0.5:
        guards["bloomCheck"] = True
        troubles += _withheld(chance, span_s)
    if "rpcQuorum" in guards:
        troubles += _lies(chance, span_s)
    if evm and chance.random() < 0.3:
        guards["finality"] = "both"
        deepest = deepest_reorg(confirmations, guards)
        troubles += _reorgs(chance, span_s, range(min(confirmations, deepest), deepest + 1))
    return Plan(
        seed=seed,
        family=family,
        span_s=span_s,
        confirmations=confirmations,
        patient=not any(t.kind in FOR_LONG for t in troubles) and chance.random() < 0.5,
        guards=guards,
        purchases=tuple(
            purchases(chance, span_s, family, kinds_of(family, deepest_reorg(confirmations, guards), guards))
        ),
        troubles=tuple(sorted(troubles, key=lambda t: t.at)),
        habits=_habits(random.Random(f"habits of {seed}"), family, guards),
    )


def deepest_reorg(confirmations: int, guards: Mapping[str, int | bool | str]) -> int:
    """
    Return how many blocks a reorganisation may replace.

    A block that as many stand on as were asked for, itself included, is never replaced: that is the promise of
    the depth. Where the chain's own word on what is final counts as well, only what is final is safe.
    """
    return max(confirmations, 2 * EPOCH if guards.get("finality") == "both" else 0) - 1


def _habits(
    chance: random.Random, family: Family, guards: Mapping[str, int | bool | str]
) -> tuple[tuple[str, ...], ...]:
    """Draw what the endpoints are like: often alike, for many stand before the same nodes."""
    first = chance.sample(HABITS[family], k=chance.choice([0, 1, 3]))
    second = first if chance.random() < 0.5 else chance.sample(HABITS[family], k=chance.choice([0, 1, 3]))
    habits = [[*first], [*second]]
    if OF_ONE[family] and "rpcQuorum" not in guards and chance.random() < 0.4:
        chance.choice(habits).append(chance.choice(OF_ONE[family]))
    return tuple(map(tuple, habits))


def _often(span_s: float, every_s: float) -> range:
    return range(max(1, round(span_s / every_s)))


def _rpc(chance: random.Random, span_s: float, family: Family) -> list[Trouble]:
    found = []
    for _ in _often(span_s, 1.8):
        both = chance.random() < 0.25
        size = 3 if both else chance.choice([1, 2])
        length = chance.uniform(0.5, 2.0 if both else 5.0)
        found.append(Trouble(chance.uniform(0, span_s * 0.9), "rpc", chance.choice(OF_FAMILY[family]), length, size))
    if family == "evm" and chance.random() < 0.4:
        found.append(Trouble(chance.uniform(0, span_s / 2), "rpc", chance.choice(FOR_LONG), 3.0, chance.choice([1, 2])))
    return found


def _withheld(chance: random.Random, span_s: float) -> list[Trouble]:
    liar = chance.choice([1, 2])  # when every endpoint leaves out the same, there is nobody to learn it from
    return [
        Trouble(chance.uniform(0, span_s * 0.8), "rpc", WITHHELD, chance.uniform(2.0, 8.0), liar)
        for _ in _often(span_s, 12.0)
    ]


def _lies(chance: random.Random, span_s: float) -> list[Trouble]:
    liar = chance.choice([1, 2])
    return [
        Trouble(chance.uniform(0, span_s * 0.8), "rpc", LIES, chance.uniform(2.0, 8.0), liar)
        for _ in _often(span_s, 12.0)
    ]


def _receiver(chance: random.Random, span_s: float) -> list[Trouble]:
    return [
        Trouble(chance.uniform(0, span_s * 0.9), "receiver", chance.choice(RECEIVER), chance.uniform(1.0, 4.0))
        for _ in _often(span_s, 5.0)
    ]


def _process(chance: random.Random, span_s: float) -> list[Trouble]:
    found = []
    for _ in _often(span_s, 5.0):
        kind = chance.choice(PROCESS)
        length = chance.uniform(1.0, 7.0) if kind in {"locked", "disk_full"} else 0.0
        size = chance.choice(FAR_OFF_S) if kind == "far_off" else chance.randint(-3, 60)
        found.append(Trouble(chance.uniform(0, span_s * 0.9), "process", kind, length, size))
    return found


def _chain(chance: random.Random, span_s: float, confirmations: int) -> list[Trouble]:
    found = [
        Trouble(chance.uniform(0, span_s), "chain", "mine", size=chance.choice([1, 1, 2, 4]))
        for _ in _often(span_s, 0.6)
    ]
    if not confirmations:
        return found
    return found + _reorgs(chance, span_s, range(1, confirmations))


def _reorgs(chance: random.Random, span_s: float, depths: Sequence[int]) -> list[Trouble]:
    return [
        Trouble(chance.uniform(0, span_s), "chain", chance.choice(REORGS), size=chance.choice(depths))
        for _ in _often(span_s, 4.0)
    ]
