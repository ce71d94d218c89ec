"""What a seed plans: the laboratory's plan, with more deaths, and less of it where a failure is being shrunk."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tests.chaos.purchases import CHAIN_FLOOR, OF_COIN, Family, PlannedPurchase
from tests.chaos.schedule import (
    CONFIRMATIONS,
    EPOCH,
    FOR_LONG,
    LEADER,
    LIES,
    REORGS,
    Plan,
    PlannedFault,
    deepest_reorg,
    plan,
)

SPAN_S = 20.0
FAMILIES: tuple[Family, ...] = ("evm", "evm", "evm", "tron", "ton")
# All: one scanner watches all of these. A cluster: several scanners share two chains. A market: both services.
Played = Literal["evm", "tron", "ton", "all", "cluster", "market", "day"]
CHAINS: tuple[Family, ...] = ("evm", "evm", "tron", "ton")
OFTEN_ALL = 0.1
OFTEN_CLUSTER = 0.1
OFTEN_MARKET = 0.2
NODES = 3
LEASE_S = 4.0
NODE_FAULTS = ("node_kill", "node_end", "node_stop", "node_stop", "node_cut", "node_deaf")
NODE_FAULT_EVERY_S = 2.0
HOST_CLOCK = "node_clock"
FAR_OFF_S = 1200
OTHER_CHAIN = 10**9  # from a seed to that of another chain's plan
SLOW = 0.4  # of the blocks of the second chain are made
CHAIN_STEP = 10_000  # from the numbers of one chain's purchases to those of the next
PURCHASES_EACH = 14  # on each of several chains: a run is to cost no more than two of one chain
RESTART_S = 1.0  # after the fault
DEATH_EVERY_S = 6.0  # on average, beside those of the laboratory: here a start costs little

FROZEN = "frozen"  # an endpoint shows the chain as it once was: it never hears of the reorganisation that follows
BALANCED = "balanced"  # such a node, and one that is up to date, behind one address
LATE_LOGS = "late_logs"  # an endpoint shows its newest blocks before it has their logs
HEADERS_ALONE = "headers_alone"  # an endpoint serves blocks, and neither logs nor receipts
# What an endpoint does with the truth, on a chain with proofs.
INVENTS = "invents"  # payments are shown twice
CHANGES_AMOUNTS = "changes_amounts"
WITHHOLDS_LOGS = "withholds_logs"
WITHHOLDS_BLOCKS = "withholds_blocks"
OTHER_RECEIPTS = "other_receipts"  # of another block
OTHER_ROOT = "other_root"  # amounts are changed, and the root in the header fits
DENIES = "denies"  # a transaction's own receipt says that it failed; logs and the block's receipts say what happened
LYING = (INVENTS, CHANGES_AMOUNTS, WITHHOLDS_LOGS, WITHHOLDS_BLOCKS, OTHER_RECEIPTS, OTHER_ROOT)
PROVEN = 0.25  # of the runs on the EVM chain
LIES_EVERY_S = 3.0
DENIED = 0.5  # of the runs with proofs: endpoints do so besides
DENIES_EVERY_S = 5.0
HASTY = "hasty"  # for good: calls its newest block final, and has no receipts, so that another one has to judge
MOVED = "moved"  # a purchase that is settled, and then its block is taken back: deeper than was asked for
DEEP = 0.25  # of the runs on the EVM chain have such purchases:
MOST_MOVED = 3
# What a later block changes by itself has no place in those.
OF_ITS_TIME = {"late", "in_time", "reused", "raced", "coin", "coins"}
FROZEN_EVERY_S = 8.0  # on average
CALM = 0.3  # of the runs on the EVM chain know no trouble of endpoints but one: beside others it does no harm
PARTED_EVERY_S = 3.0
LATE_ALONE = 0.4  # of those the logs come late, and the others' nodes are parted
LATE_LOGS_EVERY_S = 4.0
MOST_LATE = 2  # blocks
ENDPOINTS = (1, 2)
HASTY_OFTEN = 0.3
LEFT_BEHIND = 0.2  # of the runs on the EVM chain: one endpoint stands still, and after a while nobody else is there
LEFT_BEHIND_EVERY_S = 9.0


@dataclass(frozen=True, slots=True)
class Asked:
    """Which run is wanted; the last two keep what they name alone (None: everything)."""

    seed: int
    span_s: float = SPAN_S
    family: Played | None = None
    faults: tuple[int, ...] | None = None
    purchases: tuple[int, ...] | None = None

    @property
    def command(self) -> str:
        """Return what replays it."""
        words = [f"python -m tests.simulation --from {self.seed} --seeds 1 --span {self.span_s:g}"]
        words += [f"--chain {self.family}"] if self.family is not None else []
        for name, kept in (("faults", self.faults), ("purchases", self.purchases)):
            words += [f"--{name} {','.join(map(str, kept)) or 'none'}"] if kept is not None else []
        return " ".join(words)


def sim_plan(asked: Asked) -> Plan:
    """Return the plan of a run on one chain."""
    (found,) = sim_plans(asked)
    return found


def sim_plans(asked: Asked) -> tuple[Plan, ...]:
    """Return what happens on each chain of a run; to the scanner happens what the first one plans for it."""
    family = asked.family or drawn_family(asked.seed)
    match family:
        case "all":
            wholes = _of_several(asked, CHAINS)
        case "cluster":
            wholes = _of_cluster(asked)
        case "day":
            raise ValueError("a day is planned by `day_plans`")
        case "market":
            raise ValueError("what is played with the marketplace is planned by `sim_market_plan`")
        case _:
            wholes = [_of_one(asked, family)]
    return parts_of(asked, wholes)


def parts_of(asked: Asked, wholes: Iterable[Plan]) -> tuple[Plan, ...]:
    """Return of the plans of a run what was asked for: everything, or some faults and purchases by their numbers."""
    first, kept = 0, []
    for whole in wholes:
        numbered = enumerate(whole.faults, first)
        first += len(whole.faults)
        faults = tuple(f for place, f in numbered if asked.faults is None or place in asked.faults)
        purchases = tuple(p for p in whole.purchases if asked.purchases is None or p.number in asked.purchases)
        kept.append(replace(whole, faults=faults, purchases=purchases))
    return tuple(kept)


def drawn_family(seed: int) -> Played:
    """Return what a seed is played on when nobody says."""
    if random.Random(f"services of {seed}").random() < OFTEN_MARKET:
        return "market"
    drawn = random.Random(f"chains of {seed}").random()
    if drawn < OFTEN_ALL:
        return "all"
    if drawn < OFTEN_ALL + OFTEN_CLUSTER:
        return "cluster"
    return random.Random(f"simulation of {seed}").choice(FAMILIES)


def _of_one(asked: Asked, family: Family) -> Plan:
    rng = random.Random(f"simulation of {asked.seed}")
    rng.choice(FAMILIES)
    whole = plan(asked.seed, span_s=asked.span_s, family=family)
    if whole.family == "evm":
        whole = _with_forks(random.Random(f"forks of {asked.seed}"), whole)
        whole = _with_parted_nodes(random.Random(f"parted nodes of {asked.seed}"), whole)
        whole = _with_proofs(random.Random(f"proofs of {asked.seed}"), whole)
        whole = _with_denials(random.Random(f"denials of {asked.seed}"), whole)
        whole = _with_one_left_behind(random.Random(f"one left behind of {asked.seed}"), whole)
    deaths = [
        PlannedFault(rng.uniform(0, asked.span_s), "process", "kill")
        for _ in range(round(asked.span_s * rng.random() * 2 / DEATH_EVERY_S))
    ]
    return _in_order(whole, (*whole.faults, *deaths, *_restarts(whole)))


def _of_several(asked: Asked, chains: Sequence[Family]) -> list[Plan]:
    """Let each chain have its own troubles and its own blocks, and one scanner watch them all."""
    first = _of_one(asked, chains[0])
    daemon = [fault for fault in first.faults if fault.area == "process"]
    found = [_fewer(asked.seed, 0, first)]
    for place, family in enumerate(chains[1:], 1):
        whole = plan(asked.seed + place * OTHER_CHAIN, span_s=asked.span_s, family=family)
        # What may happen on a chain depends on what happens to the scanner's clock.
        faults = [fault for fault in whole.faults if fault.area != "process"]
        whole = replace(whole, faults=(*faults, *daemon))
        if family == "evm":
            whole = _with_forks(random.Random(f"forks of {asked.seed} on {place}"), whole)
            whole = replace(whole, faults=tuple(f for f in whole.faults if f.kind != "mine" or f.at % 1 < SLOW))
        faults = [fault for fault in whole.faults if fault.area != "process"]
        whole = replace(_in_order(whole, (*faults, *_restarts(whole))), seed=asked.seed)
        found.append(_fewer(asked.seed, place, whole))
    return found


def _of_cluster(asked: Asked) -> list[Plan]:
    """Let several scanners share two chains; whoever leads the first one is stopped for longer than a lease."""
    rng = random.Random(f"cluster of {asked.seed}")
    first, second = _of_several(asked, ("evm", rng.choice(CHAINS)))
    own = [PlannedFault(rng.uniform(2.0, asked.span_s / 2), "cluster", "node_stop", _longer(rng), LEADER)]
    for _ in range(round(asked.span_s / NODE_FAULT_EVERY_S)):
        kind = rng.choice(NODE_FAULTS)
        seconds = rng.choice([rng.uniform(0.1, LEASE_S), _longer(rng)]) if kind == "node_stop" else rng.uniform(0.5, 6)
        own.append(PlannedFault(rng.uniform(0, asked.span_s * 0.9), "cluster", kind, seconds, _node(rng)))
    own += [PlannedFault(0.0, "cluster", HOST_CLOCK, 0.0, _off(rng, node)) for node in range(NODES)]
    faults = [fault for fault in first.faults if fault.area != "process"]
    return [_in_order(first, (*faults, *own, *_restarts(first))), second]


def _longer(rng: random.Random) -> float:
    return LEASE_S * rng.uniform(1.05, 2.5)


def _node(rng: random.Random) -> int:
    return rng.choice([*range(NODES), LEADER, LEADER])


def _off(rng: random.Random, node: int) -> int:
    """Return how far off a host's clock is: so many seconds, from which its number follows."""
    return NODES * rng.randint(-FAR_OFF_S // NODES, FAR_OFF_S // NODES) + node


def _fewer(seed: int, place: int, whole: Plan) -> Plan:
    """Let a chain have some of its purchases, under numbers that no other chain has."""
    usual = [p for p in whole.purchases if p.kind != MOVED]
    kept = random.Random(f"purchases of {seed} on {place}").sample(usual, k=min(len(usual), PURCHASES_EACH))
    kept += [p for p in whole.purchases if p.kind == MOVED]
    purchases = tuple(replace(p, number=p.number + place * CHAIN_STEP) for p in sorted(kept, key=lambda p: p.number))
    return replace(whole, purchases=purchases)


def _in_order(whole: Plan, faults: Iterable[PlannedFault]) -> Plan:
    return replace(whole, faults=tuple(sorted(faults, key=lambda fault: fault.at)))


def _restarts(whole: Plan) -> list[PlannedFault]:
    """
    Let an operator start the daemon again where an endpoint claimed another chain, and is left alone for minutes.

    When the other one is ahead of the host's clock, nothing is read meanwhile, as it should be.
    """
    return [
        PlannedFault(fault.at + fault.seconds + RESTART_S, "process", "terminate")
        for fault in whole.faults
        if fault.kind in FOR_LONG
    ]


def _with_forks(rng: random.Random, whole: Plan) -> Plan:
    """Add what only a chain in memory can do: nodes that stay behind on a fork, and blocks taken back too late."""
    if rng.random() < DEEP:
        kept = tuple(p for p in whole.purchases if p.kind not in OF_ITS_TIME)
        # What settled may move once, as a whole: the judge reads the chain as it is in the end.
        faults = tuple(f for f in whole.faults if f.kind not in {"shuffled", "later", "vanish"})
        return replace(whole, purchases=(*kept, *_moved(rng, whole)), faults=faults)
    if "rpcQuorum" not in whole.guards and whole.confirmations <= 2 * EPOCH and rng.random() < HASTY_OFTEN:
        whole = _hastened(whole)
    if _is_one_chain(whole):
        return whole
    kind = FROZEN
    if rng.random() < 0.5:
        # What is asked together one node answers; what an endpoint wants asked one by one nothing ties together.
        kind, whole = BALANCED, _without(whole, lambda kind: kind.startswith("batch_") or kind == "no_batches")
    deepest = deepest_reorg(whole.confirmations, whole.guards)
    count = round(whole.span_s * rng.random() * 2 / FROZEN_EVERY_S)
    forks = [fault for _ in range(count) for fault in _fork(rng, kind, whole.span_s, deepest)]
    return replace(whole, faults=(*whole.faults, *forks))


def are_balances_safe(whole: Plan) -> bool:
    """Say whether no reorganisation is as deep as a balance is read."""
    if whole.family != "evm":
        return True
    moves = any(purchase.kind == MOVED for purchase in whole.purchases)
    deepest = deepest_reorg(whole.confirmations, whole.guards)
    return not moves and deepest < int(whole.guards.get("confirmationThreshold", CHAIN_FLOOR))


def _is_one_chain(whole: Plan) -> bool:
    """
    Say whether no node may stay on a fork.

    A host whose clock is far ahead, and that hears of no head meanwhile, takes a payment for older than its intent
    when the chain's own time jumps as far before it is heard of: a jump that only the laboratory makes.
    And who makes up the blocks it does not hold, and has no logs in them, is no node that lags: it lies about them.
    What settled may move once, as a whole: the judge reads the chain as it is in the end.
    """
    ahead = any(fault.kind == "far_off" and fault.size > 0 for fault in whole.faults)
    lies = any(fault.kind == LIES for fault in whole.faults)
    return ahead or lies or any(purchase.kind == MOVED for purchase in whole.purchases)


def _with_parted_nodes(rng: random.Random, whole: Plan) -> Plan:
    """Add nodes whose logs come late, and pairs of which one shows a fork and the other one blocks alone."""
    if rng.random() >= CALM or _is_one_chain(whole):
        return whole
    guards = {name: value for name, value in whole.guards.items() if name not in {"rpcQuorum", "finality"}}
    deepest = deepest_reorg(whole.confirmations, guards)
    calm = tuple(f for f in whole.faults if f.area != "rpc" and not (f.kind in REORGS and f.size > deepest))
    whole = replace(whole, faults=calm, permanent_faults=(), guards=guards)
    if rng.random() < LATE_ALONE:
        # Who serves few blocks at once reads none of them again: what comes late there is found by the next sweep.
        return replace(whole, faults=(*calm, *_late_logs(rng, whole.span_s)))
    moments = range(int(whole.span_s / PARTED_EVERY_S))
    return replace(whole, faults=(*calm, *(f for place in moments for f in _parted(rng, place, deepest))))


def _late_logs(rng: random.Random, span_s: float) -> list[PlannedFault]:
    return [
        PlannedFault(rng.uniform(0, span_s * 0.9), "rpc", LATE_LOGS, rng.uniform(1.0, 5.0), rng.choice(ENDPOINTS))
        for _ in range(int(span_s / LATE_LOGS_EVERY_S))
    ]


def _with_proofs(rng: random.Random, whole: Plan) -> Plan:
    """Let payments be proven, and endpoints lie about them, often both at once."""
    if rng.random() >= PROVEN or _is_one_chain(whole):
        return whole
    # Who is found to lie is left alone for an hour, whatever the other one lacks for good; and logs that come late
    # are logs that are kept back.
    whole = _without(whole, lambda kind: kind in {LATE_LOGS, HASTY, "null_receipts", "no_finalized"})
    faults = [
        PlannedFault(
            rng.uniform(0, whole.span_s * 0.9), "rpc", rng.choice(LYING), rng.uniform(1.0, 6.0), rng.choice([1, 2, 3])
        )
        for _ in range(int(whole.span_s / LIES_EVERY_S))
    ]
    if "rpcQuorum" in whole.guards:  # that needs both of them
        faults += [PlannedFault(f.at + f.seconds + RESTART_S, "process", "terminate") for f in faults]
    guards = whole.guards | {"proof": "receipts"}
    return replace(
        whole, faults=(*whole.faults, *faults), guards=guards, patient=whole.patient and "rpcQuorum" not in guards
    )


def _with_denials(rng: random.Random, whole: Plan) -> Plan:
    """Let endpoints deny what they themselves have shown: found out where it is looked at again, and nowhere else."""
    if "proof" not in whole.guards or rng.random() >= DENIED:
        return whole
    faults = [
        PlannedFault(
            rng.uniform(0, whole.span_s * 0.9), "rpc", DENIES, rng.uniform(2.0, 6.0), rng.choice([*ENDPOINTS, 3])
        )
        for _ in range(int(whole.span_s / DENIES_EVERY_S))
    ]
    if "rpcQuorum" in whole.guards:  # that needs both of them
        faults += [PlannedFault(f.at + f.seconds + RESTART_S, "process", "terminate") for f in faults]
    return replace(whole, faults=(*whole.faults, *faults))


def _parted(rng: random.Random, place: int, deepest: int) -> list[PlannedFault]:
    """Between two polls: one node stays on a fork, and the other one knows the chain but serves its blocks alone."""
    at, first = (place + rng.uniform(0, 0.4)) * PARTED_EVERY_S, rng.choice(ENDPOINTS)
    return [
        PlannedFault(at, "rpc", FROZEN, rng.uniform(1.0, 1.7), first),
        PlannedFault(at, "rpc", HEADERS_ALONE, rng.uniform(1.0, 1.7), sum(ENDPOINTS) - first),
        PlannedFault(at + 0.02, "chain", "vanish", size=rng.randint((deepest + 1) // 2, deepest)),
        PlannedFault(at + 0.04, "chain", "mine", size=deepest + 1),
    ]


def _with_one_left_behind(rng: random.Random, whole: Plan) -> Plan:
    """Add endpoints that stand still, and are the only ones to ask once everybody else's blocks were read."""
    if rng.random() >= LEFT_BEHIND or "rpcQuorum" in whole.guards:  # that needs both of them
        return whole
    faults: list[PlannedFault] = []
    for place in range(int(whole.span_s / LEFT_BEHIND_EVERY_S)):
        at, first = (place + rng.uniform(0, 0.2)) * LEFT_BEHIND_EVERY_S, rng.choice(ENDPOINTS)
        faults += [
            PlannedFault(at, "rpc", "refused", 0.7, first),  # so that the other one is asked from now on
            PlannedFault(at, "rpc", "stale", rng.uniform(6.5, 7.0), first),
            # Longer than it takes until a balance is read again.
            PlannedFault(at + rng.uniform(2.5, 3.0), "rpc", "refused", 3.5, sum(ENDPOINTS) - first),
        ]
    return replace(whole, faults=(*whole.faults, *faults))


def _without(whole: Plan, unwanted: Callable[[str], bool]) -> Plan:
    """Leave out kinds of faults, passing and permanent."""
    return replace(
        whole,
        faults=tuple(fault for fault in whole.faults if not unwanted(fault.kind)),
        permanent_faults=tuple(tuple(kind for kind in kinds if not unwanted(kind)) for kinds in whole.permanent_faults),
    )


def _moved(rng: random.Random, whole: Plan) -> list[PlannedPurchase]:
    first = max(purchase.number for purchase in whole.purchases) + 1
    return [
        PlannedPurchase(
            at=rng.uniform(0, whole.span_s * 0.7),
            number=number,
            kind=MOVED,
            rail="direct",
            amount=1000 * rng.randint(1, 10**6),
            pauses=(rng.choice([0.0, 0.3, 2.0]),),
            talkative=rng.random() < 0.5,
        )
        for number in range(first, first + rng.randint(1, MOST_MOVED))
    ]


def _fork(rng: random.Random, kind: str, span_s: float, deepest: int) -> list[PlannedFault]:
    at = rng.uniform(0, span_s * 0.8)
    gone = rng.choice(["vanish", "vanish", "later"])
    return [
        PlannedFault(at, "rpc", kind, rng.uniform(2.0, 8.0), rng.choice([1, 2])),
        PlannedFault(at + rng.uniform(0, 1), "chain", gone, size=rng.randint(1, deepest)),
        PlannedFault(at + 1.5, "chain", "mine", size=deepest + 1),
    ]


def _guards(whole: Plan) -> dict[str, int | bool | str]:
    lower = {"confirmationThreshold": CONFIRMATIONS[0]} if "confirmationThreshold" in whole.guards else {}
    return whole.guards | lower


def _hastened(whole: Plan) -> Plan:
    """
    Let finality count for more than the depth, and the endpoint asked first be hasty.

    The other one makes up for its lack of receipts.
    """
    whole = _without(whole, lambda kind: kind in {"no_finalized", "null_receipts"})
    first, second = whole.permanent_faults
    return replace(
        whole,
        confirmations=CONFIRMATIONS[0],
        guards=_guards(whole) | {"finality": "both"},
        permanent_faults=((*first, HASTY), second),
        purchases=tuple(p for p in whole.purchases if p.kind not in OF_COIN),  # balances are read as deep as before
    )
