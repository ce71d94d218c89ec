"""
JSON-RPC over HTTP for every family: batches as large as an endpoint takes them, down to single calls.

Providers refuse a batch in many spellings: an error object instead of a list, a list with one error, an error
for each call, an HTTP status, a closed connection. All of them halve the batch at once, and the question is
asked again (docs/rules.md, C).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson
from msgspec import Raw, Struct

from chains.errors import ChainError, ChainProtocolError, ChainUnavailable
from chains.rpc.endpoint_limits import Limit
from chains.rpc.endpoints import Endpoint, Unserved
from chains.rpc.http_client import (
    OK,
    TOO_MANY_REQUESTS,
    CutOff,
    Forbidden,
    Garbled,
    HttpAnswer,
    Overasked,
    Overpriced,
    ServerError,
    TimedOut,
    TooLarge,
)
from chains.rpc.lenient_json import loads, tidied

HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}

_PAYMENT_REQUIRED = 402
_TOO_LARGE = 413
_NOT_ALLOWED = {401, 403}
_WRONG = {401, 402, 403, 404, 405, 410}
_REDIRECTS = range(300, 400)
_SERVER_ERRORS = range(500, 600)
MOST_LONE = 5  # calls of one question refused by a status, then the others are not asked for
_SAYS_NOTHING = {400, 414, 422}  # of a single call: perhaps that its parameters are too many
# 405 and 501: fronts that know no batches. Learnt only where fewer calls do.
_REFUSES_A_SHAPE = {400, 402, 405, 413, 414, 422, TOO_MANY_REQUESTS, 500, 501, 504}
_INVALID_REQUEST = -32600

_BATCH = re.compile(r"\bbatch|too many (?:calls|requests) in|multiple (?:calls|requests)", re.IGNORECASE)
_RATE = re.compile(
    r"rate.{0,3}limit|too many requests(?! in)|requests? per|per (?:second|minute|hour|day)|compute units|throughput|"
    r"quota|daily|slow down|try again later|capacity|credits?\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d{1,6}")

_REFUSED_ALONE = (Garbled, Overasked, Overpriced, Forbidden, TooLarge, CutOff)

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


class RpcFailure(NamedTuple):
    """What a node said instead of a result."""

    code: int
    message: str

    @classmethod
    def read(cls, error: Any) -> RpcFailure:
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


class _BatchRefused(Exception):
    """
    So many calls in one request are too many; `why` is what it comes to when one call is refused as well.

    `unsure`: it may as well mean that the node is down, or not for us. One call tells.
    """

    def __init__(self, why: ChainError, advice: int | None = None, *, unsure: bool = False) -> None:
        super().__init__(str(why))
        self.why = why
        self.advice = advice
        self.unsure = unsure

    def fewer(self, asked: int) -> int:
        """Return how many calls to make instead of so many."""
        return self.advice if self.advice is not None and self.advice < asked else max(1, asked // 2)


class _Asking:
    """How many calls to make at once while one question is asked, and what its refusals teach in the end."""

    def __init__(self, limit: Limit, calls: int) -> None:
        self._limit = limit
        self._full = limit.size
        # Some count each call of a batch against the rate: such a batch is refused for ever, and one call is not.
        self.proving = limit.doubted is not None and min(self._full, calls) >= limit.doubted
        self.size = 1 if self.proving else self._full
        self._refused: tuple[int, int] | None = None  # the smallest refused, and how many to ask for then
        self._lone = 0
        self._served = False
        self._asked_again = False

    def refused(self, asked: int, fewer: int, *, unsure: bool = False) -> None:
        """Ask for fewer; for one where the refusal may mean something else."""
        self._refused = (asked, fewer)
        self.size = 1 if unsure else fewer

    def again(self) -> bool:
        """Say whether to ask the same call once more, which is done once a call."""
        first, self._asked_again = not self._asked_again, True
        return first

    def lone(self, left: int) -> int:
        """Take note of a call refused by itself; return how many of those left that stands for."""
        self._lone += 1
        return left if self._lone == MOST_LONE else 1

    def busy(self, asked: int, *, fewest: bool) -> bool:
        """Say whether to go on with fewer, after a wait was asked for: one call was answered just now."""
        if not (self.proving and self._served):
            self._limit.busy(asked)
            return False
        self.refused(asked, 1 if fewest else asked // 2)
        return True

    def served(self, asked: int) -> None:
        """Go on with as many as are known to be taken."""
        self._limit.served(asked)
        if self.proving and self._served and self._refused is None:
            self._limit.relieved()
        self._served, self._asked_again = True, False
        if self.size == 1:
            self.size = self._full if self._refused is None else self._refused[1]

    def learn(self) -> None:
        """Learn only now that it was about the size: a node that fails whatever it is asked teaches nothing."""
        if self._refused is not None and not self._lone:
            self._limit.refused(self._refused[0], advice=self._refused[1])


class JsonRpc:
    """
    Makes calls of one endpoint at a time.

    `post` sends a body to an endpoint and returns whatever came back; the family knows the path, the key and
    the rate. `judge` makes of a node's refusal the family's own error, and says with `is_rate` which of those
    mean that we ask too often.
    """

    def __init__(
        self,
        post: Callable[[Endpoint, bytes], Awaitable[HttpAnswer]],
        *,
        judge: Callable[[Endpoint, RpcFailure], ChainError],
        is_rate: Callable[[ChainError], bool],
    ) -> None:
        self._post = post
        self._judge = judge
        self._is_rate = is_rate

    async def ask(self, endpoint: Endpoint, calls: Sequence[Call]) -> list[RpcResult]:
        """
        Make calls, as many in one request as the endpoint takes; answers in the order asked, each with its own error.

        Raises:
            ChainUnavailable: no answer, or the endpoint wants to be left alone.
            ChainProtocolError: an answer that is no JSON-RPC.
            ChainMisconfigured: the endpoint refuses us.
        """
        asking = _Asking(endpoint.memory.batch, len(calls))
        results: list[RpcResult] = []
        while len(results) < len(calls):
            part = calls[len(results) : len(results) + asking.size]
            try:
                answers = await self._part(endpoint, part)
            except _BatchRefused as exc:
                asking.refused(len(part), exc.fewer(len(part)), unsure=exc.unsure)
                continue
            except ChainError as exc:
                if self._is_over_at_once(exc, part, asking):
                    continue
                if len(part) > 1 or not self._is_of_this_call(exc, results):
                    raise
                answers = [RpcResult(error=_of_this_call(exc))] * asking.lone(len(calls) - len(results))
            if len(part) > 1 and self._are_waits(answers):
                if not asking.busy(len(part), fewest=False):
                    results += answers
                continue
            if asking.proving and not results:
                self._check_answered(answers[0])
            asking.served(len(part))
            results += answers
        if any(result.error is None for result in results):
            asking.learn()
        return results

    def _is_over_at_once(self, error: ChainError, part: Sequence[Call], asking: _Asking) -> bool:
        """Say whether to go on: with the same call once more, or with fewer after a batch was answered with a wait."""
        if len(part) == 1:
            return _passes(error) and asking.again()
        timed_out = isinstance(error, TimedOut)
        return (timed_out or self._is_busy(error)) and asking.busy(len(part), fewest=timed_out)

    def _is_of_this_call(self, error: ChainError, results: Sequence[RpcResult]) -> bool:
        """Say whether the question was refused, and not whoever asked: another call of it was answered."""
        answered = any(result.error is None for result in results)
        return answered and isinstance(error, _REFUSED_ALONE) and not self._is_busy(error)

    def _is_busy(self, error: ChainError) -> bool:
        return self._is_rate(error) or (isinstance(error, ChainUnavailable) and error.retry_after is not None)

    def _are_waits(self, answers: Sequence[RpcResult]) -> bool:
        """Say whether a wait is all that was said to any call."""
        return all(answer.error is not None and self._is_busy(answer.error) for answer in answers)

    def _check_answered(self, answer: RpcResult) -> None:
        """Raise when one call, too, was answered with a wait: it is meant."""
        if answer.error is not None and self._is_busy(answer.error):
            raise answer.error

    async def _part(self, endpoint: Endpoint, calls: Sequence[Call]) -> list[RpcResult]:
        if len(calls) == 1:
            return [await self._single(endpoint, calls[0])]
        question = orjson.dumps([_request(number, call) for number, call in enumerate(calls)])
        try:
            answer = await self._post(endpoint, question)
        except (CutOff, TooLarge) as exc:
            raise _BatchRefused(exc) from exc
        envelopes = _parse(answer.body)
        if envelopes is None:
            raise self._unexplained(endpoint, answer, batch=True)
        failures = _failures(envelopes)
        self._check_refusal(endpoint, answer, envelopes, failures, len(calls))
        if not isinstance(envelopes, list):
            raise _BatchRefused(ChainProtocolError("a batch was not answered with a list"))
        return self._in_order(endpoint, envelopes, len(calls))

    def _check_refusal(
        self,
        endpoint: Endpoint,
        answer: HttpAnswer,
        envelopes: Envelope | list[Envelope],
        failures: Sequence[RpcFailure],
        count: int,
    ) -> None:
        """Raise when what came back is about the request and not about its calls."""
        if not failures:
            if answer.status != OK and not isinstance(envelopes, list):
                raise self._unexplained(endpoint, answer, batch=True)
            return
        named = next((failure for failure in failures if _names_batch(failure.message)), None)
        if named is not None:
            raise _BatchRefused(self._judge(endpoint, named), _advice(named.message, count))
        every = isinstance(envelopes, list) and len(failures) == count
        alone = not isinstance(envelopes, list) or (len(failures) == len(envelopes) == 1)
        error = self._judge(endpoint, failures[0])
        if alone or (every and answer.status in {TOO_MANY_REQUESTS, *_NOT_ALLOWED}):
            # It may as well refuse to be asked at all: the same again, in smaller pieces, would make that worse.
            if self._is_rate(error) or (answer.status == TOO_MANY_REQUESTS and answer.retry_after is not None):
                raise _busy(error, answer)
            if answer.status in _NOT_ALLOWED:
                error = Forbidden(f"HTTP {answer.status}: check the URL and its key")
            raise _BatchRefused(error, unsure=answer.status in _NOT_ALLOWED)
        shapeless = answer.status in _REFUSES_A_SHAPE or all(f.code == _INVALID_REQUEST for f in failures)
        if every and shapeless and not self._is_rate(error):
            raise _BatchRefused(error)

    async def _single(self, endpoint: Endpoint, call: Call) -> RpcResult:
        answer = await self._post(endpoint, orjson.dumps(_request(0, call)))
        envelope = _parse(answer.body)
        if isinstance(envelope, list) and len(envelope) == 1:
            (envelope,) = envelope  # some fronts make a list of whatever they are asked
        if isinstance(envelope, list):
            raise ChainProtocolError(f"not an answer to one call: {_shown(endpoint, answer)}")
        if envelope is None or (answer.status != OK and envelope.error is None) or answer.status in _NOT_ALLOWED:
            raise self._unexplained(endpoint, answer, batch=False)
        result = self._result(endpoint, envelope)
        if result.error is not None and (answer.status == TOO_MANY_REQUESTS or self._is_rate(result.error)):
            return RpcResult(error=_busy(result.error, answer))
        return result

    def _in_order(self, endpoint: Endpoint, answers: Sequence[Envelope], count: int) -> list[RpcResult]:
        """Sort the answers of a batch, which may come in any order, by what was asked."""
        by_id = {_id(answer): answer for answer in answers}
        if len(answers) != count or by_id.keys() != set(range(count)):
            raise _BatchRefused(ChainProtocolError(f"a batch of {count} calls was not answered in full"))
        return [self._of_many(endpoint, by_id[number]) for number in range(count)]

    def _of_many(self, endpoint: Endpoint, answer: Envelope) -> RpcResult:
        """What one call lacks is told of that call alone (docs/rules.md, one bad item)."""
        try:
            return self._result(endpoint, answer)
        except ChainProtocolError as exc:
            return RpcResult(error=exc)

    def _result(self, endpoint: Endpoint, answer: Envelope) -> RpcResult:
        if answer.error is not None:
            return RpcResult(error=self._judge(endpoint, RpcFailure.read(answer.error)))
        if not answer.result:
            raise ChainProtocolError("neither result nor error")
        return RpcResult(answer.result)

    def _unexplained(self, endpoint: Endpoint, answer: HttpAnswer, *, batch: bool) -> Exception:
        """Return what a status means whose body does not explain itself in JSON-RPC."""
        error = _status_error(endpoint, answer)
        text = bytes(answer.body[:1000]).decode(errors="replace")
        rate = answer.status == TOO_MANY_REQUESTS and (answer.retry_after is not None or _RATE.search(text) is not None)
        # Some answer a batch with a sentence, or nothing, and the status of success.
        if batch and (answer.status == OK or answer.status in _REFUSES_A_SHAPE) and not rate:
            return _BatchRefused(error)
        if batch and answer.status != TOO_MANY_REQUESTS and answer.retry_after is None:
            return _BatchRefused(error, unsure=True)
        if answer.status == TOO_MANY_REQUESTS and not rate:
            return Overasked(f"HTTP {answer.status}: {_shown(endpoint, answer)}")  # too much of something else
        return error


def _status_error(endpoint: Endpoint, answer: HttpAnswer) -> ChainError:
    status = answer.status
    if status == OK:
        return Garbled(f"not a JSON-RPC answer: {_shown(endpoint, answer)}")
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


def _passes(error: ChainError) -> bool:
    """Say whether it may be over at once: one request in three that failed once kept a payment waiting for minutes."""
    return isinstance(error, ServerError | CutOff) and error.retry_after is None


def _of_this_call(error: ChainError) -> ChainError:
    return NotAllowed(str(error)) if isinstance(error, Forbidden | Overpriced) else error


def _busy(error: ChainError, answer: HttpAnswer) -> ChainError:
    """Return the refusal with the time the answer's header names, if it names one."""
    if answer.retry_after is not None and isinstance(error, ChainUnavailable):
        error.retry_after = answer.retry_after
    return error


