"""What one endpoint's blocks and receipts decide about a transfer (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from chains.errors import ChainProtocolError
from chains.evm.blocks import Block, parse_block
from chains.evm.events import TRANSFER_TOPIC
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.evm.rpc.client import RawResult
from chains.evm.verification.receipts import Receipt, verify_transfer
from chains.types import Head, Transfer, Verification, VerificationOutcome

LOG_NOT_SHOWN = "its receipt does not show this log"


def decide_without_receipt(transfer: Transfer, block: Block | str, final: int | None) -> Verification | None:
    """Judge a transfer by its block alone; None when that stands."""
    if final is not None and transfer.block_number > final:
        return Verification(transfer, VerificationOutcome.NOT_YET, 0)
    if not isinstance(block, Block):
        return Verification(transfer, VerificationOutcome.NOT_YET, 0, why=block)
    return None if block.hash == transfer.block_hash else Verification(transfer, VerificationOutcome.GONE, 0)


def decide_with_receipt(transfer: Transfer, receipt: Receipt | str | None, block: Block | str) -> Verification:
    """Judge a transfer of a block that stands: its hash covers the transaction, so a lack is the endpoint's."""
    if receipt is None:
        return Verification(
            transfer, VerificationOutcome.NOT_YET, 0, why="it has no receipt of a transaction in a block it holds"
        )
    if isinstance(receipt, str):
        return Verification(transfer, VerificationOutcome.NOT_YET, 0, why=receipt)
    if not isinstance(block, Block) or receipt.block_hash != block.hash:
        return Verification(transfer, VerificationOutcome.NOT_YET, 0, why="its receipt names another block")
    return verify_transfer(transfer, receipt, block) or Verification(
        transfer, VerificationOutcome.NOT_YET, 0, why=LOG_NOT_SHOWN
    )


def all_undecided(transfers: Mapping[int, Transfer], why: str) -> dict[int, Verification]:
    return {place: Verification(t, VerificationOutcome.NOT_YET, 0, why=why) for place, t in transfers.items()}


def read_block(answer: RawResult, number: int | None) -> Block | str:
    """Return a block, or why there is none to read."""
    name = "such a block" if number is None else f"block {number}"
    if answer.error is not None:
        return f"{name}: {answer.error}"
    try:
        return parse_block(answer.get(), number) or f"it does not hold {name}"
    except ChainProtocolError as exc:
        return f"{name} is unreadable: {exc}"


class Unfit(NamedTuple):
    """Why an endpoint can judge nothing."""

    why: str
    cannot_tell_final: bool = False


def why_unfit(top: RawResult, final: RawResult | None, head: Head) -> Unfit | None:
    """
    Return why an endpoint cannot judge anything on the chain that ends in `head`; None when it can.

    It must hold the head itself, and say what is final where that was asked.
    """
    block = read_block(top, head.position)
    if not isinstance(block, Block):
        return Unfit(block)
    if head.block_hash is not None and block.hash != head.block_hash:
        return Unfit(f"it holds another block {head.position} than the head's")
    if final is not None and not isinstance(block := read_block(final, None), Block):
        return Unfit(f"it cannot tell the finalized block: {block}", cannot_tell_final=True)
    return None


def split_by_receipts(transfers: dict[int, Transfer], most: int | None) -> list[dict[int, Transfer]]:
    """Cut transfers so that each part asks for at most so many receipts."""
    hashes = transactions_of(transfers)
    size = min(most or len(hashes), len(hashes))
    parts = [set(hashes[start : start + size]) for start in range(0, len(hashes), size)]
    return [{place: t for place, t in transfers.items() if t.tx_hash in part} for part in parts]


def transactions_of(transfers: Mapping[int, Transfer]) -> list[str]:
    return list(dict.fromkeys(transfer.tx_hash for transfer in transfers.values()))


def log_query_of(transfer: Transfer, proxy: str) -> tuple[str, str, str]:
    if transfer.reference is None:
        return transfer.block_hash or "", transfer.token, TRANSFER_TOPIC
    return transfer.block_hash or "", proxy, EVENT_TOPIC
