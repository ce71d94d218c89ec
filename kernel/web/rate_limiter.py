"""How often one client may ask: an exact sliding window a client, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
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
        self.limits = limits
        self.on_taken: Callable[[str, str], None] = _nobody_asks  # told of each request that was let through
        self._elapsed_ms = elapsed_ms
        self._max = max_clients
        # Ordered by the last request that was let through; each holds at most `count` times.
        self._seen: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()
        self._elsewhere: OrderedDict[tuple[str, str], Sequence[tuple[int, int]]] = OrderedDict()

    def take(self, name: str, ip: str) -> int:
        """
        Count one request of a client; return 0 when it may, else in how many whole seconds it may.

        A refused request is not counted. A limit that is off lets everything through.
        """
        limit = self.limits.get(name)
        if limit is None:
            return 0
        now, key = self._elapsed_ms(), (name, counted_as(ip))
        over = now - limit.per_s * 1000
        times = self._seen.setdefault(key, deque())
        while times and times[0] <= over:
            times.popleft()
        elsewhere = [(at, count) for at, count in self._elsewhere.get(key, ()) if at > over]
        too_many = len(times) + sum(count for _, count in elsewhere) - limit.count
        if too_many >= 0:
            return -((over - _passes_at(times, elsewhere, too_many)) // 1000)
        times.append(now)
        self._seen.move_to_end(key)
        while len(self._seen) > self._max:
            self._seen.popitem(last=False)
        self.on_taken(*key)
        return 0

    def learn(self, name: str, client: str, counts: Sequence[tuple[int, int]]) -> None:
        """Take over when, and how often, other processes let a client through."""
        self._elsewhere[name, client] = counts
        self._elsewhere.move_to_end((name, client))
        while len(self._elsewhere) > self._max:
            self._elsewhere.popitem(last=False)


def _nobody_asks(name: str, client: str) -> None:
    """Do nothing: one process counts for itself."""


def _passes_at(times: Iterable[int], elsewhere: Iterable[tuple[int, int]], too_many: int) -> int:
    """Return the time of the request after whose passing there is room for one more."""
    for at, count in sorted([*((at, 1) for at in times), *elsewhere]):
        too_many -= count
        if too_many < 0:
            return at
    raise ValueError("there is room already")
