"""What a simulated run plans beside the laboratory's: forks, hasty endpoints, and payments that come a second time."""

from __future__ import annotations

import random
from typing import Any

from aiohttp import ClientSession

from tests.chaos.schedule import deepest_reorg
from tests.harness import MERCHANT, USDT
from tests.simulation.evm_environment import LedgerController, LedgerEndpoint
from tests.simulation.evm_ledger import EvmLedger, payment_logs
from tests.simulation.plans import (
    BALANCED,
    CHAINS,
    DENIES,
    FROZEN,
    HASTY,
    HEADERS_ALONE,
    LATE_LOGS,
    LYING,
    MOST_LATE,
    MOVED,
    OF_ITS_TIME,
    Asked,
    drawn_family,
    sim_plan,
    sim_plans,
)

PLANS = [sim_plan(Asked(seed, family="evm")) for seed in range(120)]
NOW = 1_772_000_000


def test_where_settled_payments_move_nothing_else_does_in_the_end() -> None:
    deep = [plan for plan in PLANS if any(p.kind == MOVED for p in plan.purchases)]

    assert 15 < len(deep) < 45
    for plan in deep:
        assert not {p.kind for p in plan.purchases} & OF_ITS_TIME
        assert not {f.kind for f in plan.faults} & {"shuffled", "later", "vanish", FROZEN}


def test_a_fork_is_never_as_deep_as_was_asked_for() -> None:
    frozen = [plan for plan in PLANS if any(f.kind in {FROZEN, BALANCED} for f in plan.faults)]

    assert len(frozen) > 30
    for plan in frozen:
        assert all(f.size in {1, 2} for f in plan.faults if f.kind in {FROZEN, BALANCED})
        assert not any(f.kind == "lies_ahead" for f in plan.faults)
        deepest = deepest_reorg(plan.confirmations, plan.guards)
        assert all(f.size <= deepest for f in plan.faults if f.kind in {"vanish", "later"})


def test_a_hasty_endpoint_is_made_up_for() -> None:
    hasty = [plan for plan in PLANS if any(HASTY in kinds for kinds in plan.permanent_faults)]

    assert len(hasty) > 5
    for plan in hasty:
        (kinds, others) = sorted(plan.permanent_faults, key=lambda kinds: HASTY not in kinds)
        assert "null_receipts" not in others
        assert "no_finalized" not in (*kinds, *others)
        assert plan.guards["finality"] == "both"
        assert "rpcQuorum" not in plan.guards


async def asked(endpoint: LedgerEndpoint, method: str, *params: Any) -> Any:
    (answer,) = await endpoint._forward([{"id": 1, "method": method, "params": list(params)}])
    return answer["result"]


async def test_what_is_frozen_never_hears_of_a_reorganisation() -> None:
    ledger = EvmLedger(lambda: NOW, random.Random(1), epoch=4)
    ledger.mine(blocks=20)
    endpoint = LedgerEndpoint(ledger)
    before = await asked(endpoint, "eth_getBlockByNumber", "0x14", False)
    async with endpoint.beset(FROZEN):
        ledger.reorg(3, [[], [], []])
        ledger.mine(blocks=5)
        assert await asked(endpoint, "eth_getBlockByNumber", "0x14", False) == before
        assert await asked(endpoint, "eth_blockNumber") == "0x14"
    assert await asked(endpoint, "eth_blockNumber") == "0x19"
    assert await asked(endpoint, "eth_getBlockByNumber", "0x14", False) != before


async def test_behind_one_address_each_request_is_answered_by_one_of_two_nodes() -> None:
    ledger = EvmLedger(lambda: NOW, random.Random(1), epoch=4)
    ledger.mine(blocks=20)
    endpoint = LedgerEndpoint(ledger)
    async with endpoint.beset(BALANCED):
        ledger.mine(blocks=5)
        twice = [{"id": number, "method": "eth_blockNumber", "params": []} for number in range(2)]
        seen = [tuple(answer["result"] for answer in await endpoint._forward(twice)) for _ in range(40)]
    assert set(seen) == {("0x14", "0x14"), ("0x19", "0x19")}
    assert await asked(endpoint, "eth_blockNumber") == "0x19"


