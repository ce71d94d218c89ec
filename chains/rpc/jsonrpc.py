"""
JSON-RPC over HTTP for every family: batches as large as an endpoint takes them, down to single calls.

Providers refuse a batch in many ways: an error object instead of a list, a list with one error, an error for each
call, an HTTP status, a closed connection. Each of them halves the batch at once, and the calls are made again
(docs/rules.md, C).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import orjson

from chains.errors import ChainError, ChainProtocolError, ChainUnavailable
from chains.rpc.batch_size import BatchRejected, BatchSizer
from chains.rpc.endpoint import Endpoint
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
from chains.rpc.jsonrpc_messages import (
    BATCH_REFUSING_STATUSES,
    INVALID_REQUEST,
    NOT_ALLOWED,
    RATE_WORDS,
    Call,
    Envelope,
    NotAllowed,
    RpcErrorObject,
    RpcResult,
    error_objects,
    excerpt,
    id_of,
    names_batch,
    parse_envelopes,
    request_object,
    status_error,
    suggested_size,
)

_REFUSED_ALONE = (Garbled, Overasked, Overpriced, Forbidden, TooLarge, CutOff)


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
        to_error: Callable[[Endpoint, RpcErrorObject], ChainError],
        is_rate_limit: Callable[[ChainError], bool],
    ) -> None:
        self._post = post
        self._to_error = to_error
        self._is_rate = is_rate_limit

    async def call_batch(self, endpoint: Endpoint, calls: Sequence[Call]) -> list[RpcResult]:
        """
        Make calls, as many in one request as the endpoint takes; answers in the order asked, each with its own error.

        Raises:
            ChainUnavailable: no answer, or the endpoint wants to be left alone.
            ChainProtocolError: an answer that is no JSON-RPC.
            ChainMisconfigured: the endpoint refuses us.
        """
        sizer = BatchSizer(endpoint.limits.batch, len(calls))
        results: list[RpcResult] = []
        while len(results) < len(calls):
            part = calls[len(results) : len(results) + sizer.size]
            try:
                answers = await self._part(endpoint, part)
            except BatchRejected as exc:
                sizer.refused(len(part), exc.fewer(len(part)), unsure=exc.unsure)
                continue
            except ChainError as exc:
                if self._may_go_on(exc, part, sizer):
                    continue
                if len(part) > 1 or not self._is_refused_call(exc, results):
                    raise
                answers = [RpcResult(error=_as_refused_call(exc))] * sizer.refused_alone(len(calls) - len(results))
            if len(part) > 1 and self._are_waits(answers):
                if not sizer.busy(len(part), fewest=False):
                    results += answers
                continue
            if sizer.proving and not results:
                self._check_answered(answers[0])
            sizer.served(len(part))
            results += answers
        if any(result.error is None for result in results):
            sizer.learn()
        return results

    def _may_go_on(self, error: ChainError, part: Sequence[Call], sizer: BatchSizer) -> bool:
        """Say whether to go on: with the same call once more, or with fewer after a batch was answered with a wait."""
        if len(part) == 1:
            return _is_transient(error) and sizer.may_repeat()
        timed_out = isinstance(error, TimedOut)
        return (timed_out or self._is_busy(error)) and sizer.busy(len(part), fewest=timed_out)

    def _is_refused_call(self, error: ChainError, results: Sequence[RpcResult]) -> bool:
        """Say whether the question was refused, and not whoever asked: another call of it was answered."""
        answered = any(result.error is None for result in results)
        return answered and isinstance(error, _REFUSED_ALONE) and not self._is_busy(error)

    def _is_busy(self, error: ChainError) -> bool:
        return self._is_rate(error) or (isinstance(error, ChainUnavailable) and error.retry_after is not None)

    def _are_waits(self, answers: Sequence[RpcResult]) -> bool:
        """Say whether every call was answered with a request to wait."""
        return all(answer.error is not None and self._is_busy(answer.error) for answer in answers)

    def _check_answered(self, answer: RpcResult) -> None:
        """Raise when one call, too, was answered with a wait: it is meant."""
        if answer.error is not None and self._is_busy(answer.error):
            raise answer.error

    async def _part(self, endpoint: Endpoint, calls: Sequence[Call]) -> list[RpcResult]:
        if len(calls) == 1:
            return [await self._single(endpoint, calls[0])]
        question = orjson.dumps([request_object(number, call) for number, call in enumerate(calls)])
        try:
            answer = await self._post(endpoint, question)
        except (CutOff, TooLarge) as exc:
            raise BatchRejected(exc) from exc
        envelopes = parse_envelopes(answer.body)
        if envelopes is None:
            raise self._unexplained(endpoint, answer, batch=True)
        failures = error_objects(envelopes)
        self._check_refusal(endpoint, answer, envelopes, failures, len(calls))
        if not isinstance(envelopes, list):
            raise BatchRejected(ChainProtocolError("a batch was not answered with a list"))
        return self._in_order(endpoint, envelopes, len(calls))

    def _check_refusal(
        self,
        endpoint: Endpoint,
        answer: HttpAnswer,
        envelopes: Envelope | list[Envelope],
        failures: Sequence[RpcErrorObject],
        count: int,
    ) -> None:
        """Raise when what came back is about the request and not about its calls."""
        if not failures:
            if answer.status != OK and not isinstance(envelopes, list):
                raise self._unexplained(endpoint, answer, batch=True)
            return
        named = next((failure for failure in failures if names_batch(failure.message)), None)
        if named is not None:
            raise BatchRejected(self._to_error(endpoint, named), suggested_size(named.message, count))
        every = isinstance(envelopes, list) and len(failures) == count
        alone = not isinstance(envelopes, list) or (len(failures) == len(envelopes) == 1)
        error = self._to_error(endpoint, failures[0])
        if alone or (every and answer.status in {TOO_MANY_REQUESTS, *NOT_ALLOWED}):
            # It may as well refuse to be asked at all: the same again, in smaller pieces, would make that worse.
            if self._is_rate(error) or (answer.status == TOO_MANY_REQUESTS and answer.retry_after is not None):
                raise _with_retry_after(error, answer)
            if answer.status in NOT_ALLOWED:
                error = Forbidden(f"HTTP {answer.status}: check the URL and its key")
            raise BatchRejected(error, unsure=answer.status in NOT_ALLOWED)
        shapeless = answer.status in BATCH_REFUSING_STATUSES or all(f.code == INVALID_REQUEST for f in failures)
        if every and shapeless and not self._is_rate(error):
            raise BatchRejected(error)

    async def _single(self, endpoint: Endpoint, call: Call) -> RpcResult:
        answer = await self._post(endpoint, orjson.dumps(request_object(0, call)))
        envelope = parse_envelopes(answer.body)
        if isinstance(envelope, list) and len(envelope) == 1:
            (envelope,) = envelope  # some fronts make a list of whatever they are asked
        if isinstance(envelope, list):
            raise ChainProtocolError(f"not an answer to one call: {excerpt(endpoint, answer)}")
        if envelope is None or (answer.status != OK and envelope.error is None) or answer.status in NOT_ALLOWED:
            raise self._unexplained(endpoint, answer, batch=False)
        result = self._result(endpoint, envelope)
        if result.error is not None and (answer.status == TOO_MANY_REQUESTS or self._is_rate(result.error)):
            return RpcResult(error=_with_retry_after(result.error, answer))
        return result

    def _in_order(self, endpoint: Endpoint, answers: Sequence[Envelope], count: int) -> list[RpcResult]:
        """Sort the answers of a batch, which may come in any order, by what was asked."""
        by_id = {id_of(answer): answer for answer in answers}
        if len(answers) != count or by_id.keys() != set(range(count)):
            raise BatchRejected(ChainProtocolError(f"a batch of {count} calls was not answered in full"))
        return [self._of_many(endpoint, by_id[number]) for number in range(count)]

    def _of_many(self, endpoint: Endpoint, answer: Envelope) -> RpcResult:
        """Read one answer; one that makes no sense is the error of its call alone (docs/rules.md, one bad item)."""
        try:
            return self._result(endpoint, answer)
        except ChainProtocolError as exc:
            return RpcResult(error=exc)

    def _result(self, endpoint: Endpoint, answer: Envelope) -> RpcResult:
        if answer.error is not None:
            return RpcResult(error=self._to_error(endpoint, RpcErrorObject.read(answer.error)))
        if not answer.result:
            raise ChainProtocolError("neither result nor error")
        return RpcResult(answer.result)

    def _unexplained(self, endpoint: Endpoint, answer: HttpAnswer, *, batch: bool) -> Exception:
        """Return what a status means whose body does not explain itself in JSON-RPC."""
        error = status_error(endpoint, answer)
        text = bytes(answer.body[:1000]).decode(errors="replace")
        rate = answer.status == TOO_MANY_REQUESTS and (
            answer.retry_after is not None or RATE_WORDS.search(text) is not None
        )
        # Some answer a batch with a sentence, or nothing, and the status of success.
        if batch and (answer.status == OK or answer.status in BATCH_REFUSING_STATUSES) and not rate:
            return BatchRejected(error)
        if batch and answer.status != TOO_MANY_REQUESTS and answer.retry_after is None:
            return BatchRejected(error, unsure=True)
        if answer.status == TOO_MANY_REQUESTS and not rate:
            return Overasked(f"HTTP {answer.status}: {excerpt(endpoint, answer)}")  # too much of something else
        return error


def _is_transient(error: ChainError) -> bool:
    """Say whether the same call may succeed at once: an endpoint failing every third call once delayed a payment."""
    return isinstance(error, ServerError | CutOff) and error.retry_after is None


def _as_refused_call(error: ChainError) -> ChainError:
    return NotAllowed(str(error)) if isinstance(error, Forbidden | Overpriced) else error


def _with_retry_after(error: ChainError, answer: HttpAnswer) -> ChainError:
    """Return the refusal with the time the answer's header names, if it names one."""
    if answer.retry_after is not None and isinstance(error, ChainUnavailable):
        error.retry_after = answer.retry_after
    return error
