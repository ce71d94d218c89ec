"""
Which head of a chain can be believed: how old it is, whether it moves, and whether the others know better.

The host's wall clock is one witness among several. What decides is the monotonic clock: a head that advances at
its pace is up to date, however far its time lies from the host's; that distance is skew (docs/rules.md, A and B).
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from chains.errors import ChainProtocolError, ChainUnavailable
from chains.heads.contradictions import MOST_REORGANISED, Contradictions
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool
from chains.types import Condition, EndpointReport, EndpointState, Head

log = logging.getLogger(__name__)

SHORTEST_STANDSTILL_S = 60.0
STANDSTILL_INTERVALS = 20
LONGEST_INTERVAL_S = 60.0  # a chain that paused has not become slow
SLOW_HEAD_S = 15.0  # a head that stands still for so long, and three intervals, is compared with the others'
SLOW_HEAD_INTERVALS = 3
COMPARE_EVERY_S = 30.0
MOST_AHEAD_S = 120.0  # of the host's clock
ALLOWANCE_BLOCKS = 1_000  # more than what time allows
ALLOWANCE_PER_S = 10
SKEW_PROBLEM_S = 60.0
PACE_WINDOW_S = 120.0
PACE_SLACK_S = 10.0  # blocks come in bursts
BEST_OFFSET_FOR_S = 1_800.0
LEAP_TIMES = 4  # faster than a chain was before
FINAL_STANDSTILL_S = 1_800.0  # twice as long as the slowest chain takes
FORGOTTEN_S = 600.0  # what an endpoint said so long ago says nothing about now
BACK_TO_AGREEMENT = (0, 1, 2, 4, 8, 16, 32, 64)  # blocks below the newest that enough endpoints hold


class SeenHead(NamedTuple):
    """What one endpoint says its newest blocks are."""

    head: Head  # up to here is read: the newest final block where only final data counts
    newest: int  # position of the newest block, final or not
    newest_time: int  # unix seconds

    @classmethod
    def of(cls, head: Head) -> SeenHead:
        """Take a head that is the newest block."""
        return cls(head, head.position, head.time)


class Accepted(NamedTuple):
    """The last head that was believed."""

    position: int
    time: int
    at: float  # monotonic


@dataclass(slots=True)
class HeadTrack:
    """How one endpoint's head moves. All times but `newest_time` are monotonic seconds."""

    interval_s: float | None = None  # between two blocks; learnt where positions are block numbers
    learns: bool = True
    seen: SeenHead | None = None
    seen_at: float = 0.0
    moved_at: float = 0.0
    begun_at: float = 0.0
    paced: bool = False  # advances at the pace of the monotonic clock
    lie: str | None = None  # why its last head was not believed
    leapt_to: int | None = None  # since its head rose faster than ever before, and has not fallen below that
    _recent: deque[tuple[float, int]] = field(default_factory=deque)
    _offsets: tuple[float, float] | None = None  # the smallest distance from block time, before and since `_turned_at`
    _turned_at: float = 0.0

    def observe(self, seen: SeenHead, now: float) -> None:
        """Take note of a head."""
        before, self.seen, self.seen_at = self.seen, seen, now
        if before is None or seen.newest_time < before.newest_time - PACE_WINDOW_S:
            self._begin(seen, now)
        elif seen.newest != before.newest or (not self.learns and seen.newest_time != before.newest_time):
            # A node that made the same block younger and younger was taken for one that goes on.
            self._moved(before, seen, now)

    def _begin(self, seen: SeenHead, now: float) -> None:
        self.begun_at = self.moved_at = self._turned_at = now
        self.paced = False
        self._recent = deque([(now, seen.newest_time)])
        offset = now - seen.newest_time
        self._offsets = (offset, offset)

    def _moved(self, before: SeenHead, seen: SeenHead, now: float) -> None:
        self.moved_at = now
        blocks, seconds = seen.newest - before.newest, seen.newest_time - before.newest_time
        if self.leapt_to is not None and seen.newest < self.leapt_to:
            self.leapt_to = None
        if self.learns and blocks > MOST_REORGANISED and seconds * LEAP_TIMES < blocks * (self.interval_s or 0.0):
            self.leapt_to = seen.newest
        elif self.learns and blocks > 0 and seconds >= 0:
            measured = min(LONGEST_INTERVAL_S, seconds / blocks)
            self.interval_s = measured if self.interval_s is None else 0.8 * self.interval_s + 0.2 * measured
        self._recent.append((now, seen.newest_time))
        while len(self._recent) > 2 and now - self._recent[0][0] > PACE_WINDOW_S:  # noqa: PLR2004 - two make a pace
            self._recent.popleft()
        since, time = self._recent[0]
        passed, elapsed = seen.newest_time - time, now - since
        slack = max(PACE_SLACK_S + SLOW_HEAD_INTERVALS * (self.interval_s or 0.0), elapsed / 4)
        self.paced = abs(passed - elapsed) <= slack
        offset = now - seen.newest_time
        if self._offsets is not None and now - self._turned_at <= BEST_OFFSET_FOR_S:
            self._offsets = (self._offsets[0], min(self._offsets[1], offset))
        else:
            self._offsets, self._turned_at = (self._offsets[1] if self._offsets else offset, offset), now

    @property
    def standstill_s(self) -> float:
        """How long a head may stand still before it is stale."""
        return max(SHORTEST_STANDSTILL_S, STANDSTILL_INTERVALS * (self.interval_s or 0.0))

    @property
    def slow_s(self) -> float:
        """How long a head may stand still before somebody else is asked."""
        return max(SLOW_HEAD_S, SLOW_HEAD_INTERVALS * (self.interval_s or 0.0))

    def skew_s(self, now: float, wall: float) -> float | None:
        """Return how far the host's clock is ahead of the endpoint's; None until it was seen to keep pace."""
        if not self.paced or self._offsets is None:
            return None
        return wall - now + min(self._offsets)

    def age_s(self, now: float, wall: float) -> float:
        """Return how old the newest block is, corrected for skew where that is known."""
        if self.seen is None:
            return 0.0
        return wall - (self.skew_s(now, wall) or 0.0) - self.seen.newest_time

    def lag_s(self, now: float, wall: float) -> int:
        """Return how far the newest block is behind now, less the interval in which none is expected."""
        return max(0, round(self.age_s(now, wall) - (self.interval_s or 0.0)))

    def is_unproven(self, now: float) -> bool:
        """Say whether the head was seen for too short a time to tell an old one from a host clock that is ahead."""
        return not self.paced and now - self.begun_at <= self.standstill_s

    def is_stale(self, now: float, wall: float) -> bool:
        """Say whether the head, when it was last asked for, stood still or was old without being seen to advance."""
        if self.seen is None:
            return False
        since = now - self.seen_at  # nobody knows what became of it since: polls may be rare
        old = self.age_s(now, wall) - since > self.standstill_s
        return old or self.seen_at - self.moved_at > self.standstill_s


