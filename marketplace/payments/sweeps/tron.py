"""Unsigned transactions of Tron that move a token, written as its protocol writes them. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from addresses import tron
from addresses.keccak import keccak

TRANSFER = keccak(b"transfer(address,uint256)")[:4]
TYPE = "type.googleapis.com/protocol.TriggerSmartContract"
TRIGGER = 31
FEE_LIMIT_SUN = 100_000_000
LIFE_MS = 12 * 3_600_000  # the chain allows a day


def transfer_data(to: str, amount: int) -> bytes:
    """Return the call of a token that moves an amount to somebody."""
    return TRANSFER + bytes(12) + bytes.fromhex(tron.to_hex(to)) + amount.to_bytes(32, "big")


def unsigned(
    *, owner: str, token: str, data: bytes, block_number: int, block_id: str, timestamp: int, expires_at: int
) -> dict[str, Any]:
    """Return a transaction as TronGrid answers it; it is made here, so that no node chooses what is signed."""
    call = _message([(1, _raw(owner)), (2, _raw(token)), (4, data)])
    contract = _message([(1, TRIGGER), (2, _message([(1, TYPE.encode()), (2, call)]))])
    reference = block_number.to_bytes(8, "big")[6:8], bytes.fromhex(block_id)[8:16]
    raw = _message(
        [
            (1, reference[0]),
            (4, reference[1]),
            (8, expires_at),
            (11, contract),
            (14, timestamp),
            (18, FEE_LIMIT_SUN),
        ]
    )
    value = {"owner_address": owner, "contract_address": token, "data": data.hex()}
    return {
        "visible": True,
        "txID": hashlib.sha256(raw).hexdigest(),
        "raw_data": {
            "contract": [
                {"parameter": {"value": value, "type_url": TYPE}, "type": "TriggerSmartContract"},
            ],
            "ref_block_bytes": reference[0].hex(),
            "ref_block_hash": reference[1].hex(),
            "expiration": expires_at,
            "fee_limit": FEE_LIMIT_SUN,
            "timestamp": timestamp,
        },
        "raw_data_hex": raw.hex(),
    }


def _raw(address: str) -> bytes:
    return tron.PREFIX + bytes.fromhex(tron.to_hex(address))


def _message(fields: Iterable[tuple[int, int | bytes]]) -> bytes:
    """Write fields as protobuf does: numbers as varints, bytes behind their length."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(_varint(number << 3) + _varint(value))
        else:
            parts.append(_varint(number << 3 | 2) + _varint(len(value)) + value)
    return b"".join(parts)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
