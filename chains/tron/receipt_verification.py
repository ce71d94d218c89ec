"""What an irreversible receipt proves of a transfer: a pure rule."""

from __future__ import annotations

from collections.abc import Mapping

from chains.errors import ChainError
from chains.tron.decode import Receipt
from chains.tron.transfer_log import TransferLog
from chains.types import Transfer, Verification, VerificationOutcome


def transfers_by_key(receipt: Receipt | ChainError | None) -> dict[str, TransferLog]:
    """
    Return what a receipt credits, by key: made once for all transfers of a transaction, which may be thousands.

    Earlier versions stored a transfer under its place among the events of its transaction.
    """
    transfers = receipt.transfers if isinstance(receipt, Receipt) else ()
    return {str(event.place): event for event in transfers} | {event.key: event for event in transfers}


def verify_transfer(
    transfer: Transfer,
    receipt: Receipt | ChainError | None,
    transfers: Mapping[str, TransferLog],
) -> Verification:
    """
    Look at a transfer again; `transfers` are those of its receipt, by key.

    A receipt that is not there, or cannot be read, says nothing: services take their time to index, and
    prune. One of another time, or without the transfer, proves what we stored wrong.
    """
    if receipt is None or isinstance(receipt, ChainError) or (receipt.succeeded and receipt.events == 0):
        return Verification(transfer, VerificationOutcome.NOT_YET, 0, why=_why_undecided(receipt))
    if receipt.time_ms != transfer.block_number:
        return Verification(transfer, VerificationOutcome.GONE, 0)
    if not receipt.succeeded:
        return Verification(transfer, VerificationOutcome.REVERTED, 0)
    event = transfers.get(transfer.event_key)
    claim = (transfer.token, transfer.destination, transfer.amount)
    if event is None or event.claim != claim:
        return Verification(transfer, VerificationOutcome.NO_TRANSFER_LOG, 0)
    seen = transfer._replace(block_time=receipt.time_ms // 1000, sender=event.source)
    return Verification(seen, VerificationOutcome.CREDITED, event.value)


def _why_undecided(receipt: Receipt | ChainError | None) -> str:
    if receipt is None:
        return "the node holds no receipt of it"
    if isinstance(receipt, ChainError):
        return f"its receipt cannot be read: {receipt}"
    # Something told of an event: a node that shows none of a transaction leaves them all out.
    return "its receipt shows no events at all"
