"""The other half of a transfer: whether the receiving jetton wallet was really credited."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from chains.errors import ChainError
from chains.fair_selection import FairSelector
from chains.rpc.concurrency import gather_individually, is_rate_limited
from chains.rpc.endpoint import Endpoint, Unserved
from chains.ton.jettons import cells
from chains.ton.jettons.credit_tx import CreditTx, credits_in
from chains.ton.jettons.wallet_credits import read_credits
from chains.ton.jettons.wallets import JettonWalletResolver
from chains.ton.toncenter.client import TonClient
from chains.ton.values import Json, rows_of
from chains.types import ReceivingTransaction, Transfer, Verification, VerificationOutcome

HALVES_APART_S = 300  # the receiving half of a transfer follows within seconds, or minutes when shards are busy
MAX_SINGLE = 20  # transfers looked up one by one in one go
MAX_REFUSED = 3  # lookups of different transfers: then it is the endpoint, and no transfer, that is at fault

Place = tuple[str, int]  # a wallet, and the logical time at which the message it received was made


class CreditCheck(NamedTuple):
    """What the receiving half of a transfer tells."""

    outcome: VerificationOutcome
    credited: int = 0
    time: int | None = None  # unix seconds of the receiving transaction
    why: str | None = None  # for NOT_YET: what could not be read or judged
    tx: CreditTx | None = None  # by which it was judged

    def verification(self, transfer: Transfer) -> Verification:
        """Return it as the scanner knows it."""
        tx = self.tx
        received = None if tx is None else ReceivingTransaction(tx.account, tx.lt, tx.hash)
        return Verification(transfer, self.outcome, self.credited, why=self.why, received=received)


class CreditVerifier:
    """
    Finds the receiving transactions of transfers.

    The wallets of all destinations are asked about in one go. What is not found that way (it has not
    happened yet, or it is not what it seems) is looked up by its sending transaction, which is exact.
    What one transfer lacks is told of that transfer alone: a strange master or a tx that cannot be
    read once kept every payment of the chain from being confirmed.
    """

    def __init__(self, client: TonClient, wallets: JettonWalletResolver) -> None:
        self._client = client
        self._wallets = wallets
        self._selector = FairSelector()  # of single looks: what cannot be found must not starve what can
        self._lacking: dict[Endpoint, str] = {}

    def problems(self) -> tuple[str, ...]:
        """Return a sentence for each endpoint that tells of no receiving half at all."""
        return tuple(self._lacking.values())

    async def verify(self, endpoint: Endpoint, transfers: Sequence[Transfer]) -> list[CreditCheck]:
        """
        CreditCheck at transfers; answers in the order asked.

        Raises:
            ChainError: the endpoint answers nothing at all, or wants to be left alone.
        """
        wallets = await self._wallets_of(endpoint, transfers)
        if wallets and all(isinstance(wallet, Unserved) for wallet in wallets):
            return self._lacks(endpoint, f"runGetMethod nor jetton/wallets ({wallets[0]})", transfers)
        received, refused = await self._received(endpoint, transfers, wallets)
        if refused is None:
            self._lacking.pop(endpoint, None)
        found: dict[int, CreditCheck] = {}
        for place, (transfer, wallet) in enumerate(zip(transfers, wallets, strict=True)):
            if isinstance(wallet, ChainError):
                found[place] = CreditCheck(VerificationOutcome.NOT_YET, why=f"its jetton wallet is not known: {wallet}")
            elif look := _by_place(received.get((wallet, _sent_at(transfer))), transfer):
                found[place] = look
        rest = [place for place in range(len(transfers)) if place not in found]
        found |= await self._singly(endpoint, transfers, wallets, rest, refused)
        return [found.get(place) or CreditCheck(VerificationOutcome.NOT_YET) for place in range(len(transfers))]

    async def _wallets_of(self, endpoint: Endpoint, transfers: Sequence[Transfer]) -> list[str | ChainError]:
        """Return the jetton wallets of destinations; of a master that answers nonsense, its error."""
        refused: dict[str, ChainError] = {}  # a master that cannot be read is asked once, not for every payment
        found: list[str | ChainError] = []
        for token, owner in ((transfer.token, transfer.destination) for transfer in transfers):
            if token in refused and self._wallets.computed(master=token, owner=owner) is None:
                found.append(refused[token])
                continue
            try:
                found.append(await self._wallets.wallet(endpoint, master=token, owner=owner))
            except ChainError as exc:
                if is_rate_limited(exc):
                    raise
                refused[token] = exc
                found.append(exc)
        if found and len(refused) == len({transfer.token for transfer in transfers}):
            await self._client.tip(endpoint)  # a dead endpoint is its own fault, and no master's
        return found

    async def _received(
        self, endpoint: Endpoint, transfers: Sequence[Transfer], wallets: Sequence[str | ChainError]
    ) -> tuple[dict[Place, CreditTx], ChainError | None]:
        """Return the receiving halves a few questions find, or why none. Whatever is left is looked at singly."""
        accounts = sorted({wallet for wallet in wallets if isinstance(wallet, str)})
        since = min((_lt(transfer) for transfer in transfers), default=0)
        try:
            parts = await self._client.address_batches.ask(
                endpoint, accounts, partial(self._credits_of, endpoint, since=since)
            )
        except ChainError as exc:
            if is_rate_limited(exc):
                raise
            return {}, exc
        return {(tx.account, tx.sent_at): tx for part in parts for tx in part}, None

    async def _credits_of(self, endpoint: Endpoint, accounts: Sequence[str], *, since: int) -> list[CreditTx]:
        return (await read_credits(self._client, endpoint, accounts, lt=since)).received

    async def _singly(
        self,
        endpoint: Endpoint,
        transfers: Sequence[Transfer],
        wallets: Sequence[str | ChainError],
        places: Sequence[int],
        refused: ChainError | None,
    ) -> dict[int, CreditCheck]:
        """
        CreditCheck at some transfers one by one; the others have their turn at the next look.

        Where the few questions were `refused`, and single ones are as well, the endpoint tells of no receiving
        half: that is said of every transfer. They once waited for ever, and nothing said for what.
        """
        chosen = self._selector.select(places, MAX_SINGLE, key=lambda place: transfers[place][1:3])

        async def ask(place: int) -> CreditCheck:
            wallet = wallets[place] if isinstance(wallets[place], str) else ""
            return await self._single(endpoint, transfers[place], str(wallet), sure=refused is None)

        alive = partial(self._client.tip, endpoint)
        first = chosen if refused is None else chosen[:MAX_REFUSED]
        looks = await gather_individually(first, ask, alive=alive)
        if refused is not None and looks and all(isinstance(look, ChainError) for look in looks):
            both = f"transactions ({refused}) nor adjacentTransactions ({looks[0]})"
            return dict(zip(places, self._lacks(endpoint, both, places), strict=True))
        self._lacking.pop(endpoint, None)
        looks += await gather_individually(chosen[len(first) :], ask, alive=alive)
        return {
            place: CreditCheck(VerificationOutcome.NOT_YET, why=f"its receiving half cannot be read: {look}")
            if isinstance(look, ChainError)
            else look
            for place, look in zip(chosen, looks, strict=True)
        }

    def _lacks(self, endpoint: Endpoint, both: str, waiting: Sequence[object]) -> list[CreditCheck]:
        """Say of an endpoint and of everything that waits for it that it answers neither of two questions."""
        said = f"answers neither {both}"
        self._lacking[endpoint] = f"{endpoint.label} {said}: it cannot tell whether a payment arrived, payments wait"
        why = f"{endpoint.label} {said}, so that nothing tells whether it arrived"
        return [CreditCheck(VerificationOutcome.NOT_YET, why=why)] * len(waiting)

    async def _single(self, endpoint: Endpoint, transfer: Transfer, wallet: str, *, sure: bool) -> CreditCheck:
        """
        CreditCheck at what the sending transaction caused; NOT_YET while that has not happened.

        Raises:
            ChainError: the endpoint does not tell. Unless that is `sure` to be served, "not found" may mean it.
        """
        rows = await self._adjacent(endpoint, transfer, "out")
        # Something caused the sending transaction, in every case: not to find that either says nothing of the other.
        if rows is None and not sure and await self._adjacent(endpoint, transfer, "in") is None:
            raise Unserved("HTTP 404: it is not served, or does not know the sending transaction")
        received = credits_in(rows or [])
        to = {tx.account: tx for tx in received.rows}  # a jetton that takes a fee sends two messages
        if not to and not received.unreadable:
            return CreditCheck(VerificationOutcome.NOT_YET, why=self._overdue(endpoint, transfer))
        if wallet not in to:
            wallet = await self._wallets.asked(endpoint, master=transfer.token, owner=transfer.destination)
        if wallet in to:
            return check_credit(to[wallet], transfer)
        if received.unreadable:  # it may be the one
            why = next(iter(received.unreadable.values()))
            return CreditCheck(VerificationOutcome.NOT_YET, why=f"its receiving half cannot be read: {why}")
        # Not there: it went to a wallet which is not the destination's.
        return CreditCheck(VerificationOutcome.NO_TRANSFER_LOG)

    async def _adjacent(self, endpoint: Endpoint, transfer: Transfer, direction: str) -> list[Json] | None:
        """Return what a sending transaction caused, or was caused by; None when that is not found."""
        question = [("hash", transfer.tx_hash), ("direction", direction)]
        answer = await self._client.get(endpoint, "adjacentTransactions", question, may_miss=True)
        return rows_of(answer, "transactions") if answer else None

    def _overdue(self, endpoint: Endpoint, transfer: Transfer) -> str | None:
        """Say that a receiving half is missing for too long to be on its way."""
        waited = (self._client.known_time(endpoint) or 0) - transfer.block_number
        return f"its receiving half is not there after {waited} s" if waited > HALVES_APART_S else None


def check_credit(tx: CreditTx, transfer: Transfer) -> CreditCheck:
    """Say what a receiving transaction did for a transfer."""
    told = cells.internal_transfer(tx.body) if tx.succeeded else None
    return judge_credit(transfer, told, succeeded=tx.succeeded, time=tx.time)._replace(tx=tx)


def judge_credit(transfer: Transfer, told: cells.InternalTransfer | None, *, succeeded: bool, time: int) -> CreditCheck:
    """Say what a message did for a transfer; `told` None when it cannot be read."""
    if not succeeded:
        return CreditCheck(VerificationOutcome.REVERTED, time=time)
    if told is None:
        why = f"the message that transfer {transfer.tx_hash} caused cannot be read"
        return CreditCheck(VerificationOutcome.NOT_YET, time=time, why=why)
    outcome = VerificationOutcome.CREDITED if told.amount >= transfer.amount else VerificationOutcome.SHORT
    return CreditCheck(outcome, min(told.amount, transfer.amount), time)


def _by_place(tx: CreditTx | None, transfer: Transfer) -> CreditCheck | None:
    """Judge a transaction found by its place alone, if it names the same sender."""
    if tx is None:
        return None
    told = cells.internal_transfer(tx.body)
    return check_credit(tx, transfer) if told is not None and told.sender == transfer.sender else None


def _lt(transfer: Transfer) -> int:
    return int(transfer.event_key)


def _sent_at(transfer: Transfer) -> int:
    """Return when the first message of the sending transaction was made: the next tick of its logical time."""
    return _lt(transfer) + 1
