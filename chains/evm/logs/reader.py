"""One page of one rail from one endpoint, with proof that the endpoint held the blocks it was asked for."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from chains.errors import ChainError, ChainProtocolError, ChainUnavailable
from chains.evm.blocks import Block, parse_block
from chains.evm.logs.block_range import BlockRangeLimiter
from chains.evm.logs.block_receipts import BlockReceiptsReader
from chains.evm.logs.page_decoder import PageDecoder, Vague
from chains.evm.logs.prefetch import Prefetcher
from chains.evm.logs.queries import (
    LogFilter,
    LogQuery,
    LogSource,
    QuerySizes,
    block_window,
    halves,
    log_matcher,
    plan_queries,
    transfers_to,
)
from chains.evm.logs.query_limits import LogQueryLimits, LogsRefused, NeedsAddress, RefusalLearner, TooManyRows
from chains.evm.rpc.client import RawResult, RpcClient, RpcRefused
from chains.evm.rpc.structs import Log, MalformedLog
from chains.rpc.endpoint import Behind, Endpoint, Unserved
from chains.rpc.http_client import CutOff, Garbled, Overasked, Overpriced, TimedOut, TooLarge
from chains.rpc.jsonrpc_messages import Call, NotAllowed
from chains.rpc.provider_errors import ErrorKind
from chains.types import Cursor, Fork, Head, Rail, RailWarning, ScanPage

MAX_REFUSALS = 60  # every dimension is halved in turn: twice the sum of their logarithms, and some
MAX_NAMED = 5  # crowded addresses, in a sentence
MAX_SPLITS = 64  # questions to find the addresses that the answer for one block cannot hold


class _PageRequest(NamedTuple):
    """One page to be read, and by whom."""

    endpoint: Endpoint
    wanted: LogFilter
    way: LogSource
    after: Cursor
    head: Head
    reread: int
    span: BlockRangeLimiter
    shape: LogQueryLimits
    learner: RefusalLearner
    ahead: Prefetcher | None  # where the next page is asked for meanwhile


class _LogAnswer(NamedTuple):
    """One answer: why it is none, or its logs, and apart from them those that have not the form of one."""

    error: ChainError | None
    rows: Sequence[Log] = ()
    malformed: Sequence[MalformedLog] = ()


class LogReader:
    """Reads the logs of one chain, and learns what shape of question each endpoint takes."""

    def __init__(
        self, client: RpcClient, *, chain_id: int, proxy: str, longest: int | None, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._ahead = {rail: Prefetcher(client) for rail in Rail}
        self._blocks = BlockReceiptsReader(client)
        self._chain_id = chain_id
        self._proxy = proxy
        self._longest = longest
        self._clock = clock
        self._nobody = f"0x{secrets.token_hex(20)}"  # an address no stranger can send to
        self._shapes: dict[Endpoint, LogQueryLimits] = {}

    def close(self) -> None:
        """Give up what is under way."""
        for ahead in self._ahead.values():
            ahead.drop()

    def shape(self, endpoint: Endpoint) -> LogQueryLimits:
        """Return what was learnt of an endpoint."""
        return self._shapes.setdefault(endpoint, LogQueryLimits.limited(self._longest))

    def warnings(self, endpoints: Collection[Endpoint]) -> list[RailWarning]:
        """Return what cannot be seen, or late only, because every endpoint refused to show it."""
        unserved = [rail for rail in Rail if all(rail in self.shape(endpoint).refusal for endpoint in endpoints)]
        if unserved:
            of = "" if len(unserved) == len(Rail) else f" of the {unserved[0]} rail"
            said = self.shape(next(iter(endpoints))).refusal[unserved[0]]
            message = f"no endpoint serves logs{of}, blocks are read one by one and payments may be seen late: {said}"
            return [RailWarning(rail, "logs_unserved", message) for rail in unserved]
        if all(endpoint.limits.addressless_logs.known is False for endpoint in endpoints):
            message = "every endpoint refuses logs without an address: transfers of other tokens than those of the "
            message += "registry and of waiting payments are not seen"
            return [RailWarning(Rail.DIRECT, "other_tokens_unseen", message)]
        return []

    def problems(self) -> list[str]:
        """Return what is not shown for a while because a stranger sent too much of it."""
        now = self._clock()
        crowded = sorted({address for shape in self._shapes.values() for address in shape.crowded_at(now)})
        if not crowded:
            return []
        named = ", ".join(crowded[:MAX_NAMED]) + (" and more" if len(crowded) > MAX_NAMED else "")
        what = f"{len(crowded)} addresses got more logs in one block than an answer holds"
        return [f"{what}: only transfers of known tokens to them are read for ten minutes ({named})"]

    def ways(self, wanted: LogFilter, endpoints: Collection[Endpoint]) -> Iterator[LogSource]:
        """Yield the ways worth trying, each after the one before has failed everywhere."""
        named = wanted.named or wanted.rail is Rail.PROXY
        if named or any(e.limits.addressless_logs.should_try for e in endpoints):
            yield LogSource.LOGS
        if not named and not all(e.limits.addressless_logs.should_try for e in endpoints):
            yield LogSource.BY_TOKEN
        if any(self._needs_receipts(endpoint, wanted) for endpoint in endpoints):
            yield LogSource.RECEIPTS

    def _rests(self, endpoint: Endpoint, rail: Rail) -> bool:
        return self._clock() < self.shape(endpoint).resting_until.get(rail, 0.0)

    def _needs_receipts(self, endpoint: Endpoint, wanted: LogFilter) -> bool:
        """Say whether an endpoint shows logs in receipts alone."""
        unnamed = wanted.named or wanted.rail is Rail.PROXY or endpoint.limits.addressless_logs.should_try
        return self._rests(endpoint, wanted.rail) or not (unnamed or wanted.tokens)

    async def read(
        self,
        endpoint: Endpoint,
        wanted: LogFilter,
        way: LogSource,
        *,
        after: Cursor,
        head: Head,
        reread: int = 0,
        prefetch: bool = True,
    ) -> ScanPage | Fork:
        """
        Read one rail's page after a cursor, as many blocks as the endpoint serves.

        Raises:
            ChainUnavailable: the endpoint is busy, or behind what it was asked for.
            ChainProtocolError: its logs and its blocks do not agree.
            Unserved: it serves no logs this way.
        """
        self._check(endpoint, wanted, way)
        if way is LogSource.RECEIPTS:
            return await self._from_receipts(endpoint, wanted, after)
        shape = self.shape(endpoint)
        span = shape.spans[wanted.rail]
        reading = _PageRequest(
            endpoint,
            wanted,
            way,
            after,
            head,
            reread,
            span,
            shape,
            RefusalLearner(endpoint, shape, wanted.rail, self._clock),
            self._ahead[wanted.rail] if prefetch else None,
        )
        if wanted.rail in shape.refusal:
            await self._probe(reading)
        for _ in range(MAX_REFUSALS):
            page = await self._attempt(reading)
            if isinstance(page, int):
                reading = reading._replace(head=reading.head._replace(position=page, anchor=None))
            elif page is not None:
                return page
        raise ChainUnavailable("keeps refusing smaller and smaller questions")

    def _check(self, endpoint: Endpoint, wanted: LogFilter, way: LogSource) -> None:
        """Raise when this way is not the one for this endpoint now; nothing is asked."""
        rests, unnamed = self._rests(endpoint, wanted.rail), endpoint.limits.addressless_logs.should_try
        if way is LogSource.RECEIPTS:
            if not self._needs_receipts(endpoint, wanted):
                raise Unserved("serves logs")
        elif rests:
            raise LogsRefused(f"serves no eth_getLogs: {self.shape(endpoint).refusal.get(wanted.rail)}")
        elif way is LogSource.LOGS and wanted.rail is Rail.DIRECT and not (unnamed or wanted.named):
            raise NeedsAddress("refuses logs without an address")
        elif way is LogSource.BY_TOKEN and unnamed:
            raise Unserved("is asked for the logs of every contract")
        elif way is LogSource.BY_TOKEN and not wanted.tokens:
            raise NeedsAddress("refuses logs without an address, and no token is known to ask for")

    async def _probe(self, reading: _PageRequest) -> None:
        """Ask the smallest question: whoever refused that is not asked all the others again to learn the same."""
        first = reading.after.position + 1
        question, *_ = self._questions(reading, first, first, QuerySizes(1, 1, reading.shape.plain))
        answer = await self._ask_one(reading, question)
        if answer.error is not None and not isinstance(answer.error, TimedOut):
            reading.shape.plain = not reading.shape.plain
            question, *_ = self._questions(reading, first, first, QuerySizes(1, 1, reading.shape.plain))
            answer = await self._ask_one(reading, question)
        if answer.error is not None and not isinstance(answer.error, TimedOut):
            if await self._lacks_address(reading, question):
                raise reading.learner.needs_address(answer.error) from answer.error
            raise reading.learner.give_up(answer.error) from answer.error

    async def _ask_one(self, reading: _PageRequest, question: LogQuery) -> RawResult:
        """Return the answer to one question, whatever kept the endpoint from answering."""
        try:
            (answer,) = await self._client.batch(reading.endpoint, [question.call])
        except (ChainUnavailable, NotAllowed, Garbled) as exc:
            return RawResult(error=exc)
        return RawResult(error=_read_logs(answer).error)

    async def _attempt(self, reading: _PageRequest) -> ScanPage | Fork | int | None:
        """
        Ask for one range.

        None when the endpoint wants to be asked for less, which was noted; a number when for nothing above a block.
        """
        first, last = block_window(
            reading.after.position, reading.head.position, reading.span.size_with_reread(reading.reread), reading.reread
        )
        blocks, started = last - first + 1, self._clock()
        asked = self._questions(reading, first, last, reading.learner.sizes)
        end, *logs = await self._ask(reading, asked, last, blocks)
        below = logs.pop() if len(logs) > len(asked) else None
        answers = [_read_logs(answer) for answer in logs]
        for question, answer in zip(asked, answers, strict=True):
            if _is_beyond(answer.error) and end.error is None and parse_block(end.get(), last) is not None:
                return _lower(reading, last, below)
            if answer.error is not None:
                return await self._refused(reading, question, answer.error, blocks)
        if below is not None and _moved(below, reading.after):
            return Fork(reading.after)
        block = parse_block(end.get(), last)
        if block is None:
            raise ChainUnavailable(f"the node does not hold block {last} yet")
        reading.learner.served(asked)
        rows = sum(len(answer.rows) + len(answer.malformed) for answer in answers)
        reading.span.answered(blocks=blocks, rows=rows, seconds=self._clock() - started)
        self._note_blocks(reading)
        if last < reading.head.position and reading.ahead is not None:
            self._ask_ahead(reading, Cursor(last, block.hash))
        try:
            return await self._page(reading.wanted, answers, block, first)
        except Vague:
            reading.span.failed(blocks=blocks)  # which block it is of shows when one is asked for alone
            return None

    def _questions(self, reading: _PageRequest, first: int, last: int, sizes: QuerySizes) -> list[LogQuery]:
        return plan_queries(
            reading.wanted,
            reading.way,
            proxy=self._proxy,
            first=first,
            last=last,
            sizes=sizes,
            crowded=reading.shape.crowded_at(self._clock()),
        )

    async def _ask(self, reading: _PageRequest, asked: Sequence[LogQuery], last: int, blocks: int) -> list[RawResult]:
        """Make the calls of one page in one request."""
        calls = _calls(reading.after, asked, last)
        try:
            if reading.ahead is not None:
                return await reading.ahead.batch(reading.endpoint, calls)
            return await self._client.batch(reading.endpoint, calls)
        except TimedOut:
            reading.span.failed(blocks=blocks)
            raise

    def _ask_ahead(self, reading: _PageRequest, here: Cursor) -> None:
        first, last = block_window(here.position, reading.head.position, reading.span.size, 0)
        following = self._questions(reading, first, last, reading.learner.sizes)
        if reading.ahead is not None:
            reading.ahead.start(reading.endpoint, _calls(here, following, last))

    async def _refused(
        self, reading: _PageRequest, question: LogQuery, error: ChainError, blocks: int
    ) -> ScanPage | Fork | None:
        """Return None when a smaller question is worth asking; raise what else the refusal means."""
        try:
            reading.learner.refused(question, error, blocks)
        except TooManyRows:
            return await self._past_a_full_block(reading, question)
        except ChainError:
            if self._rests(reading.endpoint, reading.wanted.rail) and await self._lacks_address(reading, question):
                raise reading.learner.needs_address(error) from error
            raise
        finally:
            self._note_blocks(reading)
        return None

    async def _lacks_address(self, reading: _PageRequest, question: LogQuery) -> bool:
        """
        Say whether the smallest question was refused for naming no contract.

        Nobody knows all wordings of that: logs to an address nobody pays are asked for without a contract and with
        one. What is refused for an address somebody pays may be about its rows.
        """
        if not question.destinations or question.tokens is not None or not reading.wanted.tokens:
            return False
        block = reading.after.position + 1
        for tokens, served in ((None, False), (reading.wanted.tokens[:1], True)):
            answer = await self._ask_one(reading, transfers_to([self._nobody], tokens, block, block, plain=True))
            if (answer.error is None) is not served or not (served or _about_size(answer.error)):
                return False
        return True

    async def _past_a_full_block(self, reading: _PageRequest, question: LogQuery) -> ScanPage | Fork | None:
        """
        Get past a block that holds more of our logs than one answer.

        A stranger fills a block for cents, and a scan that waits for a longer answer never goes on (docs/rules.md,
        C). The addresses that cause it are asked about by token from now on; the block's receipts hold everything,
        and are read where they are shown.
        """
        crowded = reading.shape.crowded_at(self._clock())
        if question.destinations and question.tokens is None and reading.wanted.tokens:
            found = await self._crowded(reading, question)
            if found and not found <= crowded:
                reading.learner.crowded(found)
                return await self._whole_block(reading)
        try:
            page = await self._from_receipts(reading.endpoint, reading.wanted, reading.after)
        except Unserved:
            # The block is not shown any other way: each destination's own logs may fit into an answer.
            if reading.learner.fewer_destinations(question):
                return None
            raise
        if isinstance(page, ScanPage) and page.rows_read == 0:
            if reading.learner.fewer_destinations(question):
                return None
            raise Unserved("says that a block holds too many logs, and shows none of them in its receipts")
        reading.learner.full_block()
        return page

    async def _whole_block(self, reading: _PageRequest) -> ScanPage | Fork | None:
        """Return the page of one block from its receipts; None where they do not show it."""
        try:
            page = await self._from_receipts(reading.endpoint, reading.wanted, reading.after)
        except ChainError:
            return None  # the question by token shows what counts
        return None if isinstance(page, ScanPage) and page.rows_read == 0 else page

    async def _crowded(self, reading: _PageRequest, question: LogQuery) -> set[str] | None:
        """Return the addresses whose logs of one block do not fit into an answer; None when they are too many."""
        if len(question.destinations) == 1:
            return set(question.destinations)
        block = reading.after.position + 1
        parts, found, asked = halves(question.destinations), set[str](), 0
        while parts:
            asked += len(parts)
            if asked > MAX_SPLITS:
                return None
            calls = [transfers_to(part, None, block, block).call for part in parts]
            try:
                answers = await self._client.batch(reading.endpoint, calls)
            except (TooLarge, NotAllowed, Garbled):
                return None
            full = [part for part, answer in zip(parts, answers, strict=True) if _is_full(answer)]
            found |= {part[0] for part in full if len(part) == 1}
            parts = [half for part in full if len(part) > 1 for half in halves(part)]
        return found

    async def _from_receipts(self, endpoint: Endpoint, wanted: LogFilter, after: Cursor) -> ScanPage | Fork:
        """Read one block by its receipts."""
        number = after.position + 1
        if after.anchor is not None:
            (below,) = await self._client.batch(endpoint, [_block_call(after.position)])
            if _moved(below, after):
                return Fork(after)
        block, rows, malformed = await self._blocks.read(endpoint, number, log_matcher(wanted, self._proxy))
        return await self._page(wanted, [_LogAnswer(None, rows, malformed)], block, number)

    async def _page(self, wanted: LogFilter, answers: Sequence[_LogAnswer], end: Block, first: int) -> ScanPage:
        logs = PageDecoder(wanted, chain_id=self._chain_id, proxy=self._proxy, first=first, last=end.number)
        for answer in answers:
            await logs.feed(answer.rows, answer.malformed)
        if logs.hash_of(end.number) not in {None, end.hash}:
            raise ChainProtocolError(f"the logs of block {end.number} are not of the block the node holds")
        rows_read = sum(len(answer.rows) + len(answer.malformed) for answer in answers)
        return ScanPage(logs.transfers, Cursor(end.number, end.hash), end.time, rows_read, logs.unread)

    def _note_blocks(self, reading: _PageRequest) -> None:
        """Show the shortest range of both rails among the endpoint's limits."""
        shrunk = [span.size for span in reading.shape.spans.values() if span.shrunk]
        reading.endpoint.limits.blocks.learnt = min(shrunk, default=None)


