"""Raw JSON of TonCenter v3 to facts: strict, and nothing that does not make sense is skipped (pure)."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from chains.errors import ChainProtocolError
from chains.token_metadata import plausible_decimals, printable_label
from chains.ton.address import canonical_of
from chains.ton.values import NUMBER, Json, address, hash_of, number, rows_of
from chains.types import TokenMeta, Transfer

DEFAULT_DECIMALS = 9  # of a jetton that names none (TEP-64)

_WHOLE = re.compile(r"-?[0-9]{1,10}")


class Tip(NamedTuple):
    """A masterchain block: all that is final is in it or below it."""

    time: int  # unix seconds
    lt: int  # logical time of its start
    network: int  # -239 is the main network, -3 the test network


class Row(NamedTuple):
    """One row of `/jetton/transfers`: the SENDER's half of a transfer."""

    tx_hash: str  # 64 lower-case hex digits
    lt: int
    time: int  # unix seconds
    aborted: bool
    master: str
    source: str
    destination: str
    amount: int
    trace_id: str | None

    @property
    def key(self) -> tuple[str, int]:
        """What tells one row from another."""
        return self.tx_hash, self.lt

    def transfer(self, chain_id: int) -> Transfer:
        """Return the row as the scanner knows transfers."""
        return Transfer(
            chain_id=chain_id,
            tx_hash=self.tx_hash,
            event_key=str(self.lt),
            log_index=None,
            block_number=self.time,
            block_hash=None,
            block_time=self.time,
            token=self.master,
            destination=self.destination,
            amount=self.amount,
            sender=self.source,
        )


def parse_block(block: Any) -> Tip:
    """Read a masterchain block."""
    if not isinstance(block, dict):
        raise ChainProtocolError("the answer names no masterchain block")
    network = str(block.get("global_id"))
    if _WHOLE.fullmatch(network) is None:
        raise ChainProtocolError("a block does not say which network it is of")
    return Tip(number(block.get("gen_utime"), "gen_utime"), number(block.get("start_lt"), "start_lt"), int(network))


def time_of_block(block: Any) -> int | None:
    """Return the time of a block nobody has to tell of; None when it cannot be read."""
    try:
        return number(block.get("gen_utime"), "gen_utime") if isinstance(block, dict) else None
    except ChainProtocolError:
        return None


def parse_transfer(row: Json) -> Row:
    """Read one row of `/jetton/transfers`."""
    aborted = row.get("transaction_aborted")
    if not isinstance(aborted, bool):
        raise ChainProtocolError("a transfer does not say whether it was aborted")
    trace_id = row.get("trace_id")
    return Row(
        tx_hash=hash_of(row.get("transaction_hash")),
        lt=number(row.get("transaction_lt"), "transaction_lt"),
        time=number(row.get("transaction_now"), "transaction_now"),
        aborted=aborted,
        master=address(row, "jetton_master"),
        source=address(row, "source"),
        destination=address(row, "destination"),
        amount=number(row.get("amount"), "amount"),
        trace_id=trace_id if isinstance(trace_id, str) else None,
    )


def parse_token(answer: Json, master: str) -> TokenMeta | None:
    """Read what a jetton says of itself: on chain first, then in its metadata; None when it says nothing readable."""
    masters = [row for row in rows_of(answer, "jetton_masters") if canonical_of(row.get("address")) == master]
    if not masters:
        return None
    content = masters[0].get("jetton_content")
    told = content if isinstance(content, dict) else {}
    info = _token_info(answer.get("metadata"), master)
    extra = info.get("extra") if isinstance(info.get("extra"), dict) else {}
    symbol = printable_label(told.get("symbol") or info.get("symbol"))
    sent = str(told.get("decimals", (extra or {}).get("decimals", DEFAULT_DECIMALS)))
    decimals = plausible_decimals(int(sent)) if NUMBER.fullmatch(sent) else None
    meta = TokenMeta(symbol, decimals)
    return None if meta == TokenMeta(None, None) else meta


def _token_info(metadata: Any, master: str) -> Json:
    """Return what the indexer fetched for a jetton, if it did."""
    about = metadata.get(master) if isinstance(metadata, dict) else None
    infos = about.get("token_info") if isinstance(about, dict) else None
    for info in infos if isinstance(infos, list) else []:
        if isinstance(info, dict) and info.get("type") == "jetton_masters":
            return info
    return {}
