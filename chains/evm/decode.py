"""
Raw JSON-RPC answers into facts, by hand: the hot path.

A general ABI decoder takes a hundred times longer than a page of logs may take, so the fixed-width
fields are cut out here, and every length, padding and range is checked: what is not exactly
what a correct node answers is a `ChainProtocolError`, never a guess.
"""

from __future__ import annotations

import functools
import itertools
import operator
import re
import struct
from binascii import unhexlify
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from addresses.keccak import keccak
from chains.errors import ChainProtocolError
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.evm.rpc.structs import Log
from chains.rpc.quantities import MAX_TIMESTAMP, quantity, quantity_or_none
from chains.types import Transfer

TRANSFER_TOPIC = "0x" + keccak(b"Transfer(address,address,uint256)").hex()

_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_ADDRESS_WORD = re.compile(r"0{24}[0-9a-fA-F]{40}")
_WORD = re.compile(r"[0-9a-fA-F]{64}")

_HASH_CHARS = 66
_EVENT_DATA_CHARS = 2 + 5 * 64  # token, destination, amount, fee amount, fee address
_EVENT_TOPICS = 2
_HASH_COLUMN = struct.Struct("33s")  # 0x and a word, as bytes
_EVENT_DATA = struct.Struct("65s32s64s")  # 0x with token and destination; amount; fee amount and fee address
_PADDING = bytes(12)  # of an address in a word
_ERC20_TOPICS = 3
KEY_BYTES = 16  # of the hash in an event key


class Block(NamedTuple):
    """What is read of a block."""

    number: int
    hash: str
    time: int  # unix seconds


class Contradiction(ChainProtocolError):
    """Logs of one answer that cannot all be of the blocks that were asked for: it says nothing as a whole."""


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


def address_text(value: object) -> str | None:
    """Return an address in lower case; None when it is none."""
    return value.lower() if isinstance(value, str) and _ADDRESS.fullmatch(value) else None


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
    block = Block(quantity(raw.get("number")), hash_text(raw.get("hash")), quantity(raw.get("timestamp")))
    if block.time > MAX_TIMESTAMP:
        raise ChainProtocolError(f"block {block.number} has no time that a calendar can tell")
    if number is not None and block.number != number:
        raise ChainProtocolError(f"asked for block {number}, got block {block.number}")
    return block


def first_key(address: str, topics: Sequence[str], data: str) -> str:
    """
    Return the key of the first log of a transaction that says this.

    Made of what the log says alone: nodes number logs differently (github.com/erigontech/erigon issue 13542), and
    a transfer that is known by a number is counted once by each of them.
    """
    return _key(_bytes(f"{address}{''.join(topics)}{data}"))


def _key(said: bytes) -> str:
    return f"{_digest(said).hexdigest()}-0"


_digest = functools.partial(blake2b, digest_size=KEY_BYTES)


def _bytes(texts: str) -> bytes:
    """Return hex texts in a row as bytes, each `0x` as a zero: much shorter to hash, and in one spelling."""
    return unhexlify(texts.replace("x", "0"))


def nth_key(first: str, place: int) -> str:
    """Return the key of a later log of the same transaction that says the same as the first, which has place 0."""
    return f"{first[: 2 * KEY_BYTES]}-{place}"


class _Indexes(dict[object, int | None]):
    """Log indexes, by how they are sent; None where that is no number: they are labels, and stop no payment."""

    def __missing__(self, sent: object) -> int | None:
        index = self[sent] = quantity_or_none(sent)
        return index


class _Payees(dict[bytes, tuple[str, str]]):
    """Token and destination, by 0x and the two words they are sent in."""

    def __missing__(self, words: bytes) -> tuple[str, str]:
        payee = self[words] = (_padded_address(words[1:33]), _padded_address(words[33:]))
        return payee


class _Fees(dict[bytes, tuple[int, str]]):
    """Fee and who gets it, by the two words they are sent in."""

    def __missing__(self, words: bytes) -> tuple[int, str]:
        fee = self[words] = (int.from_bytes(words[:32], "big"), _padded_address(words[32:]))
        return fee