def _request(number: int, call: Call) -> dict[str, Any]:
    method, params = call
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}


def _parse(body: bytes | bytearray) -> Envelope | list[Envelope] | None:
    """Read a whole answer; None when it is not JSON-RPC."""
    try:
        return _ENVELOPES.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        tidy = tidied(body)
    try:
        return None if tidy is None else _ENVELOPES.decode(tidy)
    except (msgspec.DecodeError, RecursionError):
        return None


def _failures(envelopes: Envelope | list[Envelope]) -> list[RpcFailure]:
    listed = envelopes if isinstance(envelopes, list) else [envelopes]
    return [RpcFailure.read(envelope.error) for envelope in listed if envelope.error is not None]


def _names_batch(message: str) -> bool:
    return _BATCH.search(message) is not None and _RATE.search(message) is None


def _advice(message: str, count: int) -> int | None:
    """Return how many calls a refusal says it would take; the last number that fits is the one allowed."""
    fitting = [int(number) for number in _NUMBER.findall(message) if 0 < int(number) < count]
    return fitting[-1] if fitting else None


def _id(answer: Envelope) -> Any:
    """Return the id as the number it was sent as: some proxies return it as text."""
    if isinstance(answer.id, str) and answer.id.isascii() and answer.id.isdigit():
        return int(answer.id[:9])
    return answer.id if type(answer.id) is int else None


def _shown(endpoint: Endpoint, answer: HttpAnswer) -> str:
    return repr(endpoint.quote(bytes(answer.body[:80]).decode(errors="replace")))
