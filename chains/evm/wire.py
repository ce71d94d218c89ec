"""The shapes of JSON-RPC on the wire: decoded straight into structs, fields nobody reads are never built."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from chains.errors import ChainProtocolError


class Envelope(Struct, gc=False, frozen=True):
    """One answer of a request; the result stays as it was sent until somebody reads it."""

    id: Any = None
    result: Raw = Raw()
    error: Any = None


class Log(Struct, gc=False, frozen=True):
    """One log, as text. Null fields, as of pending logs, are refused by the types."""

    address: str
    topics: tuple[str, ...]
    data: str
    blockNumber: str  # noqa: N815 - the wire's spelling
    blockHash: str  # noqa: N815
    transactionHash: str  # noqa: N815
    logIndex: str  # noqa: N815
    blockTimestamp: str | None = None  # noqa: N815 - newer nodes only
    removed: bool | None = None


_ENVELOPES: msgspec.json.Decoder[Envelope | list[Envelope]] = msgspec.json.Decoder(Envelope | list[Envelope])
_LOGS = msgspec.json.Decoder(list[Log])


def parse_envelopes(body: bytes | bytearray) -> Envelope | list[Envelope] | None:
    """Read a whole answer; None when it is not JSON-RPC."""
    try:
        return _ENVELOPES.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def parse_logs(raw: Raw) -> list[Log]:
    """
    Read the result of `eth_getLogs`.

    Raises:
        ChainProtocolError: not a list of sealed logs.
    """
    try:
        return _LOGS.decode(raw)
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
    except msgspec.ValidationError as exc:
        raise ChainProtocolError(f"malformed log: {str(exc)[:120]}") from exc
