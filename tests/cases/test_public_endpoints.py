"""The daemon over endpoints as the public finds them: few calls a batch, logs only with an address, odd fields."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web

from chains.errors import ChainError
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.types import Rail
from devnet.evm.scripted_node import ScriptedNode, tx_hash
from tests.cases.scanned_nodes import ScannedNodes, run_scanned_nodes, shop
from tests.harness import MERCHANT, USDT, in_seconds
from tests.rounds import a_few_and_the_rest_long

pytestmark = pytest.mark.usefixtures("soon_asked_again")
PUBLICNODE = (
    "Please specify an address in your request or, to remove restrictions, order a dedicated full node here: "
    "https://www.allnodes.com/bsc/host"
)


def wants_address(node: ScriptedNode) -> None:
    """Refuse as PublicNode does."""

    def get_logs(params: list[Any]) -> tuple[str, Any] | None:
        return None if params[0].get("address") else ("error", {"code": -32701, "message": PUBLICNODE})

    node.overrides["eth_getLogs"] = get_logs


def few_calls(node: ScriptedNode, most: int = 3) -> None:
    """Refuse as dRPC's free plan does."""

    def gateway(asked: Any) -> web.Response | None:
        if not isinstance(asked, list) or len(asked) <= most:
            return None
        error = {"code": 31, "message": f"Batch of more than {most} requests are not allowed on free plan"}
        return web.json_response([{"jsonrpc": "2.0", "id": call["id"], "error": error} for call in asked], status=500)

    node.gateway = gateway


def one_error(node: ScriptedNode, most: int = 1) -> None:
    """Refuse as geth does: a list with one error, which carries the id of the first call."""

    def gateway(asked: Any) -> web.Response | None:
        if not isinstance(asked, list) or len(asked) <= most:
            return None
        error = {"code": -32600, "message": "batch too large"}
        return web.json_response([{"jsonrpc": "2.0", "id": asked[0]["id"], "error": error}])

    node.gateway = gateway


async def pay_on_both_rails(system: ScannedNodes, **odd: Any) -> list[str]:
    proxied = await system.api.create(confirmations=5, amount="1000", callbackUrl=system.hooks.url())
    direct = await system.direct(1, amount="1000")
    for node in system.nodes:
        first, second = node.head + 1, node.head + 2
        moved = node.transfer(USDT, MERCHANT, 1000, tx=tx_hash("proxied"), block=first)
        event = node.event(USDT, MERCHANT, 1000, proxied["paymentReference"], tx=tx_hash("proxied"), block=first)
        stranger = node.event(USDT, shop(9), 5, "0x" + "77" * 8, tx=tx_hash("a stranger"), block=first, index=9)
        node.include(moved | odd, event | odd, stranger | odd)
        node.include(node.transfer(USDT, shop(1), 1000, tx=tx_hash("direct"), block=second, index=5) | odd)
        node.head += 20
    return [proxied["intentId"], direct["intentId"]]


@pytest.mark.parametrize(
    "kinds",
    [
        [wants_address],
        [few_calls],
        [one_error],
        [wants_address, few_calls],
        [few_calls, wants_address],
        [wants_address, one_error],
    ],
    ids=lambda kinds: "+".join(kind.__name__ for kind in kinds),
)
async def test_payments_on_both_rails_are_confirmed(tmp_path, kinds):
    async with run_scanned_nodes(tmp_path, len(kinds)) as system:
        for kind, node in zip(kinds, system.nodes, strict=True):
            kind(node)
        for intent_id in await pay_on_both_rails(system):
            await system.api.status_is(intent_id, "confirmed")


