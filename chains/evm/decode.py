"""
Raw JSON-RPC answers into facts, by hand: the hot path.

A general ABI decoder takes a hundred times longer than a page of logs may take, so the fixed-width
fields are cut out here, and every length, padding and range is checked: what is not exactly
what a correct node answers is a `ChainProtocolError`, never a guess.
"""

from __future__ import annotations

import functools
import itertools
import re
import struct
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from chains.errors import ChainProtocolError
from chains.evm.proxy import EVENT_TOPIC
from chains.evm.wire import Log, as_logs
from chains.types import Movement, Transfer
from config.checksum import keccak

TRANSFER_TOPIC = "0x" + keccak(b"Transfer(address,address,uint256)").hex()

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,16}")
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_ADDRESS_WORD = re.compile(r"0{24}[0-9a-fA-F]{40}")

_HASH_CHARS = 66
_EVENT_DATA_CHARS = 2 + 5 * 64  # token, destination, amount, fee amount, fee address
_EVENT_WORDS = struct.Struct("x32s32s32s32s32s")  # the same, after the byte that 0x became
_EVENT_TOPICS = 2
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
    logs: list[Log]  # everything, as sent


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


class _Numbers(dict[str | None, int | None]):
    """Quantities by how they are sent; None is not sent at all."""

    def __missing__(self, sent: str | None) -> int | None:
        value = self[sent] = None if sent is None else quantity(sent)
        return value


class _Addresses(dict[bytes, str]):
    """Addresses by the word they are sent in."""

    def __missing__(self, word: bytes) -> str:
        if any(word[:12]):
            raise ValueError("not an address")
        address = self[word] = "0x" + word[12:].hex()
        return address


class _Amounts(dict[bytes, int]):
    """Amounts that repeat, by the word they are sent in."""

    def __missing__(self, word: bytes) -> int:
        amount = self[word] = int.from_bytes(word, "big")
        return amount