def unbelievable(seen: SeenHead, last: Accepted | None, *, now: float, wall: float, counts_blocks: bool) -> str | None:
    """
    Say why a head cannot be true; None when it can.

    A made-up head a thousand blocks up once moved the checkpoint to where no real chain would come for an hour.
    """
    # A wall clock that was put back does not make a head of the future: it is as late as the last one at least.
    latest = wall if last is None else max(wall, last.time + now - last.at)
    ahead = seen.head.time - latest
    if ahead > MOST_AHEAD_S:
        return f"its newest block is {ahead:.0f} s ahead of this host's clock"
    if last is None or not counts_blocks:
        return None
    most = last.position + ALLOWANCE_BLOCKS + ALLOWANCE_PER_S * max(0.0, latest - last.time)
    if seen.newest > most:
        return f"its head {seen.newest} lies above {most:.0f}, which is all that time allows after {last.position}"
    return None


class HeadReader:
    """
    Asks the endpoints of one chain for their heads and says which one to go by.

    `read` asks one endpoint; `hash_at` returns the hash of a block it holds, None where a family has no forks.
    `clock` counts monotonic seconds, `wall` unix seconds.
    """

    def __init__(
        self,
        pool: EndpointPool,
        *,
        method: str,
        read: Callable[[Endpoint], Awaitable[SeenHead]],
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
        self._accepted: Accepted | None = None
        self._compared_at: float | None = None
        self._blamed: str | None = None  # what is wrong with the heads as a whole
        self._newest_final: tuple[int | None, float] | None = None  # the newest final block, and since when; monotonic
        self._skewed: set[Endpoint] = set()
        self._contradictions = Contradictions(pool, method=method, hash_at=hash_at, clock=clock)

    async def head(self) -> Head:
        """
        Return the head to go by.

        Raises:
            ChainUnavailable: nobody answers, or no head can be believed.
            ChainProtocolError: the endpoints contradict each other.
        """
        endpoint, seen = await self._pool.call(self._method, self._observe)
        found = {endpoint: seen}
        if self._wants_others(endpoint, seen):
            found |= dict(await self._pool.call_all(self._method, self._read_and_note, excluding=[endpoint]))
            self._compared_at = self._clock()
            await self._contradictions.compare_branches({e: each.head.position for e, each in found.items()})
        await self._contradictions.check_claims({e: self._tracks[e].standstill_s for e in found})
        believed = await self._believed(found)
        chosen = self._choose(endpoint, believed)
        self._pool.prefer(chosen)
        seen = believed[chosen] if self._quorum == 1 else SeenHead.of(await self._agreed(found))
        # Of the head that is gone by: with a quorum one endpoint that knows what is final is not enough.
        self._note_final(seen.head.finalized)
        self._accepted = Accepted(seen.newest, seen.head.time, self._clock())
        self._note_skew()
        return seen.head

    def _note_final(self, finalized: int | None) -> None:
        """Take note of what is final; a chain's first block is what nodes say that do not know."""
        known = self._newest_final
        if self._wants_final and (known is None or not finalized or finalized > (known[0] or 0)):
            self._newest_final = (finalized, self._clock())

    async def _observe(self, endpoint: Endpoint) -> tuple[Endpoint, SeenHead]:
        return endpoint, await self._read_and_note(endpoint)

    async def _read_and_note(self, endpoint: Endpoint) -> SeenHead:
        seen = await self._read(endpoint)
        self._tracks[endpoint].observe(seen, self._clock())
        if self._impossible(seen) is None:
            self._contradictions.observe(endpoint, seen.newest, seen.newest_time)
            self._contradictions.judge([e for e, track in self._tracks.items() if track.leapt_to is not None])
        return seen

    def _wants_others(self, endpoint: Endpoint, seen: SeenHead) -> bool:
        if len(self._tracks) == 1:
            return False
        now, wall, track = self._clock(), self._wall(), self._tracks[endpoint]
        return (
            self._quorum > 1
            or self._compared_at is None
            or now - self._compared_at >= COMPARE_EVERY_S
            or now - track.moved_at > track.slow_s
            or track.leapt_to is not None
            or track.is_stale(now, wall)
            or (self._wants_final and not seen.head.finalized)
            or self._doubt(endpoint, seen) is not None
        )

    def _doubt(self, endpoint: Endpoint, seen: SeenHead) -> str | None:
        """Say why a head is not believed; None when it is."""
        return self._impossible(seen) or self._contradictions.exposed(endpoint)

    def _impossible(self, seen: SeenHead) -> str | None:
        return unbelievable(
            seen, self._accepted, now=self._clock(), wall=self._wall(), counts_blocks=self._counts_blocks
        )

    async def _believed(self, found: dict[Endpoint, SeenHead]) -> dict[Endpoint, SeenHead]:
        """Return the heads that can be true; two that agree outweigh the host's clock."""
        doubts = {endpoint: self._doubt(endpoint, seen) for endpoint, seen in found.items()}
        for endpoint, seen in found.items():
            self._tracks[endpoint].lie = self._impossible(seen)
        believed = {endpoint: seen for endpoint, seen in found.items() if doubts[endpoint] is None}
        if believed:
            if not any(self._is_ahead(endpoint) for endpoint in believed):
                self._blamed = None
            return believed
        pair = await self._two_that_agree(found)
        said = "; ".join(f"{endpoint.label}: {doubt}" for endpoint, doubt in doubts.items())
        if pair is None:
            self._blamed = f"either this host's clock or the endpoint is wrong: {said}"
            raise ChainUnavailable(self._blamed)
        self._blamed = f"this host's clock is wrong: {' and '.join(e.label for e in pair)} agree ({said})"
        for endpoint in pair:
            self._tracks[endpoint].lie = None
        return {endpoint: found[endpoint] for endpoint in pair}

    def _is_ahead(self, endpoint: Endpoint) -> bool:
        """Say whether an endpoint is ahead of the host's clock by more than is believed, and not yet known to be."""
        track, now, wall = self._tracks[endpoint], self._clock(), self._wall()
        known = track.skew_s(now, wall) is not None
        return not known and track.seen is not None and track.seen.head.time - wall > MOST_AHEAD_S

    async def _two_that_agree(self, found: dict[Endpoint, SeenHead]) -> tuple[Endpoint, Endpoint] | None:
        ordered = sorted(found, key=lambda endpoint: found[endpoint].head.position)
        for index, low in enumerate(ordered):
            for high in ordered[index + 1 :]:
                if await self._agree(found[low], high, found[high]):
                    return low, high
        return None

    async def _agree(self, lower: SeenHead, high: Endpoint, higher: SeenHead) -> bool:
        if higher.newest_time - lower.newest_time > MOST_AHEAD_S:
            return False
        if self._hash_at is None or lower.head.anchor is None:
            return True
        held = (lower.head.anchor, lower.head.time)
        return held == (await self._hashes([high], lower.head.position)).get(high)

    def _choose(self, asked: Endpoint, believed: dict[Endpoint, SeenHead]) -> Endpoint:
        """Return whom to go by: who was asked, unless another one is clearly ahead or alone knows what is final."""
        now = self._clock()
        believed = self._without_leaps(believed)
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

    def _choose_final(self, chosen: Endpoint, believed: dict[Endpoint, SeenHead]) -> Endpoint:
        """Return who knows what is final: whoever stands still at an old final block says as little as who has none."""
        track, ours = self._tracks[chosen], believed[chosen]
        fresh = [e for e, seen in believed.items() if seen.newest_time >= ours.newest_time - track.standstill_s]
        best = max(fresh, key=lambda endpoint: believed[endpoint].head.finalized or 0)
        behind = (believed[best].head.finalized or 0) - (ours.head.finalized or 0)
        return best if behind * (track.interval_s or 1.0) > SHORTEST_STANDSTILL_S or not ours.head.finalized else chosen

    def _without_leaps(self, believed: dict[Endpoint, SeenHead]) -> dict[Endpoint, SeenHead]:
        """Leave out whose head rose as no chain does, as long as others are up to date and do not show it too."""
        for endpoint, track in self._tracks.items():
            leapt_to = track.leapt_to
            others = (seen.newest for other, seen in believed.items() if other is not endpoint)
            if leapt_to is not None and any(newest >= leapt_to for newest in others):
                track.leapt_to = None
        now, wall = self._clock(), self._wall()
        calm = {e: seen for e, seen in believed.items() if self._tracks[e].leapt_to is None}
        return calm if any(not self._tracks[endpoint].is_stale(now, wall) for endpoint in calm) else believed

    async def _agreed(self, found: dict[Endpoint, SeenHead]) -> Head:
        """Return the newest block that as many endpoints as must agree hold with one hash."""
        if len(found) < self._quorum:
            raise ChainUnavailable(f"only {len(found)} of the {self._quorum} endpoints that must agree answered")
        positions = sorted((seen.head.position for seen in found.values()), reverse=True)
        top = positions[self._quorum - 1]
        for below in BACK_TO_AGREEMENT:
            position = max(0, top - below)
            holders = [endpoint for endpoint, seen in found.items() if seen.head.position >= position]
            held = await self._hashes(holders, position)
            (block, votes), *_ = Counter(held.values()).most_common(1) or [(("", 0), 0)]
            if votes >= self._quorum:
                final = self._final(found[endpoint] for endpoint, each in held.items() if each == block)
                return Head(position, block[0], block[1], None if final is None else min(final, position))
        labels = ", ".join(endpoint.label for endpoint in found)
        raise ChainProtocolError(f"{labels} contradict each other about block {top} and what is below it")

    def _final(self, seen: Iterable[SeenHead]) -> int | None:
        """Return the newest final block that as many as must agree know of."""
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

    # --- what is told of it ----------------------------------------------------------------------

    def condition(self) -> Condition:
        """Return what is known, without asking anybody."""
        now, wall, track = self._clock(), self._wall(), self._tracks[self._pool.preferred]
        seen = track.seen
        told = [t.seen for t in self._truthful() if t.seen and now - t.seen_at <= FORGOTTEN_S]
        newest = sorted((each.newest for each in told), reverse=True)
        return Condition(
            stale=track.is_stale(now, wall),
            unproven=track.is_stale(now, wall) and track.is_unproven(now),
            newest_position=newest[self._quorum - 1] if len(newest) >= self._quorum else None,
            newest_time=None if seen is None else seen.newest_time,
            lag_s=None if seen is None else track.lag_s(now, wall),
            skew_s=track.skew_s(now, wall),
            problems=tuple(self._problems(now, wall)),
            endpoints=tuple(self._report(endpoint, now, wall) for endpoint in self._pool.endpoints),
        )

    def _report(self, endpoint: Endpoint, now: float, wall: float) -> EndpointReport:
        report, track = self._pool.report(endpoint), self._tracks[endpoint]
        state = report.state
        if track.lie is not None or self._contradictions.is_caught(endpoint):
            state = EndpointState.LYING
        elif state is EndpointState.OK and self._is_behind(endpoint, now, wall):
            state = EndpointState.STALE
        seen = track.seen
        return replace(
            report,
            state=state,
            head=None if seen is None else seen.newest,
            head_time=None if seen is None else seen.newest_time,
            last_error=report.last_error or track.lie,
            skew_s=track.skew_s(now, wall),
        )

    def _truthful(self) -> list[HeadTrack]:
        """Return the endpoints whose last head is not known to be made up."""
        exposed = self._contradictions.exposed
        return [track for e, track in self._tracks.items() if track.lie is None and exposed(e) is None]

    def _is_behind(self, endpoint: Endpoint, now: float, wall: float) -> bool:
        """Say whether an endpoint's head is stale: by itself when last seen, or beside a newer one."""
        track, told = self._tracks[endpoint], self._truthful()
        if track.seen is None:
            return False
        newest = max((t.seen.newest_time for t in told if t.seen is not None), default=0)
        missed = newest - track.seen.newest_time - (now - track.seen_at)  # the others moved on since this one was asked
        return track.is_stale(now, wall) or missed > track.standstill_s

    def _problems(self, now: float, wall: float) -> Iterator[str]:
        if self._blamed is not None:
            yield self._blamed
        else:
            lies = ((endpoint, track.lie) for endpoint, track in self._tracks.items())
            yield from (f"{endpoint.label} shows a head that cannot be true: {lie}" for endpoint, lie in lies if lie)
        yield from self._contradictions.problems()
        track = self._tracks[self._pool.preferred]
        if track.seen is not None and track.is_stale(now, wall):
            age = track.age_s(now, wall)
            clock = "" if track.paced else ", or this host's clock is ahead"
            yield f"no endpoint knows a block younger than {age:.0f} s: the chain or its endpoints stand still{clock}"
        final, since = self._newest_final or (None, now)
        if final and now - since > FINAL_STANDSTILL_S:
            minutes = (now - since) / 60
            yield f"the finalized block is still {final} after {minutes:.0f} minutes: payments wait for a newer one"
        if self._newest_final is not None and not final:
            who = "no endpoint can" if self._quorum == 1 else f"fewer than {self._quorum} endpoints can"
            yield f"{who} tell which block is finalized: payments that need that wait"
        skews = {e: s for e, t in self._tracks.items() if (s := t.skew_s(now, wall)) is not None}
        off = {endpoint: skew for endpoint, skew in skews.items() if abs(skew) > SKEW_PROBLEM_S}
        if off:
            yield _skew_problem(off)

    def _note_skew(self) -> None:
        """Log once when clocks come apart and once when they are together again."""
        now, wall = self._clock(), self._wall()
        for endpoint, track in self._tracks.items():
            skew = track.skew_s(now, wall)
            if skew is None:
                continue
            if abs(skew) > SKEW_PROBLEM_S and endpoint not in self._skewed:
                self._skewed.add(endpoint)
                log.warning("%s", _skew_problem({endpoint: skew}))
            elif abs(skew) <= SKEW_PROBLEM_S and endpoint in self._skewed:
                self._skewed.discard(endpoint)
                log.info("this host's clock and %s agree again", endpoint.label)


def _skew_problem(off: Mapping[Endpoint, float]) -> str:
    """Name who disagrees about the time, and by how much."""
    largest = max(off.values(), key=abs)
    side = "ahead of" if largest > 0 else "behind"
    labels = " and ".join(endpoint.label for endpoint in off)
    whose = "this host's clock" if len(off) > 1 else "this host's clock, or the endpoint's,"
    return f"{whose} is wrong: the host is {abs(largest):.0f} s {side} {labels}"
