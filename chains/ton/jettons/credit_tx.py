"""The receiving half of a transfer into facts: a transaction of the destination's jetton wallet (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from chains.errors import ChainProtocolError
from chains.ton.address import canonical_of
from chains.ton.jettons import cells
from chains.ton.jettons.opcodes import INTERNAL_TRANSFER
from chains.ton.values import Json, Readable, address, flag, hash_of, hash_or_none, number, number_or_zero, opcode_of

_FINAL = {"finalized", 2}  # its name, and its number inside the indexer


class CreditTx(NamedTuple):
    """A transaction that a message between jetton wallets caused: the RECEIVER's half of a transfer."""

    account: str
    time: int  # unix seconds
    opcode: int | None
    sent_at: int  # logical time at which its message was made
    succeeded: bool
    body: str  # of the message, as base64
    hash: str | None = None  # of this transaction, where it can be read
    lt: int = 0  # of this transaction


class Origin(NamedTuple):
    """The transaction that sent a message: what identifies a transfer."""

    tx_hash: str
    lt: int
    time: int


def parse_credit_tx(row: Json) -> CreditTx | None:
    """Read a transaction as the effect of a message; None when it is none, or not final yet."""
    message = row.get("in_msg")
    # Nothing is asked of what is no message between wallets: strangers cause transactions of every kind.
    if not is_final(row) or not isinstance(message, dict) or canonical_of(message.get("source")) is None:
        return None
    content = message.get("message_content")
    return CreditTx(
        account=address(row, "account"),
        time=number(row.get("now"), "now"),
        opcode=opcode_of(message.get("opcode")),
        sent_at=number(message.get("created_lt"), "created_lt"),
        succeeded=succeeded(row.get("description")) and not flag(message, "bounced"),
        body=str(content.get("body", "")) if isinstance(content, dict) else "",
        hash=hash_or_none(row.get("hash")),
        lt=number_or_zero(row.get("lt")),
    )


def is_final(row: Json) -> bool:
    """Say whether a transaction is in the masterchain, and not foreseen alone."""
    return row.get("emulated") is not True and row.get("finality", "finalized") in _FINAL


def parse_origin(row: Json) -> Origin:
    """Read a transaction as the sender of a message."""
    return Origin(hash_of(row.get("hash")), number(row.get("lt"), "lt"), number(row.get("now"), "now"))


def succeeded(description: Any) -> bool:
    """
    Say how a transaction went: an aborted one changed nothing; its phases say the same, and both must.

    Raises:
        ChainProtocolError: it does not say. What is left out is no proof that a payment bounced.
    """
    if not isinstance(description, dict) or not isinstance(compute := description.get("compute_ph"), dict):
        raise ChainProtocolError("a transaction does not say how it went")
    if flag(description, "aborted", needed=True) or flag(compute, "skipped"):
        return False
    action = description.get("action")
    acted = not isinstance(action, dict) or flag(action, "success", needed=True)
    return acted and flag(compute, "success", needed=True)


def credits_in(rows: Sequence[Json]) -> Readable[CreditTx]:
    received = Readable[CreditTx | None].of(rows, parse_credit_tx)
    return Readable([tx for tx in received.rows if tx and _is_transfer(tx)], received.unreadable)


def _is_transfer(tx: CreditTx) -> bool:
    """Say whether a message is one between jetton wallets: by what an index calls it, else by its body."""
    return tx.opcode == INTERNAL_TRANSFER or (tx.opcode is None and cells.internal_transfer(tx.body) is not None)
