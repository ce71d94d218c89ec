"""One transaction's transfers, and what some holders received: questions beside the running scan."""

from __future__ import annotations

from collections.abc import Sequence

from chains.errors import ChainProtocolError
from chains.rpc.endpoint import Endpoint
from chains.ton.jettons.credit_verification import HALVES_APART_S, CreditVerifier
from chains.ton.scan import moved
from chains.ton.toncenter.client import TonClient
from chains.ton.traces import parse_trace
from chains.ton.transfers import TransferReader
from chains.ton.values import Json, number, rows_of
from chains.transactions import CannotTell, Told, check_length
from chains.types import BalanceKey, Head, TokenReceipt, Transaction, Transfer, VerificationOutcome

TRANSACTIONS_A_BATCH = 100


class Inspector:
    """Asks one endpoint at a time."""

    def __init__(self, client: TonClient, reader: TransferReader, credits: CreditVerifier, *, chain_id: int) -> None:  # noqa: A002
        self._client = client
        self._reader = reader
        self._credits = credits
        self._chain_id = chain_id

    async def transaction(self, endpoint: Endpoint, *, tx_hash: str, head: Head) -> Told:
        """
        Return what the trace of a transaction did; None when the index is up to date and has none, or why not.

        A transaction on TON is its whole trace, whichever of its transactions is asked for, and is known by the first
        of them: known by any of its hashes, one transfer could end as many payouts as the trace has transactions.

        Raises:
            ChainError: it did not answer, or refuses.
        """
        # Asked first: what is not there afterwards is not in the index up to this moment.
        tip = await self._reader.tip(endpoint)
        trace = await self._trace(endpoint, tx_hash)
        if trace is None:
            behind_s = head.position - tip.time
            if behind_s <= 0:
                return None
            return CannotTell(f"its index is {behind_s} s behind another endpoint", is_seen=False)
        try:
            facts = parse_trace(trace)
        except ChainProtocolError as exc:
            return CannotTell(f"its trace cannot be read: {exc}", is_seen=True)
        senders = sorted(facts.parties)
        check_length(len(senders))
        sent = await self._reader.sent_between(endpoint, senders, first_lt=facts.first_lt, last_lt=facts.last_lt)
        unread = facts.unread(sent)
        if unread is not None:
            return CannotTell(f"a transfer cannot be read: {unread}", is_seen=True)
        moves = moved([row for row in sent.rows if row.tx_hash in facts.hashes], self._chain_id)
        check_length(len(moves))
        transfers, is_judged = await self._arrived(endpoint, moves)
        return Transaction(
            facts.root,
            facts.succeeded,
            facts.time,
            None,
            transfers,
            head=Head(tip.time, None, tip.time, finalized=tip.time),
            is_complete=facts.is_complete and facts.is_listed(sent) and is_judged,
            block_time=facts.time,
        )

    async def _arrived(self, endpoint: Endpoint, moves: Sequence[Transfer]) -> tuple[tuple[Transfer, ...], bool]:
        """Return what was credited, as much as the receiving halves say, and whether all of them are known."""
        found: list[Transfer] = []
        is_judged = True
        for start in range(0, len(moves), TRANSACTIONS_A_BATCH):
            part = moves[start : start + TRANSACTIONS_A_BATCH]
            for transfer, look in zip(part, await self._credits.verify(endpoint, part), strict=True):
                is_judged = is_judged and look.outcome is not VerificationOutcome.NOT_YET
                if look.credited > 0:
                    # Logical times of one trace may be alike: its sending half is one transfer's alone.
                    found.append(transfer._replace(event_key=transfer.tx_hash, amount=look.credited))
        return tuple(found), is_judged

    async def trace(self, endpoint: Endpoint, *, tx_hash: str, owners: Sequence[str]) -> list[Transfer]:
        """Return the transfers to some owners in the trace of a transaction; empty when it is not on chain."""
        trace = await self._trace(endpoint, tx_hash)
        if trace is None or not owners:
            return []
        if not isinstance(trace.get("trace_id"), str):
            raise ChainProtocolError("a trace has no trace_id")
        first, last = number(trace.get("start_lt"), "start_lt"), number(trace.get("end_lt"), "end_lt")
        rows = await self._reader.between(endpoint, owners, first_lt=first, last_lt=last)
        return moved([row for row in rows if row.trace_id == trace["trace_id"]], self._chain_id)

    async def _trace(self, endpoint: Endpoint, tx_hash: str) -> Json | None:
        question = [("tx_hash", tx_hash), ("limit", "1")]
        traces = rows_of(await self._client.get(endpoint, "traces", question), "traces")
        return traces[0] if traces else None

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
