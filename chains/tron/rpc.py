"""JSON-RPC as Tron nodes speak it: batches of calls, and answers that each carry their own error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from chains.endpoints import Endpoint, Unserved
from chains.errors import ChainError, ChainProtocolError, ChainUnavailable
from chains.tron.address import to_hex
from chains.tron.refusals import Refusal, Verdict, classify

CALLS_A_BATCH = 100

Call = tuple[str, Sequence[Any]]


class RpcRefused(ChainUnavailable):
    """The node answered a JSON-RPC call with an error; `verdict` says what it asks for."""

    def __init__(self, message: str, verdict: Verdict) -> None:
        super().__init__(message, retry_after=verdict.wait_s)
        self.verdict = verdict


class RawResult(NamedTuple):
    """The outcome of one JSON-RPC call of a batch."""

    value: Any
    error: ChainError | None = None

    def get(self) -> Any:
        """
        Return the value.

        Raises:
            ChainError: what the node refused with.
        """
        if self.error is not None:
            raise self.error
        return self.value


def requests(calls: Sequence[Call]) -> list[dict[str, Any]]:
    """Return calls as one request carries them."""
    return [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}
        for number, (method, params) in enumerate(calls)
    ]


def read_answers(endpoint: Endpoint, answers: Any, count: int) -> list[RawResult]:
    """
    Sort the answers of a batch, which may come in any order, by what was asked.

    Raises:
        Unserved: the endpoint refuses batches.
    """
    if isinstance(answers, dict) and "error" in answers:
        refused = _refused(endpoint, answers["error"])
        # A refusal of the batch as a whole: of being asked at all, or of being asked this way.
        busy = isinstance(refused, RpcRefused) and refused.verdict.refusal is Refusal.BUSY
        raise refused if busy else Unserved(str(refused))
    return _in_order(endpoint, answers, count)


def _in_order(endpoint: Endpoint, answers: Any, count: int) -> list[RawResult]:
    if not isinstance(answers, list) or len(answers) != count:
        raise ChainProtocolError(f"a batch of {count} calls was not answered in full")
    by_id = {answer["id"]: answer for answer in answers if isinstance(answer, dict) and type(answer.get("id")) is int}
    if by_id.keys() != set(range(count)):
        raise ChainProtocolError("the answers of a batch do not carry the ids asked for")
    return [_result(endpoint, by_id[number]) for number in range(count)]


def _result(endpoint: Endpoint, answer: dict[str, Any]) -> RawResult:
    if answer.get("error") is not None:
        return RawResult(None, _refused(endpoint, answer["error"]))
    if "result" not in answer:
        raise ChainProtocolError(f"neither result nor error: {endpoint.quote(repr(answer))}")
    return RawResult(answer["result"])


def _refused(endpoint: Endpoint, error: Any) -> ChainError:
    code, message = 0, str(error)
    if isinstance(error, dict):
        code = error["code"] if isinstance(error.get("code"), int) else 0
        message = str(error.get("message", ""))
    verdict = classify(code, message[:1000])
    said = f"{endpoint.quote(message)} (code {code})"
    return Unserved(said) if verdict.refusal is Refusal.UNSUPPORTED else RpcRefused(said, verdict)


def rpc_address(canonical: str) -> str:
    """Return an address as JSON-RPC takes it: base58 is refused there."""
    return "0x" + to_hex(canonical)
