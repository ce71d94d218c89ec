"""Whether a sender is a plain account or a contract, asked of a node (EVM)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

import aiohttp
import orjson

from marketplace.catalog import Chain

_HEX = re.compile(r"0x[0-9a-f]*")
_DELEGATED = "0xef0100"  # EIP-7702: a plain account that lends itself a contract's code


class SenderCheck(Protocol):
    """Tells contracts from people."""

    async def is_contract(self, chain: Chain, address: str) -> bool | None:
        """Return whether an account is a contract; None when that cannot be told now. Never raises."""


class ContractSenderCheck:
    """Asks the chain's first endpoint for the code of an account."""

    def __init__(self, session: aiohttp.ClientSession, rpc_urls: Mapping[str, str], *, timeout_s: float = 5) -> None:
        self._session = session
        self._rpc_urls = rpc_urls
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def is_contract(self, chain: Chain, address: str) -> bool | None:
        if chain.chain_type != "evm":
            return False  # TON knows nothing but contracts, and Tron's node API has no such call
        url = self._rpc_urls.get(chain.rpc_env or "") or next(iter(chain.rpc_urls), None)
        if url is None:
            return None
        code = await self._code(url, address)
        if code is None:
            return None
        return code not in {"0x", "0x0"} and not code.startswith(_DELEGATED)

    async def _code(self, url: str, address: str) -> str | None:
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_getCode", "params": [address, "latest"]}
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                url, data=orjson.dumps(body), headers=headers, timeout=self._timeout
            ) as response:
                answer = orjson.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            return None  # the gate holds what nobody could tell
        code = answer.get("result") if isinstance(answer, dict) else None
        return code if isinstance(code, str) and _HEX.fullmatch(code) else None
