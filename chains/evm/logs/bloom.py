"""
Logs an endpoint keeps back: a block's own bloom filter says that the proxy's event may be there.

The filter is part of the block's hash and errs on one side only: it may say yes for nothing, never no for
something (Ethereum Yellow Paper, section 4.4.1). So a yes without an event is a question for another endpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

from addresses.keccak import keccak
from chains.errors import ChainError, ChainProtocolError, ChainUnavailable
from chains.evm.blocks import Block, block_call, not_held, parse_block
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.evm.rpc.client import RpcClient
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool
from chains.rpc.jsonrpc_messages import Call
from chains.rpc.quantities import quantity
from chains.types import ScanPage

MAX_BLOCKS = 50  # headers in one batch
BLOOM_BYTES = 256


def may_hold(bloom: bytes, item: bytes) -> bool:
    """Say whether a bloom filter of 2048 bits may hold an item: an address, or a topic."""
    digest = keccak(item)
    for pair in (0, 2, 4):
        bit = int.from_bytes(digest[pair : pair + 2], "big") & 2047
        if not bloom[BLOOM_BYTES - 1 - bit // 8] >> (bit % 8) & 1:
            return False
    return True


def bits_of(item: bytes) -> int:
    """Return the bits that an item sets in a filter, read as one number."""
    digest = keccak(item)
    return sum({1 << (int.from_bytes(digest[pair : pair + 2], "big") & 2047) for pair in (0, 2, 4)})


class BloomCheck:
    """Asks a second endpoint about blocks whose filter contradicts what the first one showed."""

    def __init__(self, client: RpcClient, pool: EndpointPool, *, proxy: str) -> None:
        self._client = client
        self._pool = pool
        self._proxy = proxy
        self._items = (bytes.fromhex(proxy[2:]), bytes.fromhex(EVENT_TOPIC[2:]))

    async def check(self, endpoint: Endpoint, page: ScanPage, first: int) -> None:
        """
        Accept what an endpoint showed of the blocks from `first` to the page's end.

        Raises:
            ChainProtocolError: another endpoint shows events it kept back.
            ChainUnavailable: nobody else can tell.
        """
        seen = {transfer.block_number for transfer in page.transfers if transfer.reference}
        seen |= {log.position for log in page.unread}  # shown, if not in a way that can be read
        numbers = [number for number in range(first, page.cursor.position + 1) if number not in seen]
        suspects = await self._suspects(endpoint, numbers)
        if not suspects:
            return
        doubtful = sorted(suspects.values(), key=lambda block: block.number)
        other, shown = await self._second_opinion(endpoint, doubtful[0], doubtful[-1])
        kept_back = sorted(suspects.keys() & shown)
        if kept_back:
            raise ChainProtocolError(f"keeps back events of block {kept_back[0]} that {other.label} shows")

    async def _second_opinion(self, endpoint: Endpoint, first: Block, last: Block) -> tuple[Endpoint, set[int]]:
        """Return the blocks in which somebody else shows events, and who it is: the first who can tell."""
        whys = []
        for other in self._pool.others(endpoint):
            try:
                return other, await self._events(other, first, last)
            except ChainError as exc:
                whys.append(str(exc))
        raise ChainUnavailable("; ".join(whys))

    async def _suspects(self, endpoint: Endpoint, numbers: Sequence[int]) -> dict[int, Block]:
        found = {}
        for start in range(0, len(numbers), MAX_BLOCKS):
            chunk = numbers[start : start + MAX_BLOCKS]
            calls: list[Call] = [block_call(number) for number in chunk]
            answers = await self._client.batch(endpoint, calls)
            for number, answer in zip(chunk, answers, strict=True):
                raw = answer.get()
                block, bloom = parse_block(raw, number), _bloom(raw, number)
                if block is not None and all(may_hold(bloom, item) for item in self._items):
                    found[number] = block
        return found

    async def _events(self, endpoint: Endpoint, first: Block, last: Block) -> set[int]:
        wanted = {
            "address": self._proxy,
            "topics": [EVENT_TOPIC],
            "fromBlock": hex(first.number),
            "toBlock": hex(last.number),
        }
        calls: list[Call] = [block_call(last.number), ("eth_getLogs", (wanted,))]
        end, logs = await self._client.batch(endpoint, calls)
        asked = f"{endpoint.label}, asked for a second opinion,"
        try:
            held = parse_block(end.get(), last.number)
        except ChainProtocolError as exc:
            raise ChainUnavailable(f"{asked} does not show block {last.number}: {exc}") from exc
        if held is None:
            raise ChainUnavailable(f"{asked} does not hold block {last.number} yet")
        # Whoever holds another block there shows no events of this one, and none of them is kept back.
        if held.hash != last.hash:
            raise ChainUnavailable(f"{asked} holds another block {last.number}")
        return {quantity(log.blockNumber) for log in logs.logs()}


def _bloom(raw: object, number: int) -> bytes:
    if not isinstance(raw, dict) or quantity(raw.get("number")) != number:
        raise not_held(number)
    text = raw.get("logsBloom")
    try:
        bloom = bytes.fromhex(text[2:]) if isinstance(text, str) else b""
    except ValueError:
        bloom = b""
    if len(bloom) != BLOOM_BYTES:
        raise ChainProtocolError(f"block {number} comes without a bloom filter")
    return bloom
