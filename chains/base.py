"""The one interface between the scanner and every chain family, and how an adapter is opened."""

from __future__ import annotations

import importlib
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, cast

from chains.errors import ChainError, ChainMisconfigured, ChainUnavailable
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
from config.liteservers import Liteservers


@dataclass(frozen=True, slots=True)
class Access:
    """Credentials and rate of a family's upstream service. Plain nodes need none: their keys are part of their URLs."""

    api_key: str | None = field(default=None, repr=False)
    requests_per_second: float | None = None  # None: what the service is known to allow, with or without a key
    sockets: tuple[str, ...] = field(default=(), repr=False)  # URLs that announce new heads; they may carry keys
    second: tuple[str, ...] = field(default=(), repr=False)  # URLs of nodes that have to say the same
    liteservers: Liteservers | None = None  # of TON, that have to say the same


class Telemetry(Protocol):
    """Where an adapter reports what it did; the daemon passes its metrics."""

    def rpc_call(self, endpoint: str, method: str, seconds: float, error: str | None) -> None:
        """Count one upstream call. `endpoint` is a label without secrets, `error` a class or None."""


class ChainAdapter(Protocol):
    """
    What a chain can tell us.

    Every method that talks to a node tries the chain's endpoints in turn and raises
    `ChainUnavailable`, `ChainProtocolError` or `ChainMisconfigured` when none of them served.
    Errors of a chain library never pass this line.
    """

    rails: tuple[Rail, ...]  # the rails this family serves, the default one first
    coin_decimals: int
    counts_blocks: bool  # whether positions are block numbers, so that a depth in blocks is defined
    lag_warning: int  # positions behind the head at which an operator is warned
    reads_many_coins: bool  # whether the coin of a thousand addresses costs a bounded number of calls
    reads_ahead: bool  # whether a page up to a block that was shown before costs no request beside the head's

    def parse_address(self, text: str) -> str:
        """
        Return the canonical form of an address, the only form that is compared or stored as a key.

        Raises:
            InvalidAddress: with a sentence a caller can act on.
        """

    def show_address(self, canonical: str) -> str:
        """Return the form people expect to read (EIP-55 on EVM)."""

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
        """Build what a wallet needs to pay. `reference` is 0x + 16 hex; nothing here talks to a node."""

    @property
    def endpoint(self) -> str:
        """Label of the endpoint in use, without secrets."""

    async def head(self, ahead: Sequence[PageAhead] | None = None) -> Head:
        """
        Return the newest position that can be believed, from endpoints that were checked to serve this very chain.

        It is bounded by time, and where the chain asks for a quorum so many endpoints hold it.
        A poll says with `ahead` which pages it may `scan` next; a family that can asks for them in the same request.
        """

    async def follow_heads(
        self, wake: Callable[[], Awaitable[bool]], count: Callable[[str, SocketEvent], None]
    ) -> None:
        """
        Call `wake` when something newer was announced, for ever; return at once where nothing announces.

        What is announced is a hint and bounded in number: whoever is woken asks the endpoints themselves.
        `wake` returns whether anybody will ask.
        `count` is told, with a label without secrets, what happened. Nothing is raised.
        """

    def condition(self) -> Condition:
        """Return what is known of the chain and its endpoints, without a request."""

    def first_cursor(self, head: Head) -> Cursor:
        """Return where a store without a checkpoint starts."""

    async def cursor_before(self, time: int, head: Head) -> Cursor:
        """
        Return a position at or below `head` under which nothing is younger than a moment (unix seconds).

        Raises:
            ChainUnavailable: the same call may succeed later.
        """

    async def scan(
        self, rail: Rail, targets: Targets, after: Cursor, head: Head, *, reread_s: int = 0
    ) -> ScanPage | Fork:
        """
        Read the next page of one rail after a cursor, at most up to `head`.

        Calling twice with the same cursor returns the same transfers, or more. The last `reread_s`
        seconds before the cursor are read once more, for endpoints that answered too early; it is the running scan that
        asks so, and along with its page comes what no endpoint could tell when it was read.
        The page counts as read: the endpoint was seen to hold the block at its end.
        Returns `Fork` when the block at the cursor is no longer canonical.
        """

    async def latest_canonical(self, known_blocks: Sequence[Cursor]) -> Cursor | None:
        """Return the newest of `known_blocks` (newest first) that is still canonical; None when none is."""

    async def replaced(self, known_blocks: Sequence[Cursor], *, tip: Cursor) -> set[Cursor]:
        """
        Return which of some blocks the branch that `tip` is on does not hold: it has others at their heights.

        Raises:
            ChainError: no endpoint that holds `tip` could tell of all of them.
        """

    async def rescan(self, destinations: Collection[str], *, since: int, until: int) -> RescanResult:
        """
        Read the direct transfers to some destinations once more, between two moments (unix seconds, both included).

        Where there is one, another endpoint or another source than the running scan's is read. So rows that an
        index showed late are found. The rate is a tenth of an endpoint's. What could not be read is reported in
        the result, never raised.
        """

    async def verify(self, transfers: Sequence[Transfer], *, head: Head) -> list[Verification]:
        """
        Verify transfers on the canonical chain that ends in `head`; answers in the order asked.

        A transfer that cannot be judged yet is `NOT_YET` with a reason, and does not affect the others.
        """

    async def inspect(self, tx_hash: str, targets: Targets) -> list[Transfer]:
        """Return every transfer of one transaction that could concern us; empty when it is not on chain."""

    async def transaction(self, tx_hash: str) -> Transaction | None:
        """
        Return what one transaction did, whomever it concerns; None when the chain does not know it.

        What decides comes from one endpoint, which was seen to be up to date and on the chain of the head.
        An endpoint that cannot be read, lags, contradicts another or shows what cannot be read says nothing:
        then it is not known whether there is such a transaction, and that is raised.

        Raises:
            InvalidTxHash: with a sentence a caller can act on.
            TooManyTransfers: it holds more than are told; a list that is cut would hide one.
        """

    async def token(self, address: str) -> TokenMeta | None:
        """Return what the token contract says of itself; None when it says nothing readable."""

    async def balances(self, holdings: Sequence[BalanceKey], *, confirmed: bool = False) -> Balances:
        """
        Read balances, all at one position where the family can, in few calls.

        The position is the newest, or with `confirmed` one that no ordinary reorganisation takes back.
        A balance that cannot be read is None, never zero, and does not spoil the others.
        """

    async def token_receipts(self, holdings: Sequence[BalanceKey], *, first: int, last: int) -> list[TokenReceipt]:
        """Return what these holders received of these tokens between two positions, both included, in chain order."""

    async def self_test(self) -> list[str]:
        """Check that the contracts of the registry are deployed; return one sentence for each problem."""


