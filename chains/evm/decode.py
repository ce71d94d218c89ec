"""
Raw JSON-RPC rows to transfers: pure, strict, and fast.

A library's decoding of a large answer costs twenty times what the words themselves do, so fixed-width
words are read here by hand, and everything a library would check is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from chains.errors import ChainProtocolError
from chains.evm.address import ZERO
from chains.evm.proxy import EVENT_TOPIC, TRANSFER_TOPIC
from chains.types import Outcome, Transfer

_hash = re.compile(r"0x[0-9a-f]{64}").fullmatch
_hex = re.compile(r"0x[0-9a-f]{1,16}").fullmatch
_PAD = bytes(12)
_DATA = 2 + 5 * 64  # token, to, amount, feeAmount, feeAddress
_WORD = 2 + 64


class Credit(NamedTuple):
    """What a token's own log says: somebody received so much."""

    log_index: int
    token: str
    sender: str
    destination: str
    amount: int


class Paid(NamedTuple):
    """One proxy event of a receipt and what the token really moved for it."""

    transfer: Transfer
    outcome: Outcome
    credited: int


def number(value: Any) -> int:
    """Return a JSON-RPC quantity."""
    if not isinstance(value, str) or _hex(value) is None:
        raise ChainProtocolError(f"expected a hex quantity, got {str(value)[:40]!r}")
    return int(value, 16)


def block_hash(value: Any) -> str:
    """Return a 32-byte hash."""
    if not isinstance(value, str) or _hash(value) is None:
        raise ChainProtocolError(f"expected a 32-byte hash, got {str(value)[:40]!r}")
    return value


def proxy_transfers(
    rows: Sequence[Mapping[str, Any]], *, chain_id: int, proxy: str, first: int, last: int, last_hash: str
) -> list[Transfer]:
    """
    Decode the rows of one `eth_getLogs` answer, in chain order.

    Raises:
        ChainProtocolError: a row is malformed, was not asked for, or contradicts the block at `last`.
    """
    numbers: dict[str, int] = {}
    found: list[Transfer] = []
    seen: set[tuple[str, str]] = set()
    add = found.append
    for row in rows:
        try:
            topics = row["topics"]
            data = row["data"]
            tx_hash = row["transactionHash"]
            log_index = row["logIndex"]
            at = row["blockHash"]
            height = row["blockNumber"]
            raw = bytes.fromhex(data[2:])
            if (
                len(data) != _DATA
                or len(raw) != 160  # noqa: PLR2004 - fromhex passes over spaces; five words it must be
                or raw[:12] != _PAD
                or raw[32:44] != _PAD
                or raw[128:140] != _PAD
                or len(topics) != 2  # noqa: PLR2004
                or topics[0] != EVENT_TOPIC
                or row["address"].lower() != proxy
                or row.get("removed")
                or _hash(tx_hash) is None
                or _hash(at) is None
                or _hash(topics[1]) is None
            ):
                raise ChainProtocolError(f"malformed proxy log in transaction {str(tx_hash)[:70]}")
            block = numbers.get(height)
            if block is None:
                block = numbers[height] = number(height)
            stamp = row.get("blockTimestamp")
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise ChainProtocolError(f"malformed log row: {exc!r}") from exc
        if not first <= block <= last:
            raise ChainProtocolError(f"log of block {block} outside the range asked for ({first} to {last})")
        if block == last and at != last_hash:
            raise ChainProtocolError(f"log of block {block} names another block hash than the block itself")
        if (tx_hash, log_index) in seen:
            continue
        seen.add((tx_hash, log_index))
        index = number(log_index)
        text = data.lower()
        add(
            Transfer(
                chain_id,
                tx_hash,
                str(index),
                index,
                block,
                at,
                None if stamp is None else number(stamp),
                "0x" + text[26:66],
                "0x" + text[90:130],
                int.from_bytes(raw[64:96], "big"),
                None,
                topics[1],
                int.from_bytes(raw[96:128], "big"),
                "0x" + text[282:322],
            )
        )
    return found


def credits_of(logs: Sequence[Mapping[str, Any]]) -> list[Credit]:
    """Return the ERC-20 `Transfer` logs of a receipt; logs of other shapes are somebody else's business."""
    found = []
    for log in logs:
        topics = log.get("topics") or []
        data = log.get("data") or ""
        if len(topics) != 3 or topics[0] != TRANSFER_TOPIC or len(data) != _WORD:  # noqa: PLR2004
            continue
        found.append(
            Credit(
                number(log["logIndex"]),
                log["address"].lower(),
                "0x" + topics[1][-40:].lower(),
                "0x" + topics[2][-40:].lower(),
                int.from_bytes(bytes.fromhex(data[2:]), "big"),
            )
        )
    return found


def paid_in(receipt: Mapping[str, Any], *, chain_id: int, proxy: str, block_time: int | None) -> list[Paid]:
    """
    Return what a successful receipt's proxy events are worth.

    Each event takes one `Transfer` log of its token to its destination that no other event took: two
    events can never live on one credit.
    """
    try:
        logs = sorted(receipt["logs"], key=lambda log: number(log["logIndex"]))
        events = [log for log in logs if log["address"].lower() == proxy and (log["topics"] or [""])[0] == EVENT_TOPIC]
        height = number(receipt["blockNumber"])
        payer = str(receipt.get("from") or "").lower() or None
        free = credits_of(logs)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise ChainProtocolError(f"malformed receipt: {exc!r}") from exc
    decoded = proxy_transfers(
        events, chain_id=chain_id, proxy=proxy, first=height, last=height, last_hash=block_hash(receipt["blockHash"])
    )
    return [_pay(transfer._replace(block_time=block_time), free, payer) for transfer in decoded]


def _pay(transfer: Transfer, free: list[Credit], payer: str | None) -> Paid:
    index = transfer.log_index or 0
    credit = _take(free, index, transfer.token, transfer.destination, transfer.amount)
    if credit is None:
        return Paid(transfer._replace(sender=payer), Outcome.NO_TRANSFER_LOG, 0)
    transfer = transfer._replace(sender=credit.sender)
    if credit.amount < transfer.amount:
        return Paid(transfer, Outcome.SHORT, credit.amount)
    if transfer.fee_amount and transfer.fee_address not in (None, ZERO):
        fee = _take(free, index, transfer.token, transfer.fee_address or "", transfer.fee_amount)
        if fee is None:
            return Paid(transfer, Outcome.NO_TRANSFER_LOG, credit.amount)
    return Paid(transfer, Outcome.CREDITED, credit.amount)


def _take(free: list[Credit], before: int, token: str, destination: str, amount: int) -> Credit | None:
    """Take the credit that belongs to an event: the exact one if there is, else the nearest before it."""
    fitting = [c for c in free if c.log_index < before and c.token == token and c.destination == destination]
    if not fitting:
        return None
    exact = [c for c in fitting if c.amount == amount]
    chosen = (exact or fitting)[-1]
    free.remove(chosen)
    return chosen
