"""The quick way: one JSON-RPC request for a thousand destinations, with a probe that proves the node can answer it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chains.endpoints import Endpoint
from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.tron.address import topic
from chains.tron.blocks import BlockFinder
from chains.tron.client import TronClient
from chains.tron.decode import TRANSFER_TOPIC, Block, parse_log_hint, parse_rpc_block
from chains.tron.http import TimedOut, TooLarge
from chains.tron.receipts import ReceiptReader
from chains.tron.refusals import Refusal
from chains.tron.rpc import CALLS_A_BATCH, Call, RawResult, RpcRefused
from chains.tron.sighting import Sighting

log = logging.getLogger(__name__)

LONGEST_RANGE = 5_000  # blocks of one query
DESTINATIONS_A_CALL = 1_000
CHUNKS_A_BATCH = CALLS_A_BATCH - 3  # besides the finalized block, the last block and the probe
PROBE_BLOCKS = 3  # looked through for a transfer to ask for
PROBE_S = 3_600.0  # then another transfer is asked for
AVOIDED_S = 300.0  # then a node that failed the probe or refused is tried once more
FAILURES_TO_AVOID = 3  # in a row
MOST_REFUSALS = 20


class NoIndex(ChainUnavailable):
    """JSON-RPC of this endpoint cannot be used now: look another way."""


class Probe(NamedTuple):
    """A transfer known from a receipt, which the same request asks for by the same kind of filter."""

    block: int
    topic: str
    tx_hash: str
    taken_at: float


@dataclass(slots=True)
class Side:
    """What we know of the JSON-RPC side of one endpoint."""

    span: int = LONGEST_RANGE
    avoided_until: float = 0.0
    failures: int = 0  # in a row
    broken: bool = False  # was told of
    probe: Probe | None = None


class LogReader:
    """
    Looks for transfers with `eth_getLogs`.

    With a filter a node looks its blocks up in an index. One that was synchronised without JSON-RPC has
    no index, and answers an empty list without an error. So every request carries a probe: a query of
    the same kind whose answer is known. Behind a load balancer, that tells of the very node that answered.
    """

    def __init__(
        self, client: TronClient, *, blocks: BlockFinder, receipts: ReceiptReader, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._blocks = blocks
        self._receipts = receipts
        self._clock = clock
        self._sides: dict[Endpoint, Side] = {}

    def usable(self, endpoint: Endpoint) -> bool:
        """Say whether JSON-RPC of this endpoint is worth asking now."""
        return self._clock() >= self._side(endpoint).avoided_until

    def is_broken(self, endpoint: Endpoint) -> bool:
        """Say whether JSON-RPC of this endpoint could not be used the last time."""
        return self._side(endpoint).broken

    def _side(self, endpoint: Endpoint) -> Side:
        return self._sides.setdefault(endpoint, Side())

    async def read(self, endpoint: Endpoint, destinations: Sequence[str], *, first: int, top: Block) -> Sighting:
        """
        Look from a block upwards, as many blocks as the node serves, at most up to `top`.

        Raises:
            NoIndex: this endpoint cannot be asked this way now.
            ChainUnavailable: it is busy, or behind what it was asked for.
        """
        side = self._side(endpoint)
        try:
            found = await self._read(endpoint, side, destinations, first, top)
        except NoIndex:
            raise
        except ChainMisconfigured as exc:
            raise self._avoid(endpoint, side, str(exc)) from exc
        except (ChainUnavailable, ChainProtocolError) as exc:
            if wants_a_pause(exc):  # this concerns every call, and slower ways are more of them
                raise
            side.failures += 1
            if side.failures >= FAILURES_TO_AVOID:
                raise self._avoid(endpoint, side, str(exc)) from exc
            raise
        self._works(endpoint, side)
        return found

    def _avoid(self, endpoint: Endpoint, side: Side, why: str) -> NoIndex:
        side.avoided_until = self._clock() + AVOIDED_S
        side.failures = 0
        side.probe = None
        if not side.broken:
            log.warning("[tron] JSON-RPC of %s cannot be used, looking by slower calls: %s", endpoint.label, why)
        side.broken = True
        return NoIndex(why)

    def _works(self, endpoint: Endpoint, side: Side) -> None:
        side.failures = 0
        if side.broken:
            log.info("[tron] JSON-RPC of %s can be used again", endpoint.label)
        side.broken = False

    async def _read(
        self, endpoint: Endpoint, side: Side, destinations: Sequence[str], first: int, top: Block
    ) -> Sighting:
        for _ in range(MOST_REFUSALS):
            last = min(top.number, first + side.span - 1)
            probe = await self._probe(endpoint, side, first, last)
            try:
                return await self._attempt(endpoint, side, probe, destinations, first, last)
            except RpcRefused as exc:
                if exc.verdict.refusal is not Refusal.RANGE or last == first:
                    raise
                blocks = last - first + 1
                named = exc.verdict.blocks
                side.span = named if named is not None and 0 < named < blocks else max(1, blocks // 2)
            except (TimedOut, TooLarge):
                side.span = max(1, (last - first + 1) // 2)
                raise
        raise ChainUnavailable("keeps refusing smaller and smaller block ranges")

    async def _probe(self, endpoint: Endpoint, side: Side, first: int, last: int) -> Probe:
        """Return a transfer to ask for, at or below the blocks to read: an index may begin somewhere above."""
        now = self._clock()
        kept = side.probe
        if kept is not None and kept.block < first + PROBE_BLOCKS and now - kept.taken_at < PROBE_S:
            return kept
        for number in range(first, min(last, first + PROBE_BLOCKS - 1) + 1):
            for receipt in await self._receipts.block(endpoint, number) or []:
                if receipt.succeeded:
                    side.probe = Probe(number, topic(receipt.credits[0].destination), receipt.tx_hash, now)
                    return side.probe
        raise NoIndex("no transfer near the blocks to read that could prove the node's index")

    async def _attempt(
        self, endpoint: Endpoint, side: Side, probe: Probe, destinations: Sequence[str], first: int, last: int
    ) -> Sighting:
        found = Sighting(end_ms=0)
        ends = [
            await self._batch(endpoint, side, probe, chunks, first, last, found) for chunks in _batches(destinations)
        ]
        end = min(ends)
        found.end_ms = end.time_ms
        found.at_block = {tx: number for tx, number in found.at_block.items() if number <= end.number}
        side.span = min(LONGEST_RANGE, side.span * 2)
        return found

    async def _batch(
        self,
        endpoint: Endpoint,
        side: Side,
        probe: Probe,
        chunks: Sequence[Sequence[str]],
        first: int,
        last: int,
        found: Sighting,
    ) -> Block:
        """Make one request; return the last block for which it can be believed."""
        calls = [_block("finalized"), _block(hex(last)), _query([probe.topic], probe.block, probe.block)]
        calls += [_query(chunk, first, last) for chunk in chunks]
        finalized, end, probed, *answers = await self._client.rpc(endpoint, calls)
        self._judge(endpoint, side, probe, probed)
        final = parse_rpc_block(finalized.get())
        if final is None:
            raise ChainProtocolError("the node has no finalized block")
        for chunk, answer in zip(chunks, answers, strict=True):
            _collect(found, answer, chunk, first, last)
        self._blocks.note(final)
        return final if final.number < last else self._sure(parse_rpc_block(end.get()), last)

    def _judge(self, endpoint: Endpoint, side: Side, probe: Probe, probed: RawResult) -> None:
        rows = probed.get()
        hints = [parse_log_hint(row, {probe.topic}) for row in rows] if isinstance(rows, list) else []
        if (probe.tx_hash, probe.block) not in hints:
            raise self._avoid(endpoint, side, f"it does not find a transfer of block {probe.block} that is there")

    def _sure(self, block: Block | None, number: int) -> Block:
        if block is None or block.number != number:
            raise ChainProtocolError(f"the node holds irreversible blocks above {number}, but not that one")
        self._blocks.note(block)
        return block


def wants_a_pause(error: ChainError) -> bool:
    """Say whether a service asked not to be asked at all for a while."""
    return isinstance(error, ChainUnavailable) and error.retry_after is not None


def _collect(found: Sighting, answer: RawResult, chunk: Sequence[str], first: int, last: int) -> None:
    rows, ours = answer.get(), set(chunk)
    if not isinstance(rows, list):
        raise ChainProtocolError("eth_getLogs did not answer with a list")
    found.rows += len(rows)
    for row in rows:
        hint = parse_log_hint(row, ours)
        if hint is None:
            continue
        tx_hash, number = hint
        if not first <= number <= last or found.at_block.setdefault(tx_hash, number) != number:
            raise ChainProtocolError(f"a log of block {number}, asked for {first} to {last}")


def _batches(destinations: Sequence[str]) -> Iterator[list[list[str]]]:
    """Cut destinations, as topics, to what fits one call and one request."""
    topics = [topic(destination) for destination in destinations]
    chunks = [topics[start : start + DESTINATIONS_A_CALL] for start in range(0, len(topics), DESTINATIONS_A_CALL)]
    for start in range(0, len(chunks), CHUNKS_A_BATCH):
        yield chunks[start : start + CHUNKS_A_BATCH]


def _block(tag: str) -> Call:
    return "eth_getBlockByNumber", (tag, False)


def _query(topics: Sequence[str], first: int, last: int) -> Call:
    """Ask for transfers of any token: what is not the one we want is to be seen as well."""
    wanted = ["0x" + TRANSFER_TOPIC, None, ["0x" + text for text in topics]]
    return "eth_getLogs", ({"topics": wanted, "fromBlock": hex(first), "toBlock": hex(last)},)
