"""The client of one chain: JSON-RPC from `rpc`, and what a token contract says of itself."""

from __future__ import annotations

import re

from chains.evm.abi_codec import decode_bytes
from chains.evm.fee_proxy import selector
from chains.evm.rpc.client import RawResult, RpcClient, RpcRefused
from chains.evm.rpc.contract_failures import contract_failed
from chains.rpc.endpoint import Endpoint, Unserved
from chains.rpc.provider_errors import ErrorKind
from chains.token_metadata import MAX_ANSWER_BYTES, decoded, is_unusual, read_decimals, read_symbol
from chains.types import TokenMeta

DECIMALS, SYMBOL = selector("decimals()"), selector("symbol()")

_HEX = re.compile(r"0x[0-9a-fA-F]*")


class EvmClient(RpcClient):
    """Asks the endpoints of one chain, also about contracts."""

    async def token(self, endpoint: Endpoint, address: str) -> TokenMeta | None:
        """
        Ask a token contract what it is; None when there is none or nothing it says can be read.

        Raises:
            ChainError: the node could not answer, whatever the contract is.
        """
        calls = [("eth_call", ({"to": address, "data": data}, "latest")) for data in (DECIMALS, SYMBOL)]
        decimals, symbol = [_said(endpoint, answer) for answer in await self.batch(endpoint, calls)]
        meta = TokenMeta(
            symbol=None if symbol is None else await _symbol(symbol),
            decimals=None if decimals is None else read_decimals(decimals),
        )
        return None if meta == TokenMeta(None, None) else meta


async def _symbol(answer: bytes) -> str | None:
    if not is_unusual(answer):
        return read_symbol(answer)
    text = await decode_bytes(answer)
    return None if text is None else decoded(text)


def _said(endpoint: Endpoint, answer: RawResult) -> bytes | None:
    """Return what a contract answers; None when it does not answer readably."""
    error = answer.error
    if contract_failed(error):
        return None
    if isinstance(error, RpcRefused) and error.advice.kind not in {ErrorKind.RATE, ErrorKind.HEAD}:
        raise Unserved(str(error))  # perhaps the contract, perhaps the node: nobody rests for it
    value = answer.get()
    if not isinstance(value, str) or _HEX.fullmatch(value) is None:
        # As above: some nodes answer null where a contract gives nothing, and payments must not wait for that.
        raise Unserved(f"eth_call answered {endpoint.redact(repr(value)[:100])}")
    whole = len(value) % 2 == 0 and len(value) <= 2 + 2 * MAX_ANSWER_BYTES
    return bytes.fromhex(value[2:]) if whole else None
