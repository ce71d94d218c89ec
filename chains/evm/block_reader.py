"""Blocks of one endpoint: its head, block hashes and times, and which known blocks are still canonical."""

from __future__ import annotations

from collections.abc import Sequence

from chains.errors import (
    ChainProtocolError,
    ChainUnavailable,
)
from chains.evm.blocks import Block, block_call, not_held, parse_block, parse_code
from chains.evm.rpc.client import RawResult, RpcClient, RpcRefused
from chains.heads.head_track import ObservedHead
from chains.rpc.endpoint import Endpoint, Unserved
from chains.rpc.http_client import CutOff, Overasked
from chains.rpc.jsonrpc_messages import Call
from chains.rpc.provider_errors import ErrorKind
from chains.rpc.quantities import quantity
from chains.types import (
    Cursor,
    Fork,
    Head,
    ScanPage,
)

MAX_CALLS = 50  # in one batch


class BlockReader:
    """Asks one endpoint at a time about blocks; with `wants_final` also which of them is finalized."""

    def __init__(self, client: RpcClient, *, wants_final: bool) -> None:
        self._client = client
        self._wants_final = wants_final

    async def head(self, endpoint: Endpoint) -> ObservedHead:
        """
        Return the newest block of an endpoint, and the newest final one where finality counts.

        Raises:
            ChainError: it has no readable newest block.
        """
        return self.read_head(await self._client.batch(endpoint, self.head_calls()))

    def head_calls(self) -> list[Call]:
        """Return the calls for the head of an endpoint."""
        return [block_call("latest"), *([block_call("finalized")] if self._wants_final else [])]

    def read_head(self, answers: Sequence[RawResult]) -> ObservedHead:
        """
        Read the answers to `head_calls`.

        Raises:
            ChainError: they show no readable newest block.
        """
        latest, *rest = answers
        block = parse_block(latest.get())
        if block is None:
            raise ChainUnavailable("the node has no latest block")
        final = finalized_block(rest[0]) if rest else None
        finalized = None if final is None else min(final.number, block.number)
        return ObservedHead.of(Head(block.number, block.hash, block.time, finalized))

    async def hash_at(self, endpoint: Endpoint, position: int) -> tuple[str, int] | None:
        """Return hash and time of a block; None when the endpoint does not hold it."""
        (answer,) = await self._client.batch(endpoint, [block_call(position)])
        block = parse_block(answer.get(), position)
        return None if block is None else (block.hash, block.time)

    async def check_cursor(self, endpoint: Endpoint, *, after: Cursor) -> ScanPage | Fork:
        """
        Return an empty page when the block at a cursor is still canonical, else the fork.

        Raises:
            ChainUnavailable: the endpoint does not hold the block yet.
        """
        (answer,) = await self._client.batch(endpoint, [block_call(after.position)])
        block = parse_block(answer.get(), after.position)
        if block is None:
            raise not_held(after.position)
        return ScanPage([], after, time=block.time, rows_read=0) if block.hash == after.block_hash else Fork(after)

    async def newest_until(self, endpoint: Endpoint, *, time: int, head: int) -> int:
        """
        Return the newest block that is not younger than this; 0 when all are.

        From the head downwards, in strides that double: nodes forget old headers, and the moment is seldom far back.
        """
        low, high, stride = max(0, head - 1), head, 1  # everything above `high` is younger
        while low > 0 and await self._time_of(endpoint, low) > time:
            stride *= 2
            low, high = max(0, low - stride), low - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (low, middle - 1) if await self._time_of(endpoint, middle) > time else (middle, high)
        return low

    async def _time_of(self, endpoint: Endpoint, number: int) -> int:
        (answer,) = await self._client.batch(endpoint, [block_call(number)])
        block = parse_block(answer.get(), number)
        if block is None:
            raise not_held(number)
        return block.time

    async def latest_canonical(self, endpoint: Endpoint, *, known_blocks: Sequence[Cursor]) -> Cursor | None:
        """
        Return the newest of some known blocks (newest first) that is still canonical; None when none is.

        Raises:
            ChainUnavailable: the endpoint lags behind the newest of them: that is not a fork.
        """
        hidden = False  # the newest known blocks lie above what this node holds
        for start in range(0, len(known_blocks), MAX_CALLS - 1):
            chunk = known_blocks[start : start + MAX_CALLS - 1]
            calls: list[Call] = [("eth_blockNumber", ()), *(block_call(known.position) for known in chunk)]
            tip, *answers = await self._client.batch(endpoint, calls)
            top = quantity(tip.get())
            for known, answer in zip(chunk, answers, strict=True):
                block = parse_block(answer.get(), known.position)
                if block is None and known.position <= top:
                    raise ChainProtocolError(f"the node is at block {top} and does not hold block {known.position}")
                if block is None:
                    hidden = True
                elif block.hash != known.block_hash:
                    hidden = False  # a real fork: what lay above it is gone as well
                elif hidden:
                    raise not_held(known_blocks[0].position)  # merely late: nothing is known to be orphaned
                else:
                    return known
        if hidden:
            raise not_held(known_blocks[0].position)
        # A load balancer once sent one question to a node of another chain: nothing of ours is canonical there.
        await self._client.check_chain(endpoint)
        return None

    async def replaced(self, endpoint: Endpoint, *, known_blocks: Sequence[Cursor], tip: Cursor) -> set[Cursor]:
        """
        Return which of some known blocks this node has others for.

        `tip` is asked for in each request: of two nodes behind one address, one may never have heard of a fork.

        Raises:
            ChainUnavailable: it does not hold all of these heights, or is on another branch than `tip`.
        """
        found: set[Cursor] = set()
        for start in range(0, len(known_blocks), MAX_CALLS - 1):
            chunk = known_blocks[start : start + MAX_CALLS - 1]
            calls = [block_call(each.position) for each in (tip, *chunk)]
            newest, *answers = await self._client.batch(endpoint, calls)
            end = parse_block(newest.get(), tip.position)
            if end is None:
                raise not_held(tip.position)
            if tip.block_hash not in {None, end.hash}:
                raise ChainUnavailable(f"the node has another block {tip.position} than was read")
            for known, answer in zip(chunk, answers, strict=True):
                block = parse_block(answer.get(), known.position)
                if block is None:
                    raise not_held(known.position)
                if block.hash != known.block_hash:
                    found.add(known)
        if len(found) == len(known_blocks):
            await self._client.check_chain(endpoint)  # on another chain nothing of ours is canonical
        return found

    async def code_at(self, endpoint: Endpoint, *, address: str) -> str:
        """Return the code deployed at an address, 0x where there is none."""
        (answer,) = await self._client.batch(endpoint, [("eth_getCode", (address, "latest"))])
        return parse_code(answer.get())


def finalized_block(answer: RawResult) -> Block | None:
    """Return the finalized block; None from a node that cannot tell, in whatever words, or while there is none yet."""
    busy = isinstance(answer.error, RpcRefused) and answer.error.advice.kind is ErrorKind.RATE
    if isinstance(answer.error, RpcRefused | Unserved | Overasked | CutOff) and not busy:
        return None  # erigon said "Unknown block" (-39001) for ever, others do not know the tag
    try:
        return parse_block(answer.get())
    except ChainProtocolError:
        return None  # a block that is none tells as little, and its endpoint serves everything else
