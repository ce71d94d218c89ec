"""The worlds the contract is tried in."""

from __future__ import annotations

from tests.marketplace.conftest import clock, engine, fake_scanner, market, place, purchase

__all__ = ["clock", "engine", "fake_scanner", "market", "place", "purchase"]
