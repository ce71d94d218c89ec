"""How often one client may ask: an exact sliding window a client, in bounded memory."""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kernel.web.clients import counted_as

QUARTER_HOUR_S = 900
_ENTRY = re.compile(r"([a-z]+)=(?:(off)|([0-9]{1,9})/([0-9]{1,6}))")


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` in any `per_s` seconds."""

    count: int
    per_s: int


DEFAULTS: Mapping[str, Limit] = {
    "login": Limit(10, QUARTER_HOUR_S),
    "payment": Limit(30, QUARTER_HOUR_S),
    "all": Limit(100, QUARTER_HOUR_S),
}


def parse_limits(text: str | None) -> dict[str, Limit]:
    """
    Read `MARKETPLACE_RATE_LIMITS`: `login=10/900,payment=30/900,all=100/900` (count/seconds), or `all=off`.

    What is not named keeps its default; what is off is missing from the answer.

    Raises:
        ValueError: says which part cannot be read.
    """
    limits = dict(DEFAULTS)
    named: set[str] = set()
    for part in filter(None, (piece.strip() for piece in (text or "").split(","))):
        name, limit = _entry(part)
        if name in named:
            raise ValueError(f"{name} is given twice")
        named.add(name)
        if limit is None:
            del limits[name]
        else:
            limits[name] = limit
    return limits


def _entry(part: str) -> tuple[str, Limit | None]:
    match = _ENTRY.fullmatch(part)
    if match is None or match[1] not in DEFAULTS:
        raise ValueError(f"{part!r} is not one of {', '.join(DEFAULTS)}, followed by =count/seconds or =off")
    if match[2]:
        return match[1], None
    limit = Limit(int(match[3]), int(match[4]))
    if not limit.count or not limit.per_s:
        raise ValueError(f"{part!r}: count and seconds are at least 1")
    return match[1], limit


class RateLimiter:
    """Counts what clients did, by milliseconds that nobody sets: a clock set back would keep clients out."""

    def __init__(
        self, limits: Mapping[str, Limit], elapsed_ms: Callable[[], int], *, max_clients: int = 10_000
    ) -> None:
        self._limits = limits
        self._elapsed_ms = elapsed_ms
        self._max = max_clients
        # Ordered by the last request that was let through; each holds at most `count` times.
        self._seen: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()

    def take(self, name: str, ip: str) -> int:
        """
        Count one request of a client; return 0 when it may, else in how many whole seconds it may.

        A refused request is not counted. A limit that is off lets everything through.
        """
        limit = self._limits.get(name)
        if limit is None:
            return 0
        now, key = self._elapsed_ms(), (name, counted_as(ip))
        times = self._seen.setdefault(key, deque())
        while times and times[0] <= now - limit.per_s * 1000:
            times.popleft()
        if len(times) >= limit.count:
            return -((now - limit.per_s * 1000 - times[0]) // 1000)
        times.append(now)
        self._seen.move_to_end(key)
        while len(self._seen) > self._max:
            self._seen.popitem(last=False)
        return 0