class _Blocks(dict[tuple[str, str], tuple[int, str]]):
    """Numbers and hashes as meant, by how they are sent."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__()
        self.hashes: dict[int, str] = {}
        self._first = first
        self._last = last

    def __missing__(self, sent: tuple[str, str]) -> tuple[int, str]:
        number, block_hash = quantity(sent[0]), _hash(sent[1])
        if not self._first <= number <= self._last:
            raise ChainProtocolError(f"a log of block {number}, outside {self._first} to {self._last}")
        if self.hashes.setdefault(number, block_hash) != block_hash:
            raise ChainProtocolError(f"logs of two different blocks {number}")
        self[sent] = (number, block_hash)
        return number, block_hash


class LogDecoder:
    """
    Decodes the proxy events of one page, fed in slices.

    A slice is checked and cut column by column: at a hundred thousand logs every call a log costs.
    Everything in a page must agree: one hash a block, one content a log index. What repeats from
    log to log (blocks, tokens, destinations) is checked once and remembered.
    """

    def __init__(self, *, chain_id: int, proxy: str, first: int, last: int) -> None:
        self._chain_id = chain_id
        self._proxy = proxy
        self._blocks = _Blocks(first, last)
        self._numbers = _Numbers()
        self._addresses = _Addresses()
        self._amounts = _Amounts()
        self._found: dict[tuple[int, int | None], Transfer] = {}

    @property
    def transfers(self) -> list[Transfer]:
        """Return what was decoded so far, each log once."""
        return list(self._found.values())

    def hash_of(self, number: int) -> str | None:
        """Return the hash the logs of one block carry; None when the page has none of that block."""
        return self._blocks.hashes.get(number)

    def feed(self, rows: Sequence[Log]) -> None:
        """
        Decode some more rows.

        Raises:
            ChainProtocolError: a row is malformed, foreign, removed or out of range.
        """
        try:
            if rows:
                self._keep(self._decode(rows))
        except (TypeError, ValueError) as exc:
            raise ChainProtocolError(f"malformed log: {str(exc)[:80]}") from exc

    def feed_credits(self, rows: Iterable[Log]) -> None:
        """
        Decode ERC-20 `Transfer` logs into destinations of ours; other logs of that shape are passed over.

        Raises:
            ChainProtocolError: a row is malformed, removed or out of range.
        """
        try:
            self._keep([transfer for row in rows if (transfer := self._credited(row)) is not None])
        except (TypeError, ValueError) as exc:
            raise ChainProtocolError(f"malformed log: {str(exc)[:80]}") from exc

    def _credited(self, row: Log) -> Transfer | None:
        credit = _credit(row)
        if row.removed:
            raise ValueError("a removed log")
        number, block_hash = self._blocks[row.blockNumber, row.blockHash]
        return None if credit is None else _direct(credit, row, self._chain_id, number, block_hash)

    def _decode(self, rows: Sequence[Log]) -> list[Transfer]:
        topics, references = _event_topics(rows)
        if {topic.lower() for topic in topics} != {EVENT_TOPIC}:
            raise ValueError("another event")
        if {address.lower() for address in {row.address for row in rows}} != {self._proxy}:
            raise ValueError("another contract")
        if any([row.removed for row in rows]):  # noqa: C419 - a list is twice as fast
            raise ValueError("a removed log")
        tx_hashes, _ = _columns([row.transactionHash for row in rows], _HASH_CHARS)
        references, _ = _columns(references, _HASH_CHARS)
        _, data = _columns([row.data for row in rows], _EVENT_DATA_CHARS)
        tokens, destinations, amounts, fees, fee_addresses = zip(*_EVENT_WORDS.iter_unpack(data), strict=True)
        blocks = [self._blocks[sent] for sent in [(row.blockNumber, row.blockHash) for row in rows]]
        indexes = [self._numbers[row.logIndex] for row in rows]
        address = self._addresses.__getitem__
        columns = (
            itertools.repeat(self._chain_id),
            tx_hashes,
            map(str, indexes),
            indexes,
            [number for number, _ in blocks],
            [block_hash for _, block_hash in blocks],
            [self._numbers[row.blockTimestamp] or None for row in rows],  # some nodes send zero for "not known"
            map(address, tokens),
            map(address, destinations),
            [int.from_bytes(amount, "big") for amount in amounts],
            itertools.repeat(None),  # the sender is in the receipt
            references,
            map(self._amounts.__getitem__, fees),
            map(address, fee_addresses),
        )
        return list(map(_as_transfer, zip(*columns, strict=False)))

    def _keep(self, transfers: Sequence[Transfer]) -> None:
        found = self._found
        fresh = {(transfer.block_number, transfer.log_index): transfer for transfer in transfers}
        if len(fresh) < len(transfers) or not fresh.keys().isdisjoint(found):
            for transfer in transfers:
                place = (transfer.block_number, transfer.log_index)
                if found.setdefault(place, transfer) != transfer:
                    raise ValueError("two logs with one index")
        else:
            found.update(fresh)


_as_transfer = functools.partial(tuple.__new__, Transfer)  # `Transfer._make` without its Python frame


def _event_topics(rows: Sequence[Log]) -> tuple[set[str], list[str]]:
    topics = [row.topics for row in rows]
    if set(map(len, topics)) != {_EVENT_TOPICS}:
        raise ValueError("wrong number of topics")
    return {topic for topic, _ in topics}, [reference for _, reference in topics]


def _columns(texts: list[str], chars: int) -> tuple[list[str], bytes]:
    """Check that all of these are 0x and so many hex digits; return them in lower case, and all their bytes."""
    if set(map(len, texts)) != {chars}:
        raise ValueError("wrong length")
    count, joined = len(texts), "".join(texts)
    if joined[::chars] != "0" * count or joined[1::chars] != "x" * count or joined.count("x") != count:
        raise ValueError("no 0x")
    # Every 0x becomes a zero byte. `fromhex` skips white space: the count of bytes tells.
    raw = bytes.fromhex(joined.replace("x", "0"))
    if len(raw) != count * chars // 2:
        raise ValueError("not hexadecimal")
    return texts if joined == joined.lower() else [text.lower() for text in texts], raw


def parse_receipt(raw: object, *, chain_id: int, proxy: str, tx_hash: str) -> Receipt | None:
    """
    Read a receipt; None when the node does not hold it.

    Raises:
        ChainProtocolError: malformed, not sealed in a block, or of another transaction.
    """
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise ChainProtocolError(f"not a receipt: {_shown(raw)}")
    if _hash(raw.get("transactionHash")) != tx_hash:
        raise ChainProtocolError(f"asked for the receipt of {tx_hash}, got another")
    number, logs = quantity(raw.get("blockNumber")), as_logs(raw.get("logs"))
    sender = raw.get("from")
    if not isinstance(sender, str) or _ADDRESS.fullmatch(sender) is None:
        raise ChainProtocolError("a receipt without sender")
    status = quantity(raw.get("status"))
    decoder = LogDecoder(chain_id=chain_id, proxy=proxy, first=number, last=number)
    decoder.feed([log for log in logs if _is_event(log, proxy)])
    return Receipt(
        block_number=number,
        block_hash=_hash(raw.get("blockHash")),
        succeeded=status == 1,
        sender=sender.lower(),
        events=sorted(decoder.transfers, key=lambda event: event.log_index or 0),
        credits=sorted(filter(None, map(_credit, logs))),
        logs=logs,
    )


def _direct(credit: Credit, row: Log, chain_id: int, number: int, block_hash: str) -> Transfer:
    stamp = row.blockTimestamp
    return Transfer(
        chain_id=chain_id,
        tx_hash=_hash(row.transactionHash),
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


def direct_transfers(receipt: Receipt, *, chain_id: int, destinations: Collection[str]) -> list[Transfer]:
    """Return the plain transfers of one receipt into destinations of ours."""
    return [
        _direct(credit, row, chain_id, receipt.block_number, receipt.block_hash)
        for row in receipt.logs
        if (credit := _credit(row)) is not None and credit.destination in destinations
    ]


def _is_event(log: Log, proxy: str) -> bool:
    return bool(log.topics) and log.topics[0].lower() == EVENT_TOPIC and log.address.lower() == proxy


def _credit(log: Log) -> Credit | None:
    """Read a log as an ERC-20 `Transfer`; None for any other log, such as an ERC-721 transfer."""
    topics = log.topics
    if len(topics) != _ERC20_TOPICS or topics[0].lower() != TRANSFER_TOPIC:
        return None
    words_fit = all(topic[:2] == "0x" and _ADDRESS_WORD.fullmatch(topic[2:]) for topic in topics[1:])
    if not words_fit or _HASH.fullmatch(log.data) is None or _ADDRESS.fullmatch(log.address) is None:
        return None
    return Credit(
        log_index=quantity(log.logIndex),
        token=log.address.lower(),
        source="0x" + topics[1][-40:].lower(),
        destination="0x" + topics[2][-40:].lower(),
        value=int(log.data, 16),
    )


def movement(log: Log) -> Movement | None:
    """Read a log as a token's word that somebody received something; None for any other log."""
    credit = _credit(log)
    if credit is None or log.removed:
        return None
    return Movement(
        token=credit.token,
        destination=credit.destination,
        sender=credit.source,
        amount=credit.value,
        tx_hash=_hash(log.transactionHash),
        block_number=quantity(log.blockNumber),
    )


def _hash(value: object) -> str:
    if not isinstance(value, str) or _HASH.fullmatch(value) is None:
        raise ChainProtocolError(f"not a hash: {_shown(value)}")
    return value.lower()


def _shown(value: object) -> str:
    return repr(value)[:60]