async def rescan_by_scanning(
    adapter: ChainAdapter, destinations: Collection[str], *, since: int, until: int
) -> RescanResult:
    """Read the direct transfers between two moments with the adapter's own scan: the plain `rescan`."""
    targets = Targets(frozenset(destinations))
    found: dict[tuple[str, str], Transfer] = {}
    try:
        head = await adapter.head()
        cursor = await adapter.cursor_before(since - 1, head)
        while cursor.position < head.position:
            page = await adapter.scan(Rail.DIRECT, targets, cursor, head)
            if isinstance(page, Fork):
                raise ChainUnavailable("the chain was reorganised meanwhile")
            found |= {(transfer.tx_hash, transfer.event_key): transfer for transfer in page.transfers}
            cursor = page.cursor
            if page.time > until:
                break
    except ChainError as exc:
        return RescanResult([], dict.fromkeys(destinations, str(exc)))
    in_time = [t for t in found.values() if t.block_time is None or since <= t.block_time <= until]
    return RescanResult(in_time, {})


def open_adapter(
    chain: Chain,
    *,
    timeout_s: float,
    telemetry: Telemetry,
    balance_batch: int,
    access: Access,
    wall: Callable[[], float] = time.time,
) -> AbstractAsyncContextManager[ChainAdapter]:
    """
    Open the adapter of a chain's family; `wall` is the host's clock in unix seconds, one witness among several.

    The family's folder is imported here and nowhere else, so that a broken import of one family
    does not stop the others.

    Raises:
        ChainMisconfigured: the family is not part of this version.
    """
    try:
        module = importlib.import_module(f"chains.{chain.chain_type}.adapter")
    except ModuleNotFoundError as exc:
        raise ChainMisconfigured(
            f"chain {chain.chain_id}: family {chain.chain_type} is not supported by this version"
        ) from exc
    return cast(
        "AbstractAsyncContextManager[ChainAdapter]",
        module.open_adapter(
            chain, timeout_s=timeout_s, telemetry=telemetry, balance_batch=balance_batch, access=access, wall=wall
        ),
    )
