"""An endpoint that answers is not yet up to date, and not yet right: what the daemon makes of its head."""

from __future__ import annotations

import asyncio
import time

import pytest

from devnet.evm.scripted_node import ScriptedNode, block_hash, tx_hash
from tests.cases.scanned_nodes import ScannedNodes, run_scanned_nodes, shop
from tests.harness import USDT

PAID = tx_hash("paid")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes fifteen seconds, or half a minute, takes half a second."""
    monkeypatch.setattr("chains.heads.head_track.SLOW_HEAD_S", 0.5)
    monkeypatch.setattr("chains.heads.reader.COMPARE_INTERVAL_S", 0.5)
    monkeypatch.setattr("chains.heads.contradictions.CHECK_INTERVAL_S", 0.5)
    monkeypatch.setattr("chains.heads.contradictions.SPLIT_AFTER_S", 1.0)


def at_another_time(node: ScriptedNode, seconds: int) -> None:
    """Let all blocks of a node be so much younger."""
    node._born += seconds


def problems(system: ScannedNodes) -> str:
    return "; ".join(system.scanner.worker.adapter.condition().problems)


def states(system: ScannedNodes) -> list[str]:
    return [endpoint.state.value for endpoint in system.scanner.worker.adapter.condition().endpoints]


# --- heads that stand still ----------------------------------------------------------------------


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("blocks", [10, 1, 90])
async def test_a_payment_is_found_through_the_endpoint_that_goes_on(tmp_path, blocks):
    async with run_scanned_nodes(tmp_path, 2) as system:
        intent = await system.direct(1, amount="1000")
        await system.polled()
        _, alive = system.nodes
        alive.head += blocks - 1
        alive.pay(USDT, shop(1), 1000, tx=PAID)
        alive.head += 6
        await system.api.status_is(intent["intentId"], "confirmed")


@pytest.mark.usefixtures("soon")
async def test_a_block_that_only_grows_younger_is_no_chain_that_goes_on(tmp_path):
    async with run_scanned_nodes(tmp_path, 2) as system:
        frozen, alive = system.nodes
        intent = await system.direct(1, amount="1000")

        def younger(asked):
            return (
                ("result", frozen.block(1000) | {"timestamp": hex(int(time.time()))}) if asked[0] == "latest" else None
            )

        frozen.overrides["eth_getBlockByNumber"] = younger
        await system.polled()
        alive.pay(USDT, shop(1), 1000, tx=PAID)
        alive.head += 8
        await system.api.status_is(intent["intentId"], "confirmed")


@pytest.mark.usefixtures("soon")
async def test_the_endpoint_that_stood_still_is_used_again_once_it_goes_on(tmp_path):
    async with run_scanned_nodes(tmp_path, 2) as system:
        intent = await system.direct(1, amount="1000")
        await system.polled()
        frozen, alive = system.nodes
        alive.head += 100
        await system.api.until(intent["intentId"], lambda _: system.scanner.worker.health.head.position == 1100)
        frozen.head = alive.head = 1101
        for node in system.nodes:
            node.pay(USDT, shop(1), 1000, tx=PAID)
            node.head += 6
        alive.down = True
        await system.api.status_is(intent["intentId"], "confirmed")


@pytest.mark.parametrize("hours", [3, 1, 1000])
async def test_an_only_endpoint_with_an_old_head_is_stale_with_its_true_lag(tmp_path, hours):
    async with run_scanned_nodes(tmp_path, POLL_INTERVAL_SEC="3600") as system:
        (node,) = system.nodes
        at_another_time(node, -hours * 3600)
        await system.polled()
        condition = system.scanner.worker.adapter.condition()
        assert condition.stale
        assert condition.lag_s == pytest.approx(hours * 3600, abs=30)
        assert states(system) == ["stale"]
        shown = await system.api.chain()
        assert shown["state"] == "stale"
        assert shown["lagSeconds"] == pytest.approx(hours * 3600, abs=60)
        assert any("stand still" in problem for problem in shown["problems"])


async def test_an_endpoint_behind_another_is_passed_over_from_the_first_poll(tmp_path):
    async with run_scanned_nodes(tmp_path, 2, behind=500, POLL_INTERVAL_SEC="3600") as system:
        await system.polled()
        assert system.scanner.worker.health.head.position == 1000
        assert states(system) == ["stale", "ok"]
        assert not system.scanner.worker.adapter.condition().stale


# --- heads that cannot be true -------------------------------------------------------------------


def made_up(node: ScriptedNode, ahead: int):
    """Answer with headers nobody mined, up to so many above the real head."""

    def answer(asked):
        top = node.head + ahead
        number = {"latest": top, "finalized": top}.get(asked[0]) or int(asked[0], 16)
        if not node.head < number <= top:
            return None
        real = node.block(node.head)
        return "result", {**real, "number": hex(number), "hash": block_hash(number, "made up")}

    return answer


@pytest.mark.parametrize("ahead", [975, 3, 10**6])
async def test_made_up_headers_of_one_of_two_that_must_agree_confirm_nothing(tmp_path, ahead):
    async with run_scanned_nodes(tmp_path, 2, chain={"rpcQuorum": 2}) as system:
        intent = await system.direct(1, amount="1000")
        await system.polled()
        liar, honest = system.nodes
        liar.overrides["eth_getBlockByNumber"] = made_up(liar, ahead)
        for node in system.nodes:
            node.pay(USDT, shop(1), 1000, tx=PAID)
        await system.api.status_is(intent["intentId"], "confirming")
        await system.polled(4)
        assert (await system.api.intent(intent["intentId"]))["confirmations"] == 1
        assert (await system.api.chain())["lastScannedBlock"] == honest.head
        system.grow(6)  # while it still lies
        await system.api.status_is(intent["intentId"], "confirmed")
        liar.overrides.clear()
        system.grow(1)
        await system.polled()
        assert system.scanner.worker.adapter.condition().newest_position == honest.head


@pytest.mark.parametrize("ahead", [5_000, 10**9])
async def test_a_head_beyond_what_time_allows_is_waited_out(tmp_path, ahead):
    async with run_scanned_nodes(tmp_path) as system:
        intent = await system.direct(1, amount="1000")
        await system.polled()
        (node,) = system.nodes
        node.overrides["eth_getBlockByNumber"] = made_up(node, ahead)
        node.pay(USDT, shop(1), 1000, tx=PAID)
        with pytest.raises(Exception, match="either this host's clock or the endpoint is wrong"):
            await system.polled()
        assert states(system) == ["lying"]
        assert (await system.api.chain())["lastScannedBlock"] <= node.head
        node.overrides.clear()
        node.head += 6
        await system.api.status_is(intent["intentId"], "confirmed")


async def test_a_liar_is_passed_over_for_one_whose_head_can_be_true(tmp_path):
    async with run_scanned_nodes(tmp_path, 2) as system:
        intent = await system.direct(1, amount="1000")
        await system.polled()
        liar, _ = system.nodes
        liar.overrides["eth_getBlockByNumber"] = made_up(liar, 10**7)
        for node in system.nodes:
            node.pay(USDT, shop(1), 1000, tx=PAID)
        system.grow(6)
        await system.api.status_is(intent["intentId"], "confirmed")
        assert states(system) == ["lying", "ok"]
        assert "shows a head that cannot be true" in problems(system)


async def until_told(system: ScannedNodes, *words: str) -> str:
    """Wait until a problem of the chain has all these words; return it."""
    async with asyncio.timeout(20):
        while True:
            reported = (await system.api.chain())["problems"]
            if found := [problem for problem in reported if all(word in problem for word in words)]:
                return found[0]
            await asyncio.sleep(0.05)  # an operator has no event to wait on either


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("ahead", [100, 475, 900])
async def test_a_head_within_what_time_allows_is_exposed_by_another_endpoint(tmp_path, ahead):
    async with run_scanned_nodes(tmp_path, 2) as system:
        intent = await system.direct(1, amount="1000")
        for _ in range(3):
            system.grow(2)  # how fast the chain is has to be known
            await system.polled()
        liar, honest = system.nodes
        liar.overrides["eth_getBlockByNumber"] = made_up(liar, ahead)
        for node in system.nodes:
            node.pay(USDT, shop(1), 1000, tx=PAID)
        await system.polled(1)
        system.grow(2)
        said = await until_told(system, "showed block")
        assert all(node.url.partition("//")[2] in said for node in system.nodes)
        chain = await system.api.chain()
        assert [endpoint["state"] for endpoint in chain["endpoints"]] == ["lying", "ok"]
        assert chain["chainHead"] == honest.head
        system.grow(4)
        await system.api.status_is(intent["intentId"], "confirmed")


@pytest.mark.usefixtures("soon")
async def test_an_only_endpoint_that_takes_a_made_up_head_back_is_named(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        await system.direct(1, amount="1000")
        await system.polled()
        (node,) = system.nodes
        node.overrides["eth_getBlockByNumber"] = made_up(node, 500)
        await system.polled()
        node.overrides.clear()
        system.grow(2)
        assert "showed block 1500" in await until_told(system, node.url.partition("//")[2], "younger block 1002")
        assert (await system.api.chain())["endpoints"][0]["state"] == "lying"


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("quorum", [1, 2])
async def test_endpoints_on_different_forks_for_good_are_both_named(tmp_path, quorum):
    async with run_scanned_nodes(tmp_path, 2, chain={"rpcQuorum": quorum}) as system:
        intent = await system.direct(1, amount="1000")
        await system.polled()
        one, two = system.nodes
        two.fork_from = 1001
        for node in system.nodes:
            node.head += 1
        system.grow(5)
        one.pay(USDT, shop(1), 1000, tx=PAID)
        two.head += 1
        said = await until_told(system, "hold different blocks")
        assert all(node.url.partition("//")[2] in said for node in system.nodes)
        system.grow(20)
        if quorum == 1:
            await system.api.status_is(intent["intentId"], "confirmed")
        else:
            assert (await system.api.intent(intent["intentId"]))["status"] == "pending"
        two.fork_from = None
        two.logs, two.receipts = one.logs, one.receipts
        await system.api.status_is(intent["intentId"], "confirmed")
        async with asyncio.timeout(20):
            while "different blocks" in str((await system.api.chain())["problems"]):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("seconds", [240, 1200, 10**6])
async def test_two_endpoints_from_the_future_mean_that_the_hosts_clock_is_late(tmp_path, seconds):
    async with run_scanned_nodes(tmp_path, 2, POLL_INTERVAL_SEC="3600") as system:
        for node in system.nodes:
            at_another_time(node, seconds)
        system.grow(1)
        await system.polled()
        assert system.scanner.worker.health.head.position == 1001
        assert "this host's clock is wrong" in problems(system)


async def test_one_endpoint_from_the_future_is_waited_for_with_both_suspects_named(tmp_path):
    async with run_scanned_nodes(tmp_path, POLL_INTERVAL_SEC="3600") as system:
        (node,) = system.nodes
        at_another_time(node, 1200)
        with pytest.raises(Exception, match="either this host's clock or the endpoint is wrong: 127"):
            await system.polled()
        assert "either this host's clock or the endpoint is wrong" in problems(system)


# --- who knows what is final ---------------------------------------------------------------------

UNKNOWN = {
    "an unknown block": ("error", {"code": -39001, "message": "Unknown block"}),
    "nothing": ("result", None),
    "a block not found": ("error", {"code": -32000, "message": "finalized block not found"}),
    "an invalid tag": ("error", {"code": -32602, "message": "invalid argument 0: hex string without 0x prefix"}),
}


def without_final(what: str):
    return lambda asked: UNKNOWN[what] if asked[0] == "finalized" else None


@pytest.mark.parametrize("what", UNKNOWN)
@pytest.mark.parametrize("finality", ["both", "finalized"])
async def test_what_is_final_is_asked_of_the_endpoint_that_knows(tmp_path, what, finality):
    async with run_scanned_nodes(tmp_path, 2, chain={"finality": finality}) as system:
        blind, _ = system.nodes
        blind.overrides["eth_getBlockByNumber"] = without_final(what)
        intent = await system.direct(1, amount="1000")
        for node in system.nodes:
            node.pay(USDT, shop(1), 1000, tx=PAID)
        system.grow(6)
        await system.api.status_is(intent["intentId"], "confirmed")


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("final", [0, 1, 900])
async def test_what_is_final_is_asked_of_the_endpoint_where_that_goes_on(tmp_path, final):
    async with run_scanned_nodes(tmp_path, 2, chain={"finality": "both"}) as system:
        stuck, _ = system.nodes
        stuck.finalized = final
        intent = await system.direct(1, amount="1000")
        for node in system.nodes:
            node.pay(USDT, shop(1), 1000, tx=PAID)
        system.grow(6)
        await system.api.status_is(intent["intentId"], "confirmed")


async def test_a_chain_of_which_only_the_first_block_is_final_cannot_tell(tmp_path):
    async with run_scanned_nodes(tmp_path, chain={"finality": "both"}) as system:
        system.nodes[0].finalized = 0
        await system.polled(2)
        assert "no endpoint can tell which block is finalized" in problems(system)
        system.nodes[0].finalized = None
        await system.polled(2)
        assert problems(system) == ""


@pytest.mark.parametrize("what", UNKNOWN)
async def test_when_nobody_knows_what_is_final_payments_wait_and_that_is_said(tmp_path, what):
    async with run_scanned_nodes(tmp_path, chain={"finality": "both"}) as system:
        (node,) = system.nodes
        node.overrides["eth_getBlockByNumber"] = without_final(what)
        intent = await system.direct(1, amount="1000")
        node.pay(USDT, shop(1), 1000, tx=PAID)
        node.head += 6
        await system.api.status_is(intent["intentId"], "confirming")
        await system.polled(3)
        assert (await system.api.intent(intent["intentId"]))["status"] == "confirming"
        assert "finalized" in problems(system)
        node.overrides.clear()
        await system.api.status_is(intent["intentId"], "confirmed")


# --- which chain it is ---------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [1001, 5])
async def test_a_node_of_another_chain_behind_the_same_address_takes_nothing_back(tmp_path, blocks):
    async with run_scanned_nodes(tmp_path) as system:
        intent = await system.direct(1, amount="1000")
        (node,) = system.nodes
        node.pay(USDT, shop(1), 1000, tx=PAID)
        node.head += blocks if blocks < 10 else 0
        await system.api.until(intent["intentId"], lambda seen: seen["txHash"] is not None)
        node.chain_id, node.fork_from = 1, 0  # another chain altogether, which the endpoint was not asked about again
        node.head += 1
        for _ in range(5):
            with pytest.raises(Exception, match=r"serves chain 1, expected chain 97|left alone"):
                await system.polled()
        assert (await system.api.reasons()) == []
        await system.failing()
        node.chain_id, node.fork_from = 97, None
        node.head += 6
        await system.api.status_is(intent["intentId"], "confirmed")
