"""JSON-RPC over HTTP: one session for a chain, several calls a request, raw answers."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import aiohttp
import orjson
from msgspec import Raw

from chains.endpoints import Endpoint, Unserved
from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.evm.decode import quantity
from chains.evm.refusals import Refusal, Verdict, classify
from chains.evm.wire import Envelope, Log, parse_envelopes, parse_logs

MAX_ANSWER_BYTES = 64 * 1024 * 1024
BATCH_REFUSED_S = 600.0  # then batches are tried once more

_OK = 200
_TOO_LARGE = 413
_BUSY = {429, 503}
_WRONG = {401, 402, 403, 404, 405, 410}
_REDIRECTS = range(300, 400)
_SERVER_ERRORS = range(500, 600)
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}

Call = tuple[str, Sequence[Any]]


class RpcRefused(ChainUnavailable):
    """The node answered a call with a JSON-RPC error; `verdict` says what it asks for."""

    def __init__(self, message: str, verdict: Verdict) -> None:
        super().__init__(message)
        self.verdict = verdict


class TimedOut(ChainUnavailable):
    """The endpoint did not answer in time; a smaller question may help."""


class TooLarge(ChainUnavailable):
    """The answer is larger than we read; only a smaller question helps."""


class RawResult(NamedTuple):
    """The outcome of one call of a batch."""

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
            return orjson.loads(memoryview(self.raw))
        except orjson.JSONDecodeError as exc:
            raise ChainProtocolError(f"the answer is not JSON: {exc}") from exc

    def logs(self) -> list[Log]:
        """
        Return the value as logs.

        Raises:
            ChainError: what the node refused with, or that they are none.
        """
        if self.error is not None:
            raise self.error
        return parse_logs(self.raw)


class RpcClient:
    """
    Asks the endpoints of one chain.

    Every method takes the endpoint to ask and raises a `ChainError` that says what is wrong with it.
    No answer is trusted before the endpoint was seen to serve this chain.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        chain_id: int,
        timeout_s: float,
        max_bytes: int = MAX_ANSWER_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._chain_id = chain_id
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._max_bytes = max_bytes
        self._clock = clock
        self._single_until: dict[Endpoint, float] = {}

    async def batch(self, endpoint: Endpoint, calls: Sequence[Call]) -> list[RawResult]:
        """
        Make several calls in one HTTP request; answers in the order asked, each with its own error.

        An endpoint that refuses batches is asked one call after the other.

        Raises:
            ChainUnavailable: no answer, or the endpoint wants to be left alone.
            ChainProtocolError: an answer that is no JSON-RPC.
            ChainMisconfigured: the endpoint refuses us or serves another chain.
        """
        if not endpoint.checked:
            await self._check_chain(endpoint)
        return await self._batch(endpoint, calls)

    async def _check_chain(self, endpoint: Endpoint) -> None:
        (answer,) = await self._batch(endpoint, [("eth_chainId", ())])
        chain_id = quantity(answer.get())
        if chain_id != self._chain_id:
            raise ChainMisconfigured(f"{endpoint.label} serves chain {chain_id}, expected chain {self._chain_id}")
        endpoint.checked = True

    async def _batch(self, endpoint: Endpoint, calls: Sequence[Call]) -> list[RawResult]:
        if len(calls) == 1 or self._clock() < self._single_until.get(endpoint, 0.0):
            return [await self._single(endpoint, call) for call in calls]
        answer = await self._post(endpoint, [_request(number, call) for number, call in enumerate(calls)])
        if isinstance(answer, list) and not _refuses_batch(answer):
            return _in_order(endpoint, answer, len(calls))
        # The refusal may as well be one of being asked at all.
        refused = _result(endpoint, answer[0] if isinstance(answer, list) else answer)
        if isinstance(refused.error, RpcRefused) and refused.error.verdict.refusal is Refusal.RATE:
            raise refused.error
        results = [await self._single(endpoint, call) for call in calls]
        self._single_until[endpoint] = self._clock() + BATCH_REFUSED_S
        return results

    async def _single(self, endpoint: Endpoint, call: Call) -> RawResult:
        answer = await self._post(endpoint, _request(0, call))
        if isinstance(answer, list):
            raise ChainProtocolError(f"not an answer to one call: {endpoint.quote(repr(answer))}")
        return _result(endpoint, answer)

    async def _post(self, endpoint: Endpoint, question: Any) -> Envelope | list[Envelope]:
        try:
            async with self._session.post(
                endpoint.url,
                data=orjson.dumps(question),
                headers=_HEADERS,
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                body = await self._read(response)
        except TRANSPORT_ERRORS as exc:
            raise translate_transport(exc) from None  # the library's own text may quote the URL
        answer = parse_envelopes(body)
        _check_status(response, answer)
        if answer is None:
            raise ChainProtocolError(f"not a JSON-RPC answer: {endpoint.quote(body[:80].decode(errors='replace'))!r}")
        return answer

    async def _read(self, response: aiohttp.ClientResponse) -> bytearray:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._max_bytes:
                response.close()
                raise TooLarge(f"the answer is larger than {self._max_bytes} bytes")
        return body


def _request(number: int, call: Call) -> dict[str, Any]:
    method, params = call
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}


