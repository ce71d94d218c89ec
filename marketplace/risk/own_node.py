"""The marketplace's own node: the hashes of blocks, asked of nobody that the scanner asks (EVM)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import aiohttp
import orjson

from marketplace.catalog import Chain

MAX_ANSWER_BYTES = 4 * 2**20  # a block lists the hashes of its transactions
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,14}")


class NodeSilent(Exception):
    """The node cannot tell now, and may later; the message says why, without its URL."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """What the node holds."""

    head: int
    hashes: Mapping[int, str | None]  # by number; None: it holds no such block


class OwnNode:
    """Asks the first endpoint of `RPC_…` of a chain, and none of the registry: those may be the scanner's."""

    def __init__(self, session: aiohttp.ClientSession, rpc_urls: Mapping[str, str], *, timeout_s: float = 5) -> None:
        self._session = session
        self._rpc_urls = rpc_urls
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def blocks(self, chain: Chain, numbers: Collection[int]) -> Blocks:
        """
        Return the newest block and the hashes of some, after the node was seen to serve this chain.

        Raises:
            NodeSilent: it cannot be asked, or what it says makes no sense.
        """
        url = self._rpc_urls.get(chain.rpc_env or "")
        if url is None:
            raise NodeSilent(f"{chain.rpc_env or 'RPC_…'} is not set: there is no node of our own to ask")
        served = _number(await self._ask(url, "eth_chainId", []))
        if served != chain.chain_id:
            raise NodeSilent(f"our own node serves chain {served}, not chain {chain.chain_id}")
        head = _number(await self._ask(url, "eth_blockNumber", []))
        hashes: dict[int, str | None] = {}
        for number in sorted(numbers):
            hashes[number] = _hash(await self._ask(url, "eth_getBlockByNumber", [hex(number), False]), number)
        return Blocks(head, hashes)

    async def _ask(self, url: str, method: str, params: list[object]) -> object:
        body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                url, data=body, headers=headers, timeout=self._timeout, allow_redirects=False
            ) as response:
                answer = orjson.loads(await _read(response))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as exc:
            raise NodeSilent(f"our own node cannot be asked ({type(exc).__name__})") from None  # it may quote the URL
        if not isinstance(answer, dict) or answer.get("error") is not None or "result" not in answer:
            raise NodeSilent(f"our own node does not answer {method}")
        return answer["result"]


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise ValueError("the answer is too large")
    return bytes(body)


def _number(value: object) -> int:
    if not isinstance(value, str) or _NUMBER.fullmatch(value) is None:
        raise NodeSilent("our own node answers with what is no number")
    return int(value, 16)


def _hash(block: object, number: int) -> str | None:
    if block is None:
        return None
    told = block.get("hash") if isinstance(block, dict) else None
    if not isinstance(block, dict) or not isinstance(told, str) or _HASH.fullmatch(told) is None:
        raise NodeSilent(f"our own node shows no block {number} that can be read")
    if _number(block.get("number")) != number:
        raise NodeSilent(f"our own node shows another block than {number}")
    return told.lower()
