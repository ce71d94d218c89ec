"""Whether a head can be true at all, by the host's clock and the last head that was believed (pure)."""

from __future__ import annotations

from typing import NamedTuple

from chains.heads.head_track import ObservedHead

MAX_AHEAD_S = 120.0  # of the host's clock
MAX_JUMP_BLOCKS = 1_000  # more than what time allows
MAX_BLOCKS_PER_S = 10


class AcceptedHead(NamedTuple):
    """The last head that was believed."""

    position: int
    time: int
    at: float  # monotonic


def implausibility(
    seen: ObservedHead, last: AcceptedHead | None, *, now: float, wall: float, counts_blocks: bool
) -> str | None:
    """
    Say why a head cannot be true; None when it can.

    A made-up head a thousand blocks up once moved the checkpoint to where no real chain would come for an hour.
    """
    # A wall clock that was put back does not make a head of the future: it is as late as the last one at least.
    latest = wall if last is None else max(wall, last.time + now - last.at)
    ahead = seen.head.time - latest
    if ahead > MAX_AHEAD_S:
        return f"its newest block is {ahead:.0f} s ahead of this host's clock"
    if last is None or not counts_blocks:
        return None
    most = last.position + MAX_JUMP_BLOCKS + MAX_BLOCKS_PER_S * max(0.0, latest - last.time)
    if seen.newest > most:
        return f"its head {seen.newest} lies above {most:.0f}, which is all that time allows after {last.position}"
    return None
