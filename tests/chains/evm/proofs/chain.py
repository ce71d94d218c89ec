"""A chain of blocks with payments, as a node tells them, hashed by the libraries and not by our own code."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import rlp
from eth_hash.auto import keccak
from msgspec import Raw
from trie import HexaryTrie

from chains.errors import ChainError
from chains.evm.event_keys import first_key
from chains.evm.events import TRANSFER_TOPIC
from chains.evm.rpc.client import RawResult
from chains.rpc.endpoint import Endpoint
from chains.types import Head, Transfer

CHAIN = 97
TOKEN, PAYER, SHOP = "0x" + "aa" * 20, "0x" + "bb" * 20, "0x" + "cc" * 20
AMOUNT = 10**18
BLOOM = "0x" + "00" * 256
HASH = "0x" + "00" * 32
Answer = Callable[[str, Any], Any]


def tx_hash(number: int, index: int) -> str:
    return "0x" + keccak(b"%d %d" % (number, index)).hex()


def topic(address: str) -> str:
    return "0x" + address[2:].rjust(64, "0")


def log(amount: int = AMOUNT) -> dict[str, Any]:
    return {
        "address": TOKEN,
        "topics": [TRANSFER_TOPIC, topic(PAYER), topic(SHOP)],
        "data": f"0x{amount:064x}",
        "logIndex": "0x0",
    }


def receipt(number: int, index: int, *logs: dict[str, Any], kind: int = 2, **other: Any) -> dict[str, Any]:
    told = {
        "type": hex(kind),
        "status": "0x1",
        "cumulativeGasUsed": hex(21_000 * (index + 1)),
        "logsBloom": BLOOM,
        "logs": list(logs),
        "transactionHash": tx_hash(number, index),
        "transactionIndex": hex(index),
        "blockNumber": hex(number),
        "from": PAYER,
    }
    return told | other


def as_bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def as_number(text: str) -> bytes:
    return rlp.sedes.big_endian_int.serialize(int(text, 16))


def by_library(told: dict[str, Any]) -> bytes:
    """Return a receipt in RLP."""
    logs = [[as_bytes(e["address"]), list(map(as_bytes, e["topics"])), as_bytes(e["data"])] for e in told["logs"]]
    items = [as_number(told["status"]), as_number(told["cumulativeGasUsed"]), as_bytes(told["logsBloom"]), logs]
    if "depositReceiptVersion" in told:
        items += [as_number(told["depositNonce"]), as_number(told["depositReceiptVersion"])]
    kind = int(told["type"], 16)
    return (bytes([kind]) if kind else b"") + rlp.encode(items)


def root_of(receipts: Sequence[dict[str, Any]]) -> bytes:
    tree = HexaryTrie({})
    for index, each in enumerate(receipts):
        tree[rlp.encode(index)] = by_library(each)
    root: bytes = tree.root_hash
    return root


def bloom_of(receipts: Sequence[dict[str, Any]]) -> int:
    """Return the filter of a block's logs (Ethereum Yellow Paper, section 4.4.1)."""
    bloom = 0
    for each in receipts:
        for told in each["logs"]:
            for item in (told["address"], *told["topics"]):
                digest = keccak(as_bytes(item))
                for place in (0, 2, 4):
                    bloom |= 1 << (int.from_bytes(digest[place : place + 2]) % 2048)
    return bloom


def sealed(number: int, parent: str, receipts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a block of after Cancun as a node tells it."""
    told = {
        "parentHash": parent,
        "sha3Uncles": HASH,
        "miner": TOKEN,
        "stateRoot": HASH,
        "transactionsRoot": HASH,
        "receiptsRoot": "0x" + root_of(receipts).hex(),
        "logsBloom": f"0x{bloom_of(receipts):0512x}",
        "difficulty": "0x0",
        "number": hex(number),
        "gasLimit": "0x1c9c380",
        "gasUsed": "0x5208",
        "timestamp": hex(1_700_000_000 + number),
        "extraData": "0x",
        "mixHash": HASH,
        "nonce": "0x0000000000000000",
        "baseFeePerGas": "0x7",
        "withdrawalsRoot": HASH,
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": HASH,
    }
    numbers = {"difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas", "blobGasUsed"}
    numbers |= {"excessBlobGas"}
    fields = [as_number(text) if name in numbers else as_bytes(text) for name, text in told.items()]
    transactions = [each["transactionHash"] for each in receipts]
    return told | {"hash": "0x" + keccak(rlp.encode(fields)).hex(), "transactions": transactions}


class Node:
    """Answers as a node does; `lie` may change an answer."""

    def __init__(self, receipts: dict[int, list[dict[str, Any]]], *, length: int = 10) -> None:
        self.blocks: list[dict[str, Any]] = []
        self.receipts = receipts
        self.asked: list[list[str]] = []  # methods, request by request
        self.lie: Answer = lambda _, answer: answer
        for number in range(length):
            parent = self.blocks[-1]["hash"] if self.blocks else HASH
            self.blocks.append(sealed(number, parent, receipts.get(number, [])))
            for each in receipts.get(number, []):
                each["blockHash"] = self.blocks[-1]["hash"]

    @property
    def head(self) -> Head:
        top = self.blocks[-1]
        return Head(len(self.blocks) - 1, top["hash"], int(top["timestamp"], 16))

    def payment(self, number: int, index: int, amount: int = AMOUNT) -> Transfer:
        """Return a transfer as a scan reports it."""
        told = log(amount)
        return Transfer(
            chain_id=CHAIN,
            tx_hash=tx_hash(number, index),
            event_key=first_key(told["address"], told["topics"], told["data"]),
            log_index=0,
            block_number=number,
            block_hash=self.blocks[number]["hash"],
            block_time=None,
            token=TOKEN,
            destination=SHOP,
            amount=amount,
        )

    async def batch(self, _: Endpoint, calls: Sequence[Any]) -> list[RawResult]:
        self.asked.append([method for method, _ in calls])
        return [self._answer(method, params) for method, params in calls]

    def _answer(self, method: str, params: Sequence[Any]) -> RawResult:
        answer: Any
        if method == "eth_getTransactionReceipt":
            every = [each for receipts in self.receipts.values() for each in receipts]
            answer = next((each for each in every if each["transactionHash"] == params[0]), None)
        else:
            number = int(params[0], 16)
            found = self.blocks[number] if number < len(self.blocks) else None
            answer = self.receipts.get(number, []) if method == "eth_getBlockReceipts" else found
        answer = self.lie(method, deepcopy(answer))
        if isinstance(answer, ChainError):
            return RawResult(error=answer)
        return RawResult(Raw(json.dumps(answer).encode()))