class _Blocks(dict[tuple[object, str, object], tuple[int, str, int | None]]):
    """Number, hash and time as meant, by how they are sent."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__()
        self.hashes: dict[int, str] = {}
        self._first = first
        self._last = last

    def __missing__(self, sent: tuple[object, str, object]) -> tuple[int, str, int | None]:
        number, block_hash, time = quantity(sent[0]), hash_text(sent[1]), _stamp(sent[2])
        if not self._first <= number <= self._last:
            raise Contradiction(f"a log of block {number}, outside {self._first} to {self._last}")
        if self.hashes.setdefault(number, block_hash) != block_hash:
            raise Contradiction(f"logs of two different blocks {number}")
        block = self[sent] = (number, block_hash, time)
        return block


class LogDecoder:
    """
    Decodes the proxy events of one page, fed in slices.

    A slice is checked and cut column by column: at a hundred thousand logs every call a log costs.
    A page must agree on one hash a block. What repeats from log to log (blocks, tokens, destinations)
    is checked once and remembered.
    """

    def __init__(self, *, chain_id: int, proxy: str, first: int, last: int) -> None:
        self._chain_id = chain_id
        self._proxy = proxy
        self._origin = _bytes(proxy + EVENT_TOPIC)
        self._blocks = _Blocks(first, last)
        self._indexes = _Indexes()
        self._payees = _Payees()
        self._fees = _Fees()
        self._first: dict[_Identity, int | None] = {}  # the log index of the first log that says just this
        self._equals: dict[_Identity, set[int | None]] = {}  # of all of them, where there is more than one
        self._found: list[Transfer] = []

    @property
    def transfers(self) -> list[Transfer]:
        """Return what was decoded so far, each log once."""
        return self._found

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
        Decode ERC-20 `Transfer` logs into destinations of ours; what else contracts emit is passed over.

        Raises:
            ChainProtocolError: a row is malformed, removed or out of range.
        """
        try:
            self._keep([transfer for row in rows if (transfer := self._credited(row)) is not None])
        except (TypeError, ValueError) as exc:
            raise ChainProtocolError(f"malformed log: {str(exc)[:80]}") from exc

    def _credited(self, row: Log) -> Transfer | None:
        credit = transfer_log(row.address, row.topics, row.data)
        if row.removed is True:
            raise ValueError("a removed log")
        number, block_hash, _ = self._blocks[row.blockNumber, row.blockHash, row.blockTimestamp]
        if credit is None:
            if not is_well_formed(row.address, row.topics, row.data):
                # Passed over like the odd events of odd contracts, a payment a node garbled was lost for good.
                raise ValueError("not of the form any contract can give a log")
            return None
        return plain_transfer(
            credit,
            chain_id=self._chain_id,
            tx_hash=hash_text(row.transactionHash),
            event_key=first_key(row.address, row.topics, row.data),
            log_index=self._indexes[row.logIndex],
            block_number=number,
            block_hash=block_hash,
            block_time=_stamp(row.blockTimestamp),
        )

    def _decode(self, rows: Sequence[Log]) -> list[Transfer]:
        references, said_references = _hashes(_references(rows, self._proxy))
        tx_hashes, _ = _hashes([row.transactionHash for row in rows])
        data = _column([row.data for row in rows], _EVENT_DATA_CHARS)
        payees, amounts, fees = zip(*_EVENT_DATA.iter_unpack(data), strict=True)
        said = zip(itertools.repeat(self._origin), said_references, payees, amounts, fees, strict=False)
        # Logs of one block stand together: it is looked up once.
        runs = itertools.groupby(rows, _PLACE)
        blocks = (itertools.repeat(self._blocks[place], len(list(run))) for place, run in runs)
        block_numbers, block_hashes, times = zip(*itertools.chain.from_iterable(blocks), strict=True)
        tokens, destinations = zip(*map(self._payees.__getitem__, payees), strict=True)
        fee_amounts, fee_addresses = zip(*map(self._fees.__getitem__, fees), strict=True)
        columns = (
            itertools.repeat(self._chain_id),
            tx_hashes,
            [_key(each) for each in map(b"".join, said)],
            [self._indexes[row.logIndex] for row in rows],
            block_numbers,
            block_hashes,
            times,
            tokens,
            destinations,
            map(int.from_bytes, amounts),
            itertools.repeat(None),  # the sender is in the receipt
            references,
            fee_amounts,
            fee_addresses,
        )
        return list(map(_as_transfer, zip(*columns, strict=False)))

    def _keep(self, transfers: Sequence[Transfer]) -> None:
        first = dict(zip(map(_IDENTITY, transfers), map(_INDEX, transfers), strict=True))
        if len(first) == len(transfers) and self._first.keys().isdisjoint(first):
            self._found += transfers
            self._first |= first
        else:
            self._found += filter(None, map(self._numbered, transfers))

    def _numbered(self, transfer: Transfer) -> Transfer | None:
        """
        Give a log its place among those of its transaction that say the same; None for a row sent twice.

        Two nodes may number logs differently: within one answer a number still tells one row from another.
        """
        identity, index = _IDENTITY(transfer), transfer.log_index
        if identity not in self._first:
            self._first[identity] = index
            return transfer
        indexes = self._equals.setdefault(identity, {self._first[identity]})
        if index in indexes:
            return None
        indexes.add(index)
        return transfer._replace(event_key=nth_key(transfer.event_key, len(indexes) - 1))


