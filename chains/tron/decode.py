"""Raw answers into facts: strict, so that what a correct node would not send is an error and never a guess."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from chains.errors import ChainProtocolError
from chains.rpc.quantities import quantity
from chains.tron.address import to_hex
from chains.tron.transfer_log import (
    TRANSFER_TOPIC,
    TRC20_TOPICS,
    TransferLog,
    number_equals,
    transfer_event,
    transfer_from_log,
)
from chains.tron.values import count, excerpt, hash_of, mapping, plain_hex, time_of, time_of_event, unprefixed
from chains.types import Transfer

_WITH_EVENTS = {"TriggerSmartContract", "CreateSmartContract"}


class Block(NamedTuple):
    """What is read of a block."""

    number: int
    time_ms: int
    id: str  # 64 hex digits


class Receipt(NamedTuple):
    """What is read of a transaction's receipt."""

    tx_hash: str
    block: int
    time_ms: int
    succeeded: bool
    transfers: tuple[TransferLog, ...]
    events: int = 0  # of every kind
    tells_outcome: bool = True  # a plain payment of coin does not say how it went
    others: frozenset[tuple[str, str]] = frozenset()  # token and destination of what looks like a transfer and is none


class LogHint(NamedTuple):
    """A JSON-RPC log into one of ours: where its transaction is, and what it says."""

    tx_hash: str
    block: int
    event: TransferLog | None  # what it says was moved; None when that cannot be read: its receipt may tell


class BlockReceipts(NamedTuple):
    """The receipts of one block."""

    receipts: list[Receipt]
    unreadable: list[dict[str, Any]]  # as they came: one strange receipt must not hide its neighbours


def parse_block(raw: Any) -> Block | None:
    """Read a block of the REST side; None when the node does not hold it."""
    if raw == {}:
        return None
    header = mapping(mapping(mapping(raw, "block").get("block_header"), "block header").get("raw_data"), "block header")
    # proto3 leaves zeros out: the genesis block has neither number nor time.
    return Block(count(header.get("number", 0)), time_of(header.get("timestamp", 0)), hash_of(raw.get("blockID")))


def parse_rpc_block(raw: Any) -> Block | None:
    """Read a block of the JSON-RPC side, whose times are in seconds; None when the node does not hold it."""
    if raw is None:
        return None
    block = mapping(raw, "block")
    return Block(
        quantity(block.get("number")), quantity(block.get("timestamp")) * 1000, hash_of(unprefixed(block.get("hash")))
    )


def parse_receipt(raw: Any) -> Receipt | None:
    """
    Read a receipt; None when the node does not hold it (yet).

    A receipt counts as success only when the contract says SUCCESS and nothing says FAILED. One with
    transfers that does not say how it went is unreadable: it is no proof that they were taken back.
    """
    if raw == {}:
        return None
    info = mapping(raw, "receipt")
    logs = info.get("log", [])
    if not isinstance(logs, list):
        raise ChainProtocolError(f"not a list of events: {excerpt(logs)}")
    events = [event for place, log in enumerate(logs) if (event := _event(place, log)) is not None]
    transfers = [event for event in events if isinstance(event, TransferLog)]
    succeeded = _succeeded(info)
    if succeeded is None and transfers:
        raise ChainProtocolError("a receipt with transfers does not say whether it succeeded")
    return Receipt(
        tx_hash=hash_of(info.get("id")),
        block=count(info.get("blockNumber", 0)),
        time_ms=time_of_event(info.get("blockTimeStamp")),
        succeeded=succeeded is True,
        transfers=number_equals(transfers),
        events=len(logs),
        tells_outcome=succeeded is not None,
        others=frozenset(event for event in events if not isinstance(event, TransferLog)),
    )


def _succeeded(info: dict[str, Any]) -> bool | None:
    """Return how a transaction went; None when that cannot be read."""
    if info.get("result") == "FAILED":
        return False
    contract = info.get("receipt", {})
    result = contract.get("result") if isinstance(contract, dict) else None
    return result.upper() == "SUCCESS" if isinstance(result, str) and result else None


