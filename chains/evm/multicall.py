"""
Many balances in one call: Multicall3's `aggregate3`, encoded and decoded without I/O.

Source: https://github.com/mds1/multicall3 (deployed at one address on most chains). Its deployer's key is
known to be lost, so the code behind the address is checked before it is trusted.
"""

from __future__ import annotations

from collections.abc import Sequence

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from chains.errors import ChainProtocolError
from chains.types import Holding
from config.checksum import keccak

ADDRESS = "0xca11bde05977b3631167028862be2a173976ca11"
AGGREGATE = keccak(b"aggregate3((address,bool,bytes)[])")[:4]
BALANCE_OF = keccak(b"balanceOf(address)")[:4]
COIN_BALANCE = keccak(b"getEthBalance(address)")[:4]
_WORD = 32


def balance_call(holder: str) -> bytes:
    """Return the call data of `balanceOf(holder)`."""
    return BALANCE_OF + bytes(12) + bytes.fromhex(holder[2:])


def aggregate(holdings: Sequence[Holding]) -> str:
    """Return the call data that reads every holding; one that fails does not spoil the others."""
    calls = []
    for holder, token in holdings:
        if token is None:
            calls.append((ADDRESS, True, COIN_BALANCE + bytes(12) + bytes.fromhex(holder[2:])))
        else:
            calls.append((token, True, balance_call(holder)))
    return f"0x{(AGGREGATE + encode(['(address,bool,bytes)[]'], [calls])).hex()}"


def amounts(answer: object, count: int) -> list[int | None]:
    """
    Return the balances of one `aggregate3` answer.

    Raises:
        ChainProtocolError: it is no such answer.
    """
    if not isinstance(answer, str) or not answer.startswith("0x"):
        raise ChainProtocolError("aggregate3 did not answer with data")
    try:
        (rows,) = decode(["(bool,bytes)[]"], bytes.fromhex(answer[2:]))
    except (DecodingError, ValueError, OverflowError) as exc:
        raise ChainProtocolError(f"aggregate3 answered something else ({type(exc).__name__})") from exc
    if len(rows) != count:
        raise ChainProtocolError(f"aggregate3 answered {len(rows)} of {count} balances")
    return [amount(data) if ok else None for ok, data in rows]


def amount(data: bytes) -> int | None:
    """Return a `balanceOf` answer; None when a contract answers anything but one word."""
    return int.from_bytes(data, "big") if len(data) == _WORD else None
