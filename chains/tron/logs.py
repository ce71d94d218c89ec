"""The quick way: one JSON-RPC request for a thousand destinations, with a probe that proves the node can answer it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from chains.endpoints import Endpoint, Unserved
from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.gather import wants_a_pause
from chains.jsonrpc import Call, RpcResult
from chains.limits import MOST_CALLS
from chains.transport import CutOff, TimedOut, TooLarge
from chains.tron.address import topic
from chains.tron.blocks import BlockTimeIndex
from chains.tron.candidates import CandidateTransactions
from chains.tron.client import TronClient
from chains.tron.decode import Block, parse_log_hint, parse_rpc_block
from chains.tron.receipts import ReceiptReader
from chains.tron.refusals import Refusal, Verdict
from chains.tron.rpc import RpcRefused
from chains.tron.transfer_log import TRANSFER_TOPIC

log = logging.getLogger(__name__)

LONGEST_RANGE = 5_000  # blocks of one query
DESTINATIONS_A_CALL = 1_000
CHUNKS_A_BATCH = MOST_CALLS - 3  # besides the finalized block, the last block and the probe
PROBE_BLOCKS = 3  # looked through for a transfer to ask for
QUIET_RANGE = 1_000  # blocks of one query without a filter
PROBE_S = 3_600.0  # then another transfer is asked for
AVOIDED_S = 300.0  # then a node that failed the probe or refused is tried once more; payments are found meanwhile
FAILURES_TO_AVOID = 3  # in a row
MOST_REFUSALS = 30  # halvings of the blocks and of the destinations of one question
MOST_TIME_OUTS = 2  # in one question: each costs the whole time-out


class IndexUnavailable(ChainUnavailable):
    """JSON-RPC of this endpoint cannot be used now: look another way."""


class IndexProbe(NamedTuple):
    """A transfer known from a receipt, which the same request asks for by the same kind of filter."""

    block: int
    topic: str
    tx_hash: str
    taken_at: float


class ProbeMissed(IndexUnavailable):
    """The node does not find a transfer that is there."""

    def __init__(self, probe: IndexProbe) -> None:
        super().__init__(f"it does not find a transfer of block {probe.block} that is there")
        self.probe = probe


class _Known(NamedTuple):
    """A transfer that is known to be in a block."""

    topic: str
    tx_hash: str


@dataclass(slots=True)
class RpcCapability:
    """What we know of the JSON-RPC side of one endpoint, besides the sizes of questions it takes."""

    avoided_until: float = 0.0
    failures: int = 0  # in a row
    broken: bool = False  # was told of
    probe: IndexProbe | None = None


class _Shape:
    """The blocks and destinations of one question, and what its refusals teach."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._memory = endpoint.memory
        self.span = min(LONGEST_RANGE, self._memory.blocks.size)
        self.width = min(DESTINATIONS_A_CALL, self._memory.topics.size)
        self._blocks: int | None = None  # the smallest refused
        self._topics: int | None = None

    def refused(self, refusal: Refusal, blocks: int, topics: int, allowed: int | None) -> bool:
        """Make the next question smaller; say whether it can be."""
        times = 8 if refusal is Refusal.OTHER else 2  # whatever it means: a few questions find out
        by_topics = refusal is Refusal.TOPICS or refusal is Refusal.OTHER or blocks == 1
        if by_topics and topics > 1 and refusal is not Refusal.RANGE:
            self._topics, self.width = topics, _fewer(topics, allowed if refusal is Refusal.TOPICS else None, times)
            return True
        if refusal is Refusal.TOPICS or blocks == 1:
            return False
        if refusal is Refusal.OTHER:
            self._topics = None  # one destination was refused as well: it was not about their number
        self._blocks, self.span = blocks, _fewer(blocks, allowed if refusal is Refusal.RANGE else None, times)
        return True

    def served(self, blocks: int, topics: int) -> None:
        """Keep what was learnt: only now it was about the size."""
        if self._blocks is not None:
            self._memory.blocks.refused(self._blocks, advice=self.span)
        if self._topics is not None:
            self._memory.topics.refused(self._topics, advice=self.width)
        self._memory.blocks.served(blocks)
        self._memory.topics.served(topics)


