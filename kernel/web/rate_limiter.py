"""How often one client may ask: an exact sliding window a client, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kernel.web.clients import counted_as


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` in any `per_s` seconds."""

    count: int
    per_s: int


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