def test_what_is_asked_one_by_one_is_asked_of_one_node() -> None:
    balanced = [plan for plan in PLANS if any(f.kind == BALANCED for f in plan.faults)]

    assert len(balanced) > 10
    for plan in balanced:
        kinds = {f.kind for f in plan.faults} | {kind for habits in plan.permanent_faults for kind in habits}
        assert not any(kind.startswith("batch_") or kind == "no_batches" for kind in kinds)


async def test_what_is_hasty_calls_its_newest_block_final_and_has_no_receipts() -> None:
    ledger = EvmLedger(lambda: NOW, random.Random(1), epoch=4)
    tx = ledger.tx()
    ledger.mine(tx, blocks=20)
    endpoint = LedgerEndpoint(ledger)
    async with endpoint.beset(HASTY):
        assert (await asked(endpoint, "eth_getBlockByNumber", "finalized", False))["number"] == "0x14"
        assert await asked(endpoint, "eth_getTransactionReceipt", tx.hash) is None
        assert await asked(endpoint, "eth_blockNumber") == "0x14"
    assert (await asked(endpoint, "eth_getBlockByNumber", "finalized", False))["number"] == "0xc"
    assert await asked(endpoint, "eth_getTransactionReceipt", tx.hash) is not None


async def test_what_comes_a_second_time_comes_in_the_same_order_behind_what_was_there() -> None:
    ledger = EvmLedger(lambda: NOW, random.Random(1), epoch=4)
    ledger.mine(blocks=20)
    txs = [ledger.tx() for _ in range(3)]
    for tx in txs:
        ledger.mine(tx, blocks=2)
    await LedgerController(ledger, random.Random(1)).delay(20)

    assert [ledger.depth(tx.hash) for tx in txs] == [3, 2, 1]
    assert ledger.head == 20 + 6 + 3
    assert ledger.undone == {tx.hash for tx in txs}
    assert ledger.doubt(txs[2].hash, 12) is None


def test_each_of_several_chains_has_its_own_troubles_and_the_scanner_those_of_one() -> None:
    for seed in range(40):
        first, *others = sim_plans(Asked(seed, family="all"))

        assert [plan.family for plan in (first, *others)] == list(CHAINS)
        assert {f.kind for plan in others for f in plan.faults if f.area == "process"} <= {"terminate"}
        numbers = [p.number for plan in (first, *others) for p in plan.purchases]
        assert len(set(numbers)) == len(numbers)
        assert all({f.area for f in plan.faults} >= {"rpc", "receiver"} for plan in (first, *others))


def test_a_part_of_several_plans_is_that_part() -> None:
    whole = sim_plans(Asked(9, family="all"))
    count = len(whole[0].faults)
    bought = whole[2].purchases[0]
    part = sim_plans(Asked(9, family="all", faults=(count, count + 2), purchases=(bought.number,)))

    assert [plan.faults for plan in part] == [(), (whole[1].faults[0], whole[1].faults[2]), (), ()]
    assert [plan.purchases for plan in part] == [(), (), (bought,), ()]


def test_a_plan_on_one_chain_is_what_it_was_before_there_were_several() -> None:
    """What ever failed is replayed by its seed: the draw of a chain must not move what else is drawn."""
    assert sim_plans(Asked(9, family="evm")) == (sim_plan(Asked(9, family="evm")),)
    assert [drawn_family(seed) for seed in (25, 33, 319)] == ["evm"] * 3
    assert "all" in {drawn_family(seed) for seed in range(40)}


