"""
Events of contracts: an ERC-20 `Transfer` and the event of the ERC20FeeProxy, read strictly from one log (pure).

Every length, padding and range is checked. What a correct node would not send is a `ChainProtocolError`, never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from addresses.keccak import keccak
from chains.errors import ChainProtocolError
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.evm.values import ADDRESS, ADDRESS_WORD, DATA, HASH, WORD, hash_text
from chains.types import Transfer

TRANSFER_TOPIC = "0x" + keccak(b"Transfer(address,address,uint256)").hex()


EVENT_DATA_CHARS = 2 + 5 * 64  # token, destination, amount, fee amount, fee address
EVENT_TOPICS = 2
_ERC20_TOPICS = 3


class TransferLog(NamedTuple):
    """One ERC-20 `Transfer` event: what a token says it moved."""

    token: str
    source: str
    destination: str
    value: int


class ProxyEvent(NamedTuple):
    """One event of the proxy: what somebody claims to have paid."""

    token: str
    destination: str
    amount: int
    reference: str
    fee_amount: int
    fee_address: str


def _word_address(word: str) -> str:
    if ADDRESS_WORD.fullmatch(word) is None:
        raise ValueError("not an address")
    return "0x" + word[24:].lower()


def is_proxy_event(address: str, topics: Sequence[str], proxy: str) -> bool:
    """Say whether a log is an event of the proxy."""
    return bool(topics) and topics[0].lower() == EVENT_TOPIC and address.lower() == proxy


def proxy_event(topics: Sequence[str], data: str) -> ProxyEvent:
    """
    Read what an event of the proxy claims.

    Raises:
        ChainProtocolError: it is not what the contract emits.
    """
    words = [data[at : at + 64] for at in range(2, len(data), 64)]
    whole = len(topics) == EVENT_TOPICS and len(data) == EVENT_DATA_CHARS and data[:2] == "0x"
    if not whole or not all(map(WORD.fullmatch, words)):
        raise ChainProtocolError("an event the proxy does not emit")
    try:
        token, destination, fee_address = (_word_address(words[place]) for place in (0, 1, 4))
    except ValueError as exc:
        raise ChainProtocolError("an event the proxy does not emit") from exc
    return ProxyEvent(token, destination, int(words[2], 16), hash_text(topics[1]), int(words[3], 16), fee_address)


def plain_transfer(
    moved: TransferLog,
    *,
    chain_id: int,
    tx_hash: str,
    event_key: str,
    log_index: int | None,
    block_number: int,
    block_hash: str,
    block_time: int | None,
) -> Transfer:
    """Return what a token moved as a transfer of the direct rail."""
    return Transfer(
        chain_id=chain_id,
        tx_hash=tx_hash,
        event_key=event_key,
        log_index=log_index,
        block_number=block_number,
        block_hash=block_hash,
        block_time=block_time,
        token=moved.token,
        destination=moved.destination,
        amount=moved.value,
        sender=moved.source,
    )


def transfer_log(address: str, topics: Sequence[str], data: str) -> TransferLog | None:
    """Read a log as an ERC-20 `Transfer`; None for any other log, such as an ERC-721 transfer."""
    if len(topics) != _ERC20_TOPICS or topics[0].lower() != TRANSFER_TOPIC:
        return None
    words_fit = all(topic[:2] == "0x" and ADDRESS_WORD.fullmatch(topic[2:]) for topic in topics[1:])
    if not words_fit or HASH.fullmatch(data) is None or ADDRESS.fullmatch(address) is None:
        return None
    return TransferLog(
        token=address.lower(),
        source="0x" + topics[1][-40:].lower(),
        destination="0x" + topics[2][-40:].lower(),
        value=int(data, 16),
    )


def first_topic(topics: object) -> str | None:
    """Return which event a log is of; None when that cannot be read."""
    if not isinstance(topics, list | tuple) or not topics:
        return None
    return topics[0].lower() if isinstance(topics[0], str) and HASH.fullmatch(topics[0]) else None


def is_well_formed(address: object, topics: object, data: object) -> bool:
    """Say whether a log is one a contract can emit, whatever it says: what is not was garbled by a node."""
    return (
        isinstance(address, str)
        and ADDRESS.fullmatch(address) is not None
        and isinstance(topics, list | tuple)
        and all(isinstance(topic, str) and HASH.fullmatch(topic) for topic in topics)
        and isinstance(data, str)
        and DATA.fullmatch(data) is not None
    )
