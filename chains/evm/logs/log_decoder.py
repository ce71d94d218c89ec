"""
The logs of one page into transfers, column by column: the hot path (pure).

A general ABI decoder takes a hundred times longer than a page of logs may take, so the fixed-width fields are cut
out here. Every length, padding and range is checked: what a correct node would not send is a `ChainProtocolError`.
"""

from __future__ import annotations

import functools
import itertools
import operator
import struct
from binascii import unhexlify
from collections.abc import Callable, Iterable, Sequence

from chains.errors import ChainProtocolError
from chains.evm.event_keys import first_key, hex_bytes, key_of, nth_key
from chains.evm.events import (
    EVENT_DATA_CHARS,
    EVENT_TOPICS,
    is_well_formed,
    plain_transfer,
    transfer_log,
)
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.evm.rpc.structs import Log
from chains.evm.values import hash_text
from chains.rpc.quantities import MAX_TIMESTAMP, quantity, quantity_or_none
from chains.types import Transfer

_HASH_CHARS = 66
_HASH_COLUMN = struct.Struct("33s")  # 0x and a word, as bytes
_EVENT_DATA = struct.Struct("65s32s64s")  # 0x with token and destination; amount; fee amount and fee address
_PADDING = bytes(12)  # of an address in a word


class Contradiction(ChainProtocolError):
    """Logs of one answer that cannot all be of the blocks that were asked for: it says nothing as a whole."""


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
        self._origin = hex_bytes(proxy + EVENT_TOPIC)
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
                # A payment garbled by a node, skipped like the odd events of odd contracts, was lost for good.
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
        data = _column([row.data for row in rows], EVENT_DATA_CHARS)
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
            [key_of(each) for each in map(b"".join, said)],
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
    if set(map(len, topics)) != {EVENT_TOPICS}:
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


def _stamp(sent: object) -> int | None:
    """Return the block time a log carries; None where it is unreadable or not known, which some say as zero."""
    # Clients sent it as a number for months: nobody needs it, the block itself is read (execution-apis pull 639).
    time = quantity_or_none(sent) if isinstance(sent, str) else None
    # One of a year after 9999 made its transfer late, or stopped the chain where the day had to be told.
    return time if time and time <= MAX_TIMESTAMP else None