# A page is cut by these, which run without a Python frame a row.
_PLACE: Callable[[Log], tuple[object, str, object]] = operator.attrgetter("blockNumber", "blockHash", "blockTimestamp")
_Identity = tuple[int, str, str]  # block, transaction, what the log says
_IDENTITY: Callable[[Transfer], _Identity] = operator.attrgetter("block_number", "tx_hash", "event_key")
_INDEX: Callable[[Transfer], int | None] = operator.attrgetter("log_index")
_as_transfer = functools.partial(tuple.__new__, Transfer)  # `Transfer._make` without its Python frame


def _references(rows: Sequence[Log], proxy: str) -> list[str]:
    """Check that these are standing events of the proxy; return the references they carry."""
    topics = [row.topics for row in rows]
    if set(map(len, topics)) != {_EVENT_TOPICS}:
        raise ValueError("wrong number of topics")
    if not _all_are([event for event, _ in topics], EVENT_TOPIC):
        raise ValueError("another event")
    if not _all_are([row.address for row in rows], proxy):
        raise ValueError("another contract")
    if True in [row.removed for row in rows]:
        raise ValueError("a removed log")
    return [reference for _, reference in topics]


def _all_are(texts: Sequence[str], text: str) -> bool:
    """Say whether these all are one text in lower case, however they are sent."""
    return texts.count(text) == len(texts) or {each.lower() for each in texts} == {text}


def _column(texts: Sequence[str], chars: int) -> bytes:
    """Check that these are 0x and hex digits, so many characters each; return them all as bytes, 0x as a zero."""
    count, joined = len(texts), bytearray("".join(texts), "ascii")
    if set(map(len, texts)) != {chars} or joined[::chars] != b"0" * count or joined[1::chars] != b"x" * count:
        raise ValueError("not 0x and so many digits")
    joined[1::chars] = b"0" * count
    return unhexlify(joined)


def _hashes(texts: Sequence[str]) -> tuple[Sequence[str], Iterable[bytes]]:
    """Check that these are hashes, all in one go; return them in lower case, and as bytes with 0x as a zero."""
    found = itertools.chain.from_iterable(_HASH_COLUMN.iter_unpack(_column(texts, _HASH_CHARS)))
    joined = "".join(texts)
    return (texts if joined == joined.lower() else [text.lower() for text in texts]), found


def _padded_address(word: bytes) -> str:
    if word[:12] != _PADDING:
        raise ValueError("not an address")
    return "0x" + word[12:].hex()


def _word_address(word: str) -> str:
    if _ADDRESS_WORD.fullmatch(word) is None:
        raise ValueError("not an address")
    return "0x" + word[24:].lower()


def _stamp(sent: object) -> int | None:
    """Return the block time a log carries; None where it is unreadable or not known, which some say as zero."""
    # Clients sent it as a number for months: nobody needs it, the block itself is read (execution-apis pull 639).
    time = quantity_or_none(sent) if isinstance(sent, str) else None
    # One of a year after 9999 made its transfer late, or stopped the chain where the day had to be told.
    return time if time and time <= MAX_TIMESTAMP else None


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
    whole = len(topics) == _EVENT_TOPICS and len(data) == _EVENT_DATA_CHARS and data[:2] == "0x"
    if not whole or not all(map(_WORD.fullmatch, words)):
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
    words_fit = all(topic[:2] == "0x" and _ADDRESS_WORD.fullmatch(topic[2:]) for topic in topics[1:])
    if not words_fit or _HASH.fullmatch(data) is None or _ADDRESS.fullmatch(address) is None:
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
    return topics[0].lower() if isinstance(topics[0], str) and _HASH.fullmatch(topics[0]) else None


def is_well_formed(address: object, topics: object, data: object) -> bool:
    """Say whether a log is one a contract can emit, whatever it says: what is not was garbled by a node."""
    return (
        isinstance(address, str)
        and _ADDRESS.fullmatch(address) is not None
        and isinstance(topics, list | tuple)
        and all(isinstance(topic, str) and _HASH.fullmatch(topic) for topic in topics)
        and isinstance(data, str)
        and _DATA.fullmatch(data) is not None
    )


def hash_text(value: object) -> str:
    """Return a hash in lower case."""
    if not isinstance(value, str) or _HASH.fullmatch(value) is None:
        raise ChainProtocolError(f"not a hash: {_shown(value)}")
    return value.lower()


def _shown(value: object) -> str:
    return repr(value)[:60]
