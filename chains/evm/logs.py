"""One page of proxy events from one endpoint, with proof that the endpoint held the blocks it was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from chains.endpoints import Endpoint, Unserved
from chains.errors import ChainProtocolError, ChainUnavailable
from chains.evm.ahead import ReadAhead
from chains.evm.decode import TRANSFER_TOPIC, Block, LogDecoder, parse_block
from chains.evm.proxy import EVENT_TOPIC
from chains.evm.ranges import BlockSpan
from chains.evm.refusals import Refusal
from chains.evm.rpc import Call, RawResult, RpcClient, RpcRefused, TimedOut, TooLarge
from chains.evm.wire import Log
from chains.types import Cursor, Fork, Head, Rail, ScanPage

ROWS_A_SLICE = 2_000
NO_LOGS_S = 300.0  # an endpoint that refuses even one block is not asked for logs that long
MOST_REFUSALS = 20
DESTINATIONS_A_CALL = 1_000


class LogReader:
    """Reads the events of one proxy, and learns how many blocks each endpoint serves at once."""

    def __init__(
        self, client: RpcClient, *, chain_id: int, proxy: str, longest: int | None, clock: Callable[[], float]
    ) -> None:
        self._ahead = {rail: ReadAhead(client) for rail in Rail}
        self._chain_id = chain_id
        self._proxy = proxy
        self._longest = longest
        self._clock = clock
        self._spans: dict[tuple[Endpoint, Rail], BlockSpan] = {}
        self._no_logs_until: dict[Endpoint, float] = {}

    def close(self) -> None:
        """Give up what is under way."""
        for ahead in self._ahead.values():
            ahead.drop()

    async def read(
        self, endpoint: Endpoint, rail: Rail, *, destinations: Sequence[str], after: Cursor, head: Head, reread: int
    ) -> ScanPage | Fork:
        """
        Read one rail's page after a cursor, as many blocks as the endpoint serves.

        Raises:
            ChainUnavailable: the endpoint is busy, or behind what it was asked for.
            ChainProtocolError: its logs and its blocks do not agree.
            Unserved: it serves no logs at all.
        """
        if self._clock() < self._no_logs_until.get(endpoint, 0.0):
            raise Unserved("serves no eth_getLogs")
        span = self._spans.setdefault((endpoint, rail), BlockSpan.limited(self._longest))
        for _ in range(MOST_REFUSALS):
            first, last = window(after.position, head.position, span.reaching(reread), reread)
            page = await self._attempt(endpoint, rail, span, after, first, last, head, destinations)
            if page is not None:
                return page
        raise ChainUnavailable("keeps refusing smaller and smaller block ranges")

    async def _attempt(
        self,
        endpoint: Endpoint,
        rail: Rail,
        span: BlockSpan,
        after: Cursor,
        first: int,
        last: int,
        head: Head,
        destinations: Sequence[str],
    ) -> ScanPage | Fork | None:
        """Ask for one range; None when the endpoint wants to be asked for less, which `span` has noted."""
        blocks = last - first + 1
        started = self._clock()
        try:
            answers = await self._ahead[rail].batch(endpoint, self._calls(rail, after, first, last, destinations))
        except TimedOut:
            span.failed(blocks=blocks)
            raise
        except TooLarge:
            if blocks == 1:
                raise
            span.failed(blocks=blocks)
            return None
        if after.anchor is not None and _moved(answers.pop(), after):
            return Fork(after)
        end, *logs = answers
        refused = next((answer for answer in logs if answer.error is not None), None)
        if refused is not None:
            self._learn(endpoint, span, refused, blocks)
            return None
        block = parse_block(end.get(), last)
        if block is None:
            raise ChainUnavailable(f"the node does not hold block {last} yet")
        rows = [answer.logs() for answer in logs]
        span.answered(blocks=blocks, rows=sum(map(len, rows)), seconds=self._clock() - started)
        if last < head.position:
            here = Cursor(last, block.hash)
            following = self._calls(rail, here, *window(last, head.position, span.size, 0), destinations)
            self._ahead[rail].start(endpoint, following)
        return await self._page(rail, rows, block, first)

    def _calls(self, rail: Rail, after: Cursor, first: int, last: int, destinations: Sequence[str]) -> list[Call]:
        """The block above, the proxy's logs or the transfers into ours, the block below when its hash is known."""
        # In the same request: an endpoint that lacks the last block answers a gap without an error.
        calls: list[Call] = [("eth_getBlockByNumber", (hex(last), False))]
        span = {"fromBlock": hex(first), "toBlock": hex(last)}
        if rail is Rail.PROXY:
            calls.append(("eth_getLogs", ({"address": self._proxy, "topics": [EVENT_TOPIC], **span},)))
        for start in range(0, len(destinations), DESTINATIONS_A_CALL):
            topics = [f"0x{address[2:]:0>64}" for address in destinations[start : start + DESTINATIONS_A_CALL]]
            calls.append(("eth_getLogs", ({"topics": [TRANSFER_TOPIC, None, topics], **span},)))
        if after.anchor is not None:
            # Last: a reorganisation before it shows here; one after it shows at the next poll, in the block above.
            calls.append(("eth_getBlockByNumber", (hex(after.position), False)))
        return calls

    def _learn(self, endpoint: Endpoint, span: BlockSpan, logs: RawResult, blocks: int) -> None:
        """Return when a smaller range is worth asking for; raise what else the refusal means."""
        error = logs.error
        if isinstance(error, Unserved):
            self._no_logs_until[endpoint] = self._clock() + NO_LOGS_S
        if not isinstance(error, RpcRefused):
            logs.get()
            return
        match error.verdict.refusal:
            case Refusal.BLOCKS if blocks == 1:
                self._no_logs_until[endpoint] = self._clock() + NO_LOGS_S
                raise Unserved(f"refuses eth_getLogs even for one block: {error}") from error
            case Refusal.BLOCKS:
                span.refused(blocks=blocks, verdict=error.verdict)
            case Refusal.OTHER:
                span.failed(blocks=blocks)  # nobody knows all wordings of "too many"
                raise error
            case _:
                raise error

    async def _page(self, rail: Rail, answers: Sequence[Sequence[Log]], end: Block, first: int) -> ScanPage:
        decoder = LogDecoder(chain_id=self._chain_id, proxy=self._proxy, first=first, last=end.number)
        for rows in answers:
            await _feed(decoder.feed if rail is Rail.PROXY else decoder.feed_credits, rows)
        if decoder.hash_of(end.number) not in {None, end.hash}:
            raise ChainProtocolError(f"the logs of block {end.number} are not of the block the node holds")
        rows_read = sum(map(len, answers))
        return ScanPage(decoder.transfers, Cursor(end.number, end.hash), time=end.time, rows_read=rows_read)


async def _feed(feed: Callable[[Sequence[Log]], None], rows: Sequence[Log]) -> None:
    """Decode one answer slice by slice, and let others run between them."""
    for start in range(0, len(rows), ROWS_A_SLICE):
        await asyncio.sleep(0)
        feed(rows[start : start + ROWS_A_SLICE])


def window(after: int, head: int, span: int, reread: int) -> tuple[int, int]:
    """Return the first and last block to ask for: at least one new block, whatever is read again."""
    first = max(0, after + 1 - min(reread, span // 2))
    return first, min(head, first + span - 1)


def _moved(answer: RawResult, after: Cursor) -> bool:
    block = parse_block(answer.get(), after.position)
    if block is None:
        raise ChainUnavailable(f"the node does not hold block {after.position} yet")
    return block.hash != after.anchor
