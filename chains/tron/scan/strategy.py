"""Which way to look for payments costs the fewest calls when JSON-RPC cannot be used: a pure decision."""

from __future__ import annotations

from enum import StrEnum

BLOCKS_A_PAGE = 100  # receipts of so many blocks are read before what they hold is stored


class ScanStrategy(StrEnum):
    """How payments are looked for."""

    ACCOUNTS = "accounts"  # the history of every destination: a call each, however much time has passed
    BLOCKS = "blocks"  # the receipts of every block: a call each, however many destinations wait


def choose_strategy(*, destinations: int, blocks: int) -> ScanStrategy:
    """
    Return the way that needs fewer calls; `blocks` counts those not read before.

    At equal cost blocks win: their receipts come along, and their state cannot lag as an index can.
    """
    return ScanStrategy.ACCOUNTS if destinations < blocks else ScanStrategy.BLOCKS