def _calls(after: Cursor, asked: Sequence[LogQuery], last: int) -> list[Call]:
    """The block above, the logs, the block below when its hash is known."""
    # In the same request: an endpoint that lacks the last block answers a gap without an error.
    calls: list[Call] = [_block_call(last), *(question.call for question in asked)]
    if after.anchor is not None:
        # Last: a reorganisation before it shows here; one after it shows at the next poll, in the block above.
        calls.append(_block_call(after.position))
    return calls


def _block_call(number: int) -> Call:
    return "eth_getBlockByNumber", (hex(number), False)


def _read_logs(answer: RawResult) -> _LogAnswer:
    """Read an answer; what is no list of logs is a refusal: some say null to a question that is too large."""
    if answer.error is not None:
        return _LogAnswer(answer.error)
    try:
        return _LogAnswer(None, *answer.log_rows())
    except ChainProtocolError as exc:
        return _LogAnswer(Garbled(str(exc)))


def _is_beyond(error: ChainError | None) -> bool:
    return isinstance(error, RpcRefused) and error.advice.kind is ErrorKind.HEAD


def _lower(reading: _PageRequest, last: int, below: RawResult | None) -> int:
    """
    Return up to where to ask instead, of a node whose logs end below the blocks it shows.

    Asked for the same at every poll it served nothing at all.
    """
    first = reading.after.position + 1
    if last > first:
        return first + (last - first) // 2
    read = None if below is None or below.error is not None else parse_block(below.get(), reading.after.position)
    raise Behind(f"its logs end at block {last - 1}, below its head", time=None if read is None else read.time)


def _about_size(error: Exception | None) -> bool:
    if isinstance(error, Garbled | TooLarge | Overasked | Overpriced | NotAllowed | CutOff):
        return True
    sizes = {
        ErrorKind.BLOCKS,
        ErrorKind.ROWS,
        ErrorKind.TOPICS,
        ErrorKind.ADDRESSES,
        ErrorKind.ADDRESSLESS,
        ErrorKind.OTHER,
    }
    return isinstance(error, RpcRefused) and error.advice.kind in sizes


def _is_full(answer: RawResult) -> bool:
    """
    Say whether an answer was refused for its length.

    Raises:
        ChainError: it was refused for another reason.
    """
    if answer.error is None:
        return False
    if _about_size(answer.error):
        return True
    raise answer.error


def _moved(answer: RawResult, after: Cursor) -> bool:
    block = parse_block(answer.get(), after.position)
    if block is None:
        raise ChainUnavailable(f"the node does not hold block {after.position} yet")
    return block.hash != after.anchor
