"""A seed is a run: the same world, the same payments, the same faults at the same moments."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from devnet.evm.head_server import SocketFault
from tests.chaos.purchases import CHAIN_FLOOR, NOT_OF, OF_COIN, PARTS, SHORT, TTL_S, Family, kinds_of
from tests.chaos.schedule import (
    CLUSTER,
    EPOCH,
    FOR_LONG,
    LIES,
    OF_FAMILY,
    OF_ONE,
    PERMANENT_FAULTS,
    PROCESS,
    RECEIVER,
    REORGS,
    SOCKETS,
    TRANSIENT,
    WITHHELD,
    cluster_plan,
    deepest_reorg,
    plan,
)

MANY = [plan(seed) for seed in range(1, 41)]


def test_a_seed_gives_the_same_plan_and_another_one_another() -> None:
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)


FAMILIES: tuple[Family, ...] = get_args(Family)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_of_payment_a_family_knows_is_in_every_run(family: Family) -> None:
    for one in (plan(seed, family=family) for seed in range(1, 41)):
        known = {purchase.kind for purchase in one.purchases}
        assert known == set(kinds_of(family, deepest_reorg(one.confirmations, one.guards), one.guards))
        assert known >= set(PARTS) - NOT_OF[family] - OF_COIN


@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_of_payment_a_family_knows_is_in_some_run(family: Family) -> None:
    many = [plan(seed, family=family) for seed in range(1, 41)]
    assert {purchase.kind for one in many for purchase in one.purchases} == set(PARTS) - NOT_OF[family]


def test_every_kind_of_payment_is_of_some_family() -> None:
    assert set.intersection(*(NOT_OF[family] for family in FAMILIES)) == set()


def test_every_way_a_payment_can_go_is_gone_in_some_run() -> None:
    links = {
        (family, part.how)
        for family in FAMILIES
        for seed in range(1, 11)
        for purchase in plan(seed, family=family).purchases
        for part in PARTS[purchase.kind]
    }
    evm = {("evm", how) for how in ("sent", "fails", "approves", "coin", "plain")}
    assert links == evm | {("tron", how) for how in ("sent", "fails", "approves", "coin")} | {
        ("ton", how) for how in ("sent", "fails", "bounces", "coin")
    }


def test_two_orders_share_a_transaction_on_either_rail_and_across_them() -> None:
    pairs = {
        (purchase.rail, purchase.beside.rail)
        for one in MANY
        for purchase in one.purchases
        if purchase.beside is not None
    }
    assert pairs == {(first, second) for first in ("proxy", "direct") for second in ("proxy", "direct")}
    assert {p.kind for one in MANY for p in one.purchases if p.beside is not None} == {"together"}


def test_an_order_beside_another_has_a_number_of_its_own() -> None:
    for one in MANY:
        numbers = [p.number for p in one.purchases] + [p.beside.number for p in one.purchases if p.beside is not None]
        assert len(numbers) == len(set(numbers))


def test_coin_is_sent_only_where_a_balance_is_read_as_deep_as_reorganisations_go() -> None:
    for one in MANY:
        asked = one.guards.get("confirmationThreshold", CHAIN_FLOOR)
        coin = any(purchase.kind in OF_COIN for purchase in one.purchases)
        assert coin == (deepest_reorg(one.confirmations, one.guards) < int(asked))


@pytest.mark.parametrize("family", ["tron", "ton"])
def test_families_without_a_proxy_are_paid_directly_and_have_their_own_faults(family: Family) -> None:
    many = [plan(seed, family=family) for seed in range(1, 41)]
    for one in many:
        assert {purchase.rail for purchase in one.purchases} == {"direct"}
        assert {p.beside.rail for p in one.purchases if p.beside is not None} == {"direct"}
        assert one.guards == {}
    injected = {t.kind for one in many for t in one.faults if t.area == "rpc"}
    assert injected == set(OF_FAMILY[family])


def test_every_kind_of_fault_is_in_some_run() -> None:
    injected = {(fault.area, fault.kind) for one in MANY for fault in one.faults}
    wanted = {("rpc", kind) for kind in (*TRANSIENT, *FOR_LONG, WITHHELD, LIES, *SOCKETS)} | {
        ("receiver", kind) for kind in RECEIVER
    }
    wanted |= {("process", kind) for kind in PROCESS} | {("chain", kind) for kind in (*REORGS, "mine")}
    assert injected == wanted


def test_sockets_fail_where_there_are_any_in_every_way_there_is() -> None:
    pushed = [one for one in MANY if one.pushed]
    assert len(MANY) / 4 < len(pushed) < len(MANY) * 3 / 4
    assert all(one.pushed == any(fault.kind in SOCKETS for fault in one.faults) for one in MANY)
    assert {*SOCKETS} == {f"socket_{kind}" for kind in SocketFault}
    assert {fault.size for one in pushed for fault in one.faults if fault.kind in SOCKETS} == {1, 2, 3}


def test_no_reorganisation_reaches_what_is_deep_enough() -> None:
    for one in MANY:
        final = 2 * EPOCH if one.guards.get("finality") == "both" else 0
        assert all(t.size < max(one.confirmations, final) for t in one.faults if t.kind in REORGS)


def test_some_reorganisation_reaches_what_is_deep_but_not_final() -> None:
    deep = {t.size - one.confirmations for one in MANY for t in one.faults if t.kind in REORGS}
    assert max(deep) == 2 * EPOCH - 1 - 5


@pytest.mark.parametrize("family", FAMILIES)
def test_every_permanent_fault_is_in_some_run_of_one_endpoint_and_of_both(family: Family) -> None:
    many = [plan(seed, family=family) for seed in range(1, 121)]
    assert all(len(one.permanent_faults) == 2 for one in many)
    kinds = {
        kind: [sum(kind in permanent_faults for permanent_faults in one.permanent_faults) for one in many]
        for kind in PERMANENT_FAULTS[family]
    }
    assert {kind: set(counts) for kind, counts in kinds.items()} == {
        kind: {0, 1, 2} for kind in PERMANENT_FAULTS[family]
    }
    single = {
        kind: {sum(kind in permanent_faults for permanent_faults in one.permanent_faults) for one in many}
        for kind in OF_ONE[family]
    }
    assert single == {kind: {0, 1} for kind in OF_ONE[family]}


def test_what_one_endpoint_lacks_for_good_the_other_may_make_up_for() -> None:
    quorum = [one for one in MANY if one.guards.get("rpcQuorum")]
    assert quorum
    assert not any(
        kind in OF_ONE["evm"]
        for one in quorum
        for permanent_faults in one.permanent_faults
        for kind in permanent_faults
    )


def test_some_payment_in_time_is_made_after_the_expiry() -> None:
    pauses = [p.pauses[0] for one in MANY for p in one.purchases if p.kind in SHORT]
    assert min(pauses) == 0
    assert max(pauses) > TTL_S


def test_one_endpoint_at_least_is_never_left_alone_for_minutes() -> None:
    for one in MANY:
        long = [t for t in one.faults if t.kind in FOR_LONG]
        assert len(long) <= 1
        assert all(t.size in {1, 2} for t in long)
        assert not (long and one.patient)


def test_logs_are_withheld_only_by_one_endpoint_and_where_that_can_be_found_out() -> None:
    for one in MANY:
        liars = {t.size for t in one.faults if t.kind == WITHHELD}
        assert len(liars) == (1 if one.guards.get("bloomCheck") else 0)
        assert liars <= {1, 2}


def test_a_head_is_made_up_by_one_endpoint_and_where_two_have_to_agree() -> None:
    for one in MANY:
        liars = {t.size for t in one.faults if t.kind == LIES}
        assert len(liars) == (1 if one.guards.get("rpcQuorum") else 0)
        assert liars <= {1, 2}


def test_faults_overlap() -> None:
    for one in MANY:
        lasting = sorted((t.at, t.at + t.seconds) for t in one.faults if t.seconds)
        assert any(later[0] < former[1] for former, later in itertools.pairwise(lasting))


def test_a_cluster_has_the_faults_of_one_but_those_of_its_process() -> None:
    for seed in range(1, 41):
        alone, together = plan(seed), cluster_plan(seed)
        assert together.purchases == alone.purchases
        assert together == cluster_plan(seed)
        kept = {fault for fault in together.faults if fault.area != "cluster"}
        assert kept == {fault for fault in alone.faults if fault.area != "process"}


def test_in_every_cluster_the_leader_is_stopped_a_process_is_added_and_the_standby_takes_over() -> None:
    known = set(CLUSTER) | {"add", "one_clock", "promote_behind"}
    seen: set[str] = set()
    for seed in range(1, 41):
        kinds = {fault.kind for fault in cluster_plan(seed).faults if fault.area == "cluster"}
        assert kinds >= {"stop", "add"}
        assert kinds & {"promote", "promote_behind"}
        seen |= kinds
    assert seen == known
