"""The quick way: one JSON-RPC request for a thousand destinations, with a probe that proves the node can answer it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chains.errors import ChainError, ChainMisconfigured, ChainProtocolError, ChainUnavailable
from chains.rpc.concurrency import is_rate_limited
from chains.rpc.endpoint import Endpoint
from chains.rpc.http_client import CutOff, TimedOut, TooLarge
from chains.tron.blocks import BlockTimeIndex
from chains.tron.decode import Block, parse_rpc_block
from chains.tron.logs.index_probe import IndexProbe, IndexUnavailable, ProbeFinder, ProbeMissed, check_probe
from chains.tron.logs.queries import batches, block_call, collect, query
from chains.tron.logs.query_size import QuerySize
from chains.tron.receipts import ReceiptReader
from chains.tron.rpc.client import TronClient
from chains.tron.rpc.jsonrpc import RpcRefused
from chains.tron.rpc.provider_errors import ErrorAdvice, ErrorKind
from chains.tron.scan.candidates import CandidateTransactions

log = logging.getLogger(__name__)

QUIET_RANGE = 1_000  # blocks of one query without a filter
AVOIDED_S = 300.0  # then a node that failed the probe or refused is tried once more; payments are found meanwhile
FAILURES_TO_AVOID = 3  # in a row
MAX_REFUSALS = 30  # halvings of the blocks and of the destinations of one question
MAX_TIME_OUTS = 2  # in one question: each costs the whole time-out


@dataclass(slots=True)
class RpcCapability:
    """What we know of the JSON-RPC side of one endpoint, besides the sizes of questions it takes."""

    avoided_until: float = 0.0
    failures: int = 0  # in a row
    broken: bool = False  # was told of
    probe: IndexProbe | None = None


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
        self._probes = ProbeFinder(client, receipts=receipts, clock=clock)
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
            if is_rate_limited(exc):  # this concerns every call, and slower ways are more of them
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
        size, time_outs, refused, dropped = QuerySize(endpoint), 0, False, False
        for _ in range(MAX_REFUSALS):
            probe = await self._probes.find(endpoint, side.probe, first, min(top.number, first + size.span - 1))
            side.probe = probe or side.probe
            last = min(top.number, first + (size.span if probe else min(size.span, QUIET_RANGE)) - 1)
            blocks, topics = last - first + 1, min(len(destinations), size.width)
            try:
                found = await self._attempt(endpoint, probe, destinations, first, last, size.width)
            except ProbeMissed as exc:
                # One that keeps only the newest blocks no longer knows the old transfer: a newer one proves it.
                if dropped or not await self._probes.has_dropped(endpoint, exc.probe):
                    raise self._avoid(endpoint, side, str(exc)) from exc
                side.probe, dropped = None, True
            except (ChainUnavailable, ChainProtocolError) as exc:
                advice = _advice_of(exc)
                time_outs += isinstance(exc, TimedOut)
                if advice is None or advice.kind is ErrorKind.BUSY or time_outs > MAX_TIME_OUTS:
                    raise
                if not refused and not isinstance(exc, RpcRefused):
                    await self._client.newest(endpoint)  # what answers nothing at all is down: no size helps
                refused = True
                if not size.refused(advice.kind, blocks, topics, advice.suggested):
                    raise  # less than one block and one destination cannot be asked: others ways can
            else:
                if probe is not None:  # a question without a filter says nothing about one with
                    size.served(blocks, topics)
                return found
        raise ChainUnavailable("keeps refusing smaller and smaller questions")

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
            for chunks in batches(destinations, len(destinations) if probe is None else width)
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
        calls = [block_call("finalized"), block_call(hex(last))]
        if probe is None:
            calls.append(query(None, first, last))
            finalized, end, *answers = await self._client.rpc(endpoint, calls)
        else:
            calls.append(query([probe.topic], probe.block, probe.block))
            calls += [query(chunk, first, last) for chunk in chunks]
            finalized, end, probed, *answers = await self._client.rpc(endpoint, calls)
            check_probe(probe, probed)
        final = parse_rpc_block(finalized.get())
        if final is None:
            raise ChainProtocolError("the node has no finalized block")
        for chunk, answer in zip(chunks, answers, strict=True):
            collect(found, answer, chunk, first, last)
        self._blocks.remember(final)
        return final if final.number < last else self._sure(parse_rpc_block(end.get()), last)

    def _sure(self, block: Block | None, number: int) -> Block:
        if block is None or block.number != number:
            raise ChainProtocolError(f"the node holds irreversible blocks above {number}, but not that one")
        self._blocks.remember(block)
        return block


def _advice_of(error: ChainError) -> ErrorAdvice | None:
    """Return what an error asks for; None when no smaller question would be answered better."""
    if isinstance(error, IndexUnavailable) or is_rate_limited(error):
        return None
    if isinstance(error, RpcRefused):
        return error.advice
    if isinstance(error, CutOff) or str(error).startswith("HTTP "):  # whatever it was about
        return ErrorAdvice(ErrorKind.OTHER)
    return ErrorAdvice(ErrorKind.ROWS) if isinstance(error, TimedOut | TooLarge) else None
