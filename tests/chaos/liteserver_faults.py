"""Liteservers that misbehave along with the index beside them: dead, silent, of another network, and lying."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from devnet.ton.liteserver import MAINNET_ZERO_STATE, Liteserver

FAULTS: dict[str, tuple[str, Any, Any]] = {  # attribute, while it lasts, afterwards
    "timeout": ("silent_at", "getTransactions", None),
    "cut": ("cuts_at", "getTransactions", None),
    "5xx": ("refuses", True, False),
    "429": ("knows_nothing", True, False),
    "html": ("frame", b"<html>be right back</html>" * 4, None),
    "wrong_json": ("raw", {"getTransactions": b"\xaa" * 40}, {}),
    "empty": ("frame", bytes(4), None),
    "stale": ("knows_nothing", True, False),
    "late_rows": ("silent_at", "handshake", None),
}
# Who does one of these is left alone for minutes or an hour while another one is there: never both of them.
OF_ONE: dict[str, tuple[str, Any, Any]] = {
    "behind": ("zero_state", bytes(32), MAINNET_ZERO_STATE),
    "repeats": ("shows_another", True, False),
}


@contextmanager
def inject_fault(server: Liteserver, kind: str, *, last: bool) -> Iterator[None]:
    """Let a liteserver misbehave as a kind of fault has it, if it has; what is for one is for the `last` alone."""
    faults = FAULTS | OF_ONE if last else FAULTS
    if kind not in faults:
        yield
        return
    name, during, after = faults[kind]
    setattr(server, name, during)
    try:
        yield
    finally:
        setattr(server, name, after)
