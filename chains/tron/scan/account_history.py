"""A page of an account's history into facts, each row by itself (pure)."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from chains.errors import ChainProtocolError, InvalidAddress
from chains.tron.address import parse_address
from chains.tron.transfer_log import TransferLog
from chains.tron.values import excerpt, hash_of, mapping, time_of, time_of_event

_VALUE = re.compile(r"[0-9]{1,78}")


class Row(NamedTuple):
    """One row of an account's history: a hint that a transaction may concern it."""

    tx_hash: str
    time_ms: int
    kind: str  # Transfer, Approval, ...
    destination: str | None  # None when it cannot be read: it may be anybody
    event: TransferLog | None  # what it says was moved; None when that cannot be read


class History(NamedTuple):
    """One page of an account's history."""

    rows: list[Row]
    fingerprint: str | None
    length: int  # rows answered
    unreadable: dict[str, str]  # rows that could not be read, and why: they hide no others


def parse_history(raw: Any) -> History:
    """Read a page of an account's history."""
    page = mapping(raw, "page")
    data, meta = page.get("data"), page.get("meta", {})
    if not isinstance(data, list) or not isinstance(meta, dict):
        raise ChainProtocolError(f"not a page of rows: {excerpt(raw)}")
    fingerprint = meta.get("fingerprint")
    rows, unreadable = [], {}
    for place, raw_row in enumerate(data):
        try:
            rows.append(_row(raw_row))
        except ChainProtocolError as exc:
            unreadable[f"row {place} of a history: {excerpt(raw_row)}"] = str(exc)
    if unreadable and not rows:
        raise ChainProtocolError(f"no row of a history can be read: {next(iter(unreadable.values()))}")
    follow = fingerprint if isinstance(fingerprint, str) and fingerprint else None
    return History(rows, follow, len(data), unreadable)


def parse_newest(raw: Any) -> int:
    """Return the time of the newest event of a page in ms; 0 when it has none."""
    events = mapping(raw, "page").get("data")
    if not isinstance(events, list):
        raise ChainProtocolError(f"not a page of events: {excerpt(raw)}")
    return max((time_of(mapping(event, "event").get("block_timestamp")) for event in events), default=0)


def _row(raw: Any) -> Row:
    row = mapping(raw, "row")
    tx_hash, time_ms = hash_of(row.get("transaction_id")), time_of_event(row.get("block_timestamp"))
    return Row(tx_hash, time_ms, str(row.get("type")), _address_or_none(row.get("to")), _row_credit(row))


def _address_or_none(value: Any) -> str | None:
    try:
        return parse_address(str(value))
    except InvalidAddress:
        return None


def _row_credit(row: dict[str, Any]) -> TransferLog | None:
    """Return what a row says was moved, for a transaction whose receipt is missing; None when it cannot be read."""
    info, value = row.get("token_info"), str(row.get("value"))
    token = info.get("address") if isinstance(info, dict) else None
    if _VALUE.fullmatch(value) is None:
        return None
    try:
        contract, source, destination = (parse_address(str(text)) for text in (token, row.get("from"), row.get("to")))
    except InvalidAddress:
        return None
    return TransferLog(contract, source, destination, int(value))
