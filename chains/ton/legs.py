"""The other half of a transfer: whether the receiving jetton wallet was really credited."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from chains.endpoints import Endpoint
from chains.errors import ChainProtocolError
from chains.ton import cells
from chains.ton.client import TonClient
from chains.ton.decode import Leg, parse_leg, rows_of
from chains.ton.opcodes import INTERNAL_TRANSFER
from chains.ton.wallets import WalletBook
from chains.types import Outcome, Transfer, Verification

ROWS = 1_000
MOST_SINGLE = 20  # transfers looked up one by one in one go

Place = tuple[str, int]  # a wallet, and the logical time at which the message it received was made


class Look(NamedTuple):
    """What the receiving half of a transfer tells."""

    outcome: Outcome
    credited: int = 0
    time: int | None = None  # unix seconds of the receiving transaction

    def verification(self, transfer: Transfer) -> Verification:
        """Return it as the scanner knows it."""
        return Verification(transfer, self.outcome, self.credited)


class LegReader:
    """
    Finds the receiving transactions of transfers.

    The wallets of all destinations are asked about in one go. What is not found that way (it has not
    happened yet, or it is not what it seems) is looked up by its sending transaction, which is exact.
    """

    def __init__(self, client: TonClient, wallets: WalletBook) -> None:
        self._client = client
        self._wallets = wallets

    async def look(self, endpoint: Endpoint, transfers: Sequence[Transfer]) -> list[Look]:
        """Look at transfers; answers in the order asked."""
        wallets = [
            await self._wallets.wallet(endpoint, master=transfer.token, owner=transfer.destination)
            for transfer in transfers
        ]
        legs = await self._received(endpoint, transfers, wallets)
        seen: list[Look] = []
        singles = MOST_SINGLE
        for transfer, wallet in zip(transfers, wallets, strict=True):
            if wallet is None:
                seen.append(Look(Outcome.NOT_YET))
                continue
            found = _by_place(legs.get((wallet, _sent_at(transfer))), transfer)
            if found is None and singles > 0:
                singles -= 1
                found = await self._single(endpoint, transfer, wallet)
            seen.append(found or Look(Outcome.NOT_YET))
        return seen

    async def _received(
        self, endpoint: Endpoint, transfers: Sequence[Transfer], wallets: Sequence[str | None]
    ) -> dict[Place, Leg]:
        accounts = sorted({wallet for wallet in wallets if wallet is not None})
        since = min((_lt(transfer) for transfer in transfers), default=0)
        parts = await self._client.in_parts(endpoint, accounts, partial(self._legs_of, endpoint, since=since))
        return {(leg.account, leg.sent_at): leg for part in parts for leg in part}

    async def _legs_of(self, endpoint: Endpoint, accounts: Sequence[str], *, since: int) -> list[Leg]:
        question = [("account", account) for account in accounts]
        question += [("start_lt", str(since)), ("sort", "asc"), ("limit", str(ROWS))]
        answer = await self._client.get(endpoint, "transactions", question)
        return _transfers_in(rows_of(answer, "transactions"))

    async def _single(self, endpoint: Endpoint, transfer: Transfer, wallet: str) -> Look | None:
        """Look at what the sending transaction caused; None while that has not happened."""
        question = [("hash", transfer.tx_hash), ("direction", "out")]
        answer = await self._client.get(endpoint, "adjacentTransactions", question, may_miss=True)
        legs = _transfers_in(rows_of(answer, "transactions")) if answer else []
        if not legs:
            return None
        to = {leg.account: leg for leg in legs}  # a jetton that takes a fee sends two messages
        if wallet not in to:
            wallet = await self._wallets.asked(endpoint, master=transfer.token, owner=transfer.destination) or wallet
        # Not there: it went to a wallet which is not the destination's.
        return judge(to[wallet], transfer) if wallet in to else Look(Outcome.NO_TRANSFER_LOG)


def judge(leg: Leg, transfer: Transfer) -> Look:
    """Say what a receiving transaction did for a transfer."""
    if not leg.succeeded:
        return Look(Outcome.REVERTED, time=leg.time)
    told = cells.internal_transfer(leg.body)
    if told is None:
        raise ChainProtocolError(f"the message that transfer {transfer.tx_hash} caused cannot be read")
    outcome = Outcome.CREDITED if told.amount >= transfer.amount else Outcome.SHORT
    return Look(outcome, min(told.amount, transfer.amount), leg.time)


def _by_place(leg: Leg | None, transfer: Transfer) -> Look | None:
    """Judge a transaction found by its place alone, if it names the same sender."""
    if leg is None:
        return None
    told = cells.internal_transfer(leg.body)
    return judge(leg, transfer) if told is not None and told.sender == transfer.sender else None


def _transfers_in(rows: Sequence[object]) -> list[Leg]:
    legs = [parse_leg(row) for row in rows if isinstance(row, dict)]
    return [leg for leg in legs if leg is not None and leg.opcode == INTERNAL_TRANSFER]


def _lt(transfer: Transfer) -> int:
    return int(transfer.event_key)


def _sent_at(transfer: Transfer) -> int:
    """Return when the first message of the sending transaction was made: the next tick of its logical time."""
    return _lt(transfer) + 1
