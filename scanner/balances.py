"""Read a balance now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chains.errors import ChainError
from chains.types import BalanceKey
from kernel.clock import Clock
from scanner.registration.requests import CheckBalance
from scanner.registration.tokens import TokenResolver, parse_address
from scanner.worker import ChainWorker


class BalanceUnreadable(Exception):
    """The chain could not be asked, or did not answer with a balance: never a balance of zero."""


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


async def read_balance(worker: ChainWorker, holding: BalanceKey, *, confirmed: bool) -> tuple[int, int]:
    """
    Return a balance and the position it was read at.

    Raises:
        BalanceUnreadable: the chain did not tell.
    """
    try:
        found = await worker.adapter.balances([holding], confirmed=confirmed)
    except ChainError as exc:
        raise BalanceUnreadable(f"balance check failed: {exc}") from exc
    (amount,) = found.amounts
    if amount is None:
        raise BalanceUnreadable("balance check failed: the contract does not answer with a balance")
    return amount, found.position


class BalanceChecks:
    """Answers `POST /balances/check`."""

    def __init__(self, tokens: TokenResolver, worker_of: Callable[[int], ChainWorker], clock: Clock) -> None:
        self._tokens = tokens
        self._worker_of = worker_of
        self._clock = clock

    async def check(self, request: CheckBalance) -> BalanceAnswer:
        """
        Read a balance at the newest block, or at a safe depth.

        Raises:
            InvalidRequest: names the field.
            BalanceUnreadable: the chain did not tell.
        """
        self._tokens.check_known(request.chain_id, request.token_names())
        worker = self._worker_of(request.chain_id)
        holder = parse_address(worker.adapter, "address", request.address)
        address = key = None
        labels: tuple[str | None, int | None] = (worker.chain.coin, worker.adapter.coin_decimals)
        if (asset := await self._tokens.asset(worker, request.token_names())) is not None:
            address, key, labels = asset.address, asset.key, (asset.symbol, asset.decimals)
        amount, position = await read_balance(worker, BalanceKey(holder, key), confirmed=request.confirmed)
        return BalanceAnswer(
            chain_id=request.chain_id,
            chain_type=worker.chain.chain_type,
            address=request.address,
            token_address=address,
            token_symbol=labels[0],
            decimals=labels[1],
            balance=amount,
            block_number=position,
            checked_at=self._clock.now_ms(),
        )
