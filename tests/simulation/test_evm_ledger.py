"""The EVM chain in memory says the same of a payment whichever way it is asked."""

from __future__ import annotations

import random
from typing import Any

from chains.evm.logs.bloom import may_hold
from devnet.evm.anvil import PROXY
from tests.harness import MERCHANT, USDT
from tests.simulation.evm_ledger import EvmLedger, payment_logs

NOW = 1_772_000_000


def chain() -> EvmLedger:
    return EvmLedger(lambda: NOW, random.Random(1), epoch=4)


def ask(ledger: EvmLedger, method: str, *params: Any) -> Any:
    return ledger.answer({"id": 7, "method": method, "params": list(params)})["result"]


def test_a_payment_is_in_its_logs_its_receipt_and_its_blocks_filter() -> None:
    ledger = chain()
    tx = ledger.tx(payment_logs(USDT, MERCHANT, 5, "0x0102030405060708"))
    ledger.mine(tx)

    logs = ask(ledger, "eth_getLogs", {"address": PROXY, "fromBlock": "0x0", "toBlock": "latest"})
    receipt = ask(ledger, "eth_getTransactionReceipt", tx.hash)
    block = ask(ledger, "eth_getBlockByNumber", "latest", False)

    assert [log["transactionHash"] for log in logs] == [tx.hash] == block["transactions"]
    assert logs[0] in receipt["logs"]
    assert len(receipt["logs"]) == 2
    assert receipt["blockHash"] == block["hash"]
    assert may_hold(bytes.fromhex(block["logsBloom"][2:]), bytes.fromhex(PROXY[2:]))
    assert ask(ledger, "eth_getBlockReceipts", block["number"]) == [receipt]


def test_a_reorganisation_moves_what_stays_and_forgets_the_rest() -> None:
    ledger = chain()
    first, second = (ledger.tx(payment_logs(USDT, MERCHANT, amount, None)) for amount in (1, 2))
    ledger.mine(first)
    ledger.mine(second)
    before = [block.hash for block in ledger.blocks]

    ledger.reorg(2, [[], [first]])

    assert [block.hash for block in ledger.blocks][:-2] == before[:-2]
    assert not {block.hash for block in ledger.blocks} & set(before[-2:])
    assert ledger.depth(first.hash) == 1
    assert ledger.depth(second.hash) is None
    assert ask(ledger, "eth_getTransactionReceipt", second.hash) is None


def test_a_failed_payment_leaves_a_receipt_and_no_logs() -> None:
    ledger = chain()
    tx = ledger.tx(payment_logs(USDT, MERCHANT, 5, None), succeeded=False)
    ledger.mine(tx)

    assert ask(ledger, "eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest"}) == []
    assert ask(ledger, "eth_getTransactionReceipt", tx.hash)["status"] == "0x0"


def test_what_is_final_lies_two_epochs_below_the_head() -> None:
    ledger = chain()
    ledger.mine(blocks=20)

    assert int(ask(ledger, "eth_getBlockByNumber", "finalized", False)["number"], 16) == ledger.head - 8


def test_a_copy_is_the_chain_as_it_was() -> None:
    ledger = EvmLedger(lambda: NOW, random.Random(1), epoch=4)
    tx = ledger.tx(payment_logs(USDT, MERCHANT, 5, None))
    ledger.mine(tx)
    held = ledger.copy()
    ledger.reorg(1, [[]])
    ledger.mine()

    assert (held.head, held.depth(tx.hash), ledger.head, ledger.depth(tx.hash)) == (1, 1, 2, None)
    assert held.answer({"id": 1, "method": "eth_getTransactionReceipt", "params": [tx.hash]})["result"] is not None


def test_a_balance_is_what_came_up_to_a_block() -> None:
    ledger = EvmLedger(lambda: NOW, random.Random(1), epoch=4)
    for amount in (5, 7):
        ledger.mine(ledger.tx(payment_logs(USDT, MERCHANT, amount, None)))
    held = ledger.copy()
    ledger.reorg(1, [[]])

    assert [held.balance(USDT, MERCHANT, block) for block in (0, 1, 2)] == [0, 5, 12]
    assert (held.balances(USDT, MERCHANT), ledger.balances(USDT, MERCHANT)) == ({0, 5, 12}, {0, 5})
    call = {"to": USDT, "data": "0x70a08231" + MERCHANT[2:].lower().rjust(64, "0")}
    asked = {"id": 1, "method": "eth_call", "params": [call, "0x1"]}
    assert int(ledger.answer(asked)["result"], 16) == 5
