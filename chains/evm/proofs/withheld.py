"""
Logs that an endpoint keeps back, or makes up, found out by the blocks themselves.

Each block's filter of its logs is part of its header, which hashes to the block; it says yes for nothing sometimes,
and never no for something (Ethereum Yellow Paper, section 4.4.1). Where it says perhaps, the block's receipts are
read, proven by the root in the same header, and compared with what the endpoint answered.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from chains.errors import ChainError, ChainProtocolError, ProvenLie
from chains.evm.blocks import block_call
from chains.evm.events import TRANSFER_TOPIC
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.evm.logs.bloom import BLOOM_BYTES, MAX_BLOCKS, bits_of
from chains.evm.logs.log_decoder import LogDecoder
from chains.evm.logs.queries import LogFilter, LogSource, log_matcher, topic_of
from chains.evm.proofs.encoding import encoded_header
from chains.evm.proofs.headers import header_of
from chains.evm.proofs.proven_receipts import ProvenBlock, read_proven
from chains.evm.rpc.client import RpcClient
from chains.evm.rpc.structs import Log
from chains.evm.values import hash_text
from chains.rpc.endpoint import Endpoint, Unserved
from chains.types import Cursor, Rail, ScanPage, Transfer, UnreadableLog

MAX_KEPT = 4_096  # headers, and
MAX_KEPT_LOGS = 50_000  # logs of blocks that were compared: the other rail asks about the same ones
MAX_ASKED = 5_000  # addresses a filter is asked for; where more wait, each block with a transfer may be theirs
MASKS_PER_SLICE = 500  # made, then others run

Key = tuple[str, str]  # transaction, and what the log says


class _Header(NamedTuple):
    parent: str
    bloom: int


class _Wanted(NamedTuple):
    """What a rail looks for, as filters are asked for it."""

    log_filter: LogFilter
    event: int  # the mask of what each such log holds
    addresses: Sequence[int] | None  # of which it holds one; None: too many to ask for
    is_ours: Callable[[str, Sequence[str]], bool]


class WithheldCheck:
    """Compares pages of one chain with what its blocks hold."""

    def __init__(self, client: RpcClient, *, chain_id: int, proxy: str) -> None:
        self._client = client
        self._chain_id = chain_id
        self._proxy = proxy
        self._proxy_mask = bits_of(bytes.fromhex(proxy[2:])) | bits_of(bytes.fromhex(EVENT_TOPIC[2:]))
        self._transfer_mask = bits_of(bytes.fromhex(TRANSFER_TOPIC[2:]))
        self._headers: dict[str, _Header] = {}  # by the hash of the block
        self._logs: dict[str, list[Log]] = {}  # of blocks that were proven, by hash
        self._masks: dict[str, int] = {}  # by address
        self._wanted: dict[Rail, _Wanted] = {}

    async def check(
        self,
        endpoint: Endpoint,
        log_filter: LogFilter,
        source: LogSource,
        page: ScanPage,
        after: Cursor,
        *,
        crowded: Collection[str] = (),
    ) -> ScanPage:
        """
        Return a page whose new blocks hold just what it shows; what cannot be compared is among its unread logs.

        `crowded` are addresses that the endpoint was asked about by token alone.

        Raises:
            ProvenLie: the endpoint keeps a log back, or made one up.
            ChainProtocolError: its blocks are not those that the page's last one names.
            ChainUnavailable: it cannot be asked now.
        """
        wanted = await self._look_for(log_filter)
        shown: dict[int, list[Transfer]] = defaultdict(list)
        for transfer in page.transfers:
            shown[transfer.block_number].append(transfer)
        unreadable = {each.position for each in page.unread}
        doubtful: list[UnreadableLog] = []
        # What is read again below the cursor is compared as well, as far down as anything is shown.
        below = Cursor(min([after.position, *(number - 1 for number in shown)]))
        blocks = await self._blocks(endpoint, page.cursor, below if below.position < after.position else after)
        for number, block_hash, bloom in blocks:
            if number == after.position and after.block_hash not in {None, block_hash}:
                raise ChainProtocolError(f"block {number} is not {after.block_hash}")
            if any(transfer.block_hash != block_hash for transfer in shown[number]):
                raise ChainProtocolError(f"its logs and its headers are of different blocks {number}")
            keys = {(transfer.tx_hash, transfer.event_key) for transfer in shown[number]}
            if not _may_hold(bloom, wanted):
                if keys:
                    raise ProvenLie(f"shows a log that the filter of block {number} rules out: {_first(keys)}")
                continue
            try:
                held = self._decoded(await self._logs_of(endpoint, number, block_hash), wanted)
            except Unserved as exc:
                # Nobody knows what it holds: read again at each poll, and it keeps no other block waiting.
                why = f"the logs of block {number} cannot be compared with its receipts: {exc}"
                doubtful.append(UnreadableLog(number, None, why))
                continue
            if keys - held.keys():
                raise ProvenLie(f"shows a log that block {number} does not hold: {_first(keys - held.keys())}")
            missing = {key for key in held.keys() - keys if _was_asked_for(held[key], log_filter, source, crowded)}
            if missing and number not in unreadable:
                raise ProvenLie(f"keeps back a log of block {number}: {_first(missing)}")
        return replace(page, unread=(*page.unread, *doubtful)) if doubtful else page

    async def _look_for(self, log_filter: LogFilter) -> _Wanted:
        known = self._wanted.get(log_filter.rail)
        if known is not None and known.log_filter is log_filter:
            return known
        event, addresses = self._proxy_mask, None
        if log_filter.rail is Rail.DIRECT:
            event, addresses = self._transfer_mask, await self._address_masks(log_filter.destinations)
        wanted = _Wanted(log_filter, event, addresses, log_matcher(log_filter, self._proxy))
        self._wanted[log_filter.rail] = wanted
        return wanted

    async def _address_masks(self, addresses: Sequence[str]) -> list[int] | None:
        if len(addresses) > MAX_ASKED:
            return None
        masks: dict[str, int] = {}
        for place, address in enumerate(addresses):
            if place % MASKS_PER_SLICE == 0:
                await asyncio.sleep(0)
            known = self._masks.get(address)
            masks[address] = bits_of(bytes.fromhex(topic_of(address)[2:])) if known is None else known
        self._masks = masks
        return list(masks.values())

    async def _blocks(self, endpoint: Endpoint, end: Cursor, after: Cursor) -> list[tuple[int, str, int]]:
        """Return number, hash and filter of the blocks after one cursor up to another, each named by the next."""
        if end.block_hash is None:
            raise ChainProtocolError(f"shows block {end.position} without its hash")
        found: list[tuple[int, str, int]] = []
        number, block_hash = end.position, end.block_hash
        while number > after.position:
            if block_hash not in self._headers:
                await self._read_headers(endpoint, max(after.position + 1, number - MAX_BLOCKS + 1), number, block_hash)
            header = self._headers[block_hash]
            found.append((number, block_hash, header.bloom))
            number, block_hash = number - 1, header.parent
        if found and after.block_hash not in {None, block_hash}:
            raise ChainProtocolError(f"block {number + 1} does not build on block {after.block_hash}")
        return found

    async def _read_headers(self, endpoint: Endpoint, first: int, last: int, block_hash: str) -> None:
        numbers = range(last, first - 1, -1)
        answers = await self._client.batch(endpoint, [block_call(number) for number in numbers])
        for number, answer in zip(numbers, answers, strict=True):
            told = header_of(answer.get(), number)
            encoded_header(told, block_hash)  # its filter and its parent are what the hash covers
            parent = hash_text(told.get("parentHash"))
            self._headers[block_hash] = _Header(parent, _bloom(told, number))
            block_hash = parent
        while len(self._headers) > MAX_KEPT:
            del self._headers[next(iter(self._headers))]

    async def _logs_of(self, endpoint: Endpoint, number: int, block_hash: str) -> list[Log]:
        """Return the logs of a block in its order, from its proven receipts."""
        known = self._logs.get(block_hash)
        if known is None:
            proven = await read_proven(self._client, endpoint, number, block_hash)
            known = self._logs[block_hash] = list(_logs(proven, number, block_hash))
            while len(self._logs) > 1 and sum(map(len, self._logs.values())) > MAX_KEPT_LOGS:
                del self._logs[next(iter(self._logs))]
        return known

    def _decoded(self, logs: Sequence[Log], wanted: _Wanted) -> dict[Key, Transfer]:
        """Return what a rail would make of a block's logs, by what identifies each."""
        ours = [log for log in logs if wanted.is_ours(log.address, log.topics)]
        if not ours:
            return {}
        number = int(str(ours[0].blockNumber), 16)
        decoder = LogDecoder(chain_id=self._chain_id, proxy=self._proxy, first=number, last=number)
        for log in ours:
            try:
                if wanted.log_filter.rail is Rail.PROXY:
                    decoder.feed([log])
                else:
                    decoder.feed_credits([log])
            except ChainError:
                continue  # a payment it is not, whoever shows it: odd events of odd contracts
        return {(transfer.tx_hash, transfer.event_key): transfer for transfer in decoder.transfers}


