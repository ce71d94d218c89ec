"""Headers and receipts as their hashes cover them: RLP of what a node tells in JSON (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import rlp

from addresses.keccak import keccak
from chains.errors import ChainProtocolError
from chains.evm.values import DATA, HASH, excerpt
from chains.rpc.endpoint import Unserved
from chains.rpc.quantities import quantity

DEPOSIT = 0x7E  # of OP chains
TYPES = frozenset({0, 1, 2, 3, 4, DEPOSIT})
MAX_DIGITS = 64  # of a number: difficulty and fees may have 256 bits

_HEADER = (
    ("parentHash", False),
    ("sha3Uncles", False),
    ("miner", False),
    ("stateRoot", False),
    ("transactionsRoot", False),
    ("receiptsRoot", False),
    ("logsBloom", False),
    ("difficulty", True),
    ("number", True),
    ("gasLimit", True),
    ("gasUsed", True),
    ("timestamp", True),
    ("extraData", False),
    ("mixHash", False),
    ("nonce", False),
)
# Later forks, each of which comes with those before it; the hash shows whether these are all there are.
_FORKS = (
    ("baseFeePerGas", True),
    ("withdrawalsRoot", False),
    ("blobGasUsed", True),
    ("excessBlobGas", True),
    ("parentBeaconBlockRoot", False),
    ("requestsHash", False),
)


class Unencodable(Unserved):
    """What a node tells is of a form whose encoding is not known: one odd transaction is no fault of the endpoint."""


def encoded_header(told: Mapping[str, Any], block_hash: str) -> bytes:
    """
    Return a header as the block's hash covers it.

    Raises:
        ChainProtocolError: it does not hash to that.
    """
    fields = [*_HEADER, *(field for field in _FORKS if told.get(field[0]) is not None)]
    header = encode([_number(told.get(name)) if is_number else _data(told.get(name)) for name, is_number in fields])
    if "0x" + keccak(header).hex() != block_hash:
        raise ChainProtocolError(f"the header it shows does not hash to block {block_hash}")
    return header


def encoded_receipt(told: Mapping[str, Any]) -> bytes:
    """
    Return a receipt as the root of a block's receipts covers it.

    Raises:
        Unencodable: of a type that is not known, or no receipt.
    """
    kind = quantity(told.get("type") or 0)
    if kind not in TYPES:
        raise Unencodable(f"a receipt of type {kind:#x} cannot be proven")
    logs = told.get("logs")
    if not isinstance(logs, list):
        raise Unencodable(f"not a receipt: {excerpt(told)}")
    outcome = _data(told.get("root")) if told.get("status") is None else _number(told["status"])
    items = [outcome, _number(told.get("cumulativeGasUsed")), _data(told.get("logsBloom")), [_log(log) for log in logs]]
    if kind == DEPOSIT and told.get("depositReceiptVersion") is not None:  # before it, the root left both out
        items += [_number(told.get("depositNonce")), _number(told.get("depositReceiptVersion"))]
    return (bytes([kind]) if kind else b"") + encode(items)


def _log(log: Any) -> list[Any]:
    topics = log.get("topics") if isinstance(log, dict) else None
    if not isinstance(topics, list):
        raise Unencodable(f"not a log: {excerpt(log)}")
    return [_data(log.get("address")), [_hash(topic) for topic in topics], _data(log.get("data"))]


def _hash(value: object) -> bytes:
    if not isinstance(value, str) or HASH.fullmatch(value) is None:
        raise Unencodable(f"not a topic: {excerpt(value)}")
    return bytes.fromhex(value[2:])


def _data(value: object) -> bytes:
    if not isinstance(value, str) or DATA.fullmatch(value) is None:
        raise Unencodable(f"not bytes: {excerpt(value)}")
    return bytes.fromhex(value[2:])


def _number(value: object) -> bytes:
    """Return a number as RLP holds it: without zeros before it."""
    if not isinstance(value, str) or not value.startswith("0x") or not 0 < len(value) - 2 <= MAX_DIGITS:
        raise Unencodable(f"not a number: {excerpt(value)}")
    try:
        number = int(value, 16)
    except ValueError as exc:
        raise Unencodable(f"not a number: {excerpt(value)}") from exc
    return number.to_bytes((number.bit_length() + 7) // 8)


def encode(item: Any) -> bytes:
    """Return bytes, and lists of them, in RLP."""
    return cast("bytes", rlp.codec.encode_raw(item))
