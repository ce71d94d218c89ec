"""The logs of one page: what can be read of them, and apart from that what may be a payment and cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from chains.errors import ChainProtocolError
from chains.evm.blocks import Block
from chains.evm.events import TRANSFER_TOPIC
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.evm.logs.answers import LogAnswer
from chains.evm.logs.log_decoder import Contradiction, LogDecoder
from chains.evm.logs.queries import LogFilter, topic_of
from chains.evm.rpc.structs import Log, MalformedLog
from chains.evm.values import address_text, hash_text
from chains.rpc.quantities import quantity_or_none
from chains.types import Cursor, Rail, ScanPage, Transfer, UnreadableLog

ROWS_PER_SLICE = 1_000  # decoded before others have their turn; with more, the processor's caches are too small
MAX_UNREADABLE = 50  # of one page: more than that is no bad item, but an endpoint that serves no logs

_DESTINATION = 2  # the place of the topic


class Vague(ChainProtocolError):
    """An unreadable log does not even say which of several blocks it is of: ask for one block at a time."""


class PageDecoder:
    """
    Decodes the logs of one page, slice by slice.

    One log that a node garbled once stopped a whole rail: it is put aside, and keeps no other waiting.
    """

    def __init__(self, log_filter: LogFilter, *, chain_id: int, proxy: str, first: int, last: int) -> None:
        self._log_filter = log_filter
        self._proxy = proxy
        self._first = first
        self._last = last
        self._decoder = LogDecoder(chain_id=chain_id, proxy=proxy, first=first, last=last)
        self._unread: dict[tuple[int, str | None], UnreadableLog] = {}

    @property
    def transfers(self) -> list[Transfer]:
        """Return what was read so far, each log once."""
        return self._decoder.transfers

    @property
    def unread(self) -> tuple[UnreadableLog, ...]:
        """Return what may be a payment and could not be read, each transaction once."""
        return tuple(self._unread.values())

    def hash_of(self, number: int) -> str | None:
        """Return the hash the logs of one block carry; None when the page has none of that block."""
        return self._decoder.hash_of(number)

    async def feed(self, rows: Sequence[Log], malformed: Sequence[MalformedLog] = ()) -> None:
        """
        Decode one answer, and let others run between its slices.

        Raises:
            ChainProtocolError: the answer contradicts itself, or too much of it cannot be read.
            Vague: what cannot be read may be of any block of the page.
        """
        feed = self._decoder.feed if self._log_filter.rail is Rail.PROXY else self._decoder.feed_credits
        for start in range(0, len(rows), ROWS_PER_SLICE):
            await asyncio.sleep(0)
            part = rows[start : start + ROWS_PER_SLICE]
            try:
                feed(part)
            except Contradiction:
                raise
            except ChainProtocolError:
                self._one_by_one(part)
        for each in malformed:
            self._note_unreadable(each)

    def _one_by_one(self, rows: Sequence[Log]) -> None:
        feed = self._decoder.feed if self._log_filter.rail is Rail.PROXY else self._decoder.feed_credits
        for row in rows:
            try:
                feed([row])
            except Contradiction:
                raise
            except ChainProtocolError as exc:
                self._note_unreadable(
                    MalformedLog(row.address, row.topics, row.transactionHash, row.blockNumber, str(exc))
                )

    def _note_unreadable(self, log: MalformedLog) -> None:
        if not may_matter(log, self._log_filter, self._proxy):
            return
        number = quantity_or_none(log.number)
        if number is None or not self._first <= number <= self._last:
            if self._first != self._last:
                raise Vague(f"a log that cannot be read, of a block that cannot be read: {log.why}")
            number = self._last
        try:
            tx_hash = hash_text(log.tx_hash)
        except ChainProtocolError:
            tx_hash = None
        self._unread.setdefault((number, tx_hash), UnreadableLog(number, tx_hash, log.why))
        if len(self._unread) > MAX_UNREADABLE:
            raise ChainProtocolError(f"more than {MAX_UNREADABLE} logs cannot be read: {log.why}")


async def decode_page(
    log_filter: LogFilter, answers: Sequence[LogAnswer], end: Block, first: int, *, chain_id: int, proxy: str
) -> ScanPage:
    """
    Decode the answers for the blocks from `first` to `end` into a page.

    Raises:
        ChainProtocolError: they contradict each other, or the block at the end of the page.
        Vague: what cannot be read may be of any block of the page.
    """
    decoder = PageDecoder(log_filter, chain_id=chain_id, proxy=proxy, first=first, last=end.number)
    for answer in answers:
        await decoder.feed(answer.rows, answer.malformed)
    if decoder.hash_of(end.number) not in {None, end.hash}:
        raise ChainProtocolError(f"the logs of block {end.number} are not of the block the node holds")
    rows_read = sum(len(answer.rows) + len(answer.malformed) for answer in answers)
    return ScanPage(decoder.transfers, Cursor(end.number, end.hash), end.time, rows_read, decoder.unread)


def may_matter(log: MalformedLog, log_filter: LogFilter, proxy: str) -> bool:
    """Say whether what cannot be read of a log leaves room for a payment that counts."""
    address, topics = address_text(log.address), log.topics if isinstance(log.topics, list | tuple) else ()
    if log_filter.rail is Rail.PROXY:
        return address in {None, proxy} and _topic(topics, 0) in {None, EVENT_TOPIC}
    destination = _topic(topics, _DESTINATION)
    return (
        (address is None or not log_filter.tokens or address in log_filter.tokens)
        and _topic(topics, 0) in {None, TRANSFER_TOPIC}
        and (destination is None or destination in map(topic_of, log_filter.destinations))
    )


def _topic(topics: Sequence[Any], place: int) -> str | None:
    """Return a topic; None when there is none to read."""
    try:
        return hash_text(topics[place])
    except (IndexError, ChainProtocolError):
        return None