def _may_hold(bloom: int, wanted: _Wanted) -> bool:
    if bloom & wanted.event != wanted.event:
        return False
    if wanted.log_filter.rail is Rail.PROXY or wanted.addresses is None:
        return True
    return any(bloom & mask == mask for mask in wanted.addresses)


def _was_asked_for(transfer: Transfer, log_filter: LogFilter, source: LogSource, crowded: Collection[str]) -> bool:
    """Say whether the endpoint was asked for such a log: of some tokens alone, where it takes no other question."""
    if log_filter.rail is Rail.PROXY or transfer.token in log_filter.tokens:
        return True
    return source is not LogSource.BY_TOKEN and transfer.destination not in crowded


def _bloom(told: dict[str, Any], number: int) -> int:
    text = str(told.get("logsBloom"))
    if len(text) != 2 + 2 * BLOOM_BYTES:
        raise ChainProtocolError(f"block {number} comes without a filter of its logs")
    return int(text, 16)


def _logs(proven: ProvenBlock, number: int, block_hash: str) -> Iterator[Log]:
    """Yield the logs of receipts whose form the encoding has checked, numbered as they stand in the block."""
    place = 0
    for receipt in proven.told:
        tx_hash = hash_text(receipt.get("transactionHash"))
        for log in receipt["logs"]:
            topics = tuple(topic.lower() for topic in log["topics"])
            yield Log(log["address"].lower(), topics, log["data"], hex(number), block_hash, tx_hash, hex(place))
            place += 1


def _first(keys: Collection[Key]) -> str:
    """Name one of them, by its transaction."""
    return f"one of transaction {min(keys)[0]}"
