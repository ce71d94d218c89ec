"""The client of one chain: raw JSON-RPC from `rpc`, and contract calls through web3, which only this file imports."""

from __future__ import annotations

from typing import Any, cast

import aiohttp
from eth_abi.exceptions import DecodingError
from eth_typing import ChecksumAddress
from web3 import AsyncWeb3
from web3 import exceptions as web3_errors
from web3.providers.async_base import AsyncBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from chains.endpoints import Endpoint
from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable, InvalidAddress
from chains.evm.address import show_address
from chains.evm.refusals import Refusal
from chains.evm.rpc import RpcClient, RpcRefused, TimedOut, translate_transport
from chains.transport import HttpClient
from chains.types import TokenMeta

MAX_SYMBOL = 64
_HALTED = ("revert", "opcode", "out of gas", "vm execution", "vm exception", "invalid jump", "stack")


def _view(name: str, kind: str) -> list[dict[str, Any]]:
    output = {"name": "", "type": kind}
    return [{"type": "function", "name": name, "stateMutability": "view", "inputs": [], "outputs": [output]}]


DECIMALS_ABI = _view("decimals", "uint8")
SYMBOL_ABI = _view("symbol", "string")
OLD_SYMBOL_ABI = _view("symbol", "bytes32")  # tokens older than the standard


class EvmClient(RpcClient):
    """Asks the endpoints of one chain, also about contracts."""

    def __init__(self, http: HttpClient, **options: Any) -> None:
        super().__init__(http, **options)
        self._web3: dict[Endpoint, AsyncWeb3[Any]] = {}

    async def token(self, endpoint: Endpoint, address: str) -> TokenMeta | None:
        """Ask a token contract what it is; None when there is none or what it says cannot be read."""
        decimals = await self._view_call(endpoint, address, DECIMALS_ABI)
        if decimals is None:
            return None
        symbol = await self._view_call(endpoint, address, SYMBOL_ABI)
        if symbol is None:
            symbol = await self._view_call(endpoint, address, OLD_SYMBOL_ABI)
        text = _symbol_text(symbol)
        return None if text is None else TokenMeta(symbol=text, decimals=int(decimals))

    async def _view_call(self, endpoint: Endpoint, address: str, abi: list[dict[str, Any]]) -> Any:
        """Return what a contract's view function answers; None when it does not answer readably."""
        web3 = self._web3.get(endpoint)
        if web3 is None:
            web3 = self._web3[endpoint] = AsyncWeb3(_Provider(self, endpoint), middleware=[], ens=None)
        contract = web3.eth.contract(address=cast("ChecksumAddress", show_address(address)), abi=abi)
        try:
            # Following an off-chain look-up would let a foreign contract choose whom we call.
            return await contract.functions[abi[0]["name"]]().call(ccip_read_enabled=False)
        except (web3_errors.ContractLogicError, web3_errors.BadFunctionCallOutput):
            return None
        except web3_errors.Web3RPCError as exc:
            if any(word in str(exc).lower() for word in _HALTED):
                return None
            raise translate(exc) from None
        except FOREIGN as exc:
            raise translate(exc) from None


class _Provider(AsyncBaseProvider):
    """Lets web3 ask one endpoint through the session and the checks of `EvmClient`."""

    def __init__(self, client: EvmClient, endpoint: Endpoint) -> None:
        super().__init__()
        self.global_ccip_read_enabled = False
        self._client = client
        self._endpoint = endpoint

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        (result,) = await self._client.batch(self._endpoint, [(method, params)])
        response: dict[str, Any] = {"jsonrpc": "2.0", "id": 0}
        if result.error is None:
            value = result.get()
            if not isinstance(value, str):  # web3 does not check what it decodes
                raise ChainProtocolError(f"{method} answered {self._endpoint.quote(repr(value))}")
            return cast("RPCResponse", response | {"result": value})
        if isinstance(result.error, RpcRefused) and result.error.verdict.refusal is Refusal.OTHER:
            return cast("RPCResponse", response | {"error": {"code": -32000, "message": str(result.error)}})
        raise result.error


def _symbol_text(symbol: object) -> str | None:
    """Return a printable symbol; None when there is nothing to print."""
    if isinstance(symbol, bytes):
        try:
            symbol = symbol.rstrip(b"\0").decode()
        except UnicodeDecodeError:
            return None
    if not isinstance(symbol, str):
        return None
    text = "".join(char for char in symbol if char.isprintable()).strip()
    return text[:MAX_SYMBOL] or None


FOREIGN = (web3_errors.Web3Exception, DecodingError, aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""Everything a contract call may raise, besides what is ours already."""

_TABLE: tuple[tuple[tuple[type[Exception], ...], type[ChainError], str], ...] = (
    ((web3_errors.RequestTimedOut, web3_errors.TimeExhausted), TimedOut, "no answer in time"),
    (
        (
            web3_errors.TooManyRequests,
            web3_errors.ProviderConnectionError,
            web3_errors.PersistentConnectionError,
            web3_errors.CannotHandleRequest,
            web3_errors.StaleBlockchain,
            web3_errors.BlockNotFound,
            web3_errors.TransactionNotFound,
            web3_errors.TransactionIndexingInProgress,
            web3_errors.TaskNotRunning,
        ),
        ChainUnavailable,
        "the node cannot answer now",
    ),
    (
        (
            web3_errors.MethodUnavailable,
            web3_errors.MethodNotSupported,
            web3_errors.InfuraProjectIdNotFound,
        ),
        ChainMisconfigured,
        "the node does not serve this method",
    ),
    ((web3_errors.InvalidAddress,), InvalidAddress, "not an address of this chain"),
    ((web3_errors.Web3Exception, DecodingError), ChainProtocolError, "the answer makes no sense"),
)


def translate(error: Exception) -> ChainError:
    """
    Return our error for one of `FOREIGN`.

    Its own text stays out of the message, for it may quote the URL and the key within.
    """
    if isinstance(error, ChainError):
        return error
    for foreign, ours, what in _TABLE:
        if isinstance(error, foreign):
            return ours(f"{what} ({type(error).__name__})")
    return translate_transport(error)
