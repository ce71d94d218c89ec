"""When a balance watch is read: pure (docs/api.md)."""

from __future__ import annotations

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
LIFE_MS = 7 * 24 * HOUR_MS
# Up to this age, a read every so often.
_BANDS = (
    (24 * HOUR_MS, 5 * MINUTE_MS),
    (48 * HOUR_MS, 10 * MINUTE_MS),
    (72 * HOUR_MS, 20 * MINUTE_MS),
    (LIFE_MS, 40 * MINUTE_MS),
)
LONGEST_MS = max(step for _, step in _BANDS)


def next_due(created_at: int, now: int) -> int:
    """
    Return the first due time after `now`; times are unix ms.

    Due times lie on a grid fixed by the creation: a late or a doubled tick neither moves nor repeats
    them. The first is the creation itself; a full life has 648. A creation that lies ahead, by a clock that
    was set back since, counts as now.
    """
    created_at = min(created_at, now)
    age = now - created_at
    start = step = 0
    for end, step in _BANDS:
        if age < end:
            following = start + ((age - start) // step + 1) * step
            return created_at + min(following, end)
        start = end
    # By the host's clock alone it is over: the chain's decides, and until then it is read as often as at last.
    return created_at + LIFE_MS + ((age - LIFE_MS) // step + 1) * step
