"""Asking the scanner what one transaction did, and believing nothing of it that contradicts itself."""

from __future__ import annotations

from addresses import canonical_tx_hash
from clients.python.amn_scanner_client import BrokenAnswer, ScannerClient
from marketplace.model import Payment
from protocol.answers import InspectedTransaction

MAX_KEY = 200  # characters of the name of a transfer
# How much older than its payment a transaction may seem. Hosts and chains have clocks of their own, sequencers that
# catch up stamp blocks with the past, and whoever really paid must not be told to pay again.
OLDER_MS = 3_600_000


async def inspect(scanner: ScannerClient, chain_id: int, family: str, tx_hash: str) -> InspectedTransaction:
    """
    Look at a transaction now.

    Raises:
        BrokenAnswer: the answer is about something else, or contradicts itself.
        ScannerUnavailable, ScannerRefused: nothing was learned.
    """
    seen = await scanner.inspect_transaction(chain_id, tx_hash)
    other = seen.tx_hash != tx_hash and family != "ton"  # there it is that of the first message
    if seen.chain_id != chain_id or other or canonical_tx_hash(family, seen.tx_hash) != seen.tx_hash:
        raise BrokenAnswer("the answer is about another transaction")
    keys = [each.event_key for each in seen.transfers]
    # One transfer under one key twice would count twice.
    if len(set(keys)) != len(keys) or any(not key or len(key) > MAX_KEY for key in keys):
        raise BrokenAnswer("the answer names transfers that cannot be told apart")
    return seen


def is_older(seen: InspectedTransaction, payment: Payment) -> bool:
    """Say whether a transaction happened before anybody was asked for a payment: it paid for something else."""
    return seen.block_time is not None and seen.block_time < payment.created_at - OLDER_MS
