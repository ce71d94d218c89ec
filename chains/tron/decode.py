"""Raw answers into facts: strict, so that what a correct node would not send is an error and never a guess."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from addresses.keccak import keccak
from chains.errors import ChainProtocolError
from chains.tron.address import from_hex
from chains.types import Transfer

TRANSFER_TOPIC = keccak(b"Transfer(address,address,uint256)").hex()

_HASH = re.compile(r"[0-9a-f]{64}")
_ADDRESS = re.compile(r"[0-9a-fA-F]{40}")
_ADDRESS_WORD = re.compile(r"[0-9a-fA-F]{64}")
_WORD = re.compile(r"[0-9a-fA-F]{64}")
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,16}")
_TRC20_TOPICS = 3
_MAX_TIME_MS = 2**52


class Block(NamedTuple):
    """What is read of a block."""

    number: int
    time_ms: int
    id: str  # 64 hex digits


class Credit(NamedTuple):
    """One TRC-20 `Transfer` event: what a token says it moved."""

    place: int  # among all events of its transaction
    token: str
    source: str
    destination: str
    value: int


class Receipt(NamedTuple):
    """What is read of a transaction's receipt."""

    tx_hash: str
    block: int
    time_ms: int
    succeeded: bool
    credits: tuple[Credit, ...]


class Row(NamedTuple):
    """One row of an account's history: a hint that a transaction may concern it."""

    tx_hash: str
    time_ms: int
    kind: str  # Transfer, Approval, ...
    destination: str


class History(NamedTuple):
    """One page of an account's history."""

    rows: list[Row]
    fingerprint: str | None


def parse_block(raw: Any) -> Block | None:
    """Read a block of the REST side; None when the node does not hold it."""
    if raw == {}:
        return None
    header = _dict(_dict(_dict(raw, "block").get("block_header"), "block header").get("raw_data"), "block header")
    # proto3 leaves zeros out: the genesis block has neither number nor time.
    return Block(_count(header.get("number", 0)), _time(header.get("timestamp", 0)), _hash(raw.get("blockID")))


def parse_rpc_block(raw: Any) -> Block | None:
    """Read a block of the JSON-RPC side, whose times are in seconds; None when the node does not hold it."""
    if raw is None:
        return None
    block = _dict(raw, "block")
    return Block(
        quantity(block.get("number")), quantity(block.get("timestamp")) * 1000, _hash(_bare(block.get("hash")))
    )


def parse_receipt(raw: Any) -> Receipt | None:
    """
    Read a receipt; None when the node does not hold it (yet).

    A receipt counts as success only when the contract says SUCCESS and nothing says FAILED.
    """
    if raw == {}:
        return None
    info = _dict(raw, "receipt")
    contract = info.get("receipt", {})
    succeeded = isinstance(contract, dict) and contract.get("result") == "SUCCESS" and info.get("result") != "FAILED"
    logs = info.get("log", [])
    if not isinstance(logs, list):
        raise ChainProtocolError(f"not a list of events: {_shown(logs)}")
    return Receipt(
        tx_hash=_hash(info.get("id")),
        block=_count(info.get("blockNumber", 0)),
        time_ms=_time(info.get("blockTimeStamp")),
        succeeded=succeeded,
        credits=tuple(credit for place, log in enumerate(logs) if (credit := _credit(place, log)) is not None),
    )


def _credit(place: int, raw: Any) -> Credit | None:
    """Read an event as a TRC-20 `Transfer`; None for any other, such as the transfer of a unique token."""
    log = _dict(raw, "event")
    topics, data, address = log.get("topics", []), log.get("data", ""), log.get("address")
    if not isinstance(topics, list) or len(topics) != _TRC20_TOPICS or topics[0] != TRANSFER_TOPIC:
        return None
    if not all(isinstance(topic, str) and _ADDRESS_WORD.fullmatch(topic) for topic in topics):
        return None
    if not isinstance(data, str) or _WORD.fullmatch(data) is None:
        return None
    if not isinstance(address, str) or _ADDRESS.fullmatch(address) is None:
        raise ChainProtocolError(f"not a contract: {_shown(address)}")
    source, destination = (from_hex(topic[-40:].lower()) for topic in topics[1:])
    return Credit(place, from_hex(address.lower()), source, destination, int(data, 16))


