"""What an EVM chain can tell us: the family's side of `chains.base.ChainAdapter`."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from chains.base import Access, Telemetry
from chains.errors import (
    ChainError,
    ChainMisconfigured,
    ChainProtocolError,
    ChainUnavailable,
    InvalidTxHash,
    LogsBehind,
)
from chains.evm import address as addresses
from chains.evm.balances import BalanceReader
from chains.evm.blocks import Block, parse_block
from chains.evm.client import EvmClient
from chains.evm.fee_proxy import payment_calldata
from chains.evm.logs.bloom import MAX_BLOCKS, BloomCheck
from chains.evm.logs.queries import LogFilter, LogSource
from chains.evm.logs.reader import LogReader
from chains.evm.rpc.client import RawResult, RpcRefused
from chains.evm.verification.verifier import Verifier
from chains.heads.reader import HeadReader, SeenHead
from chains.rpc.endpoint import Behind, Endpoint, Unserved
from chains.rpc.endpoint_pool import EndpointPool
from chains.rpc.http_client import CutOff, Overasked, open_http
from chains.rpc.jsonrpc_messages import Call
from chains.rpc.provider_errors import ErrorKind
from chains.rpc.quantities import quantity
from chains.types import (
    BalanceKey,
    Balances,
    Checkout,
    Condition,
    Cursor,
    Fork,
    Head,
    Rail,
    RescanResult,
    ScanPage,
    Targets,
    TokenMeta,
    TokenReceipt,
    Transfer,
    UnreadableLog,
    Verification,
)
from config.catalog import Chain, Finality

START_BELOW_HEAD = 10  # blocks
MAX_CALLS = 50  # in one batch
MAX_REREAD = 200  # blocks
REREAD_UNPACED = 5  # blocks, while the pace of the chain is not known
RESCAN_PAUSE_FACTOR = 9  # after a second look's question, as many times as long as it took
MAX_BELOW_HEAD = 64  # blocks; endpoints forget old state

_TX_HASH = re.compile(r"0x[0-9a-fA-F]{64}")


@asynccontextmanager
async def open_adapter(
    chain: Chain,
    *,
    timeout_s: float,
    telemetry: Telemetry,
    balance_batch: int = 50,
    access: Access | None = None,  # noqa: ARG001 - keys of EVM endpoints are part of their URLs
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> AsyncIterator[EvmAdapter]:
    """Open the adapter of one chain; no node is asked before the first call."""
    if chain.bloom_check and len(chain.rpc_urls) == 1:
        raise ChainMisconfigured(f"chain {chain.chain_id}: bloomCheck needs a second endpoint to ask")
    if chain.rpc_quorum > len(chain.rpc_urls):
        raise ChainMisconfigured(
            f"chain {chain.chain_id}: rpcQuorum is {chain.rpc_quorum} and there are {len(chain.rpc_urls)} endpoints"
        )
    pool = EndpointPool(chain.rpc_urls, telemetry=telemetry, clock=clock)
    async with open_http(timeout_s=timeout_s) as http:
        client = EvmClient(http, chain_id=chain.chain_id)
        balances = BalanceReader(client, packed=balance_batch)
        adapter = EvmAdapter(chain, pool=pool, client=client, balances=balances, clock=clock, wall=wall)
        try:
            yield adapter
        finally:
            adapter.close()


class EvmAdapter:
    """One EVM chain, through as many endpoints as it has."""

    rails: tuple[Rail, ...] = (Rail.PROXY, Rail.DIRECT)
    coin_decimals = 18
    counts_blocks = True
    lag_warning = 100
    reads_many_coins = True

    def __init__(
        self,
        chain: Chain,
        *,
        pool: EndpointPool,
        client: EvmClient,
        balances: BalanceReader,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._balances = balances
        self._clock = clock
        self._chain = chain
        self._proxy = chain.proxy_address.lower()
        self._pool = pool
        self._client = client
        longest = chain.max_log_range
        self._blooms: BloomCheck | None = None
        if chain.bloom_check:
            longest = min(longest or MAX_BLOCKS, MAX_BLOCKS)
            self._blooms = BloomCheck(client, pool, proxy=self._proxy)
        self._logs = LogReader(client, chain_id=chain.chain_id, proxy=self._proxy, longest=longest, clock=clock)
        self._verifier = Verifier(client, pool, chain)
        self._heads = HeadReader(
            pool,
            method="eth_getBlockByNumber",
            read=self._head,
            hash_at=self._hash_at,
            clock=clock,
            wall=wall,
            quorum=chain.rpc_quorum,
            wants_final=chain.finality is not Finality.DEPTH,
        )
        self._tokens: dict[str, TokenMeta] = {}
        self._asked_tokens: Sequence[str] = ()  # of the running scan, for endpoints that want addresses
        self._first_head: Head | None = None
        self._latest_head: Head | None = None

    def close(self) -> None:
        """Give up requests that are under way for later."""
        self._logs.close()

    @property
    def endpoint(self) -> str:
        return self._pool.preferred.label

    def parse_address(self, text: str) -> str:
        return addresses.parse_address(text)

    def show_address(self, canonical: str) -> str:
        return addresses.show_address(canonical)

    def checkout(
        self,
        rail: Rail,
        *,
        token: str,
        destination: str,
        amount: int,
        reference: str,
        fee_amount: int,
        fee_address: str,
    ) -> Checkout:
        if rail not in self.rails:
            raise ValueError(f"rail {rail} is not served on chain {self._chain.chain_id}")
        if rail is Rail.DIRECT:
            return Checkout(payment_uri=self._transfer_uri(token, destination, amount), calldata=None)
        calldata = payment_calldata(
            token=token,
            destination=destination,
            amount=amount,
            reference=reference,
            fee_amount=fee_amount,
            fee_address=fee_address,
        )
        return Checkout(payment_uri=None, calldata=calldata)  # no plain URI carries a reference

    def _transfer_uri(self, token: str, destination: str, amount: int) -> str:
        """Return the plain transfer as a URI (ERC-681)."""
        to = addresses.show_address(destination)
        contract = addresses.show_address(token)
        return f"ethereum:{contract}@{self._chain.chain_id}/transfer?address={to}&uint256={amount}"

    def first_cursor(self, head: Head) -> Cursor:
        return Cursor(max(head.position - START_BELOW_HEAD, 0))

    async def cursor_before(self, time: int, head: Head) -> Cursor:
        look = partial(self._newest_until, time=time, head=head.position)
        return Cursor(await self._pool.call("eth_getBlockByNumber", look))

    async def head(self) -> Head:
        head = await self._heads.head()
        self._first_head = self._first_head or head
        self._latest_head = head
        return head

    def condition(self) -> Condition:
        warnings = tuple(self._logs.warnings(self._pool.endpoints))
        condition = self._heads.condition()
        unverified = () if self._verifier.problem is None else (self._verifier.problem,)
        seen = (warning.message for warning in warnings)
        problems = (*condition.problems, *unverified, *seen, *self._logs.problems())
        return replace(condition, problems=tuple(dict.fromkeys(problems)), warnings=warnings)

    async def scan(
        self, rail: Rail, targets: Targets, after: Cursor, head: Head, *, reread_s: int = 0
    ) -> ScanPage | Fork:
        wanted = _wanted(rail, targets)
        self._asked_tokens = wanted.tokens or self._asked_tokens
        if rail is Rail.DIRECT and not wanted.destinations and after.position < head.position:
            return ScanPage([], Cursor(head.position, head.anchor), time=head.time, rows_read=0)
        if after.position < head.position:
            return await self._read_page(wanted, after, head, reread=self._reread(reread_s, head))
        if after.anchor is None:
            return ScanPage([], after, time=head.time, rows_read=0)
        return await self._pool.call("eth_getBlockByNumber", partial(self._still_there, after=after))

    async def _read_page(
        self,
        wanted: LogFilter,
        after: Cursor,
        head: Head,
        *,
        reread: int = 0,
        prefetch: bool = True,
    ) -> ScanPage | Fork:
        """Read the page after a cursor from any endpoint, by the way that shows most and is served."""
        refused: ChainError | None = None
        for way in self._logs.ways(wanted, self._pool.endpoints):
            read = partial(self._read, wanted=wanted, way=way, after=after, head=head, reread=reread, prefetch=prefetch)
            try:
                return await self._pages(read)
            except ChainError as exc:
                # Why receipts were no way out says less than why logs were refused.
                refused = exc if refused is None or way is not LogSource.RECEIPTS else refused
        raise refused or ChainUnavailable("no endpoint is asked for logs")

    async def _pages(
        self,
        read: Callable[[Endpoint], Awaitable[ScanPage | Fork]],
        *,
        avoiding: Collection[Endpoint] = (),
    ) -> ScanPage | Fork:
        """Return a page every log of which can be read; where no endpoint shows one, the one with the fewest others."""
        spoiled: list[ScanPage] = []
        behind: list[Behind] = []

        async def strictly(endpoint: Endpoint) -> ScanPage | Fork:
            try:
                page = await read(endpoint)
            except Behind as exc:
                behind.append(exc)
                raise
            if isinstance(page, ScanPage) and page.unread:
                spoiled.append(page)
                raise Unserved(f"shows logs that cannot be read: {page.unread[0].why}")
            return page

        try:
            return await self._pool.call("eth_getLogs", strictly, avoiding=avoiding)
        except ChainError as exc:
            if behind and not spoiled:
                raise LogsBehind(str(exc), time=behind[0].time) from exc
            if not spoiled:
                raise
            return min(spoiled, key=lambda page: len(page.unread))

    def _reread(self, seconds: int, head: Head) -> int:
        """
        Return how many blocks to read again: those of the last seconds, and all that are not deep yet.

        A node may answer for logs in the middle of a reorganisation, and for blocks before and after it.
        """
        if seconds == 0:
            return 0
        return min(MAX_REREAD, max(self._blocks_in(seconds, head), self._chain.confirmation_threshold))

    def _blocks_in(self, seconds: int, head: Head) -> int:
        """Return how many blocks these seconds take, from the chain's measured pace."""
        first = self._first_head
        if seconds == 0 or first is None or head.position <= first.position or head.time <= first.time:
            return min(seconds, REREAD_UNPACED)
        return min(MAX_REREAD, 1 + seconds * (head.position - first.position) // (head.time - first.time))

    async def latest_canonical(self, anchors: Sequence[Cursor]) -> Cursor | None:
        known = [anchor for anchor in anchors if anchor.anchor is not None]
        if not known:
            return None
        return await self._pool.call("eth_getBlockByNumber", partial(self._latest_canonical, anchors=known))

    async def look_again(self, destinations: Collection[str], *, since: int, until: int) -> RescanResult:
        wanted = LogFilter(Rail.DIRECT, sorted(destinations), self._asked_tokens)
        found: dict[tuple[str, str], Transfer] = {}
        unread: list[UnreadableLog] = []
        read_to: int | None = None
        try:
            async for page in self._pages_between(wanted, since, until):
                read_to = page.time
                found |= {(transfer.tx_hash, transfer.event_key): transfer for transfer in page.transfers}
                unread += page.unread
        except ChainError as exc:
            return RescanResult(list(found.values()), dict.fromkeys(destinations, str(exc)), tuple(unread), read_to)
        return RescanResult(list(found.values()), {}, tuple(unread))

    async def _pages_between(self, wanted: LogFilter, since: int, until: int) -> AsyncIterator[ScanPage]:
        """Read the blocks between two moments, by another endpoint than the running scan's where there is one."""
        scanning = {self._pool.preferred}
        started = self._clock()
        head = self._latest_head or await self.head()
        ends = []
        for moment in (since - 1, until):
            look = partial(self._newest_until, time=moment, head=head.position)
            ends.append(await self._pool.call("eth_getBlockByNumber", look, avoiding=scanning))
        cursor, goal = Cursor(ends[0]), Head(ends[1], None, until)
        while cursor.position < goal.position:
            # A tenth of an endpoint's time, for the scan that finds payments first needs the rest.
            await asyncio.sleep(RESCAN_PAUSE_FACTOR * (self._clock() - started))
            started = self._clock()
            read = partial(self._read_any_way, wanted=wanted, after=cursor, head=goal)
            page = await self._pages(read, avoiding=scanning)
            if isinstance(page, Fork):
                raise ChainUnavailable("the chain was reorganised meanwhile")
            yield page
            cursor = page.cursor

    async def verify(self, transfers: Sequence[Transfer], *, head: Head) -> list[Verification]:
        return await self._verifier.verify(transfers, head)

    async def inspect(self, tx_hash: str, targets: Targets) -> list[Transfer]:
        """
        Return one transaction's proxy events and transfers into ours; empty when it is not on chain or failed.

        Raises:
            InvalidTxHash: not 0x + 64 hex digits.
        """
        if _TX_HASH.fullmatch(tx_hash) is None:
            raise InvalidTxHash("a transaction hash is 0x and 64 hex digits")
        return await self._verifier.inspect(tx_hash.lower(), targets)

    async def token(self, address: str) -> TokenMeta | None:
        if address not in self._tokens:
            meta = await self._pool.call("eth_call", partial(self._client.token, address=address))
            if meta is None or meta.symbol is None or meta.decimals is None:
                return meta
            self._tokens[address] = meta
        return self._tokens[address]

    async def balances(self, holdings: Sequence[BalanceKey], *, confirmed: bool = False) -> Balances:
        below_head = min(self._chain.confirmation_threshold, MAX_BELOW_HEAD) if confirmed else 0
        return await self._pool.call("eth_call", partial(self._balances.read, holdings=holdings, below_head=below_head))

    async def movements(self, holdings: Sequence[BalanceKey], *, first: int, last: int) -> list[TokenReceipt]:
        ours = {holding for holding in holdings if holding.token is not None}
        tokens = sorted({token for _, token in ours if token is not None})
        wanted = LogFilter(Rail.DIRECT, sorted({holder for holder, _ in ours}), tokens, named=True)
        found: list[TokenReceipt] = []
        cursor, goal = Cursor(first - 1), Head(last, None, 0)
        while ours and cursor.position < goal.position:
            page = await self._read_page(wanted, cursor, goal, prefetch=False)
            if isinstance(page, Fork):
                raise ChainUnavailable("the chain was reorganised meanwhile")
            if page.unread:
                raise ChainProtocolError(f"a log cannot be read: {page.unread[0].why}")
            found += [_movement(t) for t in page.transfers if BalanceKey(t.destination, t.token) in ours]
            cursor = page.cursor
        return sorted(found, key=lambda movement: movement.block_number)

    async def self_test(self) -> list[str]:
        code = await self._pool.call("eth_getCode", self._proxy_code)
        if code not in {"0x", "0x0"}:
            return []
        return [f"no contract at proxyAddress {self._chain.proxy_address}: payments through it cannot be seen"]

    # --- one endpoint at a time ------------------------------------------------------------------

    async def _head(self, endpoint: Endpoint) -> SeenHead:
        calls = [_block_call("latest")]
        if self._chain.finality is not Finality.DEPTH:
            calls.append(_block_call("finalized"))
        latest, *rest = await self._client.batch(endpoint, calls)
        block = parse_block(latest.get())
        if block is None:
            raise ChainUnavailable("the node has no latest block")
        final = _finalized(rest[0]) if rest else None
        finalized = None if final is None else min(final.number, block.number)
        return SeenHead.of(Head(block.number, block.hash, block.time, finalized))

    async def _hash_at(self, endpoint: Endpoint, position: int) -> tuple[str, int] | None:
        (answer,) = await self._client.batch(endpoint, [_block_call(position)])
        block = parse_block(answer.get(), position)
        return None if block is None else (block.hash, block.time)

    async def _read_any_way(
        self, endpoint: Endpoint, *, wanted: LogFilter, after: Cursor, head: Head
    ) -> ScanPage | Fork:
        """Read a page from this very endpoint, by the best way it serves: who looks again wants another's word."""
        refused: Unserved | None = None
        for way in self._logs.ways(wanted, [endpoint]):
            try:
                return await self._logs.read(endpoint, wanted, way, after=after, head=head, prefetch=False)
            except Unserved as exc:
                refused = exc if refused is None or way is not LogSource.RECEIPTS else refused
        raise refused or Unserved("serves no logs")

    async def _read(
        self,
        endpoint: Endpoint,
        *,
        wanted: LogFilter,
        way: LogSource,
        after: Cursor,
        head: Head,
        reread: int,
        prefetch: bool,
    ) -> ScanPage | Fork:
        page = await self._logs.read(endpoint, wanted, way, after=after, head=head, reread=reread, prefetch=prefetch)
        if self._blooms is not None and wanted.rail is Rail.PROXY and isinstance(page, ScanPage):
            await self._blooms.check(endpoint, page, after.position + 1)
        return page

    async def _still_there(self, endpoint: Endpoint, *, after: Cursor) -> ScanPage | Fork:
        (answer,) = await self._client.batch(endpoint, [_block_call(after.position)])
        block = parse_block(answer.get(), after.position)
        if block is None:
            raise _behind(after.position)
        return ScanPage([], after, time=block.time, rows_read=0) if block.hash == after.anchor else Fork(after)

    async def _newest_until(self, endpoint: Endpoint, *, time: int, head: int) -> int:
        """
        Return the newest block that is not younger than this; 0 when all are.

        From the head downwards, in strides that double: nodes forget old headers, and the moment is seldom far back.
        """
        low, high, stride = max(0, head - 1), head, 1  # everything above `high` is younger
        while low > 0 and await self._time_of(endpoint, low) > time:
            stride *= 2
            low, high = max(0, low - stride), low - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (low, middle - 1) if await self._time_of(endpoint, middle) > time else (middle, high)
        return low

    async def _time_of(self, endpoint: Endpoint, number: int) -> int:
        (answer,) = await self._client.batch(endpoint, [_block_call(number)])
        block = parse_block(answer.get(), number)
        if block is None:
            raise _behind(number)
        return block.time

    async def _latest_canonical(self, endpoint: Endpoint, *, anchors: Sequence[Cursor]) -> Cursor | None:
        hidden = False  # the newest anchors lie above what this node holds
        for start in range(0, len(anchors), MAX_CALLS - 1):
            chunk = anchors[start : start + MAX_CALLS - 1]
            calls: list[Call] = [("eth_blockNumber", ()), *(_block_call(anchor.position) for anchor in chunk)]
            tip, *answers = await self._client.batch(endpoint, calls)
            top = quantity(tip.get())
            for anchor, answer in zip(chunk, answers, strict=True):
                block = parse_block(answer.get(), anchor.position)
                if block is None and anchor.position <= top:
                    raise ChainProtocolError(f"the node is at block {top} and does not hold block {anchor.position}")
                if block is None:
                    hidden = True
                elif block.hash != anchor.anchor:
                    hidden = False  # a real fork: what lay above it is gone as well
                elif hidden:
                    raise _behind(anchors[0].position)  # merely late: nothing is known to be orphaned
                else:
                    return anchor
        if hidden:
            raise _behind(anchors[0].position)
        # A load balancer once sent one question to a node of another chain: nothing of ours is canonical there.
        await self._client.check_chain(endpoint)
        return None

    async def _proxy_code(self, endpoint: Endpoint) -> str:
        (answer,) = await self._client.batch(endpoint, [("eth_getCode", (self._proxy, "latest"))])
        code = answer.get()
        if not isinstance(code, str) or not code.startswith("0x"):
            raise ChainProtocolError("eth_getCode did not answer with code")
        return code


def _movement(transfer: Transfer) -> TokenReceipt:
    return TokenReceipt(
        token=transfer.token,
        destination=transfer.destination,
        sender=transfer.sender or "",
        amount=transfer.amount,
        tx_hash=transfer.tx_hash,
        block_number=transfer.block_number,
    )


def _wanted(rail: Rail, targets: Targets) -> LogFilter:
    if rail is Rail.PROXY:
        return LogFilter(rail)
    return LogFilter(rail, sorted(targets.destinations | targets.beneficiaries), sorted(targets.tokens))


def _block_call(block: int | str) -> Call:
    return "eth_getBlockByNumber", (hex(block) if isinstance(block, int) else block, False)


def _behind(position: int) -> ChainUnavailable:
    return ChainUnavailable(f"the node does not hold block {position} yet")


def _finalized(answer: RawResult) -> Block | None:
    """Return the finalized block; None from a node that cannot tell, in whatever words, or while there is none yet."""
    busy = isinstance(answer.error, RpcRefused) and answer.error.advice.kind is ErrorKind.RATE
    if isinstance(answer.error, RpcRefused | Unserved | Overasked | CutOff) and not busy:
        return None  # erigon said "Unknown block" (-39001) for ever, others do not know the tag
    try:
        return parse_block(answer.get())
    except ChainProtocolError:
        return None  # a block that is none tells as little, and its endpoint serves everything else