def parse_receipts(raw: Any, number: int) -> BlockReceipts:
    """Read the receipts of a block, each by itself; those of another block mean that another was answered."""
    if raw == {}:
        raw = []
    if not isinstance(raw, list):
        raise ChainProtocolError("the receipts of a block are not a list")
    found, unreadable = [], []
    for info in raw:
        try:
            receipt = parse_receipt(info)
        except ChainProtocolError:
            unreadable.append(info if isinstance(info, dict) else {})
            continue
        if receipt is not None:
            found.append(receipt)
    if any(receipt.block != number for receipt in found):
        raise ChainProtocolError(f"asked for the receipts of block {number}, got those of another")
    return BlockReceipts(found, unreadable)


def parse_transactions(raw: Any) -> dict[str, Any]:
    """
    Return the transactions of a block that may hold events, by id, as they came.

    Sending coin, votes and the like hold none; what does not say which it is may.
    """
    listed = mapping(raw, "block").get("transactions", [])
    if not isinstance(listed, list):
        raise ChainProtocolError(f"not a list of transactions: {excerpt(listed)}")
    return {hash_of(mapping(each, "transaction").get("txID")): each for each in listed if _may_hold_events(each)}


def _may_hold_events(transaction: Any) -> bool:
    raw = transaction.get("raw_data") if isinstance(transaction, dict) else None
    contracts = raw.get("contract") if isinstance(raw, dict) else None
    kinds = [each.get("type") for each in contracts if isinstance(each, dict)] if isinstance(contracts, list) else []
    return not kinds or any(not isinstance(kind, str) or kind in _WITH_EVENTS for kind in kinds)


def mentions(raw: Any, destinations: Iterable[str]) -> bool:
    """Say whether something that cannot be read names one of these addresses."""
    text = str(raw).lower()
    return any(to_hex(destination) in text or destination.lower() in text for destination in destinations)


def _event(place: int, raw: Any) -> TransferLog | tuple[str, str] | None:
    """
    Read an event as a TRC-20 `Transfer`; None for any other, such as the transfer of a unique token.

    Of one with data of another length only whose it is and to whom.
    """
    log = mapping(raw, "event")
    topics = log.get("topics") or []  # proto3 leaves what is empty out
    if not isinstance(topics, list):
        raise ChainProtocolError(f"not topics: {excerpt(topics)}")
    return transfer_event(
        log.get("address"), [plain_hex(topic) for topic in topics], plain_hex(log.get("data") or ""), place
    )


def transfers_of(receipt: Receipt, *, chain_id: int, destinations: frozenset[str] | set[str]) -> list[Transfer]:
    """Return the transfers of one receipt into these; a failed transaction moved nothing."""
    if not receipt.succeeded:
        return []
    return [as_transfer(receipt, event, chain_id) for event in receipt.transfers if event.destination in destinations]


def missing_in(receipt: Receipt, told: Iterable[TransferLog]) -> tuple[TransferLog, ...]:
    """
    Return what was told of a transaction, each once, and is not in its receipt; one that failed moved nothing.

    Whom it came from may be told otherwise: that is no other transfer. Nor is what an index makes of an event
    that is none.
    """
    if not receipt.succeeded:
        return ()
    excerpt = {event.claim for event in receipt.transfers}
    missing = {event.claim: event for event in told if event.claim not in excerpt}
    return tuple(event for event in missing.values() if (event.token, event.destination) not in receipt.others)


def as_transfer(receipt: Receipt, event: TransferLog, chain_id: int) -> Transfer:
    """Return one event of a receipt as a transfer."""
    return transfer_from_log(receipt.tx_hash, receipt.time_ms, event, chain_id)


def parse_log_hint(raw: Any, topics: set[str]) -> LogHint | None:
    """Read a JSON-RPC log into one of ours (by topic); None for any other log."""
    log = mapping(raw, "log")
    if log.get("removed"):
        raise ChainProtocolError("a removed log among irreversible ones")
    tx_hash, block = hash_of(unprefixed(log.get("transactionHash"))), quantity(log.get("blockNumber"))
    given = log.get("topics")
    if not isinstance(given, list) or not all(isinstance(topic, str) for topic in given):
        raise ChainProtocolError(f"not topics: {excerpt(given)}")
    plain = [topic.removeprefix("0x").lower() for topic in given]
    if len(plain) != TRC20_TOPICS or plain[0] != TRANSFER_TOPIC or plain[2] not in topics:
        return None
    try:
        event = transfer_event(log.get("address"), plain, plain_hex(log.get("data")), None)
    except ChainProtocolError:  # its receipt may tell
        event = None
    return LogHint(tx_hash, block, event if isinstance(event, TransferLog) else None)
