"""What a token contract says of itself are labels: nonsense is null in the answer, and nobody's fault but its own."""

from __future__ import annotations

import json

import pytest
from eth_abi.abi import encode

from addresses.keccak import keccak
from chains.types import BalanceKey
from devnet.evm.anvil import CHAIN_ID
from devnet.evm.scripted_node import tx_hash
from tests.cases.scanned_nodes import run_scanned_nodes, shop
from tests.harness import ROOT, USDT, intent_body

ODD = "0x" + "0d" * 20
DECIMALS, SYMBOL = ("0x" + keccak(name)[:4].hex() for name in (b"decimals()", b"symbol()"))


def words(*values, tail=""):
    return "0x" + "".join(f"{value:064x}" for value in values) + tail


def text(value):
    return "0x" + encode(["string"], [value]).hex()


SYMBOLS = {
    "a length beyond anything": words(32, 2**200),
    "less text than it says": words(32, 2**200, tail=b"USDT".hex().ljust(64, "0")),
    "not UTF-8": words(32, 2, tail="80ff".ljust(64, "0")),
    "a place beyond anything": words(2**255, 4),
    "32 bytes of rubbish": "0x" + "ff" * 32,
    "ten thousand letters": text("x" * 10_000),
    "a line break": text("US\nDT"),
    "an arrow that turns the text": text("US\u202eDT"),
    "half a byte": "0x123",
    "nothing": "0x",
    "empty": text(""),
}


def says(address, *, symbol, decimals):
    """Answer for one contract; everything else is the node's business."""

    def answer(asked):
        call = asked[0]
        if call["to"].lower() != address:
            return None
        data = str(call.get("data") or call.get("input"))
        value = {SYMBOL: symbol, DECIMALS: decimals}.get(data, "0x")
        return ("error", value) if isinstance(value, dict) else ("result", value)

    return answer


async def registered(system, **fields):
    fields = {"token": None, "tokenAddress": ODD, "rail": "direct", "destination": shop(9), **fields}
    return await system.api.call("POST", "/intents", intent_body(**fields))


@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_a_symbol_that_is_nonsense_is_null_and_no_endpoint_rests(tmp_path, symbol):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        node.overrides["eth_call"] = says(ODD, symbol=SYMBOLS[symbol], decimals=words(6))
        status, answer = await registered(system)
        assert status == 200, answer
        seen = await system.api.intent(answer["intentId"])
        assert (seen["tokenSymbol"], seen["decimals"]) == (None, 6)
        assert [endpoint.failures for endpoint in system.scanner.worker.adapter._pool.endpoints] == [0]


@pytest.mark.parametrize(
    "decimals",
    [
        words(2**200),
        words(78),
        words(2**255, 5),
        "0x06",
        "0x",
        None,
        7,
        ["0x"],
        {"code": 3, "message": "execution reverted"},
        {"code": -32000, "message": "execution aborted (timeout = 5s)"},
        {"code": -32015, "message": "VM execution error.", "data": "Bad instruction fe"},
        {"code": -32603, "message": "nobody knows why"},
        {"code": 3, "message": "execution reverted: rate limit exceeded"},
        {"code": -32000, "message": "execution reverted: block range too large, max: 1"},
        {"code": -32000, "message": "execution reverted: header not found"},
    ],
)
async def test_decimals_that_are_nonsense_are_null_and_no_endpoint_rests(tmp_path, decimals):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        node.overrides["eth_call"] = says(ODD, symbol=text("ODD"), decimals=decimals)
        status, answer = await registered(system)
        assert status == 200, answer
        assert (await system.api.intent(answer["intentId"]))["decimals"] is None
        assert [endpoint.failures for endpoint in system.scanner.worker.adapter._pool.endpoints] == [0]


async def test_a_token_of_the_registry_that_calls_itself_otherwise_is_still_accepted_and_paid(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        node.overrides["eth_call"] = says(USDT.lower(), symbol=text("USD₮0"), decimals=words(18))
        await system.polled(2)
        intent = await system.direct(1, amount="1000")
        node.pay(USDT, shop(1), 1000, tx=tx_hash("paid"))
        node.head += 10
        await system.api.status_is(intent["intentId"], "confirmed")
        assert any("USD₮0" in problem for problem in (await system.api.chain())["problems"])


async def test_a_token_whose_decimals_are_not_the_registrys_is_refused(tmp_path):
    tokens = json.loads((ROOT / "tokens.json").read_text())
    assert next(t["decimals"] for t in tokens if t["address"] == USDT and t["chainId"] == CHAIN_ID) == 18
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        node.overrides["eth_call"] = says(USDT.lower(), symbol=text("USDT"), decimals=words(6))
        await system.polled(2)
        system.scanner.worker._tested = False
        await system.polled(1)
        status, answer = await registered(system, token="USDT", tokenAddress=None)
        assert (status, answer["code"]) == (400, "token_mismatch")


async def test_a_balance_a_contract_refuses_in_a_nodes_words_is_unknown_and_no_endpoint_rests(tmp_path):
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        node.overrides["eth_call"] = lambda asked: (
            ("error", {"code": 3, "message": "execution reverted: rate limit exceeded"})
            if asked[0]["to"].lower() == ODD
            else None
        )
        reported = await system.scanner.worker.adapter.balances(
            [BalanceKey(shop(1), ODD), BalanceKey(shop(1), USDT.lower())]
        )
        assert reported.amounts == [None, 0]
        assert [endpoint.failures for endpoint in system.scanner.worker.adapter._pool.endpoints] == [0]
