"""What an EVM chain can tell us: the family's side of `chains.base.ChainAdapter`."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from chains.base import Access, Telemetry
from chains.errors import (
    ChainError,
    ChainMisconfigured,
    ChainProtocolError,
    ChainUnavailable,
    InvalidTxHash,
)
from chains.evm import address as addresses
from chains.evm.address import transfer_uri
from chains.evm.balances import BalanceReader
from chains.evm.block_reader import BlockReader
from chains.evm.client import EvmClient
from chains.evm.fee_proxy import payment_calldata
from chains.evm.logs.bloom import MAX_BLOCKS, BloomCheck
from chains.evm.logs.direct_filter import DirectFilter
from chains.evm.logs.queries import LogFilter
from chains.evm.logs.reader import LogReader
from chains.evm.push.head_push import HeadPush
from chains.evm.scan import PageQuestion, PageScanner
from chains.evm.verification.endpoint_verifier import METHOD as TRANSACTION_METHOD
from chains.evm.verification.transaction_reader import TransactionReader
from chains.evm.verification.verifier import Verifier
from chains.heads.reader import HeadReader
from chains.rpc.endpoint_pool import EndpointPool
from chains.rpc.http_client import open_http
from chains.transactions import read_transaction
from chains.types import (
    BalanceKey,
    Balances,
    Checkout,
    Condition,
    Cursor,
    Fork,
    Head,
    PageAhead,
    Rail,
    RescanResult,
    ScanPage,
    SocketEvent,
    Targets,
    TokenMeta,
    TokenReceipt,
    Transaction,
    Transfer,
    UnreadableLog,
    Verification,
)
from config.catalog import Chain, Finality, Proof

if TYPE_CHECKING:
    from chains.evm.proofs.prover import Prover
    from chains.evm.proofs.withheld import WithheldCheck

START_BELOW_HEAD = 10  # blocks
MAX_REREAD = 200  # blocks
REREAD_UNPACED = 5  # blocks, while the pace of the chain is not known
MAX_BELOW_HEAD = 64  # blocks; endpoints forget old state

_TX_HASH = re.compile(r"0x[0-9a-fA-F]{64}")


@asynccontextmanager
async def open_adapter(
    chain: Chain,
    *,
    timeout_s: float,
    telemetry: Telemetry,
    balance_batch: int = 50,
    access: Access | None = None,  # of its sockets alone: keys of EVM endpoints are part of their URLs
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> AsyncIterator[EvmAdapter]:
    """Open the adapter of one chain; no node is asked before the first call."""
    if chain.bloom_check and chain.proof is Proof.NONE and len(chain.rpc_urls) == 1:
        raise ChainMisconfigured(f"chain {chain.chain_id}: bloomCheck needs a second endpoint to ask")
    if chain.rpc_quorum > len(chain.rpc_urls):
        raise ChainMisconfigured(
            f"chain {chain.chain_id}: rpcQuorum is {chain.rpc_quorum} and there are {len(chain.rpc_urls)} endpoints"
        )
    pool = EndpointPool(chain.rpc_urls, telemetry=telemetry, clock=clock)
    async with open_http(timeout_s=timeout_s) as http:
        client = EvmClient(http, chain_id=chain.chain_id)
        balances = BalanceReader(client, packed=balance_batch)
        push = HeadPush(http, access.sockets if access else (), chain_id=chain.chain_id, clock=clock)
        adapter = EvmAdapter(chain, pool=pool, client=client, balances=balances, push=push, clock=clock, wall=wall)
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
    reads_ahead = True

    def __init__(
        self,
        chain: Chain,
        *,
        pool: EndpointPool,
        client: EvmClient,
        balances: BalanceReader,
        push: HeadPush | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._balances = balances
        self._push = push
        self._clock = clock
        self._chain = chain
        self._proxy = chain.proxy_address.lower()
        self._pool = pool
        self._client = client
        longest = chain.max_log_range
        blooms: BloomCheck | None = None
        withheld = _withheld_check(client, chain)
        if chain.bloom_check and withheld is None:
            blooms = BloomCheck(client, pool, proxy=self._proxy)
        if blooms is not None or withheld is not None:
            longest = min(longest or MAX_BLOCKS, MAX_BLOCKS)
        self._logs = LogReader(client, chain_id=chain.chain_id, proxy=self._proxy, max_blocks=longest, clock=clock)
        wants_final = chain.finality is not Finality.DEPTH
        self._blocks = BlockReader(client, wants_final=wants_final)
        self._scanner = PageScanner(
            client, pool, self._logs, self._blocks, blooms=blooms, withheld=withheld, clock=clock
        )
        prover = _prover(client, pool, chain)
        self._verifier = Verifier(client, pool, chain, prover=prover)
        self._transactions = TransactionReader(client, chain, prover=prover)
        self._heads = HeadReader(
            pool,
            method="eth_getBlockByNumber",
            read=self._blocks.head,
            hash_at=self._blocks.hash_at,
            clock=clock,
            wall=wall,
            quorum=chain.rpc_quorum,
            wants_final=wants_final,
        )
        self._tokens: dict[str, TokenMeta] = {}
        self._direct_filter = DirectFilter()
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
            return Checkout(transfer_uri(self._chain.chain_id, token, destination, amount), calldata=None)
        calldata = payment_calldata(
            token=token,
            destination=destination,
            amount=amount,
            reference=reference,
            fee_amount=fee_amount,
            fee_address=fee_address,
        )
        return Checkout(payment_uri=None, calldata=calldata)  # no plain URI carries a reference

    def first_cursor(self, head: Head) -> Cursor:
        return Cursor(max(head.position - START_BELOW_HEAD, 0))

    async def cursor_before(self, time: int, head: Head) -> Cursor:
        look = partial(self._blocks.newest_until, time=time, head=head.position)
        return Cursor(await self._pool.call("eth_getBlockByNumber", look))

    async def head(self, ahead: Sequence[PageAhead] | None = None) -> Head:
        if ahead is not None:
            self._scanner.forget_ahead()
        pages = [
            PageQuestion(log_filter, page.after, page.head, self._reread(page.reread_s, page.head))
            for page in ahead or ()
            if page.after.position < page.head.position
            and ((log_filter := self._filter_of(page.rail, page.targets)).destinations or page.rail is Rail.PROXY)
        ]
        head = await self._heads.head(partial(self._scanner.head_with_pages, pages=pages) if pages else None)
        self._first_head = self._first_head or head
        self._latest_head = head
        if self._push is not None:
            self._push.note_read(head.position)
        return head

    async def follow_heads(
        self, wake: Callable[[], Awaitable[bool]], count: Callable[[str, SocketEvent], None]
    ) -> None:
        if self._push is not None:
            await self._push.run(wake, count)

    def condition(self) -> Condition:
        warnings = tuple(self._logs.sources.warnings(self._pool.endpoints))
        condition = self._heads.condition()
        seen = (warning.message for warning in warnings)
        problems = (*condition.problems, *self._verifier.problems, *seen, *self._logs.sources.problems())
        sockets = () if self._push is None else self._push.report()
        return replace(condition, problems=tuple(dict.fromkeys(problems)), warnings=warnings, sockets=sockets)

    async def scan(
        self, rail: Rail, targets: Targets, after: Cursor, head: Head, *, reread_s: int = 0
    ) -> ScanPage | Fork:
        log_filter = self._filter_of(rail, targets)
        self._asked_tokens = log_filter.tokens or self._asked_tokens
        if rail is Rail.DIRECT and not log_filter.destinations and after.position < head.position:
            return ScanPage([], Cursor(head.position, head.block_hash), time=head.time, rows_read=0)
        if after.position < head.position:
            return await self._scanner.read(log_filter, after, head, reread=self._reread(reread_s, head))
        if after.block_hash is None or after == (head.position, head.block_hash):
            return ScanPage([], after, time=head.time, rows_read=0)
        return await self._pool.call("eth_getBlockByNumber", partial(self._blocks.check_cursor, after=after))

    def _filter_of(self, rail: Rail, targets: Targets) -> LogFilter:
        return LogFilter(rail) if rail is Rail.PROXY else self._direct_filter.of(targets)

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

    async def latest_canonical(self, known_blocks: Sequence[Cursor]) -> Cursor | None:
        known = [known for known in known_blocks if known.block_hash is not None]
        if not known:
            return None
        return await self._pool.call("eth_getBlockByNumber", partial(self._blocks.latest_canonical, known_blocks=known))

    async def replaced(self, known_blocks: Sequence[Cursor], *, tip: Cursor) -> set[Cursor]:
        known = [known for known in known_blocks if known.block_hash is not None]
        if not known:
            return set()
        ask = partial(self._blocks.replaced, known_blocks=known, tip=tip)
        return await self._pool.call("eth_getBlockByNumber", ask)

    async def rescan(self, destinations: Collection[str], *, since: int, until: int) -> RescanResult:
        log_filter = LogFilter(Rail.DIRECT, sorted(destinations), self._asked_tokens)
        found: dict[tuple[str, str], Transfer] = {}
        unread: list[UnreadableLog] = []
        read_to: int | None = None
        try:
            head = self._latest_head or await self.head()
            async for page in self._scanner.between(log_filter, head, since=since, until=until):
                read_to = page.time
                found |= {(transfer.tx_hash, transfer.event_key): transfer for transfer in page.transfers}
                unread += page.unread
        except ChainError as exc:
            return RescanResult(list(found.values()), dict.fromkeys(destinations, str(exc)), tuple(unread), read_to)
        return RescanResult(list(found.values()), {}, tuple(unread))

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

    async def transaction(self, tx_hash: str) -> Transaction | None:
        canonical = addresses.canonical_tx_hash(tx_hash)
        if canonical is None:
            raise InvalidTxHash("a transaction hash is 0x and 64 hex digits")
        read = partial(self._transactions.read, tx_hash=canonical, head=await self.head())
        return await read_transaction(self._pool, TRANSACTION_METHOD, read, quorum=self._chain.rpc_quorum)

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

    async def token_receipts(self, holdings: Sequence[BalanceKey], *, first: int, last: int) -> list[TokenReceipt]:
        ours = {holding for holding in holdings if holding.token is not None}
        tokens = sorted({token for _, token in ours if token is not None})
        log_filter = LogFilter(Rail.DIRECT, sorted({holder for holder, _ in ours}), tokens, named=True)
        found: list[TokenReceipt] = []
        cursor, goal = Cursor(first - 1), Head(last, None, 0)
        while ours and cursor.position < goal.position:
            page = await self._scanner.read(log_filter, cursor, goal, prefetch=False)
            if isinstance(page, Fork):
                raise ChainUnavailable("the chain was reorganised meanwhile")
            if page.unread:
                raise ChainProtocolError(f"a log cannot be read: {page.unread[0].why}")
            found += [_movement(t) for t in page.transfers if BalanceKey(t.destination, t.token) in ours]
            cursor = page.cursor
        return sorted(found, key=lambda movement: movement.block_number)

    async def self_test(self) -> list[str]:
        code = await self._pool.call("eth_getCode", partial(self._blocks.code_at, address=self._proxy))
        if code not in {"0x", "0x0"}:
            return []
        return [f"no contract at proxyAddress {self._chain.proxy_address}: payments through it cannot be seen"]


def _prover(client: EvmClient, pool: EndpointPool, chain: Chain) -> Prover | None:
    """Return what proves payments where the chain asks for it; its libraries are loaded for nobody else."""
    if chain.proof is Proof.NONE:
        return None
    module = importlib.import_module("chains.evm.proofs.prover")
    return cast("Prover", module.Prover(client, pool, chain))


def _withheld_check(client: EvmClient, chain: Chain) -> WithheldCheck | None:
    """Return what finds out logs that are kept back, where the chain has proofs."""
    if chain.proof is Proof.NONE or chain.bloom_check is False:
        return None
    module = importlib.import_module("chains.evm.proofs.withheld")
    check = module.WithheldCheck(client, chain_id=chain.chain_id, proxy=chain.proxy_address.lower())
    return cast("WithheldCheck", check)


def _movement(transfer: Transfer) -> TokenReceipt:
    return TokenReceipt(
        token=transfer.token,
        destination=transfer.destination,
        sender=transfer.sender or "",
        amount=transfer.amount,
        tx_hash=transfer.tx_hash,
        block_number=transfer.block_number,
    )
