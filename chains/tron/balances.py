"""Balances: a hundred a request where the newest state will do, one by one where it must be irreversible."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial

from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.fair_selection import FairSelector
from chains.rpc.concurrency import gather_individually, gather_limited, is_rate_limited
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_limits import MAX_CALLS
from chains.rpc.jsonrpc_messages import Call, RpcResult
from chains.tron.address import topic
from chains.tron.rpc.client import TronClient
from chains.tron.rpc.jsonrpc import RpcRefused, rpc_address
from chains.tron.rpc.provider_errors import ErrorKind
from chains.types import BalanceKey, Balances

BALANCE_OF = "70a08231"
FEW = 20  # accounts: read one by one, and again when a block came in between
TRIES_IN_ONE_BLOCK = 3
CALLS_A_ROUND = 50  # for the coin of many accounts: 50 in five minutes are a thirtieth of the rate without a key
MAX_KNOWN = 50_000

_WIDE = re.compile(r"0x[0-9a-fA-F]{1,64}")
_WORD = re.compile(r"0x[0-9a-fA-F]{64}")


class BalanceReader:
    """
    Reads balances.

    A node tells only its newest state by JSON-RPC, and only its newest irreversible state over the other
    routes; neither can be asked for a block. The position told is that of a block seen just before: every
    amount is of that block or one a moment younger.
    """

    def __init__(self, client: TronClient, *, packed: int, usable: Callable[[Endpoint], bool]) -> None:
        self._client = client
        self._usable = usable  # whether an endpoint's JSON-RPC is worth asking
        self._packed = max(1, min(packed, MAX_CALLS))
        self._coins: dict[str, int] = {}  # what accounts were last seen to hold for good
        self._selector = FairSelector()  # of accounts that are asked for one by one

    async def read(self, endpoint: Endpoint, holdings: Sequence[BalanceKey], *, confirmed: bool) -> Balances:
        """
        Read everything from one endpoint; a balance that a contract will not tell is None.

        Raises:
            ChainUnavailable: the endpoint fell behind meanwhile: what it told may be older than its position.
        """
        block = await self._client.newest(endpoint, solid=confirmed)
        tries = 1 if len(holdings) > FEW else TRIES_IN_ONE_BLOCK
        while True:
            amounts = await self._amounts(endpoint, holdings, confirmed=confirmed)
            tries -= 1
            # An account that never was is answered with `{}`, and so is everything by a gateway that has failed.
            now = await self._client.newest(endpoint, solid=confirmed)
            if now.number < block.number:
                raise ChainUnavailable("the endpoint fell behind while balances were read")
            # Of amounts younger than their position, the transfers behind them would be looked for too early.
            if now == block or tries == 0:
                return Balances(block.time_ms, block.time_ms // 1000, amounts)
            block = now

    async def _amounts(
        self, endpoint: Endpoint, holdings: Sequence[BalanceKey], *, confirmed: bool
    ) -> list[int | None]:
        if confirmed and len(holdings) > FEW and all(holding.token is None for holding in holdings):
            return await self._many_coins(endpoint, holdings)
        amounts = None if confirmed else await self._packed_amounts(endpoint, holdings)
        if amounts is not None:
            return amounts
        return await gather_limited(holdings, partial(self._amount, endpoint, solid=confirmed))

    async def _many_coins(self, endpoint: Endpoint, holdings: Sequence[BalanceKey]) -> list[int | None]:
        """
        Read the irreversible coin of many accounts, a bounded number of calls at a time.

        An account costs a call. The newest balances come a hundred a request: what has not changed since it
        was irreversible, or is nothing, is told from them, and only the others are asked for, in turns. Those left
        for the next time are None.
        """
        newest = await self._newest_coins(endpoint, holdings)
        amounts: list[int | None] = [None] * len(holdings)
        changed: list[int] = []
        for place, holding in enumerate(holdings):
            now, known = newest[place], self._coins.get(holding.holder, 0)
            if now is not None and now == known:
                amounts[place] = now
            else:
                changed.append(place)
        chosen = self._selector.select(changed, CALLS_A_ROUND, key=lambda place: holdings[place].holder)
        ask, alive = partial(self._solid_coin, endpoint, holdings), partial(self._client.newest, endpoint)
        for place, answer in zip(chosen, await gather_individually(chosen, ask, alive=alive), strict=True):
            amounts[place] = None if isinstance(answer, ChainError) else answer
        return amounts

    async def _newest_coins(self, endpoint: Endpoint, holdings: Sequence[BalanceKey]) -> Sequence[int | None]:
        """Return the newest balances; None for all where the endpoint does not tell many at once."""
        try:
            found = await self._packed_amounts(endpoint, holdings)
        except ChainError as exc:
            if is_rate_limited(exc):
                raise
            found = None
        return found or [None] * len(holdings)

    async def _solid_coin(self, endpoint: Endpoint, holdings: Sequence[BalanceKey], place: int) -> int:
        holder = holdings[place].holder
        amount = await self._client.coins(endpoint, holder, solid=True)
        self._coins.pop(holder, None)
        self._coins[holder] = amount
        while len(self._coins) > MAX_KNOWN:
            del self._coins[next(iter(self._coins))]
        return amount

    async def _amount(self, endpoint: Endpoint, holding: BalanceKey, *, solid: bool) -> int | None:
        if holding.token is None:
            return await self._client.coins(endpoint, holding.holder, solid=solid)
        return await self._client.contracts.token_balance(endpoint, holding.token, holding.holder, solid=solid)

    async def _packed_amounts(self, endpoint: Endpoint, holdings: Sequence[BalanceKey]) -> list[int | None] | None:
        """Read many in a request; None when the endpoint does not serve that."""
        if not self._usable(endpoint):
            return None
        found: list[int | None] = []
        try:
            for start in range(0, len(holdings), self._packed):
                pack = holdings[start : start + self._packed]
                answers = await self._client.rpc(endpoint, [_call(holding) for holding in pack])
                found += [_amount(answer, holding) for answer, holding in zip(answers, pack, strict=True)]
        except ChainMisconfigured:  # of JSON-RPC alone: the endpoint was just seen to serve other calls
            return None
        return found


def _call(holding: BalanceKey) -> Call:
    holder, token = holding
    if token is None:
        return "eth_getBalance", (rpc_address(holder), "latest")
    return "eth_call", ({"to": rpc_address(token), "data": f"0x{BALANCE_OF}{topic(holder)}"}, "latest")


def _amount(answer: RpcResult, holding: BalanceKey) -> int | None:
    """Return one balance; a contract that refuses is None, a node that refuses is an error."""
    refused = isinstance(answer.error, RpcRefused) and answer.error.advice.kind is ErrorKind.OTHER
    if refused and holding.token is not None:
        return None
    value = answer.get()
    if holding.token is None:
        if not isinstance(value, str) or _WIDE.fullmatch(value) is None:
            raise ChainProtocolError("eth_getBalance did not answer with a balance")
        return int(value, 16)
    return int(value, 16) if isinstance(value, str) and _WORD.fullmatch(value) else None
