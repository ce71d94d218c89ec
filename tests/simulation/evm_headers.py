"""Headers whose hash covers what a block holds, as nodes tell them: hashed by libraries and not by the product's code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rlp

from addresses.keccak import keccak
from tests.chains.evm.proofs.chain import BLOOM, HASH, as_bytes, as_number, root_of

Json = dict[str, Any]
_NUMBERS = {"difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas"}
NO_RECEIPTS = "0x" + root_of([]).hex()


def receipt_of(logs: Sequence[Json], place: int, *, succeeded: bool) -> Json:
    """Return what the root of a block's receipts covers of one."""
    return {
        "type": "0x2",
        "status": "0x1" if succeeded else "0x0",
        "cumulativeGasUsed": hex(21_000 * (place + 1)),
        "logsBloom": BLOOM,
        "logs": list(logs),
    }


def header(number: int, parent: str, time: int, bloom: bytes, receipts: Sequence[Json], chance: int) -> Json:
    """Return a header; two blocks alike differ by chance."""
    return {
        "parentHash": parent,
        "sha3Uncles": HASH,
        "miner": "0x" + "00" * 20,
        "stateRoot": HASH,
        "transactionsRoot": HASH,
        "receiptsRoot": "0x" + root_of(receipts).hex() if receipts else NO_RECEIPTS,
        "logsBloom": "0x" + bloom.hex(),
        "difficulty": "0x0",
        "number": hex(number),
        "gasLimit": "0x1c9c380",
        "gasUsed": "0x5208",
        "timestamp": hex(time),
        "extraData": f"0x{chance:064x}",
        "mixHash": HASH,
        "nonce": "0x0000000000000000",
        "baseFeePerGas": "0x7",
    }


def hash_of(told: Json) -> str:
    """Return what a header hashes to."""
    names = header(0, HASH, 0, b"", (), 0)
    fields = [as_number(told[name]) if name in _NUMBERS else as_bytes(told[name]) for name in names]
    return "0x" + keccak(rlp.encode(fields)).hex()
