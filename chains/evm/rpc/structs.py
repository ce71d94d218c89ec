"""The shapes of JSON-RPC on the wire: decoded straight into structs, fields nobody reads are never built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from chains.errors import ChainProtocolError


class Log(Struct, gc=False, frozen=True):
    """One log, as text. Null fields, as of pending logs, are refused by the types."""

    address: str
    topics: tuple[str, ...]
    data: str
    blockNumber: str | int  # noqa: N815 - the wire's spelling
    blockHash: str  # noqa: N815
    transactionHash: str  # noqa: N815
    logIndex: str | int | float | bool | None = None  # noqa: N815 - tells repeated rows apart, and identifies nothing
    removed: str | float | bool | None = None
    blockTimestamp: str | float | bool | None = None  # noqa: N815 - newer nodes only, not all as specified


class _LenientLog(Struct, gc=False, frozen=True):
    """A log without the fields that are read where they can be and never needed."""

    address: str
    topics: tuple[str, ...]
    data: str
    blockNumber: str | int  # noqa: N815
    blockHash: str  # noqa: N815
    transactionHash: str  # noqa: N815
    logIndex: Any = None  # noqa: N815
    removed: Any = None


class MalformedLog(NamedTuple):
    """A log whose form is not that of one: what was sent, whatever it is, and what is wrong with it."""

    address: Any
    topics: Any
    tx_hash: Any
    number: Any  # of its block
    why: str


class ReceiptLog(Struct, gc=False, frozen=True):
    """One log of a receipt, as text. What decides nothing may look as it likes."""

    address: str
    topics: tuple[str, ...]
    data: str
    logIndex: Any = None  # noqa: N815


class RawReceipt(Struct, gc=False, frozen=True):
    """One receipt, as text. What decides nothing may look as it likes, or be missing."""

    transactionHash: str  # noqa: N815
    blockHash: str  # noqa: N815
    status: Any
    logs: list[ReceiptLog]
    blockNumber: Any = None  # noqa: N815
    sender: Any = msgspec.field(default=None, name="from")


class _LooseReceipt(Struct, gc=False, frozen=True):
    """A receipt whose logs stay as sent."""

    transactionHash: str  # noqa: N815
    blockHash: str  # noqa: N815
    status: Any
    logs: Raw
    blockNumber: Any = None  # noqa: N815
    sender: Any = msgspec.field(default=None, name="from")


class BlockReceipt(Struct, gc=False, frozen=True):
    """What is read of a receipt for the logs in it; they stay as sent until somebody reads them."""

    transactionHash: str  # noqa: N815
    blockHash: str  # noqa: N815
    logs: Raw = Raw(b"null")


T = TypeVar("T")

_LOGS = msgspec.json.Decoder(list[Log])
_BARE = msgspec.json.Decoder(list[_LenientLog])
_ROWS = msgspec.json.Decoder(list[Raw])
_BARE_ROW = msgspec.json.Decoder(_LenientLog)
_RECEIPT_ROW = msgspec.json.Decoder(ReceiptLog)
_RECEIPT: msgspec.json.Decoder[RawReceipt | None] = msgspec.json.Decoder(RawReceipt | None)
_LOOSE_RECEIPT = msgspec.json.Decoder(_LooseReceipt)
_BLOCK_RECEIPTS = msgspec.json.Decoder(list[BlockReceipt])
_ONE_OF_MANY = msgspec.json.Decoder(BlockReceipt)
_BLOCK_RECEIPT: msgspec.json.Decoder[BlockReceipt | None] = msgspec.json.Decoder(BlockReceipt | None)
_RECEIPT_LOGS = msgspec.json.Decoder(list[ReceiptLog])


def parse_logs(raw: Raw) -> list[Log]:
    """
    Read the result of `eth_getLogs`.

    Raises:
        ChainProtocolError: not a list of sealed logs.
    """
    try:
        return _LOGS.decode(raw)
    except msgspec.ValidationError:
        return _leniently(lambda: _BARE.decode(raw))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise ChainProtocolError(f"malformed log: {str(exc)[:120]}") from exc


def parse_log_rows(raw: Raw) -> tuple[list[Log], list[MalformedLog]]:
    """
    Read the result of `eth_getLogs` row by row where it cannot be read in one go: one bad row spoils no other.

    Raises:
        ChainProtocolError: not a list.
    """
    try:
        return parse_logs(raw), []
    except ChainProtocolError:
        return _each(raw, lambda row: _as_log(_BARE_ROW.decode(row)), _malformed)


def parse_receipt_log_rows(receipt: BlockReceipt, number: int) -> tuple[list[ReceiptLog], list[MalformedLog]]:
    """
    Read the logs of a receipt row by row where they cannot be read in one go.

    Raises:
        ChainProtocolError: not a list.
    """
    try:
        return parse_receipt_logs(receipt.logs), []
    except ChainProtocolError:
        place = {"transactionHash": receipt.transactionHash, "blockNumber": number}
        return _each(receipt.logs, _RECEIPT_ROW.decode, lambda sent, why: _malformed(sent | place, why))


def _each(
    raw: Raw, read: Callable[[Raw], T], malformed: Callable[[dict[str, Any], str], MalformedLog]
) -> tuple[list[T], list[MalformedLog]]:
    try:
        rows: Sequence[Raw] = _ROWS.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise ChainProtocolError(f"not a list of logs: {str(exc)[:120]}") from exc
    found, set_aside = [], []
    for row in rows:
        try:
            found.append(read(row))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
            set_aside.append(malformed(_object(row), f"malformed log: {str(exc)[:120]}"))
    return found, set_aside


def _object(row: Raw) -> dict[str, Any]:
    """Return what was sent where it is an object that can be read at all."""
    try:
        sent = msgspec.json.decode(row)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    return sent if isinstance(sent, dict) else {}


def _malformed(sent: dict[str, Any], why: str) -> MalformedLog:
    return MalformedLog(
        sent.get("address"), sent.get("topics"), sent.get("transactionHash"), sent.get("blockNumber"), why
    )


def parse_receipt(raw: Raw) -> tuple[RawReceipt | None, list[MalformedLog]]:
    """
    Read the result of `eth_getTransactionReceipt`, and apart from it its logs that have not the form of one.

    The receipt is None where the node holds none.

    Raises:
        ChainProtocolError: not a receipt of a sealed transaction.
    """
    try:
        return _RECEIPT.decode(raw), []
    except msgspec.ValidationError:
        return _loosely(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise ChainProtocolError(f"malformed receipt: {str(exc)[:120]}") from exc


def _loosely(raw: Raw) -> tuple[RawReceipt, list[MalformedLog]]:
    try:
        loose = _LOOSE_RECEIPT.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise ChainProtocolError(f"malformed receipt: {str(exc)[:120]}") from exc
    logs, malformed = _each(loose.logs, _RECEIPT_ROW.decode, _malformed)
    place = (loose.transactionHash, loose.blockHash, loose.status)
    return RawReceipt(*place, logs, loose.blockNumber, loose.sender), malformed


def parse_block_receipts(raw: Raw) -> list[BlockReceipt]:
    """
    Read the result of `eth_getBlockReceipts`; those that cannot be read are left out, as if they were not there.

    Raises:
        ChainProtocolError: not a list.
    """
    try:
        return _BLOCK_RECEIPTS.decode(raw)
    except msgspec.ValidationError:
        return _each(raw, _ONE_OF_MANY.decode, _malformed)[0]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise ChainProtocolError(f"malformed receipts: {str(exc)[:120]}") from exc


def parse_block_receipt(raw: Raw) -> BlockReceipt | None:
    """
    Read the result of `eth_getTransactionReceipt` for the logs in it; None when the node does not hold it.

    Raises:
        ChainProtocolError: not a receipt.
    """
    try:
        return _BLOCK_RECEIPT.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise ChainProtocolError(f"malformed receipt: {str(exc)[:120]}") from exc


def parse_receipt_logs(raw: Raw) -> list[ReceiptLog]:
    """
    Read the logs of a receipt.

    Raises:
        ChainProtocolError: not a list of logs.
    """
    try:
        return _RECEIPT_LOGS.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise ChainProtocolError(f"malformed log: {str(exc)[:120]}") from exc


def as_logs(rows: object) -> list[Log]:
    """
    Read logs that were parsed already, such as those of a receipt.

    Raises:
        ChainProtocolError: not a list of sealed logs.
    """
    try:
        return msgspec.convert(rows, list[Log])
    except msgspec.ValidationError:
        return _leniently(lambda: msgspec.convert(rows, list[_LenientLog]))


def _leniently(read: Callable[[], list[_LenientLog]]) -> list[Log]:
    """Read once more, blind to what decides nothing: a block time in an unknown shape must not hide a payment."""
    try:
        return [_as_log(log) for log in read()]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise ChainProtocolError(f"malformed log: {str(exc)[:120]}") from exc


def _as_log(log: _LenientLog) -> Log:
    index = log.logIndex if type(log.logIndex) in {str, int} else None
    place = (log.blockNumber, log.blockHash, log.transactionHash)
    return Log(log.address, log.topics, log.data, *place, index, log.removed is True)
