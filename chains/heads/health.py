"""What people are told of the heads of a chain: how old they are, who is behind or made one up, clocks that differ."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from chains.heads.contradictions import Contradictions
from chains.heads.head_track import HeadTrack
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool
from chains.types import Condition, EndpointReport, EndpointState

log = logging.getLogger(__name__)

SKEW_PROBLEM_S = 60.0
FINAL_STANDSTILL_S = 1_800.0  # twice as long as the slowest chain takes
OBSERVATION_EXPIRES_S = 600.0  # what an endpoint said so long ago says nothing about now


class HeadHealth:
    """
    Reports on the heads of one chain without asking anybody.

    `blamed` is what is wrong with the heads as a whole. `clock` counts monotonic seconds, `wall` unix seconds.
    """

    def __init__(
        self,
        pool: EndpointPool,
        tracks: Mapping[Endpoint, HeadTrack],
        contradictions: Contradictions,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        quorum: int,
        wants_final: bool,
    ) -> None:
        self._pool = pool
        self._tracks = tracks
        self._contradictions = contradictions
        self._clock = clock
        self._wall = wall
        self._quorum = quorum
        self._wants_final = wants_final
        self.fault: str | None = None
        self._newest_final: tuple[int | None, float] | None = None  # the newest final block, and since when; monotonic
        self._skewed: set[Endpoint] = set()

    def note_final(self, finalized: int | None) -> None:
        """Take note of what is final; a chain's first block is what nodes say that do not know."""
        known = self._newest_final
        if self._wants_final and (known is None or not finalized or finalized > (known[0] or 0)):
            self._newest_final = (finalized, self._clock())

    def note_skew(self) -> None:
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

    def condition(self) -> Condition:
        """Return what is known, without asking anybody."""
        now, wall, track = self._clock(), self._wall(), self._tracks[self._pool.preferred]
        seen = track.seen
        told = [t.seen for t in self._truthful() if t.seen and now - t.seen_at <= OBSERVATION_EXPIRES_S]
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
        if track.implausible is not None or self._contradictions.has_contradicted(endpoint):
            state = EndpointState.LYING
        elif state is EndpointState.OK and self._is_behind(endpoint, now, wall):
            state = EndpointState.STALE
        seen = track.seen
        return replace(
            report,
            state=state,
            head=None if seen is None else seen.newest,
            head_time=None if seen is None else seen.newest_time,
            last_error=report.last_error or track.implausible,
            skew_s=track.skew_s(now, wall),
        )

    def _truthful(self) -> list[HeadTrack]:
        """Return the endpoints whose last head is not known to be made up."""
        refuted_by = self._contradictions.refuted_by
        return [track for e, track in self._tracks.items() if track.implausible is None and refuted_by(e) is None]

    def _is_behind(self, endpoint: Endpoint, now: float, wall: float) -> bool:
        """Say whether an endpoint's head is stale: by itself when last seen, or beside a newer one."""
        track, told = self._tracks[endpoint], self._truthful()
        if track.seen is None:
            return False
        newest = max((t.seen.newest_time for t in told if t.seen is not None), default=0)
        missed = newest - track.seen.newest_time - (now - track.seen_at)  # the others moved on since this one was asked
        return track.is_stale(now, wall) or missed > track.standstill_s

    def _problems(self, now: float, wall: float) -> Iterator[str]:
        if self.fault is not None:
            yield self.fault
        else:
            implausible_heads = ((endpoint, track.implausible) for endpoint, track in self._tracks.items())
            yield from (
                f"{endpoint.label} shows a head that cannot be true: {reason}"
                for endpoint, reason in implausible_heads
                if reason
            )
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


def _skew_problem(off: Mapping[Endpoint, float]) -> str:
    """Name who disagrees about the time, and by how much."""
    largest = max(off.values(), key=abs)
    side = "ahead of" if largest > 0 else "behind"
    labels = " and ".join(endpoint.label for endpoint in off)
    whose = "this host's clock" if len(off) > 1 else "this host's clock, or the endpoint's,"
    return f"{whose} is wrong: the host is {abs(largest):.0f} s {side} {labels}"
