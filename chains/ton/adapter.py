"""What TON can tell us, by way of TonCenter: the family's side of `chains.base.ChainAdapter`."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from chains.backfill import Backfill, Pruned, UnreadSpan, read_as_far_back
from chains.base import Access, Telemetry
from chains.endpoints import Endpoint, EndpointPool
from chains.errors import ChainError, ChainProtocolError, InvalidTxHash
from chains.heads import HeadReader, SeenHead
from chains.second_look import SecondLook
from chains.ton import address as addresses
from chains.ton.again import TransferRecovery
from chains.ton.balances import BalanceReader
from chains.ton.client import TonClient
from chains.ton.credit_verification import HALVES_APART_S, CreditVerifier
from chains.ton.decode import Row, parse_token
from chains.ton.transfers import Found, TransferReader
from chains.ton.unreadable import Unreadable
from chains.ton.values import number, rows_of
from chains.ton.wallets import JettonWalletResolver
from chains.transport import open_http
from chains.types import (
    Balances,
    Checkout,
    Condition,
    Cursor,
    Fork,
    Head,
    Holding,
    LookAgain,
    Movement,
    Outcome,
    Rail,
    ScanPage,
    Targets,
    TokenMeta,
    Transfer,
    Verification,
)
from config.catalog import Chain

HISTORY_S = 24 * 3600  # read at the first start
TRANSFERS_A_LOOK = 100
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
        yield TonAdapter(chain, pool=pool, client=client, clock=clock, wall=wall)


class TonAdapter:
    """TON, through as many TonCenter endpoints as it has."""

    rails: tuple[Rail, ...] = (Rail.DIRECT,)
    coin_decimals = 9
    counts_blocks = False
    lag_warning = 300  # seconds
    reads_many_coins = True

    def __init__(
        self,
        chain: Chain,
        *,
        pool: EndpointPool,
        client: TonClient,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._chain = chain
        self._pool = pool
        self._client = client
        self._reader = TransferReader(client, clock=clock)
        wallets = JettonWalletResolver(client)
        self._credits = CreditVerifier(client, wallets)
        self._second = SecondLook(pool, "transactions", self._look, part=TRANSFERS_A_LOOK)
        self._unreadable = Unreadable()
        self._unread = Backfill("ton", per_second=1, clock=clock)
        self._balances = BalanceReader(client, self._reader, wallets)
        self._heads = HeadReader(
            pool, method="masterchainInfo", read=self._head, clock=clock, wall=wall, interval_s=BLOCK_S
        )
        self._again = self._recovery(client.paced(SHARE_OF_LOOKING_AGAIN), wallets, clock)
        self._usdt = addresses.parse_address(chain.proxy_address, testnet=chain.testnet)
        self._masters: set[str] = set()  # of the jettons that are waited for
        self._tokens: dict[str, TokenMeta] = {}

    def _recovery(
        self, client: TonClient, wallets: JettonWalletResolver, clock: Callable[[], float]
    ) -> TransferRecovery:
        reader = TransferReader(client, clock=clock)
        return TransferRecovery(client, reader=reader, wallets=wallets, chain_id=self._chain.chain_id)

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

    async def head(self) -> Head:
        return await self._heads.head()

    def condition(self) -> Condition:
        condition = self._heads.condition()
        ours = (*self._unread.problems(), *self._credits.problems(), *self._unreadable.problems())
        problems = (*condition.problems, *ours)
        return replace(condition, problems=problems)

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
        owners = sorted(targets.destinations)
        read = partial(self._since, owners=owners, after=after.position, reread_s=reread_s, until=head.position)
        found, lacks = await self._read(read)
        self._unreadable.found(found)
        moved = self._moved(found.rows)
        if lacks is not None:
            self._unread.note(after.position, lacks.position, targets.destinations, _why(lacks))
        else:
            moved += await self._unread.fill(partial(self._missing, newest=head.position))
        return ScanPage(moved, Cursor(found.until), time=found.until, rows_read=found.read)

    async def _read(self, read: Callable[..., Awaitable[Found]]) -> tuple[Found, Pruned | None]:
        """Read from one endpoint, and what it cannot tell from another one."""
        asked: list[Endpoint] = []

        async def first(endpoint: Endpoint, *, lacks: Pruned | None = None) -> Found:
            found = await read(endpoint, lacks=lacks)
            asked.append(endpoint)
            return found

        found, lacks = await read_as_far_back(self._pool, "jetton/transfers", first)
        if not (found.unreadable or found.passed) or len(self._pool.endpoints) == 1:
            return found, lacks
        try:
            return found.joined(await self._pool.run("jetton/transfers", read, avoiding=asked)), lacks
        except ChainError:  # the rest was read, and what is missing is named
            return found, lacks

    async def _missing(self, span: UnreadSpan, *, newest: int) -> ScanPage:
        until, owners = min(span.until, newest), sorted(span.destinations)
        read = partial(self._since, owners=owners, after=span.after, reread_s=0, until=until)
        found = await self._pool.run("jetton/transfers", read)
        return ScanPage(self._moved(found.rows), Cursor(found.until), time=found.until, rows_read=found.read)

    async def latest_canonical(self, anchors: Sequence[Cursor]) -> Cursor | None:
        return anchors[0] if anchors else None  # what the masterchain holds is final

    async def look_again(self, destinations: Collection[str], *, since: int, until: int) -> LookAgain:
        asked = sorted(destinations)
        if not asked or until < since:
            return LookAgain([], {})
        masters = self._masters | {self._usdt}
        read = partial(self._again.read, destinations=asked, masters=masters, since=since, until=until)
        elsewhere = self._pool.endpoints[1:] and (self._pool.preferred,)
        try:
            again, lacks = await read_as_far_back(self._pool, "look_again", read, avoiding=elsewhere)
        except ChainError as exc:
            return LookAgain([], dict.fromkeys(asked, str(exc)))
        if lacks is None:
            return again
        return LookAgain(again.transfers, {**dict.fromkeys(asked, _why(lacks)), **again.unread})

    async def verify(self, transfers: Sequence[Transfer], *, head: Head) -> list[Verification]:  # noqa: ARG002
        return await self._second.verify(transfers)

    async def _look(self, endpoint: Endpoint, transfers: Sequence[Transfer]) -> list[Verification]:
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
        read = partial(self._inspect, tx_hash=tx_hash.lower(), owners=sorted(targets.destinations))
        return self._moved(await self._pool.run("traces", read))

    async def token(self, address: str) -> TokenMeta | None:
        if address not in self._tokens:
            meta = await self._pool.run("jetton/masters", partial(self._token, address=address))
            if meta is None or meta.symbol is None or meta.decimals is None:
                return meta
            self._tokens[address] = meta
        return self._tokens[address]

    async def balances(self, holdings: Sequence[Holding], *, confirmed: bool = False) -> Balances:  # noqa: ARG002
        # What the index holds is final: there is no newer, less certain answer.
        return await self._pool.run("jetton/wallets", partial(self._balances.read, holdings=holdings))

    async def movements(self, holdings: Sequence[Holding], *, first: int, last: int) -> list[Movement]:
        wanted = frozenset(holding for holding in holdings if holding.token is not None)
        if not wanted:
            return []
        read = partial(self._movements, wanted=wanted, first=first, last=last)
        return await self._pool.run("jetton/transfers", read)

    async def self_test(self) -> list[str]:
        master = self.parse_address(self._chain.proxy_address)
        if await self._pool.run("jetton/masters", partial(self._is_master, address=master)):
            return []
        return [f"no jetton master at proxyAddress {self._chain.proxy_address}: payments cannot be recognised"]

    # --- one endpoint at a time ------------------------------------------------------------------

    async def _head(self, endpoint: Endpoint) -> SeenHead:
        tip = await self._reader.tip(endpoint)
        return SeenHead.of(Head(tip.time, None, time=tip.time, finalized=tip.time))

    async def _since(
        self,
        endpoint: Endpoint,
        *,
        owners: Sequence[str],
        after: int,
        reread_s: int,
        until: int,
        lacks: Pruned | None = None,
    ) -> Found:
        return await self._reader.since(
            endpoint,
            owners,
            time=max(0, after - reread_s),
            beyond=after,
            until=until,
            whole_from=after if lacks is None else None,
        )

    async def _inspect(self, endpoint: Endpoint, *, tx_hash: str, owners: Sequence[str]) -> list[Row]:
        question = [("tx_hash", tx_hash), ("limit", "1")]
        traces = rows_of(await self._client.get(endpoint, "traces", question), "traces")
        if not traces or not owners:
            return []
        trace = traces[0]
        if not isinstance(trace.get("trace_id"), str):
            raise ChainProtocolError("a trace has no trace_id")
        first, last = number(trace.get("start_lt"), "start_lt"), number(trace.get("end_lt"), "end_lt")
        rows = await self._reader.between(endpoint, owners, first_lt=first, last_lt=last)
        return [row for row in rows if row.trace_id == trace["trace_id"]]

    async def _movements(
        self, endpoint: Endpoint, *, wanted: frozenset[Holding], first: int, last: int
    ) -> list[Movement]:
        owners = sorted({holding.holder for holding in wanted})
        found = await self._reader.since(endpoint, owners, time=max(0, first - HALVES_APART_S), beyond=last, until=last)
        sent = [t for t in self._moved(found.rows) if Holding(t.destination, t.token) in wanted]
        received = []
        for start in range(0, len(sent), TRANSFERS_A_LOOK):
            part = sent[start : start + TRANSFERS_A_LOOK]
            for transfer, look in zip(part, await self._credits.verify(endpoint, part), strict=True):
                # A balance changes when the receiving half happens, not when the row says the sender's did.
                if look.outcome is Outcome.CREDITED and look.time is not None and first <= look.time <= last:
                    received.append(_movement(transfer, look.time))
        return sorted(received, key=lambda movement: movement.block_number)

    async def _token(self, endpoint: Endpoint, *, address: str) -> TokenMeta | None:
        return parse_token(await self._client.get(endpoint, "jetton/masters", [("address", address)]), address)

    async def _is_master(self, endpoint: Endpoint, *, address: str) -> bool:
        answer = await self._client.get(endpoint, "jetton/masters", [("address", address)])
        return bool(rows_of(answer, "jetton_masters"))

    def _moved(self, rows: Sequence[Row]) -> list[Transfer]:
        """Return the rows that moved something: an aborted sending half moved nothing at all."""
        ordered = sorted(rows, key=lambda row: (row.time, row.lt))
        return [row.transfer(self._chain.chain_id) for row in ordered if not row.aborted]


def _why(lacks: Pruned) -> str:
    return f"{lacks}, and no other endpoint told it"


def _movement(transfer: Transfer, received_at: int) -> Movement:
    return Movement(
        token=transfer.token,
        destination=transfer.destination,
        sender=transfer.sender or "",
        amount=transfer.amount,
        tx_hash=transfer.tx_hash,
        block_number=received_at,
    )
