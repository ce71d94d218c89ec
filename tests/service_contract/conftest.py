"""The worlds the contract is tried in."""

from __future__ import annotations

from tests.marketplace.conftest import clock, fake_scanner, market, purchase

__all__ = ["clock", "fake_scanner", "market", "purchase"]
