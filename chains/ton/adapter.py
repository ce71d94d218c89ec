"""What TON can tell us, by way of TonCenter: the family's side of `chains.base.ChainAdapter`."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from chains.backfill import read_as_far_back, with_gap
from chains.base import Access, Telemetry
from chains.batch_verifier import BatchVerifier
from chains.errors import ChainError, ChainMisconfigured, InvalidTxHash
from chains.heads.head_track import ObservedHead
from chains.heads.reader import HeadReader
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool
from chains.rpc.http_client import open_http
from chains.second_source import SecondSource
from chains.ton import address as addresses
from chains.ton.balances import BalanceReader
from chains.ton.decode import parse_token
from chains.ton.inspection import TRANSACTIONS_A_BATCH, Inspector
from chains.ton.jettons.credit_verification import CreditVerifier
from chains.ton.jettons.wallets import JettonWalletResolver
from chains.ton.rescan import Rescanner
from chains.ton.scan import TransferScan
from chains.ton.toncenter.client import TonClient
from chains.ton.transfers import TransferReader
from chains.ton.values import rows_of
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
    Verification,
)
from config.catalog import Chain, Proof

HISTORY_S = 24 * 3600  # read at the first start
BLOCK_S = 3.0  # between two masterchain blocks, at most, on a healthy chain
SHARE_OF_LOOKING_AGAIN = 0.1  # of the rate: it has time, and nobody's payment waits for it

_TX_HASH = re.compile(r"[0-9a-fA-F]{64}")


@asynccontextmanager
async def open_adapter(
    chain: Chain,
    *,
    timeout_s: float,
    telemetry: Telemetry,
    balance_batch: int = 50,  # noqa: ARG001 - what an endpoint takes is learnt
    access: Access | None = None,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[TonAdapter]:
    """Open the adapter of one chain; nobody is asked before the first call."""
    pool = EndpointPool(chain.rpc_urls, telemetry=telemetry, clock=clock)
    access = access or Access()
    async with open_http(timeout_s=timeout_s, wall=wall) as http:
        client = TonClient(
            http,
            testnet=chain.testnet,
            api_key=access.api_key,
            per_second=access.requests_per_second,
            clock=clock,
            sleep=sleep,
        )
        second = _second_source(chain, access, timeout_s, partial(EndpointPool, telemetry=telemetry, clock=clock))
        yield TonAdapter(chain, pool=pool, client=client, clock=clock, wall=wall, second=second)


def _second_source(
    chain: Chain, access: Access, timeout_s: float, pool: Callable[[Sequence[str]], EndpointPool]
) -> SecondSource | None:
    """Return the liteservers that have to show the same; their library is loaded for them alone."""
    proven = chain.proof is Proof.LITESERVER
    if access.liteservers is None:
        if proven:
            raise ChainMisconfigured(f"chain {chain.chain_id}: proof needs TON_LITESERVERS")
        return None
    if not access.liteservers.serves(testnet=chain.testnet):
        raise ChainMisconfigured(
            f"chain {chain.chain_id}: TON_LITESERVERS names liteservers of another network, by its zero_state"
        )
    begins = access.liteservers.init_block
    if proven and begins is None:
        raise ChainMisconfigured(f"chain {chain.chain_id}: proof needs an init_block in the file of TON_LITESERVERS")
    from chains.ton.liteserver.client import LiteserverClient  # noqa: PLC0415 - 20 MB that few need
    from chains.ton.liteserver.proven_chain import ProvenChain  # noqa: PLC0415
    from chains.ton.liteserver.second_source import METHOD, LiteserverVerifier  # noqa: PLC0415

    trusted = ProvenChain(begins) if proven and begins is not None else None
    client = LiteserverClient(access.liteservers, timeout_s=timeout_s, chain=trusted)
    return SecondSource(pool(client.addresses), METHOD, LiteserverVerifier(client).verify_again)


class TonAdapter:
    """TON, through as many TonCenter endpoints as it has."""

    rails: tuple[Rail, ...] = (Rail.DIRECT,)
    coin_decimals = 9
    counts_blocks = False
    lag_warning = 300  # seconds
    reads_many_coins = True
    reads_ahead = False

    def __init__(
        self,
        chain: Chain,
        *,
        pool: EndpointPool,
        client: TonClient,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        second: SecondSource | None = None,
    ) -> None:
        self._chain = chain
        self._second = second
        self._verified_by = ""  # label of the endpoint that verified last
        self._pool = pool
        self._client = client
        self._reader = TransferReader(client, clock=clock)
        wallets = JettonWalletResolver(client)
        self._credits = CreditVerifier(client, wallets)
        self._batch_verifier = BatchVerifier(pool, "transactions", self._verify_batch, batch_size=TRANSACTIONS_A_BATCH)
        self._scan = TransferScan(pool, self._reader, chain_id=chain.chain_id, clock=clock)
        self._inspector = Inspector(client, self._reader, self._credits, chain_id=chain.chain_id)
        self._balances = BalanceReader(client, self._reader, wallets)
        self._heads = HeadReader(
            pool, method="masterchainInfo", read=self._head, clock=clock, wall=wall, interval_s=BLOCK_S
        )
        self._again = self._recovery(client.paced(SHARE_OF_LOOKING_AGAIN), wallets, clock)
        self._usdt = addresses.parse_address(chain.proxy_address, testnet=chain.testnet)
        self._masters: set[str] = set()  # of the jettons that are waited for
        self._tokens: dict[str, TokenMeta] = {}

    def _recovery(self, client: TonClient, wallets: JettonWalletResolver, clock: Callable[[], float]) -> Rescanner:
        reader = TransferReader(client, clock=clock)
        return Rescanner(client, reader=reader, wallets=wallets, chain_id=self._chain.chain_id)

    @property
    def endpoint(self) -> str:
        return self._pool.preferred.label

    def parse_address(self, text: str) -> str:
        return addresses.parse_address(text, testnet=self._chain.testnet)

    def show_address(self, canonical: str) -> str:
        return addresses.show_address(canonical, testnet=self._chain.testnet)

    def checkout(
        self,
        rail: Rail,
        *,
        token: str,
        destination: str,
        amount: int,
        reference: str,  # noqa: ARG002 - the address alone identifies a payment
        fee_amount: int,  # noqa: ARG002
        fee_address: str,  # noqa: ARG002
    ) -> Checkout:
        if rail not in self.rails:
            raise ValueError(f"rail {rail} is not served on chain {self._chain.chain_id}")
        to = addresses.show_address(destination, testnet=self._chain.testnet, bounceable=False)
        return Checkout(f"ton://transfer/{to}?jetton={self.show_address(token)}&amount={amount}", calldata=None)

    def first_cursor(self, head: Head) -> Cursor:
        return Cursor(max(head.position - HISTORY_S, 0))

    async def cursor_before(self, time: int, head: Head) -> Cursor:
        return Cursor(max(0, min(time, head.position)))

    async def head(self, ahead: Sequence[PageAhead] | None = None) -> Head:  # noqa: ARG002 - it has none
        return await self._heads.head()

    async def follow_heads(
        self, wake: Callable[[], Awaitable[bool]], count: Callable[[str, SocketEvent], None]
    ) -> None:
        """Do nothing: new blocks are asked for at the chain's own pace."""

    def condition(self) -> Condition:
        condition = self._heads.condition()
        problems = (*condition.problems, *self._credits.problems(), *self._scan.problems())
        if self._second is None:
            return replace(condition, problems=problems)
        endpoints = condition.endpoints + self._second.reports()
        return replace(condition, problems=problems + self._second.problems(), endpoints=endpoints)

    async def scan(
        self, rail: Rail, targets: Targets, after: Cursor, head: Head, *, reread_s: int = 0
    ) -> ScanPage | Fork:
        if rail not in self.rails:
            raise ValueError(f"rail {rail} is not served on chain {self._chain.chain_id}")
        until = max(after.position, head.position)
        if not targets.destinations or head.position < after.position:
            return ScanPage([], Cursor(until), time=until, rows_read=0)
        if targets.tokens:
            self._masters = set(targets.tokens)
        return await self._scan.page(targets, after, head, reread_s=reread_s)

    async def latest_canonical(self, known_blocks: Sequence[Cursor]) -> Cursor | None:
        return known_blocks[0] if known_blocks else None  # what the masterchain holds is final

    async def replaced(self, known_blocks: Sequence[Cursor], *, tip: Cursor) -> set[Cursor]:  # noqa: ARG002
        return set()  # what is read here has no forks

    async def rescan(self, destinations: Collection[str], *, since: int, until: int) -> RescanResult:
        asked = sorted(destinations)
        if not asked or until < since:
            return RescanResult([], {})
        masters = self._masters | {self._usdt}
        read = partial(self._again.read, destinations=asked, masters=masters, since=since, until=until)
        elsewhere = self._pool.endpoints[1:] and (self._pool.preferred,)
        try:
            again, gap = await read_as_far_back(self._pool, "look_again", read, avoiding=elsewhere)
        except ChainError as exc:
            return RescanResult([], dict.fromkeys(asked, str(exc)))
        return with_gap(again, asked, gap)

    async def verify(self, transfers: Sequence[Transfer], *, head: Head) -> list[Verification]:  # noqa: ARG002
        found = await self._batch_verifier.verify(transfers)
        return found if self._second is None else await self._second.compare(found, self._verified_by)

    async def _verify_batch(self, endpoint: Endpoint, transfers: Sequence[Transfer]) -> list[Verification]:
        self._verified_by = endpoint.label
        looks = await self._credits.verify(endpoint, transfers)
        return [look.verification(transfer) for look, transfer in zip(looks, transfers, strict=True)]

    async def inspect(self, tx_hash: str, targets: Targets) -> list[Transfer]:
        """
        Return the jetton transfers to our addresses in the trace of a transaction; empty when it is not on chain.

        Any transaction of the payment will do: wallets and explorers show different ones.

        Raises:
            InvalidTxHash: not 64 hex digits.
        """
        if _TX_HASH.fullmatch(tx_hash) is None:
            raise InvalidTxHash("a transaction hash is 64 hex digits")
        read = partial(self._inspector.trace, tx_hash=tx_hash.lower(), owners=sorted(targets.destinations))
        return await self._pool.call("traces", read)

    async def transaction(self, tx_hash: str) -> Transaction | None:
        canonical = addresses.canonical_tx_hash(tx_hash)
        if canonical is None:
            raise InvalidTxHash("a transaction hash is 64 hex digits, or 32 bytes in base64")
        read = partial(self._inspector.transaction, tx_hash=canonical, head=await self.head())
        return await read_transaction(self._pool, "traces", read)

    async def token(self, address: str) -> TokenMeta | None:
        if address not in self._tokens:
            meta = await self._pool.call("jetton/masters", partial(self._token, address=address))
            if meta is None or meta.symbol is None or meta.decimals is None:
                return meta
            self._tokens[address] = meta
        return self._tokens[address]

    async def balances(self, holdings: Sequence[BalanceKey], *, confirmed: bool = False) -> Balances:  # noqa: ARG002
        # What the index holds is final: there is no newer, less certain answer.
        return await self._pool.call("jetton/wallets", partial(self._balances.read, holdings=holdings))

    async def token_receipts(self, holdings: Sequence[BalanceKey], *, first: int, last: int) -> list[TokenReceipt]:
        wanted = frozenset(holding for holding in holdings if holding.token is not None)
        if not wanted:
            return []
        read = partial(self._inspector.token_receipts, wanted=wanted, first=first, last=last)
        return await self._pool.call("jetton/transfers", read)

    async def self_test(self) -> list[str]:
        master = self.parse_address(self._chain.proxy_address)
        if await self._pool.call("jetton/masters", partial(self._is_master, address=master)):
            return []
        return [f"no jetton master at proxyAddress {self._chain.proxy_address}: payments cannot be recognised"]

    # --- one endpoint at a time ------------------------------------------------------------------

    async def _head(self, endpoint: Endpoint) -> ObservedHead:
        tip = await self._reader.tip(endpoint)
        return ObservedHead.of(Head(tip.time, None, time=tip.time, finalized=tip.time))

    async def _token(self, endpoint: Endpoint, *, address: str) -> TokenMeta | None:
        return parse_token(await self._client.get(endpoint, "jetton/masters", [("address", address)]), address)

    async def _is_master(self, endpoint: Endpoint, *, address: str) -> bool:
        answer = await self._client.get(endpoint, "jetton/masters", [("address", address)])
        return bool(rows_of(answer, "jetton_masters"))
