"""Sanctions screening of addresses against the list OFAC publishes."""

from __future__ import annotations

from marketplace.risk.screening.screener import Clear, Listed, OfacScreener, Screener, Unavailable, Verdict
from marketplace.risk.screening.sdn import UnreadableList
from marketplace.risk.screening.sources import Source, from_path, from_url, read_list

__all__ = [
    "Clear",
    "Listed",
    "OfacScreener",
    "Screener",
    "Source",
    "Unavailable",
    "UnreadableList",
    "Verdict",
    "from_path",
    "from_url",
    "read_list",
]
