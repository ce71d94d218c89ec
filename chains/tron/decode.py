"""Raw answers into facts: strict, so that what a correct node would not send is an error and never a guess."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from addresses.keccak import keccak
from chains.errors import ChainProtocolError, InvalidAddress
from chains.quantities import quantity
from chains.tron.address import from_hex, parse_address, to_hex
from chains.types import Transfer

TRANSFER_TOPIC = keccak(b"Transfer(address,address,uint256)").hex()

_HASH = re.compile(r"[0-9a-f]{64}")
_ADDRESS_DIGITS = 40
_WORD = re.compile(r"[0-9a-f]{64}")
_VALUE = re.compile(r"[0-9]{1,78}")
_TRC20_TOPICS = 3
_WITH_EVENTS = {"TriggerSmartContract", "CreateSmartContract"}
_MAX_TIME_MS = 2**52
_MIN_TIME_MS = 10**12  # 2001, before any chain of the kind
_DIGITS = re.compile(r"[0-9]{1,16}")
_HEX_TEXT = re.compile(r"[0-9a-f]*")


class Block(NamedTuple):
    """What is read of a block."""

    number: int
    time_ms: int
    id: str  # 64 hex digits


class Credit(NamedTuple):
    """One TRC-20 `Transfer` event: what a token says it moved."""

    token: str
    source: str
    destination: str
    value: int
    ordinal: int = 0  # which of its equals in the transaction it is
    place: int | None = None  # among all events of its transaction: a label, where it is known

    @property
    def said(self) -> tuple[str, str, str, int]:
        """What it says, wherever it stands."""
        return self.token, self.source, self.destination, self.value

    @property
    def claim(self) -> tuple[str, str, int]:
        """What it says somebody got."""
        return self.token, self.destination, self.value

    @property
    def key(self) -> str:
        """
        Return what tells it from others of its transaction: what it says, and which of its equals it is.

        Not a number a node chose: `logIndex` counts within the block, `event_index` within the transaction,
        and an account's history has none. Two keys for one transfer would double a payment.
        """
        said = f"{to_hex(self.token)}{to_hex(self.source)}{to_hex(self.destination)}{self.value:064x}"
        return f"{hashlib.sha256(bytes.fromhex(said)).hexdigest()[:32]}.{self.ordinal}"


def number_equals(credits: Iterable[Credit]) -> tuple[Credit, ...]:  # noqa: A002 - the word for them
    """Say of every event of one transaction which of its equals it is, in the order of the chain."""
    seen: Counter[tuple[str, str, str, int]] = Counter()
    numbered = []
    for credit in credits:
        numbered.append(credit._replace(ordinal=seen[credit.said]))
        seen[credit.said] += 1
    return tuple(numbered)


class Receipt(NamedTuple):
    """What is read of a transaction's receipt."""

    tx_hash: str
    block: int
    time_ms: int
    succeeded: bool
    credits: tuple[Credit, ...]
    events: int = 0  # of every kind
    others: frozenset[tuple[str, str]] = frozenset()  # token and destination of what looks like a transfer and is none


class Row(NamedTuple):
    """One row of an account's history: a hint that a transaction may concern it."""

    tx_hash: str
    time_ms: int
    kind: str  # Transfer, Approval, ...
    destination: str | None  # None when it cannot be read: it may be anybody
    credit: Credit | None  # what it says was moved; None when that cannot be read


class History(NamedTuple):
    """One page of an account's history."""

    rows: list[Row]
    fingerprint: str | None
    length: int  # rows answered
    unreadable: dict[str, str]  # rows that could not be read, and why: they hide no others


class LogHint(NamedTuple):
    """A JSON-RPC log into one of ours: where its transaction is, and what it says."""

    tx_hash: str
    block: int
    credit: Credit | None  # what it says was moved; None when that cannot be read: its receipt may tell


