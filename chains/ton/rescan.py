"""
Reading a stretch of time once more, another way than the running scan.

The scan reads the index's table of transfers. Here that table is read again, for a row that came late, and
then the transactions of the destinations' own jetton wallets, for a row that never came.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial
from typing import NamedTuple

from chains.backfill import Pruned
from chains.errors import ChainError, ChainUnavailable
from chains.fair_selection import FairSelector
from chains.rpc.concurrency import gather_individually, is_rate_limited
from chains.rpc.endpoint import Endpoint
from chains.ton.jettons import cells
from chains.ton.jettons.credit_tx import CreditTx, Origin, parse_origin
from chains.ton.jettons.wallet_credits import read_credits
from chains.ton.jettons.wallets import JettonWalletResolver
from chains.ton.toncenter.client import TonClient
from chains.ton.transfers import TransferReader
from chains.ton.values import rows_of
from chains.types import RescanResult, Transfer

MAX_ORIGINS = 50  # senders looked up in one go: each is a question

Key = tuple[str, str]


class Wallet(NamedTuple):
    """Whose jetton wallet it is, and of which jetton."""

    owner: str
    master: str


class Rescanner:
    """Finds transfers that the running scan passed too early. What cannot be read is told of its destination."""

    def __init__(
        self, client: TonClient, *, reader: TransferReader, wallets: JettonWalletResolver, chain_id: int
    ) -> None:
        self._client = client
        self._reader = reader
        self._wallets = wallets
        self._chain_id = chain_id
        self._selector = FairSelector()  # of transactions whose senders are looked up

    async def read(
        self,
        endpoint: Endpoint,
        *,
        destinations: Sequence[str],
        masters: Collection[str],
        since: int,
        until: int,
        gap: Pruned | None = None,
    ) -> RescanResult:
        """
        Return what these were sent between two moments in unix seconds, both included.

        Raises:
            IndexPruned: this endpoint's index begins later, which is not known to have to be accepted.
            ChainError: it cannot tell of those moments at all.
        """
        found = await self._reader.since(
            endpoint,
            destinations,
            time=since,
            beyond=until,
            until=until,
            whole_from=since if gap is None else None,
        )
        rows = [row.transfer(self._chain_id) for row in found.rows if not row.aborted and since <= row.time <= until]
        told = {_key(transfer): transfer for transfer in rows}
        wallets = await self._wallets_of(endpoint, destinations, masters)
        unread: dict[str, str] = {}
        try:
            received = await self._credits(endpoint, sorted(wallets), since, unread, wallets)
        except ChainError as exc:
            if is_rate_limited(exc):
                raise
            return RescanResult(list(told.values()), dict.fromkeys(destinations, str(exc)))
        places = {(wallet, place + 1) for wallet, place in self._places(wallets, told.values())}
        lost = _in_turn([tx for tx in received if since <= tx.time <= until and (tx.account, tx.sent_at) not in places])
        chosen = self._selector.select(lost, MAX_ORIGINS, key=lambda tx: tx.hash)
        for tx, transfer in await self._origins(endpoint, chosen, wallets):
            if isinstance(transfer, Transfer):
                told.setdefault(_key(transfer), transfer)
            else:
                unread[wallets[tx.account].owner] = transfer
        for tx in (tx for tx in lost if tx not in chosen):
            unread[wallets[tx.account].owner] = "more of its transactions are in no row than are looked up in one go"
        return RescanResult(list(told.values()), unread)

    async def _wallets_of(
        self, endpoint: Endpoint, destinations: Sequence[str], masters: Collection[str]
    ) -> dict[str, Wallet]:
        """Return the jetton wallets of destinations by address, without those of masters that cannot be read."""
        found: dict[str, Wallet] = {}
        for master in sorted(masters):
            for owner in destinations:
                try:
                    wallet = await self._wallets.wallet(endpoint, master=master, owner=owner)
                except ChainError as exc:
                    if is_rate_limited(exc):
                        raise
                    break  # the same master is not asked again for every destination
                found[wallet] = Wallet(owner, master)
        return found

    async def _credits(
        self,
        endpoint: Endpoint,
        accounts: Sequence[str],
        since: int,
        unread: dict[str, str],
        wallets: dict[str, Wallet],
    ) -> list[CreditTx]:
        """Return the successful receiving halves at some wallets."""
        lt = await self._reader.lt_at(endpoint, since)
        read = partial(read_credits, self._client, endpoint, lt=lt)
        skipped: dict[str, str] = {}
        parts = await self._client.address_batches.ask(endpoint, accounts, read, skipped=skipped)
        for part in parts:
            skipped |= part.unreadable
        unread |= {wallets[account].owner: why for account, why in skipped.items() if account in wallets}
        return [tx for part in parts for tx in part.received if tx.succeeded and tx.hash is not None]

    def _places(self, wallets: dict[str, Wallet], transfers: Collection[Transfer]) -> set[tuple[str, int]]:
        """Return where transfers that are told already arrived: a wallet, and the sender's logical time."""
        of = {wallet: address for address, wallet in wallets.items()}
        places = ((of.get(Wallet(t.destination, t.token)), int(t.event_key)) for t in transfers)
        return {(address, lt) for address, lt in places if address is not None}

    async def _origins(
        self, endpoint: Endpoint, received: Sequence[CreditTx], wallets: dict[str, Wallet]
    ) -> list[tuple[CreditTx, Transfer | str]]:
        """Return the transfers that these are the end of; in place of one that cannot be told, why."""
        alive = partial(self._client.tip, endpoint)
        answers = await gather_individually(received, partial(self._origin, endpoint), alive=alive)
        return [
            (tx, str(origin) if isinstance(origin, ChainError) else self._transfer(tx, origin, wallets[tx.account]))
            for tx, origin in zip(received, answers, strict=True)
        ]

    async def _origin(self, endpoint: Endpoint, tx: CreditTx) -> Origin:
        question = [("hash", tx.hash or ""), ("direction", "in")]
        answer = await self._client.get(endpoint, "adjacentTransactions", question, may_miss=True)
        senders = rows_of(answer, "transactions") if answer else []
        if not senders:
            raise ChainUnavailable("the transaction that sent a message is not in the index")
        return parse_origin(senders[0])

    def _transfer(self, tx: CreditTx, origin: Origin, wallet: Wallet) -> Transfer | str:
        told = cells.internal_transfer(tx.body)
        if told is None:
            return "a message to its jetton wallet cannot be read"
        return Transfer(
            chain_id=self._chain_id,
            tx_hash=origin.tx_hash,
            event_key=str(origin.lt),
            log_index=None,
            block_number=origin.time,
            block_hash=None,
            block_time=origin.time,
            token=wallet.master,
            destination=wallet.owner,
            amount=told.amount,
            sender=told.sender,
        )


def _in_turn(received: Sequence[CreditTx]) -> list[CreditTx]:
    """Put the first of every wallet first: who floods one of them uses up his own turn alone."""
    seen: Counter[str] = Counter()
    turns: list[tuple[int, CreditTx]] = []
    for tx in received:
        turns.append((seen[tx.account], tx))
        seen[tx.account] += 1
    return [tx for _, tx in sorted(turns, key=lambda turn: turn[0])]


def _key(transfer: Transfer) -> Key:
    return transfer.tx_hash, transfer.event_key
