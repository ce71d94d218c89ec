"""Nodes that are odd in ways no standard knows: what they serve at all is read, and payments on both rails are confirmed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from devnet.evm.scripted_node import ScriptedNode
from tests.cases.scanned_nodes import run_scanned_nodes
from tests.cases.test_public_endpoints import pay_on_both_rails
from tests.harness import in_seconds
from tests.rounds import a_few_and_the_rest_long

LONG = 3  # blocks
Json = dict[str, Any]


def answered(node: ScriptedNode, asked: Any) -> Any:
    return [node.answer(call) for call in asked] if isinstance(asked, list) else node.answer(asked)


def is_long(wanted: Json) -> bool:
    return "fromBlock" in wanted and int(wanted["toBlock"], 16) - int(wanted["fromBlock"], 16) >= LONG


def answers_long_ranges_with(body: bytes) -> Callable[[ScriptedNode], None]:
    """Let a node give a useless body and the status of success to a question about many blocks."""

    def begin(node: ScriptedNode) -> None:
        def gateway(asked: Any) -> web.Response | None:
            calls = asked if isinstance(asked, list) else [asked]
            long = any(call["method"] == "eth_getLogs" and is_long(call["params"][0]) for call in calls)
            return web.Response(body=body) if long else None

        node.gateway = gateway

    return begin


def writes(change: Callable[[bytes], bytes], status: int = 200) -> Callable[[ScriptedNode], None]:
    """Let a node write everything in its own way."""

    def begin(node: ScriptedNode) -> None:
        node.gateway = lambda asked: web.Response(body=change(orjson.dumps(answered(node, asked))), status=status)

    return begin


def says_null_to_long_ranges(node: ScriptedNode) -> None:
    node.overrides["eth_getLogs"] = lambda asked: ("result", None) if is_long(asked[0]) else None


def takes_no_lists(node: ScriptedNode) -> None:
    def get_logs(asked: list[Any]) -> tuple[str, Any] | None:
        values = [asked[0].get("address"), *asked[0].get("topics", [])]
        refused = ("error", {"code": -32602, "message": "invalid argument 0: json: cannot unmarshal array"})
        return refused if any(isinstance(value, list) for value in values) else None

    node.overrides["eth_getLogs"] = get_logs


def takes_one_address_as_text(node: ScriptedNode) -> None:
    def get_logs(asked: list[Any]) -> tuple[str, Any] | None:
        named = isinstance(asked[0].get("address"), str)
        return None if named else ("error", {"code": -32602, "message": "invalid argument 0"})

    node.overrides["eth_getLogs"] = get_logs


def knows_no_chain_id(node: ScriptedNode) -> None:
    node.overrides["eth_chainId"] = lambda _: ("error", {"code": -32601, "message": "the method does not exist"})
    node.overrides["net_version"] = lambda _: ("result", str(node.chain_id))


def makes_lists_of_single_answers(node: ScriptedNode) -> None:
    def gateway(asked: Any) -> web.Response:
        found = answered(node, asked)
        return web.Response(body=orjson.dumps(found if isinstance(found, list) else [found]))

    node.gateway = gateway


def tells_each_of_many_calls_to_wait(node: ScriptedNode) -> None:
    def gateway(asked: Any) -> web.Response | None:
        if not isinstance(asked, list) or len(asked) < LONG:
            return None
        error = {"code": 429, "message": "Too Many Requests"}
        return web.Response(body=orjson.dumps([{"jsonrpc": "2.0", "id": c["id"], "error": error} for c in asked]))

    node.gateway = gateway


def fails_three_times_in_ten(node: ScriptedNode) -> None:
    chance = random.Random(7)

    def gateway(_: Any) -> web.Response | None:
        return web.Response(status=chance.choice([500, 502, 503])) if chance.random() < 0.3 else None

    node.gateway = gateway


def has_logs_three_blocks_later(node: ScriptedNode) -> None:
    def get_logs(asked: list[Any]) -> tuple[str, Any] | None:
        beyond = "toBlock" in asked[0] and int(asked[0]["toBlock"], 16) > node.head - 3
        error = {"code": -32602, "message": "block range extends beyond current head block"}
        return ("error", error) if beyond else None

    node.overrides["eth_getLogs"] = get_logs


UNUSED = b'"transactionIndex":"0x0"'
KINDS = {
    "nothing instead of many logs": answers_long_ranges_with(b""),
    "a page of HTML instead of many logs": answers_long_ranges_with(b"<html>too much</html>"),
    "half an answer instead of many logs": answers_long_ranges_with(b'[{"jsonrpc":"2.0","id":0,"result":[{"addr'),
    "null instead of many logs": says_null_to_long_ranges,
    "no lists": takes_no_lists,
    "one address as text": takes_one_address_as_text,
    "no chain id": knows_no_chain_id,
    "lists of one": makes_lists_of_single_answers,
    "a byte order mark": writes(lambda body: b"\xef\xbb\xbf" + body),
    "no number in what nobody uses": writes(lambda body: body.replace(UNUSED, UNUSED + b',"x":NaN')),
    "huge numbers in what nobody uses": writes(
        lambda body: body.replace(UNUSED, UNUSED + b',"x":1e999,"y":' + b"9" * 400 + b',"z":"\\ud800"')
    ),
    "201 for everything": writes(bytes, status=201),
    "a wait for each of many calls": tells_each_of_many_calls_to_wait,
    "three failures in ten": fails_three_times_in_ten,
    "logs three blocks after the head": has_logs_three_blocks_later,
}


@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", a_few_and_the_rest_long(KINDS))
async def test_payments_are_confirmed_whatever_is_odd_about_the_only_node(tmp_path, kind):
    async with run_scanned_nodes(tmp_path) as system:
        KINDS[kind](system.nodes[0])
        for intent_id in await pay_on_both_rails(system):
            await system.api.status_is(intent_id, "confirmed", timeout_s=45)


async def test_logs_that_come_a_few_blocks_late_are_no_failure_and_expire_nothing_too_early(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        has_logs_three_blocks_later(node)
        ends = await system.direct(7, expiresAt=in_seconds(2))
        system.grow(65)
        await system.polled(3)
        chain = await system.api.chain()
        assert (chain["state"], chain["lag"], chain["lastError"]) == ("ready", 3, None)
        assert chain["lastScannedBlock"] == node.head - 3
        system.grow(10)
        await system.api.status_is(ends["intentId"], "expired")


async def test_logs_that_stopped_are_a_failure_that_says_where(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        await system.direct(7)
        await system.polled(1)
        stopped = node.head
        error = {"code": -32602, "message": "block range extends beyond current head block"}
        node.overrides["eth_getLogs"] = lambda asked: (
            ("error", error) if "toBlock" in asked[0] and int(asked[0]["toBlock"], 16) > stopped else None
        )
        system.grow(100)
        with pytest.raises(Exception, match=f"its logs end at block {stopped}, below its head"):
            await system.polled(1)
        assert (await system.failing())["endpoints"][0]["state"] != "resting"
        node.overrides.clear()
        await system.polled(1)
        assert (await system.api.chain())["lag"] == 0
