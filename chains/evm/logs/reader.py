"""One page of one rail from one endpoint, with proof that the endpoint held the blocks it was queries for."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple

from chains.errors import ChainError, ChainUnavailable
from chains.evm.blocks import not_held, parse_block
from chains.evm.logs.answers import is_about_size, is_beyond_head, is_reorganised, read_log_answer
from chains.evm.logs.block_range import BlockRangeLimiter
from chains.evm.logs.full_blocks import FullBlockReader
from chains.evm.logs.page_decoder import Vague, decode_page
from chains.evm.logs.prefetch import Prefetcher
from chains.evm.logs.queries import (
    LogFilter,
    LogQuery,
    LogSource,
    QuerySizes,
    block_window,
    page_calls,
    plan_queries,
    transfers_to,
)
from chains.evm.logs.query_limits import LogQueryLimits, RefusalLearner, TooManyRows
from chains.evm.logs.sources import LogSources
from chains.evm.rpc.client import RawResult, RpcClient
from chains.rpc.endpoint import Behind, Endpoint, Unserved
from chains.rpc.http_client import Garbled, TimedOut
from chains.rpc.jsonrpc_messages import Call, NotAllowed
from chains.types import Cursor, Fork, Head, Rail, ScanPage

MAX_CALLS_AHEAD = 8  # of one page, beside the next head
MAX_ADDRESSES_AHEAD = 1_000
MAX_REFUSALS = 60  # every dimension is halved in turn: twice the sum of their logarithms, and some


class _PageRequest(NamedTuple):
    """One page to be read, and by whom."""

    endpoint: Endpoint
    log_filter: LogFilter
    source: LogSource
    after: Cursor
    head: Head
    reread: int
    block_range: BlockRangeLimiter
    limits: LogQueryLimits
    learner: RefusalLearner
    prefetcher: Prefetcher | None  # None: the next page is not requested ahead

    @property
    def window(self) -> tuple[int, int]:
        """The first and last block to ask for."""
        span = self.block_range.size_with_reread(self.reread)
        return block_window(self.after.position, self.head.position, span, self.reread)


class LogReader:
    """Reads the logs of one chain page by page, with queries as large as each endpoint accepts."""

    def __init__(
        self, client: RpcClient, *, chain_id: int, proxy: str, max_blocks: int | None, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._prefetchers = {rail: Prefetcher(client) for rail in Rail}
        self._full_blocks = FullBlockReader(client, chain_id=chain_id, proxy=proxy)
        self._chain_id = chain_id
        self._proxy = proxy
        self.sources = LogSources(max_blocks=max_blocks, clock=clock)
        self._clock = clock
        self._nobody = f"0x{secrets.token_hex(20)}"  # an address that no stranger can know

    def forget_ahead(self) -> None:
        """Take no answer from before for what is asked from now on."""
        self.close()

    def calls_ahead(
        self, endpoint: Endpoint, log_filter: LogFilter, *, after: Cursor, head: Head, reread: int
    ) -> list[Call] | None:
        """Return the calls that `read` will make for a page; None where it has to learn something first."""
        limits = self.sources.limits_of(endpoint)
        if log_filter.rail in limits.refusals or len(log_filter.destinations) > MAX_ADDRESSES_AHEAD:
            return None
        source = next(self.sources.worth_trying(log_filter, [endpoint]), LogSource.RECEIPTS)
        try:
            self.sources.check(endpoint, log_filter, source)
        except Unserved:
            return None
        if source is LogSource.RECEIPTS:
            return None
        request = self._request(endpoint, log_filter, source, after=after, head=head, reread=reread)
        first, last = request.window
        calls = page_calls(after, self._plan(request, first, last, request.learner.sizes), last)
        return calls if len(calls) <= MAX_CALLS_AHEAD else None

    def answered_ahead(self, endpoint: Endpoint, rail: Rail, calls: list[Call], answers: list[RawResult]) -> None:
        """Keep the answers to `calls_ahead` for the `read` that would make those calls."""
        self._prefetchers[rail].answered(endpoint, calls, answers)

    def has_answers(self, endpoint: Endpoint, rail: Rail) -> bool:
        """Say whether an endpoint has answered the next page of a rail already."""
        return self._prefetchers[rail].has_answers(endpoint)

    def close(self) -> None:
        """Cancel the requests under way."""
        for prefetcher in self._prefetchers.values():
            prefetcher.cancel()

    async def read(
        self,
        endpoint: Endpoint,
        log_filter: LogFilter,
        source: LogSource,
        *,
        after: Cursor,
        head: Head,
        reread: int = 0,
        prefetch: bool = True,
    ) -> ScanPage | Fork:
        """
        Read one rail's page after a cursor, as many blocks as the endpoint serves.

        Raises:
            ChainUnavailable: the endpoint is busy, or does not hold the blocks it was asked for yet.
            ChainProtocolError: its logs and its blocks do not agree.
            Unserved: it serves no logs this way.
        """
        self.sources.check(endpoint, log_filter, source)
        if source is LogSource.RECEIPTS:
            return await self._full_blocks.read(endpoint, log_filter, after)
        request = self._request(endpoint, log_filter, source, after=after, head=head, reread=reread)
        request = request if prefetch else request._replace(prefetcher=None)
        if log_filter.rail in request.limits.refusals:
            await self._probe(request)
        for _ in range(MAX_REFUSALS):
            page = await self._attempt(request)
            if isinstance(page, int):
                request = request._replace(head=request.head._replace(position=page, block_hash=None))
            elif page is not None:
                return page
        raise ChainUnavailable("keeps refusing smaller and smaller questions")

    def _request(
        self, endpoint: Endpoint, log_filter: LogFilter, source: LogSource, *, after: Cursor, head: Head, reread: int
    ) -> _PageRequest:
        limits = self.sources.limits_of(endpoint)
        return _PageRequest(
            endpoint,
            log_filter,
            source,
            after,
            head,
            reread,
            limits.block_ranges[log_filter.rail],
            limits,
            RefusalLearner(endpoint, limits, log_filter.rail, self._clock),
            self._prefetchers[log_filter.rail],
        )

    async def _probe(self, request: _PageRequest) -> None:
        """Ask the smallest query first: an endpoint that refused it lately would refuse all larger ones again."""
        first = request.after.position + 1
        query, *_ = self._plan(request, first, first, QuerySizes(1, 1, request.limits.scalar))
        answer = await self._ask_one(request, query)
        if answer.error is not None and not isinstance(answer.error, TimedOut):
            request.limits.scalar = not request.limits.scalar
            query, *_ = self._plan(request, first, first, QuerySizes(1, 1, request.limits.scalar))
            answer = await self._ask_one(request, query)
        if answer.error is not None and not isinstance(answer.error, TimedOut):
            if await self._lacks_address(request, query):
                raise request.learner.needs_address(answer.error) from answer.error
            raise request.learner.give_up(answer.error) from answer.error

    async def _ask_one(self, request: _PageRequest, query: LogQuery) -> RawResult:
        """Return the answer to one query, whatever kept the endpoint from answering."""
        try:
            (answer,) = await self._client.batch(request.endpoint, [query.call])
        except (ChainUnavailable, NotAllowed, Garbled) as exc:
            return RawResult(error=exc)
        return RawResult(error=read_log_answer(answer).error)

    async def _attempt(self, request: _PageRequest) -> ScanPage | Fork | int | None:
        """
        Ask for one range.

        Returns None when a smaller query has to be made, which the learner has noted, and a number when the
        endpoint serves no logs above that block.
        """
        first, last = request.window
        blocks, started = last - first + 1, self._clock()
        queries = self._plan(request, first, last, request.learner.sizes)
        end, *logs = await self._ask(request, queries, last, blocks)
        below = logs.pop() if len(logs) > len(queries) else None
        answers = [read_log_answer(answer) for answer in logs]
        for query, answer in zip(queries, answers, strict=True):
            if is_beyond_head(answer.error) and end.error is None and parse_block(end.get(), last) is not None:
                return _lower_end(request, last, below)
            if answer.error is not None:
                return await self._refused(request, query, answer.error, blocks)
        if below is not None and is_reorganised(below, request.after):
            return Fork(request.after)
        block = parse_block(end.get(), last)
        if block is None:
            raise not_held(last)
        request.learner.served(queries)
        rows = sum(len(answer.rows) + len(answer.malformed) for answer in answers)
        request.block_range.answered(blocks=blocks, rows=rows, seconds=self._clock() - started)
        self._report_block_limit(request)
        if last < request.head.position and request.prefetcher is not None:
            self._prefetch(request, Cursor(last, block.hash))
        try:
            return await decode_page(
                request.log_filter, answers, block, first, chain_id=self._chain_id, proxy=self._proxy
            )
        except Vague:
            request.block_range.failed(blocks=blocks)  # asked for alone, each block shows whether it is its log
            return None

    def _plan(self, request: _PageRequest, first: int, last: int, sizes: QuerySizes) -> list[LogQuery]:
        return plan_queries(
            request.log_filter,
            request.source,
            proxy=self._proxy,
            first=first,
            last=last,
            sizes=sizes,
            crowded=request.limits.crowded_at(self._clock()),
        )

    async def _ask(self, request: _PageRequest, queries: Sequence[LogQuery], last: int, blocks: int) -> list[RawResult]:
        """Make the calls of one page in one request."""
        calls = page_calls(request.after, queries, last)
        try:
            if request.prefetcher is not None:
                return await request.prefetcher.batch(request.endpoint, calls)
            return await self._client.batch(request.endpoint, calls)
        except TimedOut:
            request.block_range.failed(blocks=blocks)
            raise

    def _prefetch(self, request: _PageRequest, here: Cursor) -> None:
        first, last = block_window(here.position, request.head.position, request.block_range.size, 0)
        following = self._plan(request, first, last, request.learner.sizes)
        if request.prefetcher is not None:
            request.prefetcher.start(request.endpoint, page_calls(here, following, last))

    async def _refused(
        self, request: _PageRequest, query: LogQuery, error: ChainError, blocks: int
    ) -> ScanPage | Fork | None:
        """
        Learn from a refusal; None when a smaller query is worth asking.

        Raises:
            ChainError: the refusal was not about the size of the query.
        """
        try:
            request.learner.refused(query, error, blocks)
        except TooManyRows:
            return await self._read_full_block(request, query)
        except ChainError:
            if self.sources.is_resting(request.endpoint, request.log_filter.rail) and await self._lacks_address(
                request, query
            ):
                raise request.learner.needs_address(error) from error
            raise
        finally:
            self._report_block_limit(request)
        return None

    async def _lacks_address(self, request: _PageRequest, query: LogQuery) -> bool:
        """
        Say whether the smallest query was refused for naming no contract.

        Providers word that in ways nobody knows completely. So the logs to an address that nobody can know are asked
        for without a contract and with one. A refusal for an address that is paid might be about its rows.
        """
        if not query.destinations or query.tokens is not None or not request.log_filter.tokens:
            return False
        block = request.after.position + 1
        for tokens, served in ((None, False), (request.log_filter.tokens[:1], True)):
            answer = await self._ask_one(request, transfers_to([self._nobody], tokens, block, block, scalar=True))
            if (answer.error is None) is not served or not (served or is_about_size(answer.error)):
                return False
        return True

    async def _read_full_block(self, request: _PageRequest, query: LogQuery) -> ScanPage | Fork | None:
        """
        Get past a block that holds more of our logs than one answer.

        A stranger fills a block for cents, and a scan that waits for a longer answer never goes on (docs/rules.md,
        C). The addresses that cause it are asked about by token from now on. The block's receipts hold all of its logs,
        and are read where the endpoint serves them.
        """
        crowded = request.limits.crowded_at(self._clock())
        if query.destinations and query.tokens is None and request.log_filter.tokens:
            found = await self._full_blocks.crowded_destinations(
                request.endpoint, query, block=request.after.position + 1
            )
            if found and not found <= crowded:
                request.learner.crowded(found)
                return await self._block_from_receipts(request)
        try:
            page = await self._full_blocks.read(request.endpoint, request.log_filter, request.after)
        except Unserved:
            # The endpoint shows the block in no other way: each destination's own logs may fit into an answer.
            if request.learner.fewer_destinations(query):
                return None
            raise
        if isinstance(page, ScanPage) and page.rows_read == 0:
            if request.learner.fewer_destinations(query):
                return None
            raise Unserved("says that a block holds too many logs, and shows none of them in its receipts")
        request.learner.full_block()
        return page

    async def _block_from_receipts(self, request: _PageRequest) -> ScanPage | Fork | None:
        """Return the page of one block from its receipts; None where they do not show it."""
        try:
            page = await self._full_blocks.read(request.endpoint, request.log_filter, request.after)
        except ChainError:
            return None  # the query by token shows what counts
        return None if isinstance(page, ScanPage) and page.rows_read == 0 else page

    def _report_block_limit(self, request: _PageRequest) -> None:
        """Show the shortest range of both rails among the endpoint's limits."""
        shrunk = [block_range.size for block_range in request.limits.block_ranges.values() if block_range.shrunk]
        request.endpoint.limits.blocks.learnt = min(shrunk, default=None)


def _lower_end(request: _PageRequest, last: int, below: RawResult | None) -> int:
    """
    Return the block to ask up to instead, for a node whose logs end below the blocks it shows.

    Without this, the same range was refused at every poll and nothing was read at all.

    Raises:
        Behind: not even the next block's logs are served.
    """
    first = request.after.position + 1
    if last > first:
        return first + (last - first) // 2
    read = None if below is None or below.error is not None else parse_block(below.get(), request.after.position)
    raise Behind(f"its logs end at block {last - 1}, below its head", time=None if read is None else read.time)
