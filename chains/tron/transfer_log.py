"""One TRC-20 `Transfer` event: what it says, and what tells it from its equals (pure)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from addresses.keccak import keccak
from chains.errors import ChainProtocolError
from chains.tron.address import from_hex, to_hex
from chains.tron.values import excerpt, plain_hex
from chains.types import Transfer

TRANSFER_TOPIC = keccak(b"Transfer(address,address,uint256)").hex()
_ADDRESS_DIGITS = 40
_WORD = re.compile(r"[0-9a-f]{64}")
TRC20_TOPICS = 3


class TransferLog(NamedTuple):
    """One TRC-20 `Transfer` event: what a token says it moved."""

    token: str
    source: str
    destination: str
    value: int
    ordinal: int = 0  # which of its equals in the transaction it is
    place: int | None = None  # among all events of its transaction: a label, where it is known

    @property
    def said(self) -> tuple[str, str, str, int]:
        """What it says, wherever it stands."""
        return self.token, self.source, self.destination, self.value

    @property
    def claim(self) -> tuple[str, str, int]:
        """What it says somebody got."""
        return self.token, self.destination, self.value

    @property
    def key(self) -> str:
        """
        Return what tells it from others of its transaction: what it says, and which of its equals it is.

        Not a number a node chose: `logIndex` counts within the block, `event_index` within the transaction,
        and an account's history has none. Two keys for one transfer would double a payment.
        """
        said = f"{to_hex(self.token)}{to_hex(self.source)}{to_hex(self.destination)}{self.value:064x}"
        return f"{hashlib.sha256(bytes.fromhex(said)).hexdigest()[:32]}.{self.ordinal}"


def number_equals(transfers: Iterable[TransferLog]) -> tuple[TransferLog, ...]:
    """Say of every event of one transaction which of its equals it is, in the order of the chain."""
    seen: Counter[tuple[str, str, str, int]] = Counter()
    numbered = []
    for event in transfers:
        numbered.append(event._replace(ordinal=seen[event.said]))
        seen[event.said] += 1
    return tuple(numbered)


def transfer_event(
    address: Any, topics: list[str], data: str, place: int | None
) -> TransferLog | tuple[str, str] | None:
    """
    Read an event as a TRC-20 `Transfer`; None for any other, such as the transfer of a unique token.

    Of one with data of another length only whose it is and to whom. Raises `ChainProtocolError` for no contract.
    """
    if len(topics) != TRC20_TOPICS or topics[0] != TRANSFER_TOPIC or not all(map(_WORD.fullmatch, topics)):
        return None
    contract = plain_hex(address)
    contract = contract.removeprefix("41") if len(contract) == _ADDRESS_DIGITS + 2 else contract
    if len(contract) != _ADDRESS_DIGITS:
        raise ChainProtocolError(f"not a contract: {excerpt(address)}")
    token, source, destination = (from_hex(text[-_ADDRESS_DIGITS:]) for text in (contract, *topics[1:]))
    if _WORD.fullmatch(data) is None:
        return token, destination
    return TransferLog(token, source, destination, int(data, 16), place=place)


def transfer_from_log(tx_hash: str, time_ms: int, event: TransferLog, chain_id: int) -> Transfer:
    """Return one event as a transfer, whoever told of it: its key is the same."""
    return Transfer(
        chain_id=chain_id,
        tx_hash=tx_hash,
        event_key=event.key,
        log_index=event.place,
        block_number=time_ms,
        block_hash=None,
        block_time=time_ms // 1000,
        token=event.token,
        destination=event.destination,
        amount=event.value,
        sender=event.source,
    )