def _refuses_batch(answers: Sequence[Envelope]) -> bool:
    """An error about the batch as a whole comes without a list, or without an id."""
    return len(answers) == 1 and answers[0].id is None


def _in_order(endpoint: Endpoint, answers: Sequence[Envelope], count: int) -> list[RawResult]:
    """Sort the answers of a batch, which may come in any order, by what was asked."""
    if len(answers) != count:
        raise ChainProtocolError(f"a batch of {count} calls was not answered in full")
    by_id = {answer.id: answer for answer in answers if isinstance(answer.id, int)}
    if by_id.keys() != set(range(count)):
        raise ChainProtocolError("the answers of a batch do not carry the ids asked for")
    return [_result(endpoint, by_id[number]) for number in range(count)]


def _result(endpoint: Endpoint, answer: Envelope) -> RawResult:
    if answer.error is not None:
        return RawResult(error=_refused(endpoint, answer.error))
    if not answer.result:
        raise ChainProtocolError("neither result nor error")
    return RawResult(answer.result)


def _refused(endpoint: Endpoint, error: Any) -> ChainError:
    code, message = 0, str(error)
    if isinstance(error, dict):
        code = error["code"] if isinstance(error.get("code"), int) else 0
        message = str(error.get("message", ""))
        if isinstance(error.get("data"), str):
            message = f"{message} {error['data'][:200]}"
    verdict = classify(code, message[:1000])
    said = f"{endpoint.quote(message)} (code {code})"
    if verdict.refusal is Refusal.UNSUPPORTED:
        return Unserved(said)
    return RpcRefused(said, verdict)


def _check_status(response: aiohttp.ClientResponse, answer: Envelope | list[Envelope] | None) -> None:
    """Raise what an HTTP status means, unless the body explains itself in JSON-RPC."""
    status = response.status
    if status in _BUSY:
        raise ChainUnavailable(f"HTTP {status}", retry_after=_retry_after(response))
    explained = isinstance(answer, list) or (answer is not None and answer.error is not None)
    if status == _OK or (explained and status not in {401, 403}):
        return
    if status == _TOO_LARGE:
        raise TooLarge("HTTP 413")
    if status in _WRONG or status in _REDIRECTS:
        raise ChainMisconfigured(f"HTTP {status}: check the URL and its key")
    if status in _SERVER_ERRORS:
        raise ChainUnavailable(f"HTTP {status}", retry_after=_retry_after(response))
    raise ChainProtocolError(f"HTTP {status}")


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Return the seconds to wait: the header holds them, or a date."""
    header = response.headers.get("Retry-After", "").strip()
    if header.isascii() and header.isdigit():
        return float(header[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


TRANSPORT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""Everything a request may raise. aiohttp's `InvalidURL` and `orjson.JSONDecodeError` are ValueErrors."""

_TRANSPORT_TABLE: tuple[tuple[tuple[type[Exception], ...], type[ChainError], str], ...] = (
    ((TimeoutError,), TimedOut, "no answer in time"),
    ((aiohttp.InvalidURL,), ChainMisconfigured, "the URL is not valid"),
    (
        (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch),
        ChainMisconfigured,
        "its TLS certificate is not trusted",
    ),
    ((aiohttp.ClientConnectorError,), ChainUnavailable, "cannot connect"),
    ((aiohttp.ClientPayloadError,), ChainUnavailable, "the answer broke off"),
    ((aiohttp.ClientError, OSError), ChainUnavailable, "the connection failed"),
)


def translate_transport(error: Exception) -> ChainError:
    """
    Return our error for one of `TRANSPORT_ERRORS`.

    Its own text stays out of the message, for it may quote the URL and the key within.
    """
    for foreign, ours, what in _TRANSPORT_TABLE:
        if isinstance(error, foreign):
            return ours(f"{what} ({type(error).__name__})")
    return ChainProtocolError(f"the answer makes no sense ({type(error).__name__})")
