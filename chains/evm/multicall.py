"""
Many balances in one call: Multicall3's `aggregate3`, encoded and decoded without I/O.

Source: https://github.com/mds1/multicall3 (deployed at one address on most chains). Its deployer's key is
known to be lost, so the code behind the address is checked before it is trusted.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from addresses.keccak import keccak
from chains.errors import ChainProtocolError
from chains.types import BalanceKey

ADDRESS = "0xca11bde05977b3631167028862be2a173976ca11"
AGGREGATE = keccak(b"aggregate3((address,bool,bytes)[])")[:4]
BALANCE_OF = keccak(b"balanceOf(address)")[:4]
COIN_BALANCE = keccak(b"getEthBalance(address)")[:4]
_WORD = 32


def balance_call(holder: str) -> bytes:
    """Return the call data of `balanceOf(holder)`."""
    return BALANCE_OF + bytes(12) + bytes.fromhex(holder[2:])


def aggregate(holdings: Sequence[BalanceKey]) -> str:
    """
    Return the call data that reads every holding; one that fails does not spoil the others.

    Written by hand, as every call is of one size: an ABI library takes longer than the node.
    """
    calls = []
    for holder, token in holdings:
        selector = COIN_BALANCE if token is None else BALANCE_OF
        call = (selector + bytes(12) + bytes.fromhex(holder[2:])).ljust(2 * _WORD, b"\0")
        calls.append(bytes(12) + bytes.fromhex((token or ADDRESS)[2:]) + _CALL_HEAD + call)
    size = len(holdings)
    offsets = b"".join([_uint(size * _WORD + place * _CALL_BYTES) for place in range(size)])
    return f"0x{(AGGREGATE + _uint(_WORD) + _uint(size) + offsets + b''.join(calls)).hex()}"


def _uint(value: int) -> bytes:
    return value.to_bytes(_WORD, "big")


# After a call's target: failure is allowed, where its bytes begin, and how many they are.
_CALL_HEAD = _uint(1) + _uint(3 * _WORD) + _uint(4 + _WORD)
_CALL_BYTES = _WORD + len(_CALL_HEAD) + 2 * _WORD
_ROW = struct.Struct(f"{_WORD}s{2 * _WORD}s{_WORD}s")  # succeeded; where its bytes begin and how many; the bytes
_ROW_HEAD = _uint(2 * _WORD) + _uint(_WORD)
_LIST_HEAD, _ROW_HEADS = 2, 3  # words: where a list begins and its length; succeeded, where bytes begin, how many
_NO_ROW = (b"", b"", b"")
_TRUTHS = {_uint(0): False, _uint(1): True}


def amounts(answer: object, count: int) -> list[int | None]:
    """
    Return the balances of one `aggregate3` answer.

    Raises:
        ChainProtocolError: it is no such answer.
    """
    if not isinstance(answer, str) or not answer.startswith("0x"):
        raise ChainProtocolError("aggregate3 did not answer with data")
    plain = _plain(answer, count)
    if plain is not None:
        return plain
    try:
        raw = bytes.fromhex(answer[2:])
    except ValueError as exc:
        raise ChainProtocolError("aggregate3 did not answer with data") from exc
    return [amount(data) if ok else None for ok, data in _rows(raw, count)]


def _rows(raw: bytes, count: int) -> list[tuple[bool, bytes]]:
    """
    Read rows whose bytes are of any length, in the one layout that the contract writes: in order, without gaps.

    The standard lets two rows share their bytes; the contract never writes that, a broken answer may.
    """
    words = [raw[place : place + _WORD] for place in range(0, len(raw), _WORD)]
    if len(raw) % _WORD or len(words) < _LIST_HEAD or words[0] != _uint(_WORD):
        raise ChainProtocolError("aggregate3 answered something else")
    said = int.from_bytes(words[1], "big")
    if said != count:
        raise ChainProtocolError(f"aggregate3 answered {said} of {count} balances")
    rows: list[tuple[bool, bytes]] = []
    place = _LIST_HEAD + count
    for begins in words[_LIST_HEAD:place]:
        ok, at, length, *_ = *words[place : place + _ROW_HEADS], *_NO_ROW
        size = int.from_bytes(length, "big")
        end = place + _ROW_HEADS - (-size // _WORD)
        data = raw[(place + _ROW_HEADS) * _WORD : end * _WORD]
        held = begins == _uint((place - _LIST_HEAD) * _WORD) and ok in _TRUTHS and at == _uint(2 * _WORD)
        if not held or end > len(words) or any(data[size:]):
            raise ChainProtocolError("aggregate3 answered in a way the contract does not write")
        rows.append((_TRUTHS[ok], data[:size]))
        place = end
    if place != len(words) or len(rows) != count:
        raise ChainProtocolError("aggregate3 answered in a way the contract does not write")
    return rows


def _plain(answer: str, count: int) -> list[int | None] | None:
    """Read an answer of nothing but words, which has one layout; None when it is anything else."""
    try:
        raw = bytes.fromhex(answer[2:])
    except ValueError:
        return None
    heads = (2 + count) * _WORD
    expected = _uint(_WORD) + _uint(count) + b"".join([_uint(count * _WORD + n * _ROW.size) for n in range(count)])
    if len(raw) != heads + count * _ROW.size or raw[:heads] != expected:
        return None
    rows = list(_ROW.iter_unpack(raw[heads:]))
    if any(head != _ROW_HEAD or ok not in _TRUTHS for ok, head, _ in rows):
        return None
    return [int.from_bytes(word, "big") if _TRUTHS[ok] else None for ok, _, word in rows]


def amount(data: bytes) -> int | None:
    """Return a `balanceOf` answer; None when a contract answers anything but one word."""
    return int.from_bytes(data, "big") if len(data) == _WORD else None
