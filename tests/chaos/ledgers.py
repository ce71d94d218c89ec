"""What the two ledgers in memory have in common: indexers in front of them, whose faults begin and end one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from devnet.toncenter import TonCenter
from devnet.trongrid import TronGrid

REQUESTS: dict[str, dict[str, Any]] = {
    "timeout": {"hang": True},
    "cut": {"close": True},
    "5xx": {"status": 503, "body": b"unavailable"},
    "429": {"status": 429, "body": b'{"error": "too many requests"}', "headers": {"Retry-After": "1"}},
    "html": {"body": b"<html>be right back</html>"},
    "wrong_json": {"body": b'{"data": 7, "result": {"oops": []}}'},
    "empty": {"body": b"{}"},
}
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
}


@asynccontextmanager
async def trouble(service: TronGrid | TonCenter, kind: str) -> AsyncIterator[None]:
    """Let a service misbehave until the block ends."""
    if kind in REQUESTS:
        fault = service.fail(**REQUESTS[kind])
        try:
            yield
        finally:
            fault.times = 0
            service.release()
        return
    name, during, after = DEFECTS[kind]
    setattr(service, name, during)
    try:
        yield
    finally:
        setattr(service, name, after)
