"""Whether money from an address may be taken, as far as a list can tell."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import aiohttp

from addresses import canonical
from marketplace.risk.screening.sdn import UnreadableList
from marketplace.risk.screening.sources import Source, read_list

log = logging.getLogger(__name__)

DAY_S = 86_400
RETRY_S = 300


@dataclass(frozen=True, slots=True)
class Clear:
    """The address is not on a list that is fresh enough."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The address is on the list; `entry` says under which currency and whose it is."""

    entry: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Nobody can tell now."""

    reason: str


Verdict: TypeAlias = Clear | Listed | Unavailable


class Screener(Protocol):
    """Tells whether money from an address may be taken."""

    async def screen(self, address: str, chain_type: str) -> Verdict:
        """Return what is known of an address of a family (`evm`, `tron`, `ton`); never raises."""


@dataclass(frozen=True, slots=True)
class ListStatus:
    """What an operator wants to know; `as_of` in unix ms, None before the first good read."""

    addresses: int
    unreadable: int
    as_of: int | None
    error: str | None
    stale: bool


class OfacScreener:
    """
    Screens against the last list that was read well.

    A failed refresh keeps the list that is there. Once that is older than `max_age_s`, an address
    that is not on it is no longer clear but unavailable; one that is on it stays listed.
    """

    def __init__(self, source: Source, now_ms: Callable[[], int], *, max_age_s: int = 7 * DAY_S) -> None:
        self._source = source
        self._now_ms = now_ms
        self._max_age_s = max_age_s
        self._listed: Mapping[str, str] = {}
        self._unreadable = 0
        self._as_of: int | None = None
        self._error: str | None = "it has not been read yet"

    @property
    def status(self) -> ListStatus:
        return ListStatus(len(self._listed), self._unreadable, self._as_of, self._error, self._stale())

    async def run(self, sleep: Callable[[float], Awaitable[None]], *, every_s: float = DAY_S / 4) -> None:
        """Keep the list fresh, for ever; after a failure try again soon."""
        while True:
            await self.refresh()
            await sleep(every_s if self._error is None else min(every_s, RETRY_S))

    async def refresh(self) -> None:
        """Read the list again, or remember why that failed."""
        try:
            async with self._source() as published:
                found = await read_list(published.pieces)
        except (OSError, aiohttp.ClientError, TimeoutError, UnreadableList) as exc:
            self._failed(f"{exc}" or type(exc).__name__)
            return
        self._listed, self._unreadable = found.listed, found.unreadable
        self._as_of, self._error = published.as_of, None
        log.info("[screening] sanctions list read: %d addresses", len(found.listed))
        if found.unreadable:
            log.warning("[screening] %d entries of the sanctions list cannot be read", found.unreadable)

    async def screen(self, address: str, chain_type: str) -> Verdict:
        """Return what the list says of an address."""
        key = canonical(chain_type, address)
        if key is None:
            return Unavailable(f"the sender is no {chain_type} address")
        if key in self._listed:
            return Listed(self._listed[key])
        if self._as_of is None:
            return Unavailable(f"the sanctions list cannot be read: {self._error}")
        if self._stale():
            return Unavailable(f"the sanctions list is {(self._now_ms() - self._as_of) // 3_600_000} hours old")
        return Clear()

    def _stale(self) -> bool:
        return self._as_of is None or self._now_ms() - self._as_of > self._max_age_s * 1000

    def _failed(self, reason: str) -> None:
        if self._error != reason:
            log.warning("[screening] the sanctions list cannot be read: %s", reason)
        self._error = reason
