"""
JSON-RPC over one HTTP session: the only file that imports web3, and where its errors end.

Connections and contract calls go through `AsyncWeb3` with a provider of our own; the hot path takes the
provider's raw batch answers, because web3's formatting of a large answer costs far more than the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import aiohttp
import orjson
from eth_abi.exceptions import DecodingError
from web3 import AsyncWeb3
from web3.exceptions import (
    BadFunctionCallOutput,
    ContractLogicError,
    MismatchedABI,
    PersistentConnectionError,
    ProviderConnectionError,
    TimeExhausted,
    Web3Exception,
    Web3RPCError,
)
from web3.providers.async_base import AsyncBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from chains.base import Telemetry
from chains.endpoints import Endpoint
from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.evm.faults import Fault, FaultKind, diagnose
from chains.types import TokenMeta

MAX_ANSWER = 24 * 1024 * 1024  # bytes; parsing holds the event loop
_STRING_TOKEN = [
    {"name": "decimals", "type": "function", "stateMutability": "view", "inputs": [], "outputs": [{"type": "uint8"}]},
    {"name": "symbol", "type": "function", "stateMutability": "view", "inputs": [], "outputs": [{"type": "string"}]},
]
_BYTES_TOKEN = [
    {"name": "symbol", "type": "function", "stateMutability": "view", "inputs": [], "outputs": [{"type": "bytes32"}]}
]

Call = tuple[str, list[Any]]
Answer = Any  # the JSON `result`, or a Fault


class AnswerTooLarge(ChainProtocolError):
    """The endpoint sent more than we are ready to parse in one piece."""


class EndpointTimeout(ChainUnavailable):
    """The endpoint did not answer in time."""


class JsonRpc(AsyncBaseProvider):
    """One endpoint's JSON-RPC, raw for us and as a provider for web3."""

    def __init__(
        self, session: aiohttp.ClientSession, endpoint: Endpoint, telemetry: Telemetry, *, timeout_s: float
    ) -> None:
        super().__init__()
        self._session = session
        self._endpoint = endpoint
        self._telemetry = telemetry
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._batches = True
        self.web3: AsyncWeb3[JsonRpc] = AsyncWeb3(self)

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Serve web3 (EIP-1193 shape)."""
        (answer,) = await self.batch([(method, params)])
        if isinstance(answer, Fault):
            return {"jsonrpc": "2.0", "id": 1, "error": {"code": answer.code, "message": answer.message}}
        return {"jsonrpc": "2.0", "id": 1, "result": answer}

    async def batch(self, calls: Sequence[Call]) -> list[Answer]:
        """
        Send calls together and return their results, or their faults, in order.

        Raises:
            ChainUnavailable: no answer, or asked to wait.
            ChainProtocolError: an answer that is no JSON-RPC.
            ChainMisconfigured: the endpoint refuses our credentials.
        """
        started = time.perf_counter()
        error: str | None = None
        try:
            if self._batches and len(calls) > 1:
                return await self._together(calls)
            return [await self._one(call) for call in calls]
        except ChainError as exc:
            error = type(exc).__name__
            self._endpoint.checked = False  # after a broken connection somebody else may answer
            raise
        finally:
            seconds = time.perf_counter() - started
            for method, _ in calls:
                self._telemetry.rpc_call(self._endpoint.label, method, seconds / len(calls), error)

    async def _together(self, calls: Sequence[Call]) -> list[Answer]:
        body = [_request(i, call) for i, call in enumerate(calls)]
        answers = await self._post(body)
        if not isinstance(answers, list):
            # One error object for the whole batch: this endpoint takes no batches.
            self._batches = False
            return [await self._one(call) for call in calls]
        by_id = {answer.get("id"): answer for answer in answers if isinstance(answer, dict)}
        return [_result(by_id.get(i)) for i in range(len(calls))]

    async def _one(self, call: Call) -> Answer:
        return _result(await self._post(_request(0, call)))

    async def _post(self, body: Any) -> Any:
        try:
            async with self._session.post(
                self._endpoint.url,
                data=orjson.dumps(body),
                headers={"Content-Type": "application/json"},
                timeout=self._timeout,
                allow_redirects=False,
            ) as response:
                raw = await _read(response)
                return _parse(response, raw)
        except TimeoutError as exc:
            raise EndpointTimeout("no answer in time") from exc
        except aiohttp.ClientError as exc:
            raise ChainUnavailable(f"no connection ({type(exc).__name__})") from exc

    async def decode_token(self, address: str) -> TokenMeta | None:
        """Ask a token for its decimals and symbol; None when the contract does not answer readably."""
        checksummed = AsyncWeb3.to_checksum_address(address)
        with translated():
            contract = self.web3.eth.contract(address=checksummed, abi=_STRING_TOKEN)
            try:
                decimals = int(await contract.functions.decimals().call())
            except (BadFunctionCallOutput, ContractLogicError, Web3RPCError, DecodingError):
                return None
            try:
                symbol = str(await contract.functions.symbol().call())
            except (
                BadFunctionCallOutput,
                ContractLogicError,
                Web3RPCError,
                DecodingError,
                OverflowError,
                UnicodeDecodeError,
            ):
                symbol = await self._bytes_symbol(checksummed)
        return TokenMeta(symbol, decimals)

    async def _bytes_symbol(self, address: Any) -> str:
        contract = self.web3.eth.contract(address=address, abi=_BYTES_TOKEN)
        try:
            raw = cast("bytes", await contract.functions.symbol().call())
        except (BadFunctionCallOutput, ContractLogicError, Web3RPCError, DecodingError):
            return ""
        return raw.rstrip(b"\0").decode("utf-8", "replace")


def _request(i: int, call: Call) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": i, "method": call[0], "params": call[1]}


async def _read(response: aiohttp.ClientResponse) -> bytes:
    size = 0
    parts: list[bytes] = []
    async for part in response.content.iter_any():
        size += len(part)
        if size > MAX_ANSWER:
            raise AnswerTooLarge(f"answer of more than {MAX_ANSWER} bytes")
        parts.append(part)
    return b"".join(parts)


def _parse(response: aiohttp.ClientResponse, raw: bytes) -> Any:
    status = response.status
    if status in (429, 503):
        asked = response.headers.get("Retry-After", "")
        raise ChainUnavailable(f"HTTP {status}", retry_after=float(asked) if asked.isdigit() else None)
    if status in (401, 403):
        raise ChainMisconfigured(f"HTTP {status}: the endpoint refuses our credentials")
    if status >= 500:  # noqa: PLR2004 - HTTP
        raise ChainUnavailable(f"HTTP {status}")
    try:
        answer = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise ChainProtocolError(f"HTTP {status} with something that is not JSON") from exc
    if not isinstance(answer, (dict, list)):
        raise ChainProtocolError(f"HTTP {status} with JSON that is no JSON-RPC answer")
    if status >= 400 and not (isinstance(answer, dict) and "error" in answer):  # noqa: PLR2004 - HTTP
        raise ChainProtocolError(f"HTTP {status}")
    return answer


def _result(answer: Any) -> Answer:
    if not isinstance(answer, dict):
        raise ChainProtocolError("an answer is missing from the batch")
    error = answer.get("error")
    if error is not None:
        if not isinstance(error, dict):
            return Fault(0, str(error)[:300])
        code = error.get("code")
        return Fault(code if isinstance(code, int) else 0, str(error.get("message"))[:300])
    if "result" not in answer:
        raise ChainProtocolError("an answer has neither result nor error")
    return answer["result"]


def expect(answer: Answer) -> Any:
    """
    Return a result that must be there, or raise what its fault means.

    Raises:
        ChainUnavailable: the node is behind or wants us to wait.
        ChainProtocolError: anything else it says instead of an answer.
    """
    if not isinstance(answer, Fault):
        return answer
    match diagnose(answer).kind:
        case FaultKind.BEHIND:
            raise ChainUnavailable("the node has not seen that block yet")
        case FaultKind.RATE:
            raise ChainUnavailable(f"rate limited: {answer.message}")
        case _:
            raise ChainProtocolError(f"error {answer.code}: {answer.message}")


@contextmanager
def translated() -> Iterator[None]:
    """Let no error of web3 pass; the most specific meaning wins."""
    try:
        yield
    except ChainError:
        raise
    except Exception as exc:
        known = translate(exc)
        if known is None:
            raise
        raise known from exc


def translate(exc: Exception) -> ChainError | None:
    """Return what an error of web3 means to us; None when it is not web3's."""
    match exc:
        case TimeExhausted() | ProviderConnectionError() | PersistentConnectionError() | asyncio.TimeoutError():
            return ChainUnavailable(f"no connection ({type(exc).__name__})")
        case BadFunctionCallOutput() | ContractLogicError() | MismatchedABI() | Web3RPCError():
            return ChainProtocolError(f"unexpected answer ({type(exc).__name__})")
        case Web3Exception():
            return ChainProtocolError(f"{type(exc).__name__}")
    return None
