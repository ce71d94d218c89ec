"""What Tron can tell us: the family's side of `chains.base.ChainAdapter`."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from chains.backfill import Backfill
from chains.base import Access, Telemetry
from chains.batch_verifier import BatchVerifier
from chains.errors import ChainError, ChainMisconfigured, InvalidTxHash
from chains.heads.reader import HeadReader
from chains.rpc.concurrency import is_rate_limited
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool
from chains.rpc.http_client import open_http
from chains.rpc.token_bucket import TokenBucket
from chains.second_source import SecondSource
from chains.transactions import read_transaction
from chains.tron import address as addresses
from chains.tron.balances import BalanceReader
from chains.tron.blocks import SLOT_MS
from chains.tron.chain_readers import ChainReaders
from chains.tron.decode import transfers_of
from chains.tron.newest_block import NewestBlockReader
from chains.tron.receipt_verification import transfers_by_key, verify_transfer
from chains.tron.rpc.client import TronClient
from chains.tron.rpc.http_service import TronService
from chains.tron.scan.deep_history import DeepHistoryReader
from chains.tron.scan.rescan import Rescanner
from chains.tron.second_source import METHOD, verify_again
from chains.tron.transaction_reader import TransactionReader
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
    Verification,
)
from config.catalog import Chain

HISTORY_MS = 24 * 3_600_000  # read on the first start
TRANSACTIONS_A_BATCH = 200
SHARE_OF_LOOKING_AGAIN = 0.1  # of the rate: it has time, and nobody's payment waits for it

_TX_HASH = re.compile(r"[0-9a-fA-F]{64}")


@asynccontextmanager
async def open_adapter(
    chain: Chain,
    *,
    timeout_s: float,
    telemetry: Telemetry,
    balance_batch: int = 50,
    access: Access | None = None,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    bucket: Callable[[float], TokenBucket] = TokenBucket,
) -> AsyncIterator[TronAdapter]:
    """Open the adapter of one chain; no service is asked before the first call."""
    access = access or Access()
    urls, others = [base_of(url) for url in chain.rpc_urls], [base_of(url) for url in access.second]
    if {*map(_place, urls)} & {*map(_place, others)}:
        raise ChainMisconfigured(
            f"chain {chain.chain_id}: TRON_SOLIDITY_URLS names an endpoint that is asked first, and would agree"
            " with itself"
        )
    pool = EndpointPool(urls, telemetry=telemetry, clock=clock)
    async with open_http(timeout_s=timeout_s) as http:
        service = TronService(http, api_key=access.api_key, per_second=access.requests_per_second, bucket=bucket)
        second = None
        if others:
            # Without the key: it belongs to the first service.
            nodes = TronClient(TronService(http, per_second=None, bucket=bucket), chain_id=chain.chain_id)
            others_pool = EndpointPool(others, telemetry=telemetry, clock=clock)
            second = SecondSource(others_pool, METHOD, partial(verify_again, nodes))
        yield TronAdapter(
            chain,
            second=second,
            pool=pool,
            client=TronClient(service, chain_id=chain.chain_id),
            balance_batch=balance_batch,
            clock=clock,
            wall=wall,
        )


def base_of(url: str) -> str:
    """Return the base of a service; the address of its JSON-RPC is accepted as well."""
    return url.rstrip("/").removesuffix("/jsonrpc").rstrip("/")


def _place(url: str) -> tuple[str, int | None, str]:
    """Return where a service is: two spellings of one address once passed for two sources that agreed."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return (parts.hostname or "").rstrip("."), port, parts.path.rstrip("/")


