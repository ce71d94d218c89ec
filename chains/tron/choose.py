"""Which way to look for payments costs the fewest calls when JSON-RPC cannot be used: a pure decision."""

from __future__ import annotations

from enum import StrEnum

BLOCKS_A_PAGE = 100  # receipts of so many blocks are read before what they hold is stored


class Way(StrEnum):
    """How payments are looked for."""

    ACCOUNTS = "accounts"  # the history of every destination: a call each, however much time has passed
    BLOCKS = "blocks"  # the receipts of every block: a call each, however many destinations wait


def cheapest(*, destinations: int, blocks: int) -> Way:
    """
    Return the way that needs fewer calls; `blocks` counts those not read before.

    At equal cost blocks win: their receipts come along, and their state cannot lag as an index can.
    """
    return Way.ACCOUNTS if destinations < blocks else Way.BLOCKS