class LogReader:
    """
    Looks for transfers with `eth_getLogs`.

    With a filter a node looks its blocks up in an index. One that was synchronised without JSON-RPC has
    no index, and answers an empty list without an error. So every request carries a probe: a query of
    the same kind whose answer is known. Behind a load balancer, that tells of the very node that answered.
    Where nobody pays anybody there is nothing to ask for: then no filter is used, which needs no index.
    """

    def __init__(
        self, client: TronClient, *, blocks: BlockTimeIndex, receipts: ReceiptReader, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._blocks = blocks
        self._receipts = receipts
        self._clock = clock
        self._sides: dict[Endpoint, RpcCapability] = {}

    def usable(self, endpoint: Endpoint) -> bool:
        """Say whether JSON-RPC of this endpoint is worth asking now."""
        return self._clock() >= self._side(endpoint).avoided_until

    def is_broken(self, endpoint: Endpoint) -> bool:
        """Say whether JSON-RPC of this endpoint could not be used the last time."""
        return self._side(endpoint).broken

    def _side(self, endpoint: Endpoint) -> RpcCapability:
        return self._sides.setdefault(endpoint, RpcCapability())

    async def read(
        self, endpoint: Endpoint, destinations: Sequence[str], *, first: int, top: Block
    ) -> CandidateTransactions:
        """
        Look from a block upwards, as many blocks as the node serves, at most up to `top`.

        Raises:
            ChainError: it cannot be asked this way now; where it wants to be left alone, `retry_after` is set.
        """
        side = self._side(endpoint)
        try:
            found = await self._read(endpoint, side, destinations, first, top)
        except IndexUnavailable:
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

    def _avoid(self, endpoint: Endpoint, side: RpcCapability, why: str) -> IndexUnavailable:
        side.avoided_until = self._clock() + AVOIDED_S
        side.failures = 0
        side.probe = None
        if not side.broken:
            log.warning("[tron] JSON-RPC of %s cannot be used, looking by slower calls: %s", endpoint.label, why)
        side.broken = True
        return IndexUnavailable(why)

    def _works(self, endpoint: Endpoint, side: RpcCapability) -> None:
        side.failures = 0
        side.avoided_until = 0.0
        if side.broken:
            log.info("[tron] JSON-RPC of %s can be used again", endpoint.label)
        side.broken = False

    async def _read(
        self, endpoint: Endpoint, side: RpcCapability, destinations: Sequence[str], first: int, top: Block
    ) -> CandidateTransactions:
        """Ask for less at once when a node refuses: fewer blocks or fewer destinations, as its words say."""
        shape, time_outs, refused, dropped = _Shape(endpoint), 0, False, False
        for _ in range(MOST_REFUSALS):
            probe = await self._probe(endpoint, side, first, min(top.number, first + shape.span - 1))
            last = min(top.number, first + (shape.span if probe else min(shape.span, QUIET_RANGE)) - 1)
            blocks, topics = last - first + 1, min(len(destinations), shape.width)
            try:
                found = await self._attempt(endpoint, probe, destinations, first, last, shape.width)
            except ProbeMissed as exc:
                # One that keeps only the newest blocks no longer knows the old transfer: a newer one proves it.
                if dropped or not await self._has_dropped(endpoint, exc.probe):
                    raise self._avoid(endpoint, side, str(exc)) from exc
                side.probe, dropped = None, True
            except (ChainUnavailable, ChainProtocolError) as exc:
                verdict = _verdict(exc)
                time_outs += isinstance(exc, TimedOut)
                if verdict is None or verdict.refusal is Refusal.BUSY or time_outs > MOST_TIME_OUTS:
                    raise
                if not refused and not isinstance(exc, RpcRefused):
                    await self._client.newest(endpoint)  # what answers nothing at all is down: no size helps
                refused = True
                if not shape.refused(verdict.refusal, blocks, topics, verdict.allowed):
                    raise  # less than one block and one destination cannot be asked: others ways can
            else:
                if probe is not None:  # a question without a filter says nothing about one with
                    shape.served(blocks, topics)
                return found
        raise ChainUnavailable("keeps refusing smaller and smaller questions")

    async def _probe(self, endpoint: Endpoint, side: RpcCapability, first: int, last: int) -> IndexProbe | None:
        """
        Return a transfer to ask for, at or below the blocks to read: an index may begin somewhere above.

        None when there is none near them: a quiet chain once kept everything from being read or expired.
        """
        now = self._clock()
        kept = side.probe
        if kept is not None and kept.block < first + PROBE_BLOCKS and now - kept.taken_at < PROBE_S:
            return kept
        missing = False
        for number in range(first, min(last, first + PROBE_BLOCKS - 1) + 1):
            try:
                known = await self._known_transfer(endpoint, number)
            except IndexUnavailable:
                missing = True
                continue
            if known is not None:
                side.probe = IndexProbe(number, known.topic, known.tx_hash, now)
                return side.probe
        if missing:
            raise IndexUnavailable("no transfer near the blocks to read that could prove the node's index")
        return None

    async def _known_transfer(self, endpoint: Endpoint, number: int) -> _Known | None:
        """
        Return a transfer of one block, from its receipts or, where those are not served, its unfiltered logs.

        Raises:
            IndexUnavailable: the receipts are not there yet.
        """
        try:
            receipts = await self._receipts.block(endpoint, number)
        except Unserved:
            (answer,) = await self._client.rpc(endpoint, [_query(None, number, number)])
            for row in _rows(answer):
                to = [plain for text in row.get("topics", ())[2:3] if (plain := str(text).removeprefix("0x").lower())]
                if (hint := parse_log_hint(row, set(to))) is not None and hint.block == number:
                    return _Known(to[0], hint.tx_hash)
            return None
        if receipts is None:
            raise IndexUnavailable(f"the node has not got the receipts of block {number} yet")
        paid = next((receipt for receipt in receipts if receipt.succeeded), None)
        return None if paid is None else _Known(topic(paid.transfers[0].destination), paid.tx_hash)

    async def _attempt(
        self,
        endpoint: Endpoint,
        probe: IndexProbe | None,
        destinations: Sequence[str],
        first: int,
        last: int,
        width: int,
    ) -> CandidateTransactions:
        found = CandidateTransactions(end_ms=0)
        ends = [
            await self._batch(endpoint, probe, chunks, first, last, found)
            for chunks in _batches(destinations, len(destinations) if probe is None else width)
        ]
        end = min(ends)
        found.end_ms = end.time_ms
        found.at_block = {tx: number for tx, number in found.at_block.items() if number <= end.number}
        return found

    async def _batch(
        self,
        endpoint: Endpoint,
        probe: IndexProbe | None,
        chunks: Sequence[Sequence[str]],
        first: int,
        last: int,
        found: CandidateTransactions,
    ) -> Block:
        """Make one request; return the last block for which it can be believed."""
        calls = [_block("finalized"), _block(hex(last))]
        if probe is None:
            calls.append(_query(None, first, last))
            finalized, end, *answers = await self._client.rpc(endpoint, calls)
        else:
            calls.append(_query([probe.topic], probe.block, probe.block))
            calls += [_query(chunk, first, last) for chunk in chunks]
            finalized, end, probed, *answers = await self._client.rpc(endpoint, calls)
            _check_probe(probe, probed)
        final = parse_rpc_block(finalized.get())
        if final is None:
            raise ChainProtocolError("the node has no finalized block")
        for chunk, answer in zip(chunks, answers, strict=True):
            _collect(found, answer, chunk, first, last)
        self._blocks.remember(final)
        return final if final.number < last else self._sure(parse_rpc_block(end.get()), last)

    async def _has_dropped(self, endpoint: Endpoint, probe: IndexProbe) -> bool:
        return await self._client.receipt(endpoint, probe.tx_hash) is None

    def _sure(self, block: Block | None, number: int) -> Block:
        if block is None or block.number != number:
            raise ChainProtocolError(f"the node holds irreversible blocks above {number}, but not that one")
        self._blocks.remember(block)
        return block


def _check_probe(probe: IndexProbe, probed: RpcResult) -> None:
    rows = probed.get()
    hints = [parse_log_hint(row, {probe.topic}) for row in rows] if isinstance(rows, list) else []
    if (probe.tx_hash, probe.block) not in {(hint.tx_hash, hint.block) for hint in hints if hint is not None}:
        raise ProbeMissed(probe)


def _verdict(error: ChainError) -> Verdict | None:
    """Return what an error asks for; None when no smaller question would be answered better."""
    if isinstance(error, IndexUnavailable) or wants_a_pause(error):
        return None
    if isinstance(error, RpcRefused):
        return error.verdict
    if isinstance(error, CutOff) or str(error).startswith("HTTP "):  # whatever it was about
        return Verdict(Refusal.OTHER)
    return Verdict(Refusal.ROWS) if isinstance(error, TimedOut | TooLarge) else None


def _fewer(asked: int, allowed: int | None, times: int) -> int:
    return allowed if allowed is not None and 0 < allowed < asked else max(1, asked // times)


def _collect(found: CandidateTransactions, answer: RpcResult, chunk: Sequence[str], first: int, last: int) -> None:
    rows, ours = _rows(answer), set(chunk)
    found.rows += len(rows)
    # Two logs differ in their place at least: a row that comes twice is one, and would count twice.
    for row in {orjson.dumps(row, option=orjson.OPT_SORT_KEYS): row for row in rows}.values():
        hint = parse_log_hint(row, ours)
        if hint is None:
            continue
        if not first <= hint.block <= last or found.at_block.setdefault(hint.tx_hash, hint.block) != hint.block:
            raise ChainProtocolError(f"a log of block {hint.block}, asked for {first} to {last}")
        if hint.event is not None:
            found.told.setdefault(hint.tx_hash, []).append(hint.event)


def _rows(answer: RpcResult) -> list[Any]:
    rows = answer.get()
    if not isinstance(rows, list):
        raise ChainProtocolError("eth_getLogs did not answer with a list")
    return rows


def _batches(destinations: Sequence[str], width: int) -> Iterator[list[list[str]]]:
    """Cut destinations, as topics, to what fits one call and one request."""
    topics = [topic(destination) for destination in destinations]
    chunks = [topics[start : start + width] for start in range(0, len(topics), width)]
    for start in range(0, len(chunks), CHUNKS_A_BATCH):
        yield chunks[start : start + CHUNKS_A_BATCH]


def _block(tag: str) -> Call:
    return "eth_getBlockByNumber", (tag, False)


def _query(topics: Sequence[str] | None, first: int, last: int) -> Call:
    """
    Ask for transfers of any token: what is not the one we want is to be seen as well.

    Without topics for every log there is: a node looks that up in no index.
    """
    if topics is None:
        return "eth_getLogs", ({"fromBlock": hex(first), "toBlock": hex(last)},)
    wanted = ["0x" + TRANSFER_TOPIC, None, ["0x" + text for text in topics]]
    return "eth_getLogs", ({"topics": wanted, "fromBlock": hex(first), "toBlock": hex(last)},)
