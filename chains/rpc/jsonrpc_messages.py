"""JSON-RPC 2.0 messages: requests as sent, answers as read, and what errors and HTTP statuses say (pure)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from chains.errors import ChainError, ChainProtocolError, ChainUnavailable
from chains.rpc.endpoint import Endpoint, Unserved
from chains.rpc.http_client import (
    OK,
    TOO_MANY_REQUESTS,
    Forbidden,
    Garbled,
    HttpAnswer,
    Overasked,
    Overpriced,
    ServerError,
    TooLarge,
)
from chains.rpc.lenient_json import loads, repaired

HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
_PAYMENT_REQUIRED = 402
_TOO_LARGE = 413
NOT_ALLOWED = {401, 403}
_WRONG = {401, 402, 403, 404, 405, 410}
_REDIRECTS = range(300, 400)
_SERVER_ERRORS = range(500, 600)
_SAYS_NOTHING = {400, 414, 422}  # of a single call: perhaps that its parameters are too many
# 405 and 501: fronts that know no batches. Learnt only where fewer calls do.
BATCH_REFUSING_STATUSES = {400, 402, 405, 413, 414, 422, TOO_MANY_REQUESTS, 500, 501, 504}
INVALID_REQUEST = -32600
_BATCH = re.compile(r"\bbatch|too many (?:calls|requests) in|multiple (?:calls|requests)", re.IGNORECASE)
RATE_WORDS = re.compile(
    r"rate.{0,3}limit|too many requests(?! in)|requests? per|per (?:second|minute|hour|day)|compute units|throughput|"
    r"quota|daily|slow down|try again later|capacity|credits?\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d{1,6}")
Call = tuple[str, Sequence[Any]]


class Envelope(Struct, gc=False, frozen=True):
    """One answer of a request; the result stays as it was sent until somebody reads it."""

    id: Any = None
    result: Raw = Raw()
    error: Any = None


_ENVELOPES: msgspec.json.Decoder[Envelope | list[Envelope]] = msgspec.json.Decoder(Envelope | list[Envelope])


class RpcResult(NamedTuple):
    """The outcome of one call."""

    raw: Raw = Raw()
    error: ChainError | None = None

    def get(self) -> Any:
        """
        Return the value.

        Raises:
            ChainError: what the node refused with.
        """
        if self.error is not None:
            raise self.error
        try:
            return loads(memoryview(self.raw))
        except ValueError as exc:
            raise ChainProtocolError(f"the answer is not JSON: {exc}") from exc


class RpcErrorObject(NamedTuple):
    """What a node said instead of a result."""

    code: int
    message: str

    @classmethod
    def read(cls, error: Any) -> RpcErrorObject:
        """Read the `error` of an answer, which may be of any shape; its `data` often says more."""
        if not isinstance(error, dict):
            return cls(0, str(error)[:1000])
        code = error["code"] if isinstance(error.get("code"), int) else 0
        message = str(error.get("message", ""))
        return cls(code, f"{message} {_more(error.get('data'))}".strip()[:1000])


def _more(data: Any) -> str:
    """Return what the `data` of an error says in words."""
    if isinstance(data, dict):  # Tenderly names the limit in a field of it
        data = " ".join(value for value in data.values() if isinstance(value, str))
    return data[:200] if isinstance(data, str) else ""


class NotAllowed(Forbidden, Unserved):
    """Refused by an HTTP status while other questions are answered: whoever asks is welcome, the question is not."""


def status_error(endpoint: Endpoint, answer: HttpAnswer) -> ChainError:
    status = answer.status
    if status == OK:
        return Garbled(f"not a JSON-RPC answer: {excerpt(endpoint, answer)}")
    if status in _SAYS_NOTHING or status in _SERVER_ERRORS:
        failed = Overasked if status in _SAYS_NOTHING else ServerError
        return failed(f"HTTP {status}", retry_after=answer.retry_after)
    if status == TOO_MANY_REQUESTS:
        return ChainUnavailable(f"HTTP {status}", retry_after=answer.retry_after)
    if status == _TOO_LARGE:
        return TooLarge(f"HTTP {status}")
    if status in _WRONG or status in _REDIRECTS:
        kind = Overpriced if status == _PAYMENT_REQUIRED else Forbidden
        return kind(f"HTTP {status}: check the URL and its key")
    return ChainProtocolError(f"HTTP {status}")


def request_object(number: int, call: Call) -> dict[str, Any]:
    method, params = call
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}


def parse_envelopes(body: bytes | bytearray) -> Envelope | list[Envelope] | None:
    """Read a whole answer; None when it is not JSON-RPC."""
    try:
        return _ENVELOPES.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        tidy = repaired(body)
    try:
        return None if tidy is None else _ENVELOPES.decode(tidy)
    except (msgspec.DecodeError, RecursionError):
        return None


def error_objects(envelopes: Envelope | list[Envelope]) -> list[RpcErrorObject]:
    listed = envelopes if isinstance(envelopes, list) else [envelopes]
    return [RpcErrorObject.read(envelope.error) for envelope in listed if envelope.error is not None]


def names_batch(message: str) -> bool:
    return _BATCH.search(message) is not None and RATE_WORDS.search(message) is None


def suggested_size(message: str, count: int) -> int | None:
    """Return how many calls a refusal says it would take; the last number that fits is the one allowed."""
    fitting = [int(number) for number in _NUMBER.findall(message) if 0 < int(number) < count]
    return fitting[-1] if fitting else None


def id_of(answer: Envelope) -> Any:
    """Return the id as the number it was sent as: some proxies return it as text."""
    if isinstance(answer.id, str) and answer.id.isascii() and answer.id.isdigit():
        return int(answer.id[:9])
    return answer.id if type(answer.id) is int else None


def excerpt(endpoint: Endpoint, answer: HttpAnswer) -> str:
    return repr(endpoint.redact(bytes(answer.body[:80]).decode(errors="replace")))
