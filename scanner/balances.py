"""Read a balance now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chains.errors import ChainError
from chains.types import Holding
from scanner.clock import Clock
from scanner.tokens import TokenBook, parse_address
from scanner.worker import ChainWorker


class BalanceUnreadable(Exception):
    """The chain could not be asked, or did not answer with a balance: never a balance of zero."""


@dataclass(frozen=True, slots=True)
class BalanceRequest:
    """Whose balance of what, as the caller wrote it."""

    chain_id: int
    address: str
    token_field: str
    token: str
    confirmed: bool = False  # deep enough that a reorganisation does not undo it, instead of the newest block


@dataclass(frozen=True, slots=True)
class BalanceAnswer:
    """One balance at one block; `token_address` None is the chain's own coin."""

    chain_id: int
    chain_type: str
    address: str
    token_address: str | None
    token_symbol: str | None
    decimals: int | None
    balance: int
    block_number: int
    checked_at: int  # unix ms


class BalanceChecks:
    """Answers `POST /balances/check`."""

    def __init__(self, tokens: TokenBook, worker_of: Callable[[int], ChainWorker], clock: Clock) -> None:
        self._tokens = tokens
        self._worker_of = worker_of
        self._clock = clock

    async def check(self, request: BalanceRequest) -> BalanceAnswer:
        """
        Read a balance at the newest block, or at a safe depth.

        Raises:
            InvalidRequest: names the field.
            BalanceUnreadable: the chain did not tell.
        """
        self._tokens.check_known(request.chain_id, request.token_field, request.token)
        worker = self._worker_of(request.chain_id)
        holder = parse_address(worker.adapter, "address", request.address)
        address = symbol = key = None
        decimals: int | None = worker.adapter.coin_decimals
        if self._tokens.is_coin(worker.chain, request.token_field, request.token):
            symbol = worker.chain.coin
        else:
            address, key, symbol, decimals = await self._tokens.resolve(worker, request.token_field, request.token)
        try:
            found = await worker.adapter.balances([Holding(holder, key)], confirmed=request.confirmed)
        except ChainError as exc:
            raise BalanceUnreadable(f"balance check failed: {exc}") from exc
        (amount,) = found.amounts
        if amount is None:
            raise BalanceUnreadable("balance check failed: the contract does not answer with a balance")
        return BalanceAnswer(
            chain_id=request.chain_id,
            chain_type=worker.chain.chain_type,
            address=request.address,
            token_address=address,
            token_symbol=symbol,
            decimals=decimals,
            balance=amount,
            block_number=found.position,
            checked_at=self._clock.now_ms(),
        )
