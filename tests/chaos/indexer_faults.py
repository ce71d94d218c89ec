"""What the two ledgers in memory have in common: indexers in front of them, whose faults begin and end one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from devnet.ton.toncenter import TonCenter
from devnet.tron.defects import MOST_BLOCKS
from devnet.tron.ledger import SOLID_DEPTH
from devnet.tron.trongrid import TronGrid
from tests.e2e import ton_shop

JUSDC = ton_shop.parse_address(ton_shop.JUSDC, testnet=False)

REQUESTS: dict[str, dict[str, Any]] = {
    "timeout": {"hang": True},
    "cut": {"close": True},
    "5xx": {"status": 503, "body": b"unavailable"},
    "429": {"status": 429, "body": b'{"error": "too many requests"}', "headers": {"Retry-After": "1"}},
    "html": {"body": b"<html>be right back</html>"},
    "wrong_json": {"body": b'{"data": 7, "result": {"oops": []}}'},
    "empty": {"body": b"{}"},
}


def every_other(tx_hash: str) -> bool:
    return int(tx_hash, 16) % 2 == 0


DEFECTS: dict[str, tuple[str, Any, Any]] = {  # attribute, while it lasts, afterwards
    "no_jsonrpc": ("jsonrpc", False, True),
    "no_batches": ("batches", False, True),
    "lagging": ("behind", 5, 0),
    "unconfirmed": ("ignores_confirmed", True, False),
    "reversed": ("reverses_rows", True, False),
    "repeated": ("repeats_rows", True, False),
    "no_fingerprint": ("drops_fingerprint", True, False),
    "behind": ("behind_s", 30, 0),
    "stale": ("stale_s", 20, 0),
    "wrong_order": ("wrong_order", True, False),
    "repeats": ("repeats", True, False),
    "hides_aborted": ("hides_aborted", True, False),
    "non_final": ("non_final", True, False),
    "few_topics": ("most_topics", 2, None),
    "few_logs": ("most_logs", 1, None),
    "few_calls": ("most_calls", 2, None),
    "few_blocks": ("most_blocks", 3, MOST_BLOCKS),
    "index_lag": ("logs_behind", SOLID_DEPTH + 12, 0),  # solid blocks alone are read, and they are no news
    "renumbers": ("renumbers", 7, 0),
    "odd_logs": ("spoilt_logs", {"blockTimestamp": 1_751_284_607, "extra": [1]}, {}),
    "few_owners": ("most_owners", 2, None),
    "odd_rows": ("spoilt", {"custom_payload": 7, "extra": {"nested": [1]}}, {}),
    "strange_master": ("strange_masters", {JUSDC: {"stack": [{"type": "num", "value": "0x1"}], "exit_code": 0}}, {}),
}
DEFECTS["null_receipts"] = ("without_receipt", every_other, None)
LATE = "late_rows"  # what is paid meanwhile is on chain, and in no index before it ends


@asynccontextmanager
async def inject_fault(service: TronGrid | TonCenter, kind: str) -> AsyncIterator[None]:
    """Let a service misbehave until the block ends."""
    if kind in REQUESTS:
        fault = service.fail(**REQUESTS[kind])
        try:
            yield
        finally:
            fault.times = 0
            service.release()
        return
    if kind == LATE:
        async with _late_rows(service):
            yield
        return
    name, during, after = DEFECTS[kind]
    setattr(service, name, during)
    try:
        yield
    finally:
        setattr(service, name, after)


@asynccontextmanager
async def _late_rows(service: TronGrid | TonCenter) -> AsyncIterator[None]:
    """Keep what is paid until the block ends out of the indexes, though its blocks and transactions are there."""
    names = ["late_rows"] if isinstance(service, TonCenter) else ["unlogged", "unlisted"]
    since = _PaidSince(_transactions(service))
    for name in names:
        setattr(service, name, since)
    try:
        yield
    finally:
        for name in names:
            if getattr(service, name) is since:  # else another such fault has begun
                setattr(service, name, set())


class _PaidSince(set[str]):
    """
    Every transaction but those that are known.

    Hidden a moment after it was paid, a row was seen by a question just then, and the one before it by none.
    """

    def __init__(self, known: Iterable[str]) -> None:
        super().__init__()
        self._known = frozenset(known)

    def __contains__(self, tx: object) -> bool:
        return tx not in self._known


def _transactions(service: TronGrid | TonCenter) -> list[str]:
    if isinstance(service, TonCenter):
        return [payment.tx_hash for payment in service.ledger.payments]
    blocks = service.ledger.by_block
    return [tx.id for found in blocks.values() for tx in found]