class TronAdapter:
    """
    Tron, through as many endpoints as it has.

    Positions are block times in ms. Nothing but irreversible blocks is ever read, so nothing is taken back.
    """

    rails: tuple[Rail, ...] = (Rail.DIRECT,)
    coin_decimals = 6
    counts_blocks = False
    lag_warning = 300_000  # ms
    reads_many_coins = True
    reads_ahead = False

    def __init__(
        self,
        chain: Chain,
        *,
        pool: EndpointPool,
        client: TronClient,
        balance_batch: int,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
        second: SecondSource | None = None,
    ) -> None:
        self._chain = chain
        self._second = second
        self._verified_by = ""  # label of the endpoint that verified last
        self._pool = pool
        self._client = client
        self._usdt = addresses.parse_address(chain.proxy_address)  # the contract everybody uses
        self._readers = self._wired(client, clock)
        self._balances = BalanceReader(client, packed=balance_batch, usable=self._readers.logs.usable)
        self._unread = Backfill("tron", per_second=1000, clock=clock)
        # What looks again remembers nothing the running scan was told.
        again = Rescanner(self._wired(client.paced(SHARE_OF_LOOKING_AGAIN), clock))
        self._deep_history = DeepHistoryReader(pool, self._readers, again=again, backfill=self._unread)
        self._batch_verifier = BatchVerifier(
            pool, "gettransactioninfobyid", self._verify_batch, batch_size=TRANSACTIONS_A_BATCH
        )
        newest = NewestBlockReader(client, self._readers.blocks, clock=clock)
        self._heads = HeadReader(
            pool, method="getblock", read=newest.read, clock=clock, wall=wall, interval_s=SLOT_MS / 1000
        )
        self._transactions = TransactionReader(client, chain_id=chain.chain_id)
        self._tokens: dict[str, TokenMeta] = {}

    def _wired(self, client: TronClient, clock: Callable[[], float]) -> ChainReaders:
        return ChainReaders.of(
            client, pool=self._pool, busy_contract=self._usdt, chain_id=self._chain.chain_id, clock=clock
        )

    @property
    def endpoint(self) -> str:
        return self._pool.preferred.label

    def parse_address(self, text: str) -> str:
        return addresses.parse_address(text)

    def show_address(self, canonical: str) -> str:
        return canonical

    def checkout(
        self,
        rail: Rail,
        *,
        token: str,
        destination: str,
        amount: int,
        reference: str,  # noqa: ARG002 - a plain transfer carries none
        fee_amount: int,  # noqa: ARG002
        fee_address: str,  # noqa: ARG002
    ) -> Checkout:
        """Return a `tron:` URI: a convention of some wallets, no standard. The amount is in base units."""
        if rail not in self.rails:
            raise ValueError(f"rail {rail} is not served on chain {self._chain.chain_id}")
        return Checkout(payment_uri=f"tron:{destination}?amount={amount}&token={token}", calldata=None)

    def first_cursor(self, head: Head) -> Cursor:
        return Cursor(max(0, head.position - HISTORY_MS))

    async def cursor_before(self, time: int, head: Head) -> Cursor:
        return Cursor(max(0, min(time * 1000, head.position)))

    async def head(self, ahead: Sequence[PageAhead] | None = None) -> Head:  # noqa: ARG002 - it has none
        return await self._heads.head()

    async def follow_heads(
        self, wake: Callable[[], Awaitable[bool]], count: Callable[[str, SocketEvent], None]
    ) -> None:
        """Do nothing: new blocks are asked for at the chain's own pace."""

    def condition(self) -> Condition:
        problems = tuple(
            f"a transaction could not be read and was passed by: {name}: {why}"
            for name, why in self._readers.pages.unreadable.items()
        )
        condition = self._heads.condition()
        endpoints = condition.endpoints
        if self._second is not None:
            endpoints += self._second.reports()
            problems += self._second.problems()
        problems = (*condition.problems, *self._unread.problems(), *problems)
        return replace(condition, problems=problems, endpoints=endpoints)

    async def scan(
        self, rail: Rail, targets: Targets, after: Cursor, head: Head, *, reread_s: int = 0
    ) -> ScanPage | Fork:
        if rail not in self.rails:
            raise ValueError(f"rail {rail} is not served on chain {self._chain.chain_id}")
        if after.position >= head.position:
            return ScanPage([], after, time=head.time, rows_read=0)
        if not targets.destinations:
            return ScanPage([], Cursor(head.position), time=head.time, rows_read=0)
        return await self._deep_history.scan(targets, after, head, reread_ms=reread_s * 1000)

    async def latest_canonical(self, known_blocks: Sequence[Cursor]) -> Cursor | None:
        """Return the newest: irreversible blocks have no forks."""
        return known_blocks[0] if known_blocks else None

    async def replaced(self, known_blocks: Sequence[Cursor], *, tip: Cursor) -> set[Cursor]:  # noqa: ARG002
        return set()  # what is read here has no forks

    async def rescan(self, destinations: Collection[str], *, since: int, until: int) -> RescanResult:
        asked = sorted(destinations)
        if not asked or until < since:
            return RescanResult([], {})
        elsewhere = self._pool.endpoints[1:] and (self._pool.preferred,)
        first_ms, last_ms = since * 1000, until * 1000 + 999
        try:
            return await self._deep_history.rescan(asked, first_ms=first_ms, last_ms=last_ms, avoiding=elsewhere)
        except ChainError as exc:
            return RescanResult([], dict.fromkeys(asked, str(exc)))

    async def verify(self, transfers: Sequence[Transfer], *, head: Head) -> list[Verification]:  # noqa: ARG002
        found = await self._batch_verifier.verify(transfers)
        return found if self._second is None else await self._second.compare(found, self._verified_by)

    async def inspect(self, tx_hash: str, targets: Targets) -> list[Transfer]:
        """
        Return one transaction's transfers into ours; empty when it is not irreversible yet, unknown or failed.

        Raises:
            InvalidTxHash: not 64 hex digits.
        """
        if _TX_HASH.fullmatch(tx_hash) is None:
            raise InvalidTxHash("a Tron transaction hash is 64 hex digits, without 0x")
        read = partial(self._client.receipt, tx_hash=tx_hash.lower())
        receipt = await self._pool.call("gettransactioninfobyid", read)
        if receipt is None:  # what one endpoint lacks another may hold
            told = await self._pool.call_all("gettransactioninfobyid", read)
            receipt = next((each for _, each in told if each is not None), None)
        if receipt is None:
            return []
        return transfers_of(receipt, chain_id=self._chain.chain_id, destinations=targets.destinations)

    async def transaction(self, tx_hash: str) -> Transaction | None:
        canonical = addresses.canonical_tx_hash(tx_hash)
        if canonical is None:
            raise InvalidTxHash("a Tron transaction hash is 64 hex digits, without 0x")
        read = partial(self._transactions.read, tx_hash=canonical, head=await self.head())
        return await read_transaction(self._pool, "gettransactioninfobyid", read)

    async def token(self, address: str) -> TokenMeta | None:
        if address not in self._tokens:
            meta = await self._pool.call(
                "triggerconstantcontract", partial(self._client.contracts.token, address=address)
            )
            if meta is None or meta.symbol is None or meta.decimals is None:
                return meta
            self._tokens[address] = meta
        return self._tokens[address]

    async def balances(self, holdings: Sequence[BalanceKey], *, confirmed: bool = False) -> Balances:
        return await self._pool.call("balances", partial(self._balances.read, holdings=holdings, confirmed=confirmed))

    async def token_receipts(self, holdings: Sequence[BalanceKey], *, first: int, last: int) -> list[TokenReceipt]:
        wanted = {holding for holding in holdings if holding.token is not None}
        if not wanted or last < first:
            return []
        return await self._pool.call(
            "movements", partial(self._readers.pages.token_receipts, wanted=wanted, first=first, last=last)
        )

    async def self_test(self) -> list[str]:
        problems = await self._pool.call("self_test", self._network)
        if await self.token(self._usdt) is None:
            problems.append(
                f"no token contract at proxyAddress {self._chain.proxy_address}: is this the right network?"
            )
        return problems

    # --- one endpoint at a time ------------------------------------------------------------------

    async def _network(self, endpoint: Endpoint) -> list[str]:
        try:
            chain_id = await self._client.chain_of_rpc(endpoint)
        except ChainError as exc:
            if is_rate_limited(exc):
                raise
            return [f"{endpoint.label} serves no JSON-RPC: payments are looked for by slower calls ({exc})"]
        if chain_id != self._chain.chain_id:
            return [f"JSON-RPC of {endpoint.label} serves chain {chain_id}, expected chain {self._chain.chain_id}"]
        if self._readers.logs.is_broken(endpoint):
            return [f"JSON-RPC of {endpoint.label} does not find transfers: they are looked for by slower calls"]
        return []

    async def _verify_batch(self, endpoint: Endpoint, transfers: Sequence[Transfer]) -> list[Verification]:
        self._verified_by = endpoint.label
        times = {transfer.tx_hash: transfer.block_number for transfer in transfers}
        hashes = list(times)
        # Not from what was remembered: this is the second look.
        receipts = dict(zip(hashes, await self._readers.receipts.afresh(endpoint, hashes, times=times), strict=True))
        credited = {tx_hash: transfers_by_key(receipt) for tx_hash, receipt in receipts.items()}
        return [verify_transfer(t, receipts[t.tx_hash], credited[t.tx_hash]) for t in transfers]
