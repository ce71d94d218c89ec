"""How many rows of one answer an endpoint is asked for, as learnt from its refusals."""

from __future__ import annotations

from collections.abc import Callable

from chains.errors import ChainError
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_limits import RETRY_LARGER_S, AdaptiveLimit
from chains.ton.toncenter.provider_errors import rows_named

MAX_ROWS = 1_000  # TonCenter's own limit; others show fewer
STEP_DOWN = 8  # so much fewer are asked for after a refusal


class RowLimits:
    """Remembers, for every endpoint and route, how many rows are worth asking for."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._limits: dict[tuple[Endpoint, str], AdaptiveLimit] = {}
        self._other_matters: dict[tuple[Endpoint, str], float] = {}  # until when fewer rows are not worth a question

    def of(self, endpoint: Endpoint, route: str, *, most: int = MAX_ROWS) -> AdaptiveLimit:
        """Return how many rows of one answer an endpoint is asked for, at most so many."""
        return self._limits.setdefault((endpoint, route), AdaptiveLimit(most, clock=self._clock))

    def fewer(self, endpoint: Endpoint, route: str, size: int, refused: ChainError) -> int | None:
        """
        Return how many rows to ask for after a refusal; None when it is about something else.

        A refusal that names no limit is tried with fewer rows twice: a service that shows fewer than we ask for
        once looked as if it took one address at a time. What fewer rows did not help is not tried for a while.
        """
        key = (endpoint, route)
        allowed = rows_named(str(refused), size)
        if allowed is not None:
            return allowed
        if size < self.of(endpoint, route).size // STEP_DOWN:  # very few were asked for already
            self._other_matters[key] = self._clock() + RETRY_LARGER_S
            return None
        waiting = self._clock() < self._other_matters.get(key, 0.0)
        return None if waiting or size <= STEP_DOWN else size // STEP_DOWN
