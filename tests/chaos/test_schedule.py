"""A seed is a run: the same world, the same payments, the same faults at the same moments."""

from __future__ import annotations

import itertools

import pytest

from tests.chaos.schedule import (
    FOR_LONG,
    OF_EVM_ONLY,
    OF_FAMILY,
    PARTS,
    PASSING,
    PROCESS,
    RECEIVER,
    REORGS,
    WITHHELD,
    Family,
    plan,
)

MANY = [plan(seed) for seed in range(1, 41)]


def test_a_seed_gives_the_same_plan_and_another_one_another() -> None:
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)


def test_every_kind_of_payment_is_in_every_run() -> None:
    for one in MANY:
        assert {purchase.kind for purchase in one.purchases} == set(PARTS)


@pytest.mark.parametrize("family", ["tron", "ton"])
def test_families_without_a_proxy_are_paid_directly_and_have_their_own_faults(family: Family) -> None:
    many = [plan(seed, family=family) for seed in range(1, 41)]
    for one in many:
        assert {purchase.rail for purchase in one.purchases} == {"direct"}
        assert {purchase.kind for purchase in one.purchases} == set(PARTS) - OF_EVM_ONLY
        assert one.guards == {}
    injected = {t.kind for one in many for t in one.troubles if t.area == "rpc"}
    assert injected == set(OF_FAMILY[family])


def test_every_kind_of_fault_is_in_some_run() -> None:
    injected = {(trouble.area, trouble.kind) for one in MANY for trouble in one.troubles}
    wanted = {("rpc", kind) for kind in (*PASSING, *FOR_LONG, WITHHELD)} | {("receiver", kind) for kind in RECEIVER}
    wanted |= {("process", kind) for kind in PROCESS} | {("chain", kind) for kind in (*REORGS, "mine")}
    assert injected == wanted


def test_no_reorganisation_reaches_what_is_deep_enough() -> None:
    for one in MANY:
        assert all(t.size < one.confirmations for t in one.troubles if t.kind in REORGS)


def test_one_endpoint_at_least_is_never_left_alone_for_minutes() -> None:
    for one in MANY:
        long = [t for t in one.troubles if t.kind in FOR_LONG]
        assert len(long) <= 1
        assert all(t.size in {1, 2} for t in long)
        assert not (long and one.patient)


def test_logs_are_withheld_only_by_one_endpoint_and_where_that_can_be_found_out() -> None:
    for one in MANY:
        liars = {t.size for t in one.troubles if t.kind == WITHHELD}
        assert len(liars) == (1 if one.guards.get("bloomCheck") else 0)
        assert liars <= {1, 2}


def test_faults_overlap() -> None:
    for one in MANY:
        lasting = sorted((t.at, t.at + t.seconds) for t in one.troubles if t.seconds)
        assert any(later[0] < former[1] for former, later in itertools.pairwise(lasting))
