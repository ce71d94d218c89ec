"""Endpoints that contradict themselves or each other about the newest blocks of a chain, and who of them is wrong."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool

log = logging.getLogger(__name__)

SPLIT_AFTER_S = 60.0  # two tips of one height are forgotten within seconds
CHECK_INTERVAL_S = 30.0
SHOWN_AS_LYING_S = 90.0  # so long an endpoint that took its own word back is shown as lying
REPORTED_FOR_S = 600.0
MAX_REORG_DEPTH = 20  # blocks; a head that falls by more does not come from a chain
MAX_CLAIMS = 200

HashAt = Callable[[Endpoint, int], Awaitable[tuple[str, int] | None]]


class Claim(NamedTuple):
    """A newest block as it was shown once."""

    at: float  # monotonic
    position: int
    time: int  # unix seconds


class _Split(NamedTuple):
    """Endpoints that hold different blocks of one height."""

    position: int
    since: float  # monotonic
    at: float  # when it was seen last
    what: str


class Contradictions:
    """
    Remembers what endpoints showed as their newest blocks.

    A block is never older than a lower one. Where two claims break that rule, one of them was made up: an endpoint that
    contradicts its own earlier claim has lied, and a head that rose faster than any chain is refuted by the others.
    `clock` counts monotonic seconds.
    """

    def __init__(self, pool: EndpointPool, *, method: str, hash_at: HashAt | None, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._method = method
        self._hash_at = hash_at
        self._clock = clock
        self._claims: dict[Endpoint, deque[Claim]] = {e: deque(maxlen=MAX_CLAIMS) for e in pool.endpoints}
        self._newest: dict[Endpoint, Claim] = {}
        self._refuted: dict[Endpoint, str] = {}
        self._self_contradicted: dict[Endpoint, tuple[str, float]] = {}
        self._between: dict[tuple[Endpoint, Endpoint], tuple[str, float]] = {}  # of which nobody knows who lies
        self._fork: _Split | None = None
        self._checked_at: float | None = None

    def observe(self, endpoint: Endpoint, position: int, time: int) -> None:
        """Record a head that could be true."""
        now, claims = self._clock(), self._claims[endpoint]
        self._newest[endpoint] = claim = Claim(now, position, time)
        if not claims or claims[-1][1:] != claim[1:]:
            claims.append(claim)

    def compare(self, jumped: Collection[Endpoint]) -> None:
        """Compare what is shown now with all that was shown lately; `jumped` are those whose heads rose too fast."""
        now = self._clock()
        self._refuted.clear()
        for endpoint, claims in self._claims.items():
            while claims and now - claims[0].at > REPORTED_FOR_S:
                claims.popleft()
            for other, seen in self._newest.items():
                claim = None if now - seen.at > REPORTED_FOR_S else _contradicted(claims, seen)
                if claim is not None:
                    self._note(endpoint, claim, other, seen, jumped=endpoint in jumped)

    def _note(self, endpoint: Endpoint, claim: Claim, other: Endpoint, seen: Claim, *, jumped: bool) -> None:
        whose = "" if other is endpoint else f"{other.label} "
        what = f"{endpoint.label} showed block {claim.position}, and {whose}later the younger block {seen.position}"
        if other is endpoint:
            self._note_self_contradiction(endpoint, what)
        elif jumped:
            self._note_self_contradiction(endpoint, what)
            self._refuted[endpoint] = what
        else:
            self._between[endpoint, other] = (what, self._clock())
        if self._newest[endpoint].position < claim.position:  # it has taken it back
            kept = (each for each in self._claims[endpoint] if each.position < claim.position)
            self._claims[endpoint] = deque(kept, maxlen=MAX_CLAIMS)

    async def check_claims(self, asked: Mapping[Endpoint, float]) -> None:
        """
        Ask endpoints now and then for what they showed as their newest block so many seconds ago.

        By then whichever node of theirs is asked holds it, or stands still.
        """
        hash_at, now = self._hash_at, self._clock()
        if hash_at is None or (self._checked_at is not None and now - self._checked_at < CHECK_INTERVAL_S):
            return
        self._checked_at = now
        old = {endpoint: self._claim_of(endpoint, now - seconds) for endpoint, seconds in asked.items()}

        async def hold(endpoint: Endpoint) -> bool:
            claim = old[endpoint]
            return claim is None or await hash_at(endpoint, claim.position) is not None

        others = [endpoint for endpoint in self._pool.endpoints if endpoint not in asked]
        for endpoint, held in await self._pool.call_all(self._method, hold, excluding=others):
            claim = old[endpoint]
            if claim is not None and not held:
                shown = f"{endpoint.label} showed block {claim.position} as its newest {now - claim.at:.0f} s ago"
                self._note_self_contradiction(endpoint, f"{shown}, and does not hold it")

    def _claim_of(self, endpoint: Endpoint, moment: float) -> Claim | None:
        """Return what an endpoint claimed at a moment."""
        return next((claim for claim in reversed(self._claims[endpoint]) if claim.at <= moment), None)

    async def compare_branches(self, heads: Mapping[Endpoint, int]) -> None:
        """Ask all endpoints for one block, and again while their answers differ: a fork that lasts is reported."""
        hash_at, now, earlier = self._hash_at, self._clock(), self._fork
        if hash_at is None or len(heads) == 1:
            return
        position = min(heads.values()) if earlier is None else earlier.position

        async def held(endpoint: Endpoint) -> tuple[str, int] | None:
            return await hash_at(endpoint, position)

        others = [endpoint for endpoint in self._pool.endpoints if endpoint not in heads]
        holders: dict[str, list[str]] = {}
        for endpoint, block in await self._pool.call_all(self._method, held, excluding=others):
            if block is not None:
                holders.setdefault(block[0], []).append(endpoint.label)
        if len(holders) > 1:
            sides = " and ".join(f"{', '.join(labels)} ({block_hash[:12]})" for block_hash, labels in holders.items())
            what = f"{sides} hold different blocks {position}: they are on different branches, or one makes blocks up"
            self._fork = _Split(position, now if earlier is None else earlier.since, now, what)
        elif holders:
            self._fork = None

    def _note_self_contradiction(self, endpoint: Endpoint, what: str) -> None:
        if not self.has_contradicted(endpoint):
            log.warning("%s", what)
        self._self_contradicted[endpoint] = (what, self._clock())

    def refuted_by(self, endpoint: Endpoint) -> str | None:
        """Say why an endpoint's present head is made up; None when no claim refutes it."""
        return self._refuted.get(endpoint)

    def has_contradicted(self, endpoint: Endpoint) -> bool:
        """Say whether an endpoint contradicted itself, or others that were right, in the last 90 seconds."""
        return (
            endpoint in self._self_contradicted
            and self._clock() - self._self_contradicted[endpoint][1] <= SHOWN_AS_LYING_S
        )

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each contradiction of the last minutes."""
        now = self._clock()
        told = (*self._self_contradicted.values(), *self._between.values())
        yield from (what for what, at in told if now - at <= REPORTED_FOR_S)
        fork = self._fork
        if fork is not None and fork.at - fork.since >= SPLIT_AFTER_S and now - fork.at <= REPORTED_FOR_S:
            yield fork.what


def _contradicted(claims: Collection[Claim], seen: Claim) -> Claim | None:
    """Return the oldest claim that cannot be true beside a block: it is higher, and yet older."""
    lowest = seen.position + MAX_REORG_DEPTH
    return next((claim for claim in claims if claim.position > lowest and claim.time < seen.time), None)
