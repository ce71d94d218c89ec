"""What an irreversible receipt proves of a transfer: a pure rule."""

from __future__ import annotations

from chains.errors import ChainError
from chains.tron.decode import Receipt
from chains.types import Outcome, Transfer, Verification


def judge(transfer: Transfer, receipt: Receipt | ChainError | None) -> Verification:
    """
    Look at a transfer again.

    A receipt that is not there, or cannot be read, says nothing: services take their time to index, and
    prune. One of another time, or without the transfer, proves what we stored wrong.
    """
    if receipt is None:
        return Verification(transfer, Outcome.NOT_YET, 0, why="the node holds no receipt of it")
    if isinstance(receipt, ChainError):
        return Verification(transfer, Outcome.NOT_YET, 0, why=f"its receipt cannot be read: {receipt}")
    if receipt.time_ms != transfer.block_number:
        return Verification(transfer, Outcome.GONE, 0)
    if not receipt.succeeded:
        return Verification(transfer, Outcome.REVERTED, 0)
    # Earlier versions stored a transfer under its place among the events of its transaction.
    former = transfer.log_index if transfer.event_key == str(transfer.log_index) else None
    credit = next(
        (c for c in receipt.credits if c.key == transfer.event_key or (former is not None and c.place == former)), None
    )
    claim = (transfer.token, transfer.destination, transfer.amount)
    if credit is None or (credit.token, credit.destination, credit.value) != claim:
        return Verification(transfer, Outcome.NO_TRANSFER_LOG, 0)
    seen = transfer._replace(block_time=receipt.time_ms // 1000, sender=credit.source)
    return Verification(seen, Outcome.CREDITED, credit.value)
