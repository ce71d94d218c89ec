"""
Which head of a chain can be believed: how old it is, whether it moves, and whether the others know better.

The host's wall clock is one witness among several. What decides is the monotonic clock: a head that advances at
its pace is up to date, however far its time lies from the host's; that distance is skew (docs/rules.md, A and B).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from chains.errors import ChainProtocolError, ChainUnavailable
from chains.heads.contradictions import Contradictions
from chains.heads.head_track import MIN_STANDSTILL_S, HeadTrack, ObservedHead
from chains.heads.health import HeadHealth
from chains.heads.plausibility import MAX_AHEAD_S, AcceptedHead, implausibility
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool
from chains.types import Condition, Head

COMPARE_INTERVAL_S = 30.0
QUORUM_LOOKBACK = (0, 1, 2, 4, 8, 16, 32, 64)  # blocks below the newest that enough endpoints hold


class HeadReader:
    """
    Asks the endpoints of one chain for their heads and chooses the one to trust.

    `read` asks one endpoint; `hash_at` returns the hash of a block it holds, None where a family has no forks.
    `clock` counts monotonic seconds, `wall` unix seconds.
    """

    def __init__(
        self,
        pool: EndpointPool,
        *,
        method: str,
        read: Callable[[Endpoint], Awaitable[ObservedHead]],
        clock: Callable[[], float],
        wall: Callable[[], float],
        hash_at: Callable[[Endpoint, int], Awaitable[tuple[str, int] | None]] | None = None,
        quorum: int = 1,
        interval_s: float | None = None,  # between two blocks, where positions are times
        wants_final: bool = False,
    ) -> None:
        self._pool = pool
        self._method = method
        self._read = read
        self._hash_at = hash_at
        self._clock = clock
        self._wall = wall
        self._quorum = quorum
        self._counts_blocks = interval_s is None
        self._wants_final = wants_final
        self._tracks = {
            endpoint: HeadTrack(interval_s=interval_s, learns=interval_s is None) for endpoint in pool.endpoints
        }
        self._accepted: AcceptedHead | None = None
        self._compared_at: float | None = None
        self._contradictions = Contradictions(pool, method=method, hash_at=hash_at, clock=clock)
        self.health = HeadHealth(
            pool, self._tracks, self._contradictions, clock=clock, wall=wall, quorum=quorum, wants_final=wants_final
        )

    async def head(self, read: Callable[[Endpoint], Awaitable[ObservedHead]] | None = None) -> Head:
        """
        Return the head to trust; with `read` the endpoint that is asked first is asked in another way.

        Raises:
            ChainUnavailable: nobody answers, or no head can be believed.
            ChainProtocolError: the endpoints contradict each other.
        """
        endpoint, seen = await self._pool.call(self._method, partial(self._observe, read=read or self._read))
        found = {endpoint: seen}
        if self._wants_others(endpoint, seen):
            found |= dict(await self._pool.call_all(self._method, self._read_and_note, excluding=[endpoint]))
            self._compared_at = self._clock()
            await self._contradictions.compare_branches({e: each.head.position for e, each in found.items()})
        await self._contradictions.check_claims({e: self._tracks[e].standstill_s for e in found})
        believed = await self._believed(found)
        chosen = self._choose(endpoint, believed)
        self._pool.prefer(chosen)
        seen = believed[chosen] if self._quorum == 1 else ObservedHead.of(await self._quorum_head(found))
        # Of the chosen head: with a quorum, one endpoint that knows what is final is not enough.
        self.health.note_final(seen.head.finalized)
        self._accepted = AcceptedHead(seen.newest, seen.head.time, self._clock())
        self.health.note_skew()
        return seen.head

    async def _observe(
        self, endpoint: Endpoint, *, read: Callable[[Endpoint], Awaitable[ObservedHead]]
    ) -> tuple[Endpoint, ObservedHead]:
        return endpoint, self._note(endpoint, await read(endpoint))

    async def _read_and_note(self, endpoint: Endpoint) -> ObservedHead:
        return self._note(endpoint, await self._read(endpoint))

    def _note(self, endpoint: Endpoint, seen: ObservedHead) -> ObservedHead:
        self._tracks[endpoint].observe(seen, self._clock())
        if self._impossible(seen) is None:
            self._contradictions.observe(endpoint, seen.newest, seen.newest_time)
            self._contradictions.compare([e for e, track in self._tracks.items() if track.jumped_to is not None])
        return seen

    def condition(self) -> Condition:
        """Return what is known of the heads, without a request."""
        return self.health.condition()

    def _wants_others(self, endpoint: Endpoint, seen: ObservedHead) -> bool:
        if len(self._tracks) == 1:
            return False
        now, wall, track = self._clock(), self._wall(), self._tracks[endpoint]
        return (
            self._quorum > 1
            or self._compared_at is None
            or now - self._compared_at >= COMPARE_INTERVAL_S
            or now - track.moved_at > track.slow_s
            or track.jumped_to is not None
            or track.is_stale(now, wall)
            or (self._wants_final and not seen.head.finalized)
            or self._doubt(endpoint, seen) is not None
        )

    def _doubt(self, endpoint: Endpoint, seen: ObservedHead) -> str | None:
        """Say why a head is not believed; None when it is."""
        return self._impossible(seen) or self._contradictions.refuted_by(endpoint)

    def _impossible(self, seen: ObservedHead) -> str | None:
        return implausibility(
            seen, self._accepted, now=self._clock(), wall=self._wall(), counts_blocks=self._counts_blocks
        )

    async def _believed(self, found: dict[Endpoint, ObservedHead]) -> dict[Endpoint, ObservedHead]:
        """Return the heads that can be true. Two endpoints that agree outweigh the clock of the host."""
        doubts = {endpoint: self._doubt(endpoint, seen) for endpoint, seen in found.items()}
        for endpoint, seen in found.items():
            self._tracks[endpoint].implausible = self._impossible(seen)
        believed = {endpoint: seen for endpoint, seen in found.items() if doubts[endpoint] is None}
        if believed:
            if not any(self._is_ahead(endpoint) for endpoint in believed):
                self.health.fault = None
            return believed
        pair = await self._two_that_agree(found)
        said = "; ".join(f"{endpoint.label}: {doubt}" for endpoint, doubt in doubts.items())
        if pair is None:
            self.health.fault = f"either this host's clock or the endpoint is wrong: {said}"
            raise ChainUnavailable(self.health.fault)
        self.health.fault = f"this host's clock is wrong: {' and '.join(e.label for e in pair)} agree ({said})"
        for endpoint in pair:
            self._tracks[endpoint].implausible = None
        return {endpoint: found[endpoint] for endpoint in pair}

    def _is_ahead(self, endpoint: Endpoint) -> bool:
        """Say whether an endpoint is too far ahead of the host's clock, and was not seen to keep pace yet."""
        track, now, wall = self._tracks[endpoint], self._clock(), self._wall()
        known = track.skew_s(now, wall) is not None
        return not known and track.seen is not None and track.seen.head.time - wall > MAX_AHEAD_S

    async def _two_that_agree(self, found: dict[Endpoint, ObservedHead]) -> tuple[Endpoint, Endpoint] | None:
        ordered = sorted(found, key=lambda endpoint: found[endpoint].head.position)
        for index, low in enumerate(ordered):
            for high in ordered[index + 1 :]:
                if await self._agree(found[low], high, found[high]):
                    return low, high
        return None

    async def _agree(self, lower: ObservedHead, high: Endpoint, higher: ObservedHead) -> bool:
        if higher.newest_time - lower.newest_time > MAX_AHEAD_S:
            return False
        if self._hash_at is None or lower.head.block_hash is None:
            return True
        held = (lower.head.block_hash, lower.head.time)
        return held == (await self._hashes([high], lower.head.position)).get(high)

    def _choose(self, asked: Endpoint, believed: dict[Endpoint, ObservedHead]) -> Endpoint:
        """Choose the endpoint asked first, unless another one is clearly ahead or alone knows what is final."""
        now = self._clock()
        believed = self._without_jumps(believed)
        newest = max(believed, key=lambda endpoint: believed[endpoint].newest_time)
        chosen = asked if asked in believed else newest
        track, ours, theirs = self._tracks[chosen], believed[chosen], believed[newest]
        behind_s = theirs.newest_time - ours.newest_time
        highest = max(believed, key=lambda endpoint: believed[endpoint].newest)
        if behind_s > track.standstill_s:
            chosen = newest
        elif now - track.moved_at > track.slow_s and believed[highest].newest > ours.newest:
            chosen = highest
        return self._choose_final(chosen, believed) if self._wants_final else chosen

    def _choose_final(self, chosen: Endpoint, believed: dict[Endpoint, ObservedHead]) -> Endpoint:
        """Choose an endpoint that knows what is final; a final block that stands still counts as none."""
        track, ours = self._tracks[chosen], believed[chosen]
        fresh = [e for e, seen in believed.items() if seen.newest_time >= ours.newest_time - track.standstill_s]
        best = max(fresh, key=lambda endpoint: believed[endpoint].head.finalized or 0)
        behind = (believed[best].head.finalized or 0) - (ours.head.finalized or 0)
        return best if behind * (track.interval_s or 1.0) > MIN_STANDSTILL_S or not ours.head.finalized else chosen

    def _without_jumps(self, believed: dict[Endpoint, ObservedHead]) -> dict[Endpoint, ObservedHead]:
        """Leave out heads that rose faster than any chain, while others are up to date and do not show that rise."""
        for endpoint, track in self._tracks.items():
            jumped_to = track.jumped_to
            others = (seen.newest for other, seen in believed.items() if other is not endpoint)
            if jumped_to is not None and any(newest >= jumped_to for newest in others):
                track.jumped_to = None
        now, wall = self._clock(), self._wall()
        steady = {e: seen for e, seen in believed.items() if self._tracks[e].jumped_to is None}
        return steady if any(not self._tracks[endpoint].is_stale(now, wall) for endpoint in steady) else believed

    async def _quorum_head(self, found: dict[Endpoint, ObservedHead]) -> Head:
        """Return the newest block that a quorum of endpoints holds with the same hash."""
        if len(found) < self._quorum:
            raise ChainUnavailable(f"only {len(found)} of the {self._quorum} endpoints that must agree answered")
        positions = sorted((seen.head.position for seen in found.values()), reverse=True)
        top = positions[self._quorum - 1]
        for below in QUORUM_LOOKBACK:
            position = max(0, top - below)
            holders = [endpoint for endpoint, seen in found.items() if seen.head.position >= position]
            held = await self._hashes(holders, position)
            (block, votes), *_ = Counter(held.values()).most_common(1) or [(("", 0), 0)]
            if votes >= self._quorum:
                final = self._final(found[endpoint] for endpoint, each in held.items() if each == block)
                return Head(position, block[0], block[1], None if final is None else min(final, position))
        labels = ", ".join(endpoint.label for endpoint in found)
        raise ChainProtocolError(f"{labels} contradict each other about block {top} and what is below it")

    def _final(self, seen: Iterable[ObservedHead]) -> int | None:
        """Return the newest block that a quorum of endpoints calls final."""
        known = sorted((each.head.finalized for each in seen if each.head.finalized is not None), reverse=True)
        return known[self._quorum - 1] if len(known) >= self._quorum else None

    async def _hashes(self, endpoints: Sequence[Endpoint], position: int) -> dict[Endpoint, tuple[str, int]]:
        hash_at = self._hash_at
        if hash_at is None:
            return {}

        async def ask(endpoint: Endpoint) -> tuple[str, int] | None:
            return await hash_at(endpoint, position)

        but = [endpoint for endpoint in self._pool.endpoints if endpoint not in endpoints]
        answers = await self._pool.call_all(self._method, ask, excluding=but)
        return {endpoint: block for endpoint, block in answers if block is not None}