class BlockReceipts(NamedTuple):
    """The receipts of one block."""

    receipts: list[Receipt]
    unreadable: list[dict[str, Any]]  # as they came: one strange receipt must not hide its neighbours


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

    A receipt counts as success only when the contract says SUCCESS and nothing says FAILED. One with
    transfers that does not say how it went is unreadable: it is no proof that they were taken back.
    """
    if raw == {}:
        return None
    info = _dict(raw, "receipt")
    logs = info.get("log", [])
    if not isinstance(logs, list):
        raise ChainProtocolError(f"not a list of events: {_shown(logs)}")
    events = [event for place, log in enumerate(logs) if (event := _event(place, log)) is not None]
    credits = [event for event in events if isinstance(event, Credit)]  # noqa: A001
    succeeded = _succeeded(info)
    if succeeded is None and credits:
        raise ChainProtocolError("a receipt with transfers does not say whether it succeeded")
    return Receipt(
        tx_hash=_hash(info.get("id")),
        block=_count(info.get("blockNumber", 0)),
        time_ms=_time_of_event(info.get("blockTimeStamp")),
        succeeded=succeeded is True,
        credits=number_equals(credits),
        events=len(logs),
        others=frozenset(event for event in events if not isinstance(event, Credit)),
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
    listed = _dict(raw, "block").get("transactions", [])
    if not isinstance(listed, list):
        raise ChainProtocolError(f"not a list of transactions: {_shown(listed)}")
    return {_hash(_dict(each, "transaction").get("txID")): each for each in listed if _may_hold_events(each)}


def _may_hold_events(transaction: Any) -> bool:
    raw = transaction.get("raw_data") if isinstance(transaction, dict) else None
    contracts = raw.get("contract") if isinstance(raw, dict) else None
    kinds = [each.get("type") for each in contracts if isinstance(each, dict)] if isinstance(contracts, list) else []
    return not kinds or any(not isinstance(kind, str) or kind in _WITH_EVENTS for kind in kinds)


def mentions(raw: Any, destinations: Iterable[str]) -> bool:
    """Say whether something that cannot be read names one of these addresses."""
    text = str(raw).lower()
    return any(to_hex(destination) in text or destination.lower() in text for destination in destinations)


def _event(place: int, raw: Any) -> Credit | tuple[str, str] | None:
    """
    Read an event as a TRC-20 `Transfer`; None for any other, such as the transfer of a unique token.

    Of one with data of another length only whose it is and to whom.
    """
    log = _dict(raw, "event")
    topics = log.get("topics") or []  # proto3 leaves what is empty out
    if not isinstance(topics, list):
        raise ChainProtocolError(f"not topics: {_shown(topics)}")
    return _transfer_event(
        log.get("address"), [_plain(topic) for topic in topics], _plain(log.get("data") or ""), place
    )


def _plain(value: Any) -> str:
    """
    Return hex without a prefix, in small letters, however it is spelt.

    What is no hex is no event of another kind, but one that cannot be read: to skip it would hide a payment.
    """
    bare = value.lower().removeprefix("0x") if isinstance(value, str) else ""
    if not isinstance(value, str) or _HEX_TEXT.fullmatch(bare) is None:
        raise ChainProtocolError(f"not hex: {_shown(value)}")
    return bare


def _transfer_event(address: Any, topics: list[str], data: str, place: int | None) -> Credit | tuple[str, str] | None:
    if len(topics) != _TRC20_TOPICS or topics[0] != TRANSFER_TOPIC or not all(map(_WORD.fullmatch, topics)):
        return None
    contract = _plain(address)
    contract = contract.removeprefix("41") if len(contract) == _ADDRESS_DIGITS + 2 else contract
    if len(contract) != _ADDRESS_DIGITS:
        raise ChainProtocolError(f"not a contract: {_shown(address)}")
    token, source, destination = (from_hex(text[-_ADDRESS_DIGITS:]) for text in (contract, *topics[1:]))
    if _WORD.fullmatch(data) is None:
        return token, destination
    return Credit(token, source, destination, int(data, 16), place=place)


def transfers_of(receipt: Receipt, *, chain_id: int, destinations: frozenset[str] | set[str]) -> list[Transfer]:
    """Return the transfers of one receipt into these; a failed transaction moved nothing."""
    if not receipt.succeeded:
        return []
    return [as_transfer(receipt, credit, chain_id) for credit in receipt.credits if credit.destination in destinations]


def missing_in(receipt: Receipt, told: Iterable[Credit]) -> tuple[Credit, ...]:
    """
    Return what was told of a transaction, each once, and is not in its receipt; one that failed moved nothing.

    Whom it came from may be told otherwise: that is no other transfer. Nor is what an index makes of an event
    that is none.
    """
    if not receipt.succeeded:
        return ()
    shown = {credit.claim for credit in receipt.credits}
    missing = {credit.claim: credit for credit in told if credit.claim not in shown}
    return tuple(credit for credit in missing.values() if (credit.token, credit.destination) not in receipt.others)


def as_transfer(receipt: Receipt, credit: Credit, chain_id: int) -> Transfer:
    """Return one event of a receipt as a transfer."""
    return told_transfer(receipt.tx_hash, receipt.time_ms, credit, chain_id)


def told_transfer(tx_hash: str, time_ms: int, credit: Credit, chain_id: int) -> Transfer:
    """Return one event as a transfer, whoever told of it: its key is the same."""
    return Transfer(
        chain_id=chain_id,
        tx_hash=tx_hash,
        event_key=credit.key,
        log_index=credit.place,
        block_number=time_ms,
        block_hash=None,
        block_time=time_ms // 1000,
        token=credit.token,
        destination=credit.destination,
        amount=credit.value,
        sender=credit.source,
    )


def parse_log_hint(raw: Any, topics: set[str]) -> LogHint | None:
    """Read a JSON-RPC log into one of ours (by topic); None for any other log."""
    log = _dict(raw, "log")
    if log.get("removed"):
        raise ChainProtocolError("a removed log among irreversible ones")
    tx_hash, block = _hash(_bare(log.get("transactionHash"))), quantity(log.get("blockNumber"))
    given = log.get("topics")
    if not isinstance(given, list) or not all(isinstance(topic, str) for topic in given):
        raise ChainProtocolError(f"not topics: {_shown(given)}")
    plain = [topic.removeprefix("0x").lower() for topic in given]
    if len(plain) != _TRC20_TOPICS or plain[0] != TRANSFER_TOPIC or plain[2] not in topics:
        return None
    try:
        event = _transfer_event(log.get("address"), plain, _plain(log.get("data")), None)
    except ChainProtocolError:  # its receipt may tell
        event = None
    return LogHint(tx_hash, block, event if isinstance(event, Credit) else None)


def parse_history(raw: Any) -> History:
    """Read a page of an account's history."""
    page = _dict(raw, "page")
    data, meta = page.get("data"), page.get("meta", {})
    if not isinstance(data, list) or not isinstance(meta, dict):
        raise ChainProtocolError(f"not a page of rows: {_shown(raw)}")
    fingerprint = meta.get("fingerprint")
    rows, unreadable = [], {}
    for place, raw_row in enumerate(data):
        try:
            rows.append(_row(raw_row))
        except ChainProtocolError as exc:
            unreadable[f"row {place} of a history: {_shown(raw_row)}"] = str(exc)
    if unreadable and not rows:
        raise ChainProtocolError(f"no row of a history can be read: {next(iter(unreadable.values()))}")
    follow = fingerprint if isinstance(fingerprint, str) and fingerprint else None
    return History(rows, follow, len(data), unreadable)


