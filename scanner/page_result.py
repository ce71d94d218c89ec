"""What a page or a second look found, counted and logged: into metrics once it is committed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from chains.types import Transfer
from kernel.logging import fields
from scanner.model import (
    Intent,
    Reason,
)

log = logging.getLogger(__name__)


LOGGED = 50  # lines a reason and transaction of the store


@dataclass(slots=True)
class PageResult:
    """What a transaction found; counted into metrics once it is committed."""

    matched: int = 0
    rejected: Counter[Reason] = field(default_factory=Counter)
    logged: Counter[Reason] = field(default_factory=Counter)  # lines
    logged_times: Counter[Reason] = field(default_factory=Counter)  # transfers those lines stand for
    reorged: int = 0
    confirmed: list[Intent] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)  # seconds from block time to confirmed
    queued: int = 0  # events
    revived: int = 0  # intents that had ended and wait again


def count_transfer(recorded: PageResult, transfer: Transfer, reason: Reason | None, times: int = 1) -> None:
    if reason is None:
        recorded.matched += times
    else:
        count_rejected(recorded, reason, transfer.chain_id, transfer.tx_hash, transfer.event_key, times)


def count_rejected(
    recorded: PageResult, reason: Reason, chain_id: int, tx_hash: str, event_key: str, times: int = 1
) -> None:
    """Count and log; a stranger who sends thousands of worthless transfers must not choose the size of the log."""
    recorded.rejected[reason] += times
    if recorded.logged[reason] >= LOGGED:
        return
    recorded.logged[reason] += 1
    recorded.logged_times[reason] += times
    more = {} if times == 1 else {"count": times}
    log.log(_level(reason), "REJECT %s", reason, extra=fields(chain=chain_id, tx=tx_hash, event=event_key, **more))


def count_strays(recorded: PageResult, found: Sequence[tuple[Transfer, int]]) -> None:
    """Count what is nobody's: the first of several transfers, and how many; a page may bring ten thousands."""
    for first, times in found[:LOGGED]:
        count_rejected(recorded, Reason.UNKNOWN_REFERENCE, first.chain_id, first.tx_hash, first.event_key, times)
    recorded.rejected[Reason.UNKNOWN_REFERENCE] += sum(times for _, times in found[LOGGED:])


def _level(reason: Reason) -> int:
    # Strangers use the same public proxies: their payments must not drown the lines that concern us.
    return logging.INFO if reason is Reason.UNKNOWN_REFERENCE else logging.WARNING


def log_rest(recorded: PageResult, chain_id: int) -> None:
    for reason, times in recorded.rejected.items():
        more = times - recorded.logged_times[reason]
        if more > 0:
            log.log(_level(reason), "REJECT %s and more of them", reason, extra=fields(chain=chain_id, more=more))
