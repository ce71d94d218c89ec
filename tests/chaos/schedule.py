"""What happens in a run, and when: a pure function of its seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tests.chaos.purchases import Family, PlannedPurchase, kinds_of, plan_purchases

SPAN_S = 25.0
CONFIRMATIONS = (5, 8, 12)
MOST_SKEW_S = 200  # a clock that drifts
FAR_OFF_S = (-1200, 1200)  # a clock that is wrong

TRANSIENT = (
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
# Of a socket for new heads (`SocketFault`): it costs nothing but speed.
SOCKETS = tuple(
    f"socket_{kind}"
    for kind in ("silent", "lags", "repeats", "lies", "floods", "other_chain", "dies", "refuses", "babbles")
)
FOR_LONG = ("wrong_chain", "no_ranges")  # an endpoint that does this is left alone for minutes: never both of them
INDEXERS = ("timeout", "cut", "5xx", "429", "html", "wrong_json", "empty")
OF_FAMILY: dict[Family, tuple[str, ...]] = {
    "evm": TRANSIENT,
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
PERMANENT_FAULTS: dict[Family, tuple[str, ...]] = {
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
LEADER = 9  # whoever leads the chain at that moment
CLUSTER = ("kill", "terminate", "stop", "cut", "cut", "hole", "deaf", "migrate", "stall", "promote")
REORGS = ("same", "shuffled", "later", "vanish")


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """Something that goes wrong from a moment on; `seconds` is 0 for what happens at once."""

    at: float
    area: Literal["rpc", "receiver", "process", "chain", "cluster"]
    kind: str
    seconds: float = 0.0
    size: int = 0  # endpoints (a bit each), blocks, seconds of a clock, or which node


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    family: Family
    span_s: float
    confirmations: int
    patient: bool  # whether the end comes without a restart
    guards: dict[str, int | bool | str]  # of the registry: what endpoints are checked against
    purchases: tuple[PlannedPurchase, ...]
    faults: tuple[PlannedFault, ...]
    permanent_faults: tuple[tuple[str, ...], ...] = ()  # of each endpoint, from before the start to after the end
    pushed: bool = False  # whether two sockets announce new heads

    @property
    def fault_counts(self) -> Counter[str]:
        """How often each kind of fault is injected."""
        passing = Counter(f"{t.area}:{t.kind}" for t in self.faults if t.kind != "mine")
        return passing + Counter(f"permanent:{kind}" for kinds in self.permanent_faults for kind in kinds)


def plan(seed: int, *, span_s: float = SPAN_S, family: Family = "evm") -> Plan:
    """Return the run of a seed."""
    rng = random.Random(seed)
    evm = family == "evm"
    confirmations = rng.choice(CONFIRMATIONS)
    faults = [*_rpc(rng, span_s, family), *_receiver(rng, span_s), *_process(rng, span_s)]
    faults += _chain(rng, span_s, confirmations if evm else 0)
    guards: dict[str, int | bool | str] = {"rpcQuorum": 2} if rng.random() < 0.3 and evm else {}
    if evm and rng.random() < 0.5:
        guards["confirmationThreshold"] = confirmations
    if evm and rng.random() < 0.5:
        guards["bloomCheck"] = True
        faults += _withheld(rng, span_s)
    if "rpcQuorum" in guards:
        faults += _lies(rng, span_s)
    if evm and rng.random() < 0.3:
        guards["finality"] = "both"
        deepest = deepest_reorg(confirmations, guards)
        faults += _reorgs(rng, span_s, range(min(confirmations, deepest), deepest + 1))
    sockets = _sockets(random.Random(f"sockets of {seed}"), span_s) if evm else []
    return Plan(
        seed=seed,
        family=family,
        span_s=span_s,
        confirmations=confirmations,
        patient=not any(t.kind in FOR_LONG for t in faults) and rng.random() < 0.5,
        guards=guards,
        purchases=tuple(
            plan_purchases(rng, span_s, family, kinds_of(family, deepest_reorg(confirmations, guards), guards))
        ),
        faults=tuple(sorted([*faults, *sockets], key=lambda t: t.at)),
        pushed=bool(sockets),
        permanent_faults=_permanent_faults(random.Random(f"habits of {seed}"), family, guards),
    )


def cluster_plan(seed: int, *, span_s: float = SPAN_S) -> Plan:
    """Return the run of a seed with three scanners on one database: the same, but for the faults of processes."""
    alone = plan(seed, span_s=span_s)
    rng = random.Random(f"cluster of {seed}")
    faults = [fault for fault in alone.faults if fault.area != "process"] + _cluster(rng, span_s)
    return replace(alone, faults=tuple(sorted(faults, key=lambda fault: fault.at)))


def _cluster(rng: random.Random, span_s: float) -> list[PlannedFault]:
    """In every run the leader is stopped for longer than its lease and the standby takes over; the rest is drawn."""
    found = [
        PlannedFault(span_s * rng.uniform(0.05, 0.2), "cluster", "stop", rng.uniform(9.0, 12.0), LEADER),
        PlannedFault(span_s * rng.uniform(0.5, 0.8), "cluster", rng.choice(["promote", "promote_behind"])),
        PlannedFault(span_s * rng.uniform(0.2, 0.6), "cluster", "add"),
    ]
    for _ in _often(span_s, 5.0):
        kind = rng.choice(CLUSTER)
        length = rng.uniform(1.0, 4.0) if kind in {"deaf", "stall"} else rng.uniform(5.0, 10.0)
        node = rng.choice([0, 1, 2, LEADER, LEADER])
        found.append(PlannedFault(rng.uniform(0, span_s * 0.9), "cluster", kind, length, node))
    if rng.random() < 0.5:  # one host's clock, once: whoever takes webhooks compares the time with his own
        found.append(PlannedFault(rng.uniform(0, span_s), "cluster", "one_clock", size=rng.choice(FAR_OFF_S)))
    return found


def deepest_reorg(confirmations: int, guards: Mapping[str, int | bool | str]) -> int:
    """
    Return how many blocks a reorganisation may replace.

    A block that as many stand on as were asked for, itself included, is never replaced: that is the promise of
    the depth. Where the chain's own word on what is final counts as well, only what is final is safe.
    """
    return max(confirmations, 2 * EPOCH if guards.get("finality") == "both" else 0) - 1


def _permanent_faults(
    rng: random.Random, family: Family, guards: Mapping[str, int | bool | str]
) -> tuple[tuple[str, ...], ...]:
    """Draw what the endpoints are like: often alike, for many stand before the same nodes."""
    first = rng.sample(PERMANENT_FAULTS[family], k=rng.choice([0, 1, 3]))
    second = first if rng.random() < 0.5 else rng.sample(PERMANENT_FAULTS[family], k=rng.choice([0, 1, 3]))
    permanent_faults = [[*first], [*second]]
    if OF_ONE[family] and "rpcQuorum" not in guards and rng.random() < 0.4:
        rng.choice(permanent_faults).append(rng.choice(OF_ONE[family]))
    return tuple(map(tuple, permanent_faults))


def _often(span_s: float, every_s: float) -> range:
    return range(max(1, round(span_s / every_s)))


def _rpc(rng: random.Random, span_s: float, family: Family) -> list[PlannedFault]:
    found = []
    for _ in _often(span_s, 1.8):
        both = rng.random() < 0.25
        size = 3 if both else rng.choice([1, 2])
        length = rng.uniform(0.5, 2.0 if both else 5.0)
        found.append(PlannedFault(rng.uniform(0, span_s * 0.9), "rpc", rng.choice(OF_FAMILY[family]), length, size))
    if family == "evm" and rng.random() < 0.4:
        found.append(PlannedFault(rng.uniform(0, span_s / 2), "rpc", rng.choice(FOR_LONG), 3.0, rng.choice([1, 2])))
    return found


def _sockets(rng: random.Random, span_s: float) -> list[PlannedFault]:
    """Draw what goes wrong with the two sockets of every other run, often with both at once."""
    if rng.random() < 0.5:
        return []
    return [
        PlannedFault(
            rng.uniform(0, span_s * 0.9), "rpc", rng.choice(SOCKETS), rng.uniform(1.0, 6.0), rng.choice([1, 2, 3])
        )
        for _ in _often(span_s, 2.5)
    ]


def _withheld(rng: random.Random, span_s: float) -> list[PlannedFault]:
    liar = rng.choice([1, 2])  # when every endpoint leaves out the same, there is nobody to learn it from
    return [
        PlannedFault(rng.uniform(0, span_s * 0.8), "rpc", WITHHELD, rng.uniform(2.0, 8.0), liar)
        for _ in _often(span_s, 12.0)
    ]


def _lies(rng: random.Random, span_s: float) -> list[PlannedFault]:
    liar = rng.choice([1, 2])
    return [
        PlannedFault(rng.uniform(0, span_s * 0.8), "rpc", LIES, rng.uniform(2.0, 8.0), liar)
        for _ in _often(span_s, 12.0)
    ]


def _receiver(rng: random.Random, span_s: float) -> list[PlannedFault]:
    return [
        PlannedFault(rng.uniform(0, span_s * 0.9), "receiver", rng.choice(RECEIVER), rng.uniform(1.0, 4.0))
        for _ in _often(span_s, 5.0)
    ]


def _process(rng: random.Random, span_s: float) -> list[PlannedFault]:
    found = []
    for _ in _often(span_s, 5.0):
        kind = rng.choice(PROCESS)
        length = rng.uniform(1.0, 7.0) if kind in {"locked", "disk_full"} else 0.0
        size = rng.choice(FAR_OFF_S) if kind == "far_off" else rng.randint(-3, 60)
        found.append(PlannedFault(rng.uniform(0, span_s * 0.9), "process", kind, length, size))
    return found


def _chain(rng: random.Random, span_s: float, confirmations: int) -> list[PlannedFault]:
    found = [
        PlannedFault(rng.uniform(0, span_s), "chain", "mine", size=rng.choice([1, 1, 2, 4]))
        for _ in _often(span_s, 0.6)
    ]
    if not confirmations:
        return found
    return found + _reorgs(rng, span_s, range(1, confirmations))


def _reorgs(rng: random.Random, span_s: float, depths: Sequence[int]) -> list[PlannedFault]:
    return [
        PlannedFault(rng.uniform(0, span_s), "chain", rng.choice(REORGS), size=rng.choice(depths))
        for _ in _often(span_s, 4.0)
    ]