def transfers_of(receipt: Receipt, *, chain_id: int, destinations: frozenset[str] | set[str]) -> list[Transfer]:
    """Return the transfers of one receipt into these; a failed transaction moved nothing."""
    if not receipt.succeeded:
        return []
    return [as_transfer(receipt, credit, chain_id) for credit in receipt.credits if credit.destination in destinations]


def as_transfer(receipt: Receipt, credit: Credit, chain_id: int) -> Transfer:
    """Return one event as a transfer. Its key is its place in the transaction, whoever found the transaction."""
    return Transfer(
        chain_id=chain_id,
        tx_hash=receipt.tx_hash,
        event_key=str(credit.place),
        log_index=credit.place,
        block_number=receipt.time_ms,
        block_hash=None,
        block_time=receipt.time_ms // 1000,
        token=credit.token,
        destination=credit.destination,
        amount=credit.value,
        sender=credit.source,
    )


def parse_log_hint(raw: Any, topics: set[str]) -> tuple[str, int] | None:
    """Return the transaction and block of a JSON-RPC log into one of ours (by topic); None for any other log."""
    log = _dict(raw, "log")
    if log.get("removed"):
        raise ChainProtocolError("a removed log among irreversible ones")
    tx_hash, block = _hash(_bare(log.get("transactionHash"))), quantity(log.get("blockNumber"))
    given = log.get("topics")
    if not isinstance(given, list) or not all(isinstance(topic, str) for topic in given):
        raise ChainProtocolError(f"not topics: {_shown(given)}")
    plain = [topic.removeprefix("0x").lower() for topic in given]
    ours = len(plain) == _TRC20_TOPICS and plain[0] == TRANSFER_TOPIC and plain[2] in topics
    return (tx_hash, block) if ours else None


def parse_history(raw: Any) -> History:
    """Read a page of an account's history."""
    page = _dict(raw, "page")
    data, meta = page.get("data"), page.get("meta", {})
    if not isinstance(data, list) or not isinstance(meta, dict):
        raise ChainProtocolError(f"not a page of rows: {_shown(raw)}")
    fingerprint = meta.get("fingerprint")
    return History([_row(row) for row in data], fingerprint if isinstance(fingerprint, str) and fingerprint else None)


def parse_newest(raw: Any) -> int:
    """Return the time of the newest event of a page in ms; 0 when it has none."""
    events = _dict(raw, "page").get("data")
    if not isinstance(events, list):
        raise ChainProtocolError(f"not a page of events: {_shown(raw)}")
    return max((_time(_dict(event, "event").get("block_timestamp")) for event in events), default=0)


def _row(raw: Any) -> Row:
    row = _dict(raw, "row")
    return Row(
        _hash(row.get("transaction_id")), _time(row.get("block_timestamp")), str(row.get("type")), str(row.get("to"))
    )


def quantity(value: Any) -> int:
    """Return a JSON-RPC quantity."""
    if not isinstance(value, str) or _QUANTITY.fullmatch(value) is None:
        raise ChainProtocolError(f"not a quantity: {_shown(value)}")
    return int(value, 16)


def _bare(value: Any) -> Any:
    return value[2:].lower() if isinstance(value, str) and value.startswith("0x") else value


def _hash(value: Any) -> str:
    if not isinstance(value, str) or _HASH.fullmatch(value) is None:
        raise ChainProtocolError(f"not a hash: {_shown(value)}")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ChainProtocolError(f"not a number: {_shown(value)}")
    return value


def _time(value: Any) -> int:
    if _count(value) > _MAX_TIME_MS:
        raise ChainProtocolError(f"not a time: {_shown(value)}")
    return int(value)


def _dict(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ChainProtocolError(f"not a {what}: {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    return repr(value)[:60]
