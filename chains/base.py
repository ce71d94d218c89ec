"""The one interface between the scanner and every chain family, and how an adapter is opened."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, cast

from chains.errors import ChainMisconfigured
from chains.types import (
    Balances,
    Checkout,
    Cursor,
    Fork,
    Head,
    Holding,
    Movement,
    Rail,
    ScanPage,
    Targets,
    TokenMeta,
    Transfer,
    Verification,
)
from config.catalog import Chain


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

    async def head(self) -> Head:
        """Return the newest position, from an endpoint that was checked to serve this very chain."""

    def first_cursor(self, head: Head) -> Cursor:
        """Return where a store without a checkpoint starts."""

    async def scan(self, targets: Targets, after: Cursor, head: Head, *, reread: int = 0) -> ScanPage | Fork:
        """
        Read the next page after a cursor, at most up to `head`.

        Calling twice with the same cursor returns the same transfers, or more. `reread` positions
        before the cursor are read once more, for endpoints that answered too early.
        The page counts as read: the endpoint was seen to hold the block at its end.
        Returns `Fork` when the block at the cursor is no longer canonical.
        """

    async def latest_canonical(self, anchors: Sequence[Cursor]) -> Cursor | None:
        """Return the newest of `anchors` (newest first) that is still canonical; None when none is."""

    async def verify(self, transfers: Sequence[Transfer]) -> list[Verification]:
        """Look at transfers again on the canonical chain; answers in the order asked."""

    async def inspect(self, tx_hash: str, targets: Targets) -> list[Transfer]:
        """Return every transfer of one transaction that could concern us; empty when it is not on chain."""

    async def token(self, address: str) -> TokenMeta | None:
        """Return what the token contract says of itself; None when it says nothing readable."""

    async def balances(self, holdings: Sequence[Holding], *, below_head: int = 0) -> Balances:
        """
        Read balances, all at one position `below_head` positions under the newest, in few calls.

        A balance that cannot be read is None, never zero, and does not spoil the others.
        """

    async def movements(self, holdings: Sequence[Holding], *, first: int, last: int) -> list[Movement]:
        """Return what these holders received of these tokens between two positions, both included, in chain order."""

    async def self_test(self) -> list[str]:
        """Check that what the registry promises is deployed; return a sentence a problem."""


def open_adapter(
    chain: Chain, *, timeout_s: float, telemetry: Telemetry, balance_batch: int
) -> AbstractAsyncContextManager[ChainAdapter]:
    """
    Open the adapter of a chain's family.

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
        module.open_adapter(chain, timeout_s=timeout_s, telemetry=telemetry, balance_batch=balance_batch),
    )
