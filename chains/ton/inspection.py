"""One transaction's transfers, and what some holders received: questions beside the running scan."""

from __future__ import annotations

from collections.abc import Sequence

from chains.errors import ChainProtocolError
from chains.rpc.endpoint import Endpoint
from chains.ton.jettons.credit_verification import HALVES_APART_S, CreditVerifier
from chains.ton.scan import moved
from chains.ton.toncenter.client import TonClient
from chains.ton.transfers import TransferReader
from chains.ton.values import number, rows_of
from chains.types import BalanceKey, TokenReceipt, Transfer, VerificationOutcome

TRANSACTIONS_A_BATCH = 100


class Inspector:
    """Asks one endpoint at a time."""

    def __init__(self, client: TonClient, reader: TransferReader, credits: CreditVerifier, *, chain_id: int) -> None:  # noqa: A002
        self._client = client
        self._reader = reader
        self._credits = credits
        self._chain_id = chain_id

    async def trace(self, endpoint: Endpoint, *, tx_hash: str, owners: Sequence[str]) -> list[Transfer]:
        """Return the transfers to some owners in the trace of a transaction; empty when it is not on chain."""
        question = [("tx_hash", tx_hash), ("limit", "1")]
        traces = rows_of(await self._client.get(endpoint, "traces", question), "traces")
        if not traces or not owners:
            return []
        trace = traces[0]
        if not isinstance(trace.get("trace_id"), str):
            raise ChainProtocolError("a trace has no trace_id")
        first, last = number(trace.get("start_lt"), "start_lt"), number(trace.get("end_lt"), "end_lt")
        rows = await self._reader.between(endpoint, owners, first_lt=first, last_lt=last)
        return moved([row for row in rows if row.trace_id == trace["trace_id"]], self._chain_id)

    async def token_receipts(
        self, endpoint: Endpoint, *, wanted: frozenset[BalanceKey], first: int, last: int
    ) -> list[TokenReceipt]:
        """Return what holders received between two moments, both included, in chain order."""
        owners = sorted({holding.holder for holding in wanted})
        found = await self._reader.since(endpoint, owners, time=max(0, first - HALVES_APART_S), beyond=last, until=last)
        sent = [t for t in moved(found.rows, self._chain_id) if BalanceKey(t.destination, t.token) in wanted]
        received = []
        for start in range(0, len(sent), TRANSACTIONS_A_BATCH):
            part = sent[start : start + TRANSACTIONS_A_BATCH]
            for transfer, look in zip(part, await self._credits.verify(endpoint, part), strict=True):
                # A balance changes when the receiving half happens, not when the row says the sender's did.
                if (
                    look.outcome is VerificationOutcome.CREDITED
                    and look.time is not None
                    and first <= look.time <= last
                ):
                    received.append(_movement(transfer, look.time))
        return sorted(received, key=lambda movement: movement.block_number)


def _movement(transfer: Transfer, received_at: int) -> TokenReceipt:
    return TokenReceipt(
        token=transfer.token,
        destination=transfer.destination,
        sender=transfer.sender or "",
        amount=transfer.amount,
        tx_hash=transfer.tx_hash,
        block_number=received_at,
    )
