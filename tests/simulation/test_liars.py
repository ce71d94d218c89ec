"""What a liar says is alike wherever it is asked, and is what only a hash finds out."""

from __future__ import annotations

import random
from typing import Any

import pytest

from chains.errors import ChainProtocolError
from chains.evm.proofs.encoding import encoded_header, encoded_receipt
from devnet.evm.anvil import PROXY
from tests.chains.evm.proofs.chain import root_of
from tests.harness import MERCHANT, USDT
from tests.simulation.evm_environment import LedgerEndpoint
from tests.simulation.evm_ledger import EvmLedger, payment_logs
from tests.simulation.plans import (
    CHANGES_AMOUNTS,
    DENIES,
    INVENTS,
    LYING,
    OTHER_RECEIPTS,
    OTHER_ROOT,
    WITHHOLDS_BLOCKS,
    WITHHOLDS_LOGS,
)

NOW = 1_772_000_000
REFERENCE = "0x0102030405060708"


def chain() -> EvmLedger:
    ledger = EvmLedger(lambda: NOW, random.Random(1), epoch=4, proven=True)
    for amount in range(1, 9):
        ledger.mine(ledger.tx(payment_logs(USDT, MERCHANT, amount, REFERENCE)))
    return ledger


async def asked(ledger: EvmLedger, kind: str, method: str, *params: Any) -> Any:
    endpoint = LedgerEndpoint(ledger)
    endpoint.lie = kind
    (answer,) = await endpoint._forward([{"id": 1, "method": method, "params": list(params)}])
    return answer["result"]


def whats(logs: list[Any]) -> list[tuple[str, str]]:
    return [(log["transactionHash"], log["data"]) for log in logs]


async def test_an_honest_chain_hashes_to_what_it_says() -> None:
    ledger = chain()
    for number in range(ledger.head + 1):
        block = await asked(ledger, "", "eth_getBlockByNumber", hex(number), False)
        receipts = await asked(ledger, "", "eth_getBlockReceipts", hex(number))

        encoded_header(block, block["hash"])
        assert block["receiptsRoot"] == "0x" + root_of(receipts).hex()
        assert all(encoded_receipt(each) for each in receipts)


@pytest.mark.parametrize("kind", [INVENTS, CHANGES_AMOUNTS, WITHHOLDS_LOGS, WITHHOLDS_BLOCKS, OTHER_ROOT])
async def test_logs_and_receipts_lie_alike_and_the_root_tells(kind: str) -> None:
    ledger = chain()
    logs = await asked(ledger, kind, "eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest"})
    told: list[Any] = []
    found_out = 0
    for number in range(ledger.head + 1):
        receipts = await asked(ledger, kind, "eth_getBlockReceipts", hex(number))
        block = await asked(ledger, kind, "eth_getBlockByNumber", hex(number), False)
        told += [log for each in receipts for log in each["logs"]]
        wrong_root = block["receiptsRoot"] != "0x" + root_of(receipts).hex()
        try:
            encoded_header(block, block["hash"])
        except ChainProtocolError:
            assert kind == OTHER_ROOT
            wrong_root = True
        found_out += wrong_root

    assert sorted(whats(logs)) == sorted(whats(told))
    assert whats(logs) != whats(await asked(ledger, "", "eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest"}))
    assert found_out > 0


async def test_the_receipts_of_another_block_name_that_one() -> None:
    ledger = chain()
    receipts = await asked(ledger, OTHER_RECEIPTS, "eth_getBlockReceipts", hex(ledger.head))

    assert {each["blockNumber"] for each in receipts} == {hex(ledger.head - 1)}
    assert set(LYING) == {INVENTS, CHANGES_AMOUNTS, WITHHOLDS_LOGS, WITHHOLDS_BLOCKS, OTHER_RECEIPTS, OTHER_ROOT}
    assert any(log["address"] == PROXY.lower() for each in receipts for log in each["logs"])


async def test_who_denies_says_of_some_transactions_alone_that_they_failed() -> None:
    ledger = chain()
    every = {"fromBlock": "0x0", "toBlock": "latest"}
    shown = await asked(ledger, DENIES, "eth_getLogs", every)
    alone = [await asked(ledger, DENIES, "eth_getTransactionReceipt", log["transactionHash"]) for log in shown]
    in_blocks = [await asked(ledger, DENIES, "eth_getBlockReceipts", log["blockNumber"]) for log in shown]

    assert shown == await asked(ledger, "", "eth_getLogs", every)
    assert {(each["status"], bool(each["logs"])) for each in alone} == {("0x0", False), ("0x1", True)}
    assert all(each["status"] == "0x1" for receipts in in_blocks for each in receipts)
