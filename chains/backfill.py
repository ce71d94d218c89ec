"""Stretches of the past that no endpoint could tell when they were read: shown, and asked for until one can."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Generic, NamedTuple, Protocol, TypeVar

from chains.errors import ChainError, ChainMisconfigured
from chains.rpc.endpoint import Endpoint, Unserved
from chains.rpc.endpoint_pool import EndpointPool
from chains.types import RescanResult, ScanPage

log = logging.getLogger(__name__)

RETRY_S = 30.0  # somebody failed who may know
RETRY_PRUNED_S = 600.0  # everybody answered, and nobody holds it
SHOWN_S = 24 * 3600.0
MAX_SPANS = 10
TRIES = 3  # an endpoint may drop more of the past while it is read

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Pruned(Unserved):
    """The endpoint keeps only the newest part of the chain; `position` is the first it can tell of."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class ReadFrom(Protocol[T_co]):
    """Reads from one endpoint; given what it lacks, from there on."""

    async def __call__(self, endpoint: Endpoint, *, gap: Pruned | None = None) -> T_co:
        """Read; raises `Pruned` where nothing says that what it lacks may be left out."""


class ReadBack(NamedTuple, Generic[T]):
    """What was read, and what the endpoint that told it lacks."""

    answer: T
    gap: Pruned | None


async def read_as_far_back(
    pool: EndpointPool, method: str, read: ReadFrom[T], *, avoiding: Collection[Endpoint] = ()
) -> ReadBack[T]:
    """
    Ask the endpoints in turn; where none goes back far enough, the one that goes back furthest.

    Raises:
        ChainError: no endpoint serves.
    """
    pruned: dict[Endpoint, Pruned] = {}

    async def whole(endpoint: Endpoint) -> T:
        try:
            return await read(endpoint)
        except Pruned as exc:
            pruned[endpoint] = exc
            raise

    try:
        return ReadBack(await pool.call(method, whole, avoiding=avoiding), None)
    except ChainError:
        if not pruned:
            raise
    endpoint = min(pruned, key=lambda endpoint: pruned[endpoint].position)
    gap = pruned[endpoint]
    for _ in range(TRIES):
        try:
            return ReadBack(await pool.call_one(endpoint, method, partial(read, gap=gap)), gap)
        except Pruned as exc:
            gap = exc
    raise gap


class Told(NamedTuple):
    """Up to where something was told along with a page, and where that page began."""

    until: int
    beside: int


@dataclass(slots=True)
class UnreadRange:
    """What happened after one position, up to another, to some destinations."""

    after: int
    until: int
    destinations: frozenset[str]
    why: str
    noted_at: float  # monotonic, as is the next
    next_at: float
    told: Told | None = None  # and not known to be stored yet


class Backfill:
    """
    Remembers what was passed by because an endpoint no longer holds it.

    A node that keeps the newest blocks alone once stopped its chain for ever (docs/rules.md, C). What it
    cannot tell is left out, loudly: another endpoint may come back, or be added, that can.
    """

    def __init__(self, name: str, *, per_second: int, clock: Callable[[], float]) -> None:
        self._name = name
        self._per_second = per_second  # positions
        self._clock = clock
        self._ranges: list[UnreadRange] = []

    def note(self, after: int, until: int, destinations: frozenset[str], why: str) -> None:
        """Remember that this was not read."""
        now = self._clock()
        same = next((s for s in self._ranges if s.destinations == destinations and _overlap(s, after, until)), None)
        if same is None:
            unread_range = UnreadRange(after, until, destinations, why, now, now + RETRY_S)
            self._ranges.append(unread_range)
            log.warning("[%s] %s", self._name, self._sentence(unread_range))
        else:
            same.after, same.until, same.why, same.told = min(same.after, after), max(same.until, until), why, None
        while len(self._ranges) > MAX_SPANS:  # more may be read than is needed, never less
            older, newer = self._ranges.pop(0), self._ranges[0]
            newer.after, newer.until = min(older.after, newer.after), max(older.until, newer.until)
            newer.destinations |= older.destinations
            newer.told = None

    def going_on(self, after: int) -> None:
        """
        Take note of where the running scan goes on: what was told along with a page below that is stored.

        Whoever reads on from the same place could not store it: it is told once more.
        """
        for unread_range in list(self._ranges):
            told, unread_range.told = unread_range.told, None
            if told is None or after <= told.beside:
                continue
            unread_range.after = told.until
            if unread_range.after >= unread_range.until:
                self._ranges.remove(unread_range)
                log.info("[%s] what was not read until %s was read now", self._name, self._time(unread_range.until))

    async def fill(self, read: Callable[[UnreadRange], Awaitable[ScanPage]], *, beside: int) -> ScanPage | None:
        """
        Try to read a page of what is missing, if it is time to; `read` asks whoever may know.

        It is told along with the running scan's page that begins at `beside`, and with no other: a log that is read
        again by itself has its block asked for as well, and nothing else of what that shows may be kept.
        """
        now = self._clock()
        self._ranges = [unread_range for unread_range in self._ranges if now - unread_range.noted_at < SHOWN_S]
        unread_range = next((unread_range for unread_range in self._ranges if unread_range.next_at <= now), None)
        if unread_range is None:
            return None
        asked = (unread_range.after, unread_range.destinations)
        try:
            page = await read(unread_range)
        except ChainError as exc:
            # The page this is read along with is whole: it must not fail for what it does not need.
            log.debug("[%s] %s: still not: %s", self._name, self._sentence(unread_range), exc)
            unread_range.next_at = now + (RETRY_PRUNED_S if isinstance(exc, ChainMisconfigured) else RETRY_S)
            return None
        if asked == (unread_range.after, unread_range.destinations):  # else another range became part of it meanwhile
            unread_range.told = Told(page.cursor.position, beside)
        return page

    def problems(self) -> tuple[str, ...]:
        """Return a sentence for each."""
        return tuple(map(self._sentence, self._ranges))

    def _sentence(self, unread_range: UnreadRange) -> str:
        between = f"between {self._time(unread_range.after)} and {self._time(unread_range.until)}"
        return f"what happened {between} was not read, payments of that time may be missing: {unread_range.why}"

    def _time(self, position: int) -> str:
        return datetime.fromtimestamp(position / self._per_second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def along_with(page: ScanPage, late: ScanPage | None) -> ScanPage:
    """Return a page and what was told along with it, each transfer once: the page may show it as well."""
    if late is None:
        return page
    shown = {(transfer.tx_hash, transfer.event_key) for transfer in page.transfers}
    more = [transfer for transfer in late.transfers if (transfer.tx_hash, transfer.event_key) not in shown]
    unread = tuple(dict.fromkeys([*page.unread, *late.unread]))
    return replace(page, transfers=[*page.transfers, *more], unread=unread)


def gap_reason(gap: Pruned) -> str:
    """Say why something was not read."""
    return f"{gap}, and no other endpoint told it"


def with_gap(again: RescanResult, destinations: Collection[str], gap: Pruned | None) -> RescanResult:
    """Say of every destination what was not read again, where the endpoint that told the rest lacks it."""
    if gap is None:
        return again
    return replace(again, unread={**dict.fromkeys(destinations, gap_reason(gap)), **again.unread})


def _overlap(unread_range: UnreadRange, after: int, until: int) -> bool:
    return unread_range.after <= until and after <= unread_range.until
