"""What contracts answer when they are asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from chains.errors import ChainProtocolError, ChainUnavailable
from chains.rpc.endpoint import Endpoint, Unserved
from chains.token_metadata import decoded, is_unusual, read_decimals, read_symbol
from chains.tron.abi_codec import decode_bytes, encode_address
from chains.tron.address import ZERO_ADDRESS
from chains.tron.rpc.http_service import TronService, layer
from chains.tron.rpc.provider_errors import is_busy
from chains.types import TokenMeta


class ContractCalls:
    """Asks contracts of one chain; `check` raises unless an endpoint was seen to serve it."""

    def __init__(self, service: TronService, *, check: Callable[[Endpoint], Awaitable[None]]) -> None:
        self._http = service
        self._check = check

    async def token_balance(self, endpoint: Endpoint, token: str, holder: str, *, solid: bool) -> int | None:
        """Return what a token says somebody holds; None when it says nothing readable."""
        parameter = (await encode_address(holder)).hex()
        word = await self._constant(endpoint, token, "balanceOf(address)", parameter, solid=solid)
        return int.from_bytes(word, "big") if word is not None and len(word) == len(parameter) // 2 else None

    async def token(self, endpoint: Endpoint, address: str) -> TokenMeta | None:
        """Ask a token contract what it is; None when there is none or what it says cannot be read."""
        decimals = await self._constant(endpoint, address, "decimals()", any_layer=True)
        symbol = await self._constant(endpoint, address, "symbol()", any_layer=True)
        meta = TokenMeta(
            symbol=None if symbol is None else await _symbol(symbol),
            decimals=None if decimals is None else read_decimals(decimals),
        )
        return None if meta == TokenMeta(None, None) else meta

    async def _constant(
        self,
        endpoint: Endpoint,
        contract: str,
        selector: str,
        parameter: str = "",
        *,
        solid: bool = True,
        any_layer: bool = False,
    ) -> bytes | None:
        """Return what a contract's view function answers; None when it does not answer readably."""
        await self._check(endpoint)
        question = {
            "owner_address": ZERO_ADDRESS,
            "contract_address": contract,
            "function_selector": selector,
            "parameter": parameter,
            "visible": True,
        }
        try:
            raw = await self._http.post(endpoint, layer("triggerconstantcontract", solid=solid), question)
        except Unserved:
            if not any_layer:
                raise
            raw = await self._http.post(endpoint, layer("triggerconstantcontract", solid=False), question)
        if not isinstance(raw, dict) or not isinstance(raw.get("result"), dict):
            raise ChainProtocolError(f"triggerconstantcontract answered {endpoint.redact(repr(raw))}")
        outcome = raw["result"]
        if outcome.get("result") is not True:
            _check_halted(endpoint, outcome)
            return None
        results = raw.get("constant_result")
        if "message" in outcome or not isinstance(results, list) or not results or not isinstance(results[0], str):
            return None
        try:
            return bytes.fromhex(results[0]) or None
        except ValueError:
            raise ChainProtocolError("triggerconstantcontract did not answer in hex") from None


async def _symbol(answer: bytes) -> str | None:
    if not is_unusual(answer):
        return read_symbol(answer)
    text = await decode_bytes(answer)
    return None if text is None else decoded(text)


def _check_halted(endpoint: Endpoint, outcome: dict[str, Any]) -> None:
    """Return when the contract is what refused; raise when it was the node."""
    code, message = str(outcome.get("code")), str(outcome.get("message", ""))
    if code in {"CONTRACT_VALIDATE_ERROR", "CONTRACT_EXE_ERROR"} and not is_busy(message):
        return
    raise ChainUnavailable(f"the node cannot answer now: {endpoint.redact(f'{code} {message}')}")