def test_while_one_node_stays_on_a_fork_the_other_one_serves_blocks_alone() -> None:
    parted = [plan for plan in PLANS if any(f.kind == HEADERS_ALONE for f in plan.faults)]

    assert len(parted) > 5
    for plan in parted:
        for one in (f for f in plan.faults if f.kind == HEADERS_ALONE):
            beside = [f for f in plan.faults if f.kind == FROZEN and f.at == one.at]
            assert sorted((one.size, beside[0].size)) == [1, 2]
        assert not any(p.kind == MOVED for p in plan.purchases)


def test_who_stands_still_is_the_only_one_to_ask_after_the_other_ones_blocks_were_read() -> None:
    left = [plan for plan in PLANS if any(f.kind == "stale" and f.seconds > 6 for f in plan.faults)]

    assert 8 < len(left) < 40
    for plan in left:
        assert "rpcQuorum" not in plan.guards
        for still in (f for f in plan.faults if f.kind == "stale" and f.seconds > 6):
            gone = [f for f in plan.faults if f.kind == "refused" and 2 < f.at - still.at < 3.1]
            assert [f.size for f in gone if f.seconds == 3.5] == [3 - still.size]
            assert gone[0].at + 3.5 <= still.at + still.seconds


def test_on_a_chain_with_proofs_endpoints_lie_and_lack_nothing_for_good() -> None:
    proven = [plan for plan in PLANS if plan.guards.get("proof") == "receipts"]

    assert len(proven) > 8
    assert {f.kind for plan in proven for f in plan.faults} >= set(LYING)
    for plan in proven:
        assert not {kind for kinds in plan.permanent_faults for kind in kinds} & {
            HASTY,
            "null_receipts",
            "no_finalized",
        }
        assert not (plan.patient and "rpcQuorum" in plan.guards)


def test_on_a_chain_with_proofs_some_endpoints_deny_what_they_have_shown() -> None:
    denied = [plan for plan in PLANS if any(f.kind == DENIES for f in plan.faults)]

    assert 3 < len(denied) < len([plan for plan in PLANS if plan.guards.get("proof") == "receipts"])
    assert all(plan.guards["proof"] == "receipts" for plan in denied)


async def test_late_logs_are_missing_in_the_newest_blocks_alone() -> None:
    ledger = EvmLedger(lambda: NOW, random.Random(1), epoch=4)
    for _ in range(5):
        ledger.mine(ledger.tx(payment_logs(USDT, MERCHANT, 1, None)))
    endpoint = LedgerEndpoint(ledger)
    every = {"fromBlock": "0x0", "toBlock": "latest"}
    async with endpoint.beset(LATE_LOGS):
        assert len(await asked(endpoint, "eth_getLogs", every)) == 5 - MOST_LATE
        assert (await asked(endpoint, "eth_getBlockByNumber", "latest", False))["number"] == hex(ledger.head)
    assert len(await asked(endpoint, "eth_getLogs", every)) == 5


async def test_what_serves_blocks_alone_refuses_all_else() -> None:
    ledger = EvmLedger(lambda: NOW, random.Random(1), epoch=4)
    async with LedgerEndpoint(ledger) as endpoint, endpoint.beset(HEADERS_ALONE), ClientSession() as session:
        statuses = []
        for method, params in (("eth_blockNumber", []), ("eth_getTransactionReceipt", ["0x"])):
            body = {"id": 1, "method": method, "params": params}
            async with session.post(endpoint.url, json=body) as response:
                statuses.append(response.status)

    assert statuses == [200, 503]


async def test_of_a_payment_that_is_spent_twice_nothing_stays_and_all_else_does() -> None:
    ledger = EvmLedger(lambda: NOW, random.Random(1), epoch=4)
    controller = LedgerController(ledger, random.Random(1))
    kept, gone = (ledger.tx(payment_logs(USDT, to, 1, None)) for to in (USDT, MERCHANT))
    ledger.mine(gone, kept)
    ledger.mine()

    await controller.spend_twice(MERCHANT, 1)
    assert ledger.depth(gone.hash) == 2  # it is too deep
    await controller.spend_twice(MERCHANT, 2)

    assert (ledger.depth(gone.hash), ledger.depth(kept.hash)) == (None, 2)
