"""Balances of one chain at one block, in as few requests as its endpoints allow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TypeVar

from chains.errors import ChainProtocolError, ChainUnavailable
from chains.evm import multicall
from chains.evm.blocks import Block, block_call, parse_block, parse_code
from chains.evm.rpc.client import RawResult, RpcClient, RpcRefused
from chains.evm.rpc.contract_failures import contract_failed
from chains.rpc.endpoint import Endpoint
from chains.rpc.jsonrpc_messages import Call
from chains.rpc.provider_errors import ErrorKind
from chains.types import BalanceKey, Balances

CALLS_PER_REQUEST = 40

T = TypeVar("T")

_WIDE = re.compile(r"0x[0-9a-fA-F]{1,64}")  # the coin of an account does not fit 64 bits
_WORD = re.compile(r"0x[0-9a-fA-F]{64}")


class BalanceReader:
    """Reads through Multicall3 where it is deployed, with one call a balance elsewhere."""

    def __init__(self, client: RpcClient, *, packed: int) -> None:
        self._client = client
        self._packed = packed  # balances in one aggregate call
        self._aggregates: dict[Endpoint, bool] = {}

    async def read(self, endpoint: Endpoint, holdings: Sequence[BalanceKey], *, below_head: int) -> Balances:
        """
        Read everything at one block of one endpoint.

        Raises:
            ChainUnavailable: the endpoint has not got the block, or its state.
        """
        block = await self._block(endpoint, below_head)
        if await self._aggregating(endpoint):
            amounts = await self._aggregated(endpoint, holdings, block)
        else:
            amounts = await self._single(endpoint, holdings, block)
        await self._still_there(endpoint, block)
        return Balances(block.number, block.time, amounts)

    async def _block(self, endpoint: Endpoint, below_head: int) -> Block:
        (answer,) = await self._client.batch(endpoint, [block_call("latest")])
        block = parse_block(answer.get())
        if block is not None and below_head:
            number = max(0, block.number - below_head)
            (answer,) = await self._client.batch(endpoint, [block_call(number)])
            block = parse_block(answer.get(), number)
        if block is None:
            raise ChainUnavailable("the node does not hold the block to read at")
        return block

    async def _aggregating(self, endpoint: Endpoint) -> bool:
        if endpoint not in self._aggregates:
            (answer,) = await self._client.batch(endpoint, [("eth_getCode", (multicall.ADDRESS, "latest"))])
            self._aggregates[endpoint] = parse_code(answer.get()) not in {"0x", "0x0"}
        return self._aggregates[endpoint]

    async def _aggregated(self, endpoint: Endpoint, holdings: Sequence[BalanceKey], block: Block) -> list[int | None]:
        packs = list(_chunks(holdings, self._packed))
        calls = [_call(multicall.ADDRESS, multicall.aggregate(pack), block) for pack in packs]
        found: list[int | None] = []
        answers = await self._ask(endpoint, calls)
        for pack, answer in zip(packs, answers, strict=True):
            if _refused(answer):  # one greedy contract used up the call's gas: ask for these one by one
                found += await self._single(endpoint, pack, block)
            else:
                found += multicall.amounts(answer.get(), len(pack))
        return found

    async def _single(self, endpoint: Endpoint, holdings: Sequence[BalanceKey], block: Block) -> list[int | None]:
        calls: list[Call] = []
        for holder, token in holdings:
            if token is None:
                calls.append(("eth_getBalance", (holder, hex(block.number))))
            else:
                calls.append(_call(token, f"0x{multicall.balance_call(holder).hex()}", block))
        answers = await self._ask(endpoint, calls)
        return [_amount(answer, holding) for answer, holding in zip(answers, holdings, strict=True)]

    async def _ask(self, endpoint: Endpoint, calls: Sequence[Call]) -> list[RawResult]:
        found: list[RawResult] = []
        for chunk in _chunks(calls, CALLS_PER_REQUEST):
            found += await self._client.batch(endpoint, chunk)
        return found

    async def _still_there(self, endpoint: Endpoint, block: Block) -> None:
        """Two requests may have met two states of the chain: then neither is told."""
        (answer,) = await self._client.batch(endpoint, [block_call(block.number)])
        now = parse_block(answer.get(), block.number)
        if now is None or now.hash != block.hash:
            raise ChainUnavailable("the block to read at changed meanwhile")


def _call(to: str, data: str, block: Block) -> Call:
    return "eth_call", ({"to": to, "data": data}, hex(block.number))


def _refused(answer: RawResult) -> bool:
    other = isinstance(answer.error, RpcRefused) and answer.error.advice.kind is ErrorKind.OTHER
    return other or contract_failed(answer.error)


def _amount(answer: RawResult, holding: BalanceKey) -> int | None:
    """Return one balance; a contract that refuses is None, a node that refuses is an error."""
    if _refused(answer):
        return None
    value = answer.get()
    if holding.token is None:
        if not isinstance(value, str) or _WIDE.fullmatch(value) is None:
            raise ChainProtocolError("eth_getBalance did not answer with a balance")
        return int(value, 16)
    if not isinstance(value, str) or _WORD.fullmatch(value) is None:
        return None
    return int(value, 16)


def _chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
