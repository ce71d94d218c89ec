"""JSON-RPC as Tron nodes speak it: what their refusals mean, and how they spell addresses."""

from __future__ import annotations

from chains.errors import ChainError, ChainUnavailable
from chains.rpc.concurrency import is_rate_limited
from chains.rpc.endpoint import Endpoint, Unserved
from chains.rpc.jsonrpc import JsonRpc
from chains.rpc.jsonrpc_messages import RpcErrorObject
from chains.tron.address import to_hex
from chains.tron.rpc.http_service import TronService
from chains.tron.rpc.provider_errors import ErrorAdvice, ErrorKind, classify


class RpcRefused(ChainUnavailable):
    """The node answered a JSON-RPC call with an error; `advice` says what it asks for."""

    def __init__(self, message: str, advice: ErrorAdvice) -> None:
        super().__init__(message, retry_after=advice.wait_s)
        self.advice = advice


def json_rpc_of(service: TronService) -> JsonRpc:
    """Return the JSON-RPC side of a service."""
    return JsonRpc(service.rpc, to_error=_to_error, is_rate_limit=is_rate_limited)


def _to_error(endpoint: Endpoint, failure: RpcErrorObject) -> ChainError:
    advice = classify(failure.code, failure.message)
    said = f"{endpoint.redact(failure.message)} (code {failure.code})"
    return Unserved(said) if advice.kind is ErrorKind.UNSUPPORTED else RpcRefused(said, advice)


def rpc_address(canonical: str) -> str:
    """Return an address as JSON-RPC takes it: base58 is refused there."""
    return "0x" + to_hex(canonical)