def parse_newest(raw: Any) -> int:
    """Return the time of the newest event of a page in ms; 0 when it has none."""
    events = _dict(raw, "page").get("data")
    if not isinstance(events, list):
        raise ChainProtocolError(f"not a page of events: {_shown(raw)}")
    return max((_time(_dict(event, "event").get("block_timestamp")) for event in events), default=0)


def _row(raw: Any) -> Row:
    row = _dict(raw, "row")
    tx_hash, time_ms = _hash(row.get("transaction_id")), _time_of_event(row.get("block_timestamp"))
    return Row(tx_hash, time_ms, str(row.get("type")), _address_or_none(row.get("to")), _row_credit(row))


def _address_or_none(value: Any) -> str | None:
    try:
        return parse_address(str(value))
    except InvalidAddress:
        return None


def _row_credit(row: dict[str, Any]) -> Credit | None:
    """Return what a row says was moved, for a transaction whose receipt is missing; None when it cannot be read."""
    info, value = row.get("token_info"), str(row.get("value"))
    token = info.get("address") if isinstance(info, dict) else None
    if _VALUE.fullmatch(value) is None:
        return None
    try:
        contract, source, destination = (parse_address(str(text)) for text in (token, row.get("from"), row.get("to")))
    except InvalidAddress:
        return None
    return Credit(contract, source, destination, int(value))


def _bare(value: Any) -> Any:
    return value[2:].lower() if isinstance(value, str) and value.startswith("0x") else value


def _hash(value: Any) -> str:
    if not isinstance(value, str) or _HASH.fullmatch(value) is None:
        raise ChainProtocolError(f"not a hash: {_shown(value)}")
    return value


def _count(value: Any) -> int:
    """Read a number of the REST side; some index writes it as text, which is always decimal there."""
    if isinstance(value, str) and _DIGITS.fullmatch(value) is not None:
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ChainProtocolError(f"not a number: {_shown(value)}")
    return value


def _time(value: Any) -> int:
    if _count(value) > _MAX_TIME_MS:
        raise ChainProtocolError(f"not a time: {_shown(value)}")
    return _count(value)


def _time_of_event(value: Any) -> int:
    """Read when something was done, in ms: in seconds it would lie in 1970, long before every intent."""
    if _time(value) < _MIN_TIME_MS:
        raise ChainProtocolError(f"not a time in ms: {_shown(value)}")
    return _time(value)


def _dict(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ChainProtocolError(f"not a {what}: {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    return repr(value)[:60]
