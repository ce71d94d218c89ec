"""The worlds the contract is tried in."""

from __future__ import annotations

from tests.marketplace.conftest import chain_side, clock, deal, market

__all__ = ["chain_side", "clock", "deal", "market"]
