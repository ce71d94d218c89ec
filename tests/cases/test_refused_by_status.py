"""An HTTP status that refuses one kind of question says nothing about the others: the endpoint stays in use for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from devnet.evm.scripted_node import tx_hash
from tests.cases.scanned_nodes import run_scanned_nodes, shop
from tests.harness import MERCHANT, USDT

PAID, LATER = tx_hash("paid"), tx_hash("later")
Call = dict[str, Any]


def refuses(which: Callable[[Call], bool], status: int) -> Callable[[Any], web.Response | None]:
    """Answer every request that holds such a call with a status and no word."""

    def gateway(asked: Any) -> web.Response | None:
        calls = asked if isinstance(asked, list) else [asked]
        return web.Response(status=status) if any(map(which, calls)) else None

    return gateway


def asks_for(method: str) -> Callable[[Call], bool]:
    return lambda call: call["method"] == method


def asks_what_is_final(call: Call) -> bool:
    return call["method"] == "eth_getBlockByNumber" and call["params"][0] == "finalized"


async def never_rests(system):
    await system.polled(3)
    chain = await system.api.chain()
    assert chain["state"] == "ready"
    assert chain["endpoints"][0]["state"] in {"ok", "failing"}
    return chain


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
async def test_receipts_refused_keep_payments_waiting_by_name_and_the_chain_is_read_on(tmp_path, status):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        intent = await system.direct(1, amount="1000")
        node.gateway = refuses(asks_for("eth_getTransactionReceipt"), status)
        node.pay(USDT, shop(1), 1000, tx=PAID)
        system.grow(6)
        await system.api.status_is(intent["intentId"], "confirming")
        (stuck,) = (await never_rests(system))["stuck"]
        assert stuck["txHash"] == PAID
        assert str(status) in stuck["why"]
        node.gateway = None
        await system.api.status_is(intent["intentId"], "confirmed")


@pytest.mark.parametrize("status", [400, 402, 403, 500, 503])
async def test_what_is_final_is_asked_of_the_endpoint_that_does_not_refuse_it(tmp_path, status):
    async with run_scanned_nodes(tmp_path, 2, chain={"finality": "both"}) as system:
        blind, _ = system.nodes
        blind.gateway = refuses(asks_what_is_final, status)
        intent = await system.direct(1, amount="1000")
        for node in system.nodes:
            node.pay(USDT, shop(1), 1000, tx=PAID)
        system.grow(6)
        await system.api.status_is(intent["intentId"], "confirmed")


@pytest.mark.parametrize("status", [400, 403, 500])
async def test_when_all_refuse_what_is_final_payments_wait_and_that_is_said(tmp_path, status):
    async with run_scanned_nodes(tmp_path, chain={"finality": "both"}) as system:
        (node,) = system.nodes
        node.gateway = refuses(asks_what_is_final, status)
        intent = await system.direct(1, amount="1000")
        node.pay(USDT, shop(1), 1000, tx=PAID)
        system.grow(6)
        await system.api.status_is(intent["intentId"], "confirming")
        assert any("finalized" in problem for problem in (await never_rests(system))["problems"])
        node.gateway = None
        await system.api.status_is(intent["intentId"], "confirmed")


@pytest.mark.parametrize("status", [402, 403, 404])
async def test_a_balance_refused_keeps_no_payment_waiting(tmp_path, status):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        await system.polled(1)
        node.gateway = refuses(asks_for("eth_call"), status)
        intent = await system.direct(1, amount="1000")
        body = {"chainId": node.chain_id, "address": MERCHANT, "token": "USDT"}
        code, answer = await system.api.call("POST", "/balances/check", body)
        assert (code, str(status) in answer["error"]) == (502, True)
        await never_rests(system)
        node.pay(USDT, shop(1), 1000, tx=PAID)
        system.grow(6)
        await system.api.status_is(intent["intentId"], "confirmed", timeout_s=5)


@pytest.mark.long
@pytest.mark.timeout(90)
@pytest.mark.parametrize("status", [403, 503])
async def test_logs_refused_altogether_are_read_soon_after_they_are_served(tmp_path, status):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        seen = await system.direct(1, amount="1000")
        node.pay(USDT, shop(1), 1000, tx=PAID)
        await system.api.status_is(seen["intentId"], "confirming")
        node.gateway = refuses(asks_for("eth_getLogs"), status)
        later = await system.direct(2, amount="1000")
        node.pay(USDT, shop(2), 1000, tx=LATER)
        system.grow(6)
        await system.api.status_is(seen["intentId"], "confirmed")
        chain = await system.failing()
        assert chain["endpoints"][0]["state"] != "resting"
        assert str(status) in chain["lastError"]
        node.gateway = None
        await system.api.status_is(later["intentId"], "confirmed", timeout_s=45)


async def test_an_endpoint_that_turns_us_away_altogether_rests(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        await system.polled(1)
        node.calls.clear()
        node.gateway = refuses(lambda _: True, 403)
        with pytest.raises(Exception, match="403"):
            await system.polled(1)
        assert (await system.api.chain())["endpoints"][0]["state"] == "resting"
