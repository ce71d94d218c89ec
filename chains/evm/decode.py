"""
Raw JSON-RPC answers into facts, by hand: the hot path.

A general ABI decoder takes a hundred times longer than a page of logs may take, so the fixed-width
fields are cut out here, and every length, padding and range is checked: what is not exactly
what a correct node answers is a `ChainProtocolError`, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from chains.errors import ChainProtocolError
from chains.evm.proxy import EVENT_TOPIC
from chains.types import Movement, Transfer
from config.checksum import keccak

TRANSFER_TOPIC = "0x" + keccak(b"Transfer(address,address,uint256)").hex()

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,16}")
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_ADDRESS_WORD = re.compile(r"0{24}[0-9a-fA-F]{40}")
_WORD = re.compile(r"[0-9a-fA-F]{64}")

_HASH_CHARS = 66
_EVENT_DATA_CHARS = 2 + 5 * 64  # token, destination, amount, fee amount, fee address
_VARYING_BYTES = 3 * 32  # transaction hash, reference, amount: what hardly ever repeats
_ERC20_TOPICS = 3


class Block(NamedTuple):
    """What is read of a block."""

    number: int
    hash: str
    time: int  # unix seconds


class Credit(NamedTuple):
    """One ERC-20 `Transfer` event: what a token says it moved."""

    log_index: int
    token: str
    source: str
    destination: str
    value: int


class Receipt(NamedTuple):
    """What is read of a transaction receipt."""

    block_number: int
    block_hash: str
    succeeded: bool
    sender: str
    events: list[Transfer]  # of our proxy, in log order
    credits: list[Credit]  # of any token, in log order


def quantity(value: object) -> int:
    """Return a JSON-RPC quantity."""
    if not isinstance(value, str) or _QUANTITY.fullmatch(value) is None:
        raise ChainProtocolError(f"not a quantity: {_shown(value)}")
    return int(value, 16)


def parse_block(raw: object, number: int | None = None) -> Block | None:
    """
    Read a block header; None when the node does not hold it.

    Raises:
        ChainProtocolError: malformed, not sealed, or not the block `number` that was asked for.
    """
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise ChainProtocolError(f"not a block: {_shown(raw)}")
    block = Block(quantity(raw.get("number")), _hash(raw.get("hash")), quantity(raw.get("timestamp")))
    if number is not None and block.number != number:
        raise ChainProtocolError(f"asked for block {number}, got block {block.number}")
    return block


class LogDecoder:
    """
    Decodes the proxy events of one page, fed in slices.

    Everything in a page must agree: one hash a block, one content a log index. What repeats from
    log to log (blocks, tokens, destinations) is checked once and remembered.
    """

    def __init__(self, *, chain_id: int, proxy: str, first: int, last: int) -> None:
        self._chain_id = chain_id
        self._proxy = proxy
        self._first = first
        self._last = last
        self._hashes: dict[int, str] = {}
        self._blocks: dict[tuple[str, str], tuple[int, str]] = {}  # number and hash as sent: as meant
        self._numbers: dict[str, int] = {}
        self._addresses: dict[str, str] = {}
        self._amounts: dict[str, int] = {}
        self._found: dict[tuple[int, int], Transfer] = {}

    @property
    def transfers(self) -> list[Transfer]:
        """Return what was decoded so far, each log once."""
        return list(self._found.values())

    def hash_of(self, number: int) -> str | None:
        """Return the hash the logs of one block carry; None when the page has none of that block."""
        return self._hashes.get(number)

    def feed(self, rows: Iterable[Any]) -> None:
        """
        Decode some more rows.

        Raises:
            ChainProtocolError: a row is malformed, foreign, pending, removed or out of range.
        """
        try:
            self._decode(rows)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as exc:
            raise ChainProtocolError(f"malformed log: {type(exc).__name__}: {str(exc)[:80]}") from exc

    def feed_credits(self, rows: Iterable[Any]) -> None:
        """
        Decode ERC-20 `Transfer` logs into destinations of ours; other logs of that shape are passed over.

        Raises:
            ChainProtocolError: a row is malformed, pending, removed or out of range.
        """
        try:
            for row in rows:
                credit = _credit(row)
                if row.get("removed"):
                    raise ValueError("a removed log")
                number, block_hash = self._blocks.get((row["blockNumber"], row["blockHash"])) or self._block(row)
                if credit is not None:
                    transfer = _direct(credit, row, self._chain_id, number, block_hash)
                    if self._found.setdefault((number, credit.log_index), transfer) is not transfer:
                        self._compare(transfer)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as exc:
            raise ChainProtocolError(f"malformed log: {type(exc).__name__}: {str(exc)[:80]}") from exc

    def _decode(self, rows: Iterable[Any]) -> None:
        # One loop without helpers on purpose: at a hundred thousand logs every call costs.
        chain_id, proxy, found = self._chain_id, self._proxy, self._found
        blocks, numbers, addresses, amounts = self._blocks, self._numbers, self._addresses, self._amounts
        new, fromhex = tuple.__new__, bytes.fromhex
        for row in rows:
            topic, reference = row["topics"]
            tx_hash = row["transactionHash"]
            data = row["data"]
            if topic != EVENT_TOPIC and topic.lower() != EVENT_TOPIC:
                raise ValueError("another event")
            if row["address"] != proxy and row["address"].lower() != proxy:
                raise ValueError("another contract")
            if row.get("removed"):
                raise ValueError("a removed log")
            if len(tx_hash) != _HASH_CHARS or len(reference) != _HASH_CHARS or len(data) != _EVENT_DATA_CHARS:
                raise ValueError("wrong length")
            if tx_hash[:2] != "0x" or reference[:2] != "0x" or data[:2] != "0x":
                raise ValueError("no 0x")
            # `fromhex` skips white space, `int` underscores: the count of bytes tells.
            raw = fromhex(tx_hash[2:] + reference[2:] + data[130:194])
            if len(raw) != _VARYING_BYTES:
                raise ValueError("not hexadecimal")
            block = blocks.get((row["blockNumber"], row["blockHash"])) or self._block(row)
            index = numbers.get(row["logIndex"])
            if index is None:
                index = self._number(row["logIndex"])
            stamp = row.get("blockTimestamp")
            word, fee_word = data[194:258], data[258:]
            fee = amounts.get(word)
            transfer = new(
                Transfer,
                (
                    chain_id,
                    tx_hash.lower(),
                    str(index),
                    index,
                    block[0],
                    block[1],
                    # Some nodes send zero for "not known".
                    None if stamp is None else numbers.get(stamp) or self._number(stamp) or None,
                    addresses.get(data[2:66]) or self._address(data[2:66]),
                    addresses.get(data[66:130]) or self._address(data[66:130]),
                    int.from_bytes(raw[64:], "big"),
                    None,  # the sender is in the receipt
                    reference.lower(),
                    self._amount(word) if fee is None else fee,
                    addresses.get(fee_word) or self._address(fee_word),
                ),
            )
            if found.setdefault((block[0], index), transfer) is not transfer:
                self._compare(transfer)

    def _block(self, row: dict[str, Any]) -> tuple[int, str]:
        number, block_hash = quantity(row["blockNumber"]), _hash(row["blockHash"])
        if not self._first <= number <= self._last:
            raise ChainProtocolError(f"a log of block {number}, outside {self._first} to {self._last}")
        if self._hashes.setdefault(number, block_hash) != block_hash:
            raise ChainProtocolError(f"logs of two different blocks {number}")
        self._blocks[row["blockNumber"], row["blockHash"]] = (number, block_hash)
        return number, block_hash

    def _number(self, sent: str) -> int:
        return self._numbers.setdefault(sent, quantity(sent))

    def _address(self, word: str) -> str:
        if _ADDRESS_WORD.fullmatch(word) is None:
            raise ValueError("not an address")
        return self._addresses.setdefault(word, "0x" + word[24:].lower())

    def _amount(self, word: str) -> int:
        if _WORD.fullmatch(word) is None:
            raise ValueError("not an amount")
        return self._amounts.setdefault(word, int(word, 16))

    def _compare(self, transfer: Transfer) -> None:
        if self._found[transfer.block_number, transfer.log_index or 0] != transfer:
            raise ValueError("two logs with one index")


def parse_receipt(raw: object, *, chain_id: int, proxy: str, tx_hash: str) -> Receipt | None:
    """
    Read a receipt; None when the node does not hold it.

    Raises:
        ChainProtocolError: malformed, not sealed in a block, or of another transaction.
    """
    if raw is None:
        return None
    if not isinstance(raw, dict) or not isinstance(raw.get("logs"), list):
        raise ChainProtocolError(f"not a receipt: {_shown(raw)}")
    if _hash(raw.get("transactionHash")) != tx_hash:
        raise ChainProtocolError(f"asked for the receipt of {tx_hash}, got another")
    number, logs = quantity(raw.get("blockNumber")), raw["logs"]
    sender = raw.get("from")
    if not isinstance(sender, str) or _ADDRESS.fullmatch(sender) is None:
        raise ChainProtocolError("a receipt without sender")
    status = quantity(raw.get("status"))
    decoder = LogDecoder(chain_id=chain_id, proxy=proxy, first=number, last=number)
    decoder.feed(log for log in logs if _is_event(log, proxy))
    return Receipt(
        block_number=number,
        block_hash=_hash(raw.get("blockHash")),
        succeeded=status == 1,
        sender=sender.lower(),
        events=sorted(decoder.transfers, key=lambda event: event.log_index or 0),
        credits=sorted(filter(None, map(_credit, logs))),
    )


def _direct(credit: Credit, row: dict[str, Any], chain_id: int, number: int, block_hash: str) -> Transfer:
    stamp = row.get("blockTimestamp")
    return Transfer(
        chain_id=chain_id,
        tx_hash=_hash(row["transactionHash"]),
        event_key=str(credit.log_index),
        log_index=credit.log_index,
        block_number=number,
        block_hash=block_hash,
        block_time=None if stamp is None else quantity(stamp) or None,
        token=credit.token,
        destination=credit.destination,
        amount=credit.value,
        sender=credit.source,
    )


def direct_transfers(raw: Any, receipt: Receipt, *, chain_id: int, destinations: Collection[str]) -> list[Transfer]:
    """Return the plain transfers of one receipt into destinations of ours."""
    found = []
    for row in raw["logs"]:
        credit = _credit(row)
        if credit is not None and credit.destination in destinations:
            found.append(_direct(credit, row, chain_id, receipt.block_number, receipt.block_hash))
    return found


def _topics(log: object) -> Sequence[Any]:
    topics = log.get("topics") if isinstance(log, dict) else None
    if not isinstance(topics, list):
        raise ChainProtocolError(f"not a log: {_shown(log)}")
    return topics


def _is_event(log: object, proxy: str) -> bool:
    topics = _topics(log)
    address = log.get("address") if isinstance(log, dict) else None
    return bool(topics) and str(topics[0]).lower() == EVENT_TOPIC and str(address).lower() == proxy


def _credit(log: dict[str, Any]) -> Credit | None:
    """Read a log as an ERC-20 `Transfer`; None for any other log, such as an ERC-721 transfer."""
    topics, data, token = _topics(log), log.get("data"), log.get("address")
    if len(topics) != _ERC20_TOPICS or str(topics[0]).lower() != TRANSFER_TOPIC:
        return None
    if not isinstance(data, str) or not isinstance(token, str):
        return None
    words_fit = all(
        isinstance(topic, str) and topic[:2] == "0x" and _ADDRESS_WORD.fullmatch(topic[2:]) for topic in topics[1:]
    )
    if not words_fit or _HASH.fullmatch(data) is None or _ADDRESS.fullmatch(token) is None:
        return None
    return Credit(
        log_index=quantity(log.get("logIndex")),
        token=token.lower(),
        source="0x" + topics[1][-40:].lower(),
        destination="0x" + topics[2][-40:].lower(),
        value=int(data, 16),
    )


def movement(log: object) -> Movement | None:
    """Read a log as a token's word that somebody received something; None for any other log."""
    if not isinstance(log, dict):
        raise ChainProtocolError(f"not a log: {_shown(log)}")
    credit = _credit(log)
    if credit is None or log.get("removed"):
        return None
    return Movement(
        token=credit.token,
        destination=credit.destination,
        sender=credit.source,
        amount=credit.value,
        tx_hash=_hash(log.get("transactionHash")),
        block_number=quantity(log.get("blockNumber")),
    )


def _hash(value: object) -> str:
    if not isinstance(value, str) or _HASH.fullmatch(value) is None:
        raise ChainProtocolError(f"not a hash: {_shown(value)}")
    return value.lower()


def _shown(value: object) -> str:
    return repr(value)[:60]
