"""What one endpoint says of a transaction: its receipt on the irreversible side, else on the other."""

from __future__ import annotations

from chains.errors import ChainProtocolError
from chains.rpc.endpoint import Endpoint, Unserved
from chains.rpc.http_client import TooLarge
from chains.transactions import CannotTell, Told, check_length
from chains.tron.decode import Receipt, as_transfer
from chains.tron.rpc.client import TronClient
from chains.types import Head, Transaction


class TransactionReader:
    """Asks one endpoint at a time."""

    def __init__(self, client: TronClient, *, chain_id: int) -> None:
        self._client = client
        self._chain_id = chain_id

    async def read(self, endpoint: Endpoint, *, tx_hash: str, head: Head) -> Told:
        """
        Return what an endpoint shows of a transaction; None when it is up to date and has none, or why it cannot tell.

        Raises:
            ChainError: it did not answer, or refuses.
        """
        # Asked first: what is not there afterwards is in no block that was irreversible by then.
        newest = await self._client.newest(endpoint)
        seen = Head(newest.time_ms, None, newest.time_ms // 1000, finalized=newest.time_ms)
        try:
            receipt = await self._client.receipt(endpoint, tx_hash)
            if receipt is None and newest.time_ms >= head.position:
                receipt, seen = await self._not_solid(endpoint, tx_hash), seen._replace(finalized=None)
        except (
            ChainProtocolError,
            TooLarge,
        ) as exc:  # it has just answered another question: this transaction is at fault
            return CannotTell(f"its receipt cannot be read: {exc}", is_seen=True)
        if receipt is not None and receipt.succeeded and receipt.events == 0:
            # A node that shows none of a transaction leaves them all out: it looked as if nobody was paid.
            return CannotTell("its receipt shows no events at all", is_seen=True)
        if receipt is not None:
            return self._shown(receipt, seen)
        behind_ms = head.position - newest.time_ms
        if behind_ms <= 0:
            return None
        return CannotTell(f"it is {behind_ms / 1000:g} s behind another endpoint", is_seen=False)

    async def _not_solid(self, endpoint: Endpoint, tx_hash: str) -> Receipt | None:
        """Return the receipt of a transaction that may still be taken back."""
        try:
            return await self._client.receipt(endpoint, tx_hash, solid=False)
        except Unserved:
            return None  # it serves irreversible data alone: there it will be

    def _shown(self, receipt: Receipt, head: Head) -> Transaction:
        check_length(len(receipt.transfers))
        moved = receipt.transfers if receipt.succeeded else ()
        return Transaction(
            receipt.tx_hash,
            receipt.succeeded if receipt.tells_outcome else None,
            receipt.time_ms,
            None,
            tuple(as_transfer(receipt, event, self._chain_id) for event in moved),
            head,
            block_time=receipt.time_ms // 1000,
        )
