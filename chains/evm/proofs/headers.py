"""Headers from the head down, each named by the one above it: which block the head that depth is counted from has."""

from __future__ import annotations

from typing import Any

from chains.errors import ChainProtocolError, ChainUnavailable
from chains.evm.blocks import block_call, not_held
from chains.evm.proofs.encoding import encoded_header
from chains.evm.rpc.client import RpcClient
from chains.evm.values import hash_text
from chains.rpc.endpoint import Endpoint
from chains.types import Head

HEADERS_PER_BATCH = 50
MAX_HEADERS = 2_000  # read in one go; the rest is read in the next polls
MAX_KEPT = 200_000  # hashes: more than any number of confirmations that can be asked for


class HeaderChain:
    """The hashes of the blocks below a head, as its own hash names them."""

    def __init__(self, client: RpcClient) -> None:
        self._client = client
        self._hashes: dict[int, str] = {}  # of blocks in a row, the highest first

    async def hash_at(self, endpoint: Endpoint, number: int, head: Head) -> str | None:
        """
        Return the hash of a block, linked to the head by the headers between them.

        None when there are so many between that the rest is read later.

        Raises:
            ChainUnavailable: the head's own hash is not known, or the endpoint lacks a block.
            ChainProtocolError: a header is another one than the one that is named.
        """
        if head.block_hash is None or number > head.position:
            raise ChainUnavailable(f"block {number} is not below a head whose hash is known")
        linked = {head.position: head.block_hash}
        lowest, read = head.position, 0
        while lowest > number:
            if self._hashes.get(lowest) == linked[lowest] and lowest - 1 in self._hashes:
                linked |= {at: known for at, known in self._hashes.items() if at < lowest}
                lowest = min(linked)
                continue
            if read >= MAX_HEADERS:
                self._keep(linked)
                return None
            first = max(number, lowest - HEADERS_PER_BATCH, self._known_below(lowest)) + 1
            await self._link(endpoint, linked, first, lowest)
            read += lowest - first + 1
            lowest = first - 1
        self._keep(linked)
        return linked[number]

    def _known_below(self, number: int) -> int:
        """Return the newest block that is linked already; after a fork nothing is."""
        newest = max(self._hashes, default=-1)
        return newest if newest < number else -1

    def _keep(self, linked: dict[int, str]) -> None:
        self._hashes = dict(sorted(linked.items(), reverse=True)[:MAX_KEPT])

    async def _link(self, endpoint: Endpoint, linked: dict[int, str], first: int, last: int) -> None:
        """Add the parents of the blocks from `last` down to `first`."""
        numbers = range(last, first - 1, -1)
        answers = await self._client.batch(endpoint, [block_call(number) for number in numbers])
        for number, answer in zip(numbers, answers, strict=True):
            told = header_of(answer.get(), number)
            encoded_header(told, linked[number])
            linked[number - 1] = hash_text(told.get("parentHash"))


def header_of(raw: object, number: int) -> dict[str, Any]:
    """Return what a node tells of a block."""
    if raw is None:
        raise not_held(number)
    if not isinstance(raw, dict):
        raise ChainProtocolError(f"not a block: {repr(raw)[:60]}")
    return raw
