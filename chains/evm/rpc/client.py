"""JSON-RPC as EVM nodes speak it: no answer is trusted before the endpoint was seen to serve this chain."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Raw

from chains.errors import ChainError, ChainMisconfigured, ChainUnavailable
from chains.evm.rpc.structs import Log, MalformedLog, parse_log_rows, parse_logs
from chains.rpc.endpoint import Endpoint, Unserved
from chains.rpc.http_client import (
    Forbidden,
    HttpAnswer,
    HttpClient,
    Overpriced,
)
from chains.rpc.jsonrpc import JsonRpc
from chains.rpc.jsonrpc_messages import HEADERS, Call, NotAllowed, RpcErrorObject, RpcResult
from chains.rpc.provider_errors import ErrorAdvice, ErrorKind, classify
from chains.rpc.quantities import quantity

MAX_DIGITS = 20  # of a chain's number


class RpcRefused(ChainUnavailable):
    """The node answered a call with a JSON-RPC error; `advice` says what it asks for."""

    def __init__(self, message: str, advice: ErrorAdvice) -> None:
        super().__init__(message)
        self.advice = advice


class OtherChain(ChainMisconfigured):
    """The endpoint serves another network."""


class RawResult(RpcResult):
    """The outcome of one call of a batch."""

    __slots__ = ()

    def value(self) -> Raw:
        """
        Return the value as it was sent.

        Raises:
            ChainError: what the node refused with.
        """
        if self.error is not None:
            raise self.error
        return self.raw

    def logs(self) -> list[Log]:
        """
        Return the value as logs.

        Raises:
            ChainError: what the node refused with, or that they are none.
        """
        if self.error is not None:
            raise self.error
        return parse_logs(self.raw)

    def log_rows(self) -> tuple[list[Log], list[MalformedLog]]:
        """
        Return the value as logs, and apart from them those that have not the form of one.

        Raises:
            ChainError: what the node refused with, or that it is no list.
        """
        if self.error is not None:
            raise self.error
        return parse_log_rows(self.raw)


class RpcClient:
    """
    Asks the endpoints of one chain.

    Every method takes the endpoint to ask and raises a `ChainError` that says what is wrong with it.
    """

    def __init__(self, http: HttpClient, *, chain_id: int) -> None:
        self._http = http
        self._chain_id = chain_id
        self._rpc = JsonRpc(self._post, to_error=_refused, is_rate_limit=_is_rate)

    async def batch(self, endpoint: Endpoint, calls: Sequence[Call]) -> list[RawResult]:
        """
        Make several calls, as many in one HTTP request as the endpoint takes; answers in the order asked.

        Each answer carries its own error.

        Raises:
            ChainUnavailable: no answer, or the endpoint wants to be left alone.
            ChainProtocolError: an answer that is no JSON-RPC.
            ChainMisconfigured: the endpoint refuses us or serves another chain; `NotAllowed`: this question alone.
        """
        if not endpoint.checked:
            await self.check_chain(endpoint)
        try:
            return await self._batch(endpoint, calls)
        except (Forbidden, Overpriced) as exc:
            # A provider that refused one kind of question was left alone for all of them.
            await self.check_chain(endpoint)
            raise NotAllowed(str(exc)) from exc

    async def check_chain(self, endpoint: Endpoint) -> None:
        """
        Ask which chain the endpoint serves, whatever it said before.

        Raises:
            OtherChain: another one.
        """
        (answer,) = await self._batch(endpoint, [("eth_chainId", ())])
        if isinstance(answer.error, Unserved):
            (answer,) = await self._batch(endpoint, [("net_version", ())])
        chain_id = _chain_id(answer.get())
        if chain_id != self._chain_id:
            raise OtherChain(f"{endpoint.label} serves chain {chain_id}, expected chain {self._chain_id}")
        endpoint.checked = True

    async def _batch(self, endpoint: Endpoint, calls: Sequence[Call]) -> list[RawResult]:
        return [RawResult(*answer) for answer in await self._rpc.call_batch(endpoint, calls)]

    async def _post(self, endpoint: Endpoint, body: bytes) -> HttpAnswer:
        return await self._http.request("POST", endpoint.url, headers=HEADERS, body=body)


def _chain_id(value: object) -> int:
    """Return a chain's number; `net_version`, which older nodes know alone, says it in decimal digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value[:MAX_DIGITS])
    return quantity(value)


def _refused(endpoint: Endpoint, failure: RpcErrorObject) -> ChainError:
    advice = classify(failure.code, failure.message)
    said = f"{endpoint.redact(failure.message)} (code {failure.code})"
    if advice.kind is ErrorKind.UNSUPPORTED:
        return Unserved(said)
    return RpcRefused(said, advice)


def _is_rate(error: ChainError) -> bool:
    return isinstance(error, RpcRefused) and error.advice.kind is ErrorKind.RATE
