"""A trace, all transactions that one message caused, into facts (pure)."""

from __future__ import annotations

from typing import NamedTuple

from chains.errors import ChainProtocolError
from chains.ton.address import canonical_of
from chains.ton.decode import Row
from chains.ton.jettons.credit_tx import is_final, succeeded
from chains.ton.jettons.opcodes import TRANSFER
from chains.ton.transfers import is_of_strangers
from chains.ton.values import Json, Readable, flag, hash_of, number, opcode_of

HASH_DIGITS = 64


class Trace(NamedTuple):
    """What is read of a trace."""

    root: str  # hash of its first transaction
    succeeded: bool | None  # the first transaction; None when it does not say
    time: int  # unix seconds of the first transaction
    first_lt: int
    last_lt: int
    hashes: frozenset[str]  # of its transactions
    sends: frozenset[str]  # those that a jetton wallet was told to send by, and that succeeded
    parties: frozenset[str]  # whose transactions they are, and who sent the messages that caused them
    is_complete: bool  # nothing of it is still on its way, and all of it is final

    def unread(self, listed: Readable[Row]) -> str | None:
        """Return why a row of this trace cannot be read; None when all can that may be of anything real."""
        ours = (why for name, why in listed.unreadable.items() if self._is_ours(name) and not is_of_strangers(why))
        return next(ours, None)

    def _is_ours(self, name: str) -> bool:
        return len(name) < HASH_DIGITS or name[:HASH_DIGITS] in self.hashes

    def is_listed(self, listed: Readable[Row]) -> bool:
        """Say whether all that was sent has its row: an index may show transactions before it lists transfers."""
        named = {row.tx_hash for row in listed.rows} | {name[:HASH_DIGITS] for name in listed.unreadable}
        return self.sends <= named


def parse_trace(raw: Json) -> Trace:
    """
    Read a trace.

    Raises:
        ChainProtocolError: it does not name its transactions, or not the first of them.
    """
    listed = raw.get("transactions")
    rows = [row for row in listed.values() if isinstance(row, dict)] if isinstance(listed, dict) else []
    root = hash_of(raw.get("trace_id"))
    by_hash = {hash_of(row.get("hash")): row for row in rows}
    if root not in by_hash:
        raise ChainProtocolError("a trace does not show its first transaction")
    return Trace(
        root=root,
        succeeded=_outcome(by_hash[root]),
        time=number(by_hash[root].get("now"), "now"),
        first_lt=number(raw.get("start_lt"), "start_lt"),
        last_lt=number(raw.get("end_lt"), "end_lt"),
        hashes=frozenset(by_hash),
        sends=frozenset(name for name, row in by_hash.items() if _sends(row)),
        parties=frozenset(party for row in rows for party in _parties(row)),
        is_complete=not flag(raw, "is_incomplete") and all(map(is_final, rows)),
    )


def _outcome(row: Json) -> bool | None:
    try:
        return succeeded(row.get("description"))
    except ChainProtocolError:
        return None


def _sends(row: Json) -> bool:
    message = row.get("in_msg")
    opcode = opcode_of(message.get("opcode")) if isinstance(message, dict) else None
    return opcode == TRANSFER and _outcome(row) is not False


def _parties(row: Json) -> list[str]:
    message = row.get("in_msg")
    source = message.get("source") if isinstance(message, dict) else None
    return [party for party in (canonical_of(row.get("account")), canonical_of(source)) if party is not None]