async def test_one_endpoint_that_wants_addresses_and_takes_few_calls_serves_both_rails(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        wants_address(system.nodes[0])
        few_calls(system.nodes[0])
        for intent_id in await pay_on_both_rails(system):
            await system.api.status_is(intent_id, "confirmed")
        limits = system.scanner.worker.adapter.condition().endpoints[0].limits
        assert (limits.addressless_logs, limits.batch) == (False, 3)
        assert any("other tokens" in problem for problem in (await system.api.chain())["problems"])


UNKNOWN_WORDS = [
    (-32000, "unrestricted eth_getLogs is not allowed"),
    (-32000, "query without contract filter is disabled"),
    (-32602, "invalid params"),
    (-32005, "limit exceeded"),
    (0, "Forbidden"),
]


@pytest.mark.parametrize("error", UNKNOWN_WORDS, ids=lambda error: error[1])
async def test_logs_without_an_address_refused_in_any_words_are_asked_for_by_token(tmp_path, error):
    code, message = error

    def get_logs(params: list[Any]) -> tuple[str, Any] | None:
        return None if params[0].get("address") else ("error", {"code": code, "message": message})

    async with run_scanned_nodes(tmp_path) as system:
        system.nodes[0].overrides["eth_getLogs"] = get_logs
        for intent_id in await pay_on_both_rails(system):
            await system.api.status_is(intent_id, "confirmed")
        assert system.scanner.worker.adapter.condition().endpoints[0].limits.addressless_logs is False
        assert any("other tokens" in problem for problem in (await system.api.chain())["problems"])


@pytest.mark.parametrize("status", a_few_and_the_rest_long([400, 401, 403, 404, 422, 500, 502, 503], every=4))
async def test_logs_without_an_address_refused_by_a_status_are_asked_for_by_token(tmp_path, status):
    def gateway(asked: Any) -> web.Response | None:
        calls = asked if isinstance(asked, list) else [asked]
        unnamed = any(c["method"] == "eth_getLogs" and not c["params"][0].get("address") for c in calls)
        return web.Response(status=status) if unnamed else None

    async with run_scanned_nodes(tmp_path) as system:
        system.nodes[0].gateway = gateway
        for intent_id in await pay_on_both_rails(system):
            await system.api.status_is(intent_id, "confirmed")


async def test_an_endpoint_that_refuses_all_logs_is_not_thought_to_want_an_address(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        node.overrides["eth_getLogs"] = lambda _: ("error", {"code": -32603, "message": "internal error"})
        intents = await pay_on_both_rails(system)
        for _ in range(4):
            with suppress(ChainError):
                await system.polled(1)
        assert system.scanner.worker.adapter.condition().endpoints[0].limits.addressless_logs is not False
        node.overrides.clear()
        for intent_id in intents:
            await system.api.status_is(intent_id, "confirmed", timeout_s=45)


@pytest.mark.parametrize("how", ["an error", "a status"])
@pytest.mark.parametrize("refused", list(Rail))
async def test_one_rail_whose_logs_are_refused_does_not_stop_the_other(tmp_path, refused, how):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes

        def is_refused(call: dict[str, Any]) -> bool:
            proxied = call["method"] == "eth_getLogs" and call["params"][0]["topics"][0] == EVENT_TOPIC
            return call["method"] == "eth_getLogs" and proxied is (refused is Rail.PROXY)

        def gateway(asked: Any) -> web.Response | None:
            return (
                web.Response(status=500)
                if any(map(is_refused, asked if isinstance(asked, list) else [asked]))
                else None
            )

        def get_logs(params: list[Any]) -> tuple[str, Any] | None:
            asked = {"method": "eth_getLogs", "params": params}
            return ("error", {"code": -32603, "message": "internal error"}) if is_refused(asked) else None

        if how == "an error":
            node.overrides["eth_getLogs"] = get_logs
        else:
            node.gateway = gateway
        ends = [await system.api.create(expiresAt=in_seconds(2)), await system.direct(2, expiresAt=in_seconds(2))]
        proxied, direct = await pay_on_both_rails(system)
        stopped, read = (proxied, direct) if refused is Rail.PROXY else (direct, proxied)
        node.head += 80
        await system.api.status_is(read, "confirmed")
        waits, ended = ends if refused is Rail.PROXY else ends[::-1]
        await system.api.status_is(ended["intentId"], "expired", timeout_s=30)
        assert (await system.api.intent(stopped))["status"] == "pending"
        assert (await system.api.intent(waits["intentId"]))["status"] == "pending"
        node.overrides.clear()
        node.gateway = None
        await system.api.status_is(stopped, "confirmed", timeout_s=45)
        await system.api.status_is(waits["intentId"], "expired", timeout_s=45)


@pytest.mark.parametrize("message", ["query returned more than 1 results", "response size exceeded"])
async def test_a_block_with_more_logs_than_an_answer_holds_is_read_address_by_address(tmp_path, message):
    """The node lists no transactions of its blocks: their receipts are no way past the cap."""
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes

        def get_logs(params: list[Any]) -> tuple[str, Any] | None:
            too_many = "blockHash" not in params[0] and len(node.matching(params[0])) > 1
            return ("error", {"code": -32005, "message": message}) if too_many else None

        node.overrides["eth_getLogs"] = get_logs
        intents = [await system.direct(number, amount="1000") for number in (1, 2, 3)]
        node.head += 1
        for number in (1, 2, 3):
            paid = node.transfer(USDT, shop(number), 1000, tx=tx_hash(f"{number}"), block=node.head, index=number)
            node.include(paid)
        node.head += 20
        for intent in intents:
            await system.api.status_is(intent["intentId"], "confirmed")


@pytest.mark.parametrize(
    "odd",
    [
        {"blockTimestamp": 1751284607},
        {"blockTimestamp": {"seconds": 1}, "l1BatchNumber": "0x1"},
        {"blockTimestamp": "yesterday", "transactionLogIndex": [], "logType": None},
        {"blockTimestamp": [], "transactionIndex": 7},
        {"blockTimestamp": hex(2**62)},
        {"blockTimestamp": hex(2**64 - 1), "logIndex": hex(2**64 - 1)},
        {"logIndex": None},
        {"logIndex": 5, "removed": "false"},
        {"logIndex": {"hex": "0x5"}, "removed": {}},
    ],
    ids=str,
)
async def test_fields_nobody_uses_stop_no_payment(tmp_path, odd):
    async with run_scanned_nodes(tmp_path) as system:
        for intent_id in await pay_on_both_rails(system, **odd):
            await system.api.status_is(intent_id, "confirmed")


@pytest.mark.parametrize("count", [21, 25])
async def test_more_direct_payments_than_a_topic_position_takes_are_all_confirmed(tmp_path, count):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes

        def get_logs(params: list[Any]) -> tuple[str, Any] | None:
            if all(len(slot) <= 20 for slot in params[0]["topics"] if isinstance(slot, list)):
                return None
            return "error", {"code": -32602, "message": "exceed max addresses or topics per search position"}

        node.overrides["eth_getLogs"] = get_logs
        intents = [await system.direct(number, amount="1000") for number in range(1, count + 1)]
        for number in (1, count):
            node.pay(USDT, shop(number), 1000, tx=tx_hash(f"paid {number}"), index=number)
        node.head += 10
        for number in (1, count):
            await system.api.status_is(intents[number - 1]["intentId"], "confirmed")


async def test_null_for_no_logs_is_no_answer_and_another_endpoint_is_asked(tmp_path):
    async with run_scanned_nodes(tmp_path, 2) as system:
        system.nodes[0].overrides["eth_getLogs"] = lambda _: ("result", None)
        for intent_id in await pay_on_both_rails(system):
            await system.api.status_is(intent_id, "confirmed")


@pytest.mark.parametrize("status", a_few_and_the_rest_long([413, 402, 414, 422, 429, 500, 504, 400], every=5))
async def test_a_range_refused_by_a_status_without_a_word_is_asked_for_in_parts(tmp_path, status):
    refused, most = [], 4 if status == 400 else 60

    def too_long(call: dict[str, Any]) -> bool:
        asked = call["params"][0] if call["method"] == "eth_getLogs" else {}
        return "fromBlock" in asked and int(asked["toBlock"], 16) > int(asked["fromBlock"], 16) + most - 1

    def gateway(asked: Any) -> web.Response | None:
        calls = asked if isinstance(asked, list) else [asked]
        if not any(map(too_long, calls)):
            return None
        refused.append(calls)
        return web.Response(status=status)

    async with run_scanned_nodes(tmp_path) as system:
        system.nodes[0].gateway = gateway
        for intent_id in await pay_on_both_rails(system):
            await system.api.status_is(intent_id, "confirmed")
        assert refused
