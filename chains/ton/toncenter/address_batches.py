"""Many addresses in as few questions as an endpoint takes: halved at once when it refuses, in whatever words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from chains.errors import ChainUnavailable
from chains.rpc.endpoint import Endpoint
from chains.rpc.http_client import CutOff, TimedOut, TooLarge

REFUSALS_TO_SKIP = 3  # of one address alone, in a row
MAX_REFUSED = 1_000  # addresses remembered for it
MAX_TIME_OUTS = 2  # in one go: each costs the whole time-out

T = TypeVar("T")


class AsksTooMuch(ChainUnavailable):
    """The endpoint did not serve the question, as when it asks for too much; a smaller one may be served."""


RETRY_SMALLER = (AsksTooMuch, TimedOut, TooLarge, CutOff)


class AddressBatches:
    """
    Asks about many addresses in batches as large as an endpoint takes them.

    `alive` asks an endpoint for something small: one that does not answer that either is down, and no smaller batch
    helps.
    """

    def __init__(self, alive: Callable[[Endpoint], Awaitable[object]]) -> None:
        self._alive = alive
        self._refused: dict[tuple[Endpoint, str], int] = {}  # how often a single address was, in a row

    async def ask(
        self,
        endpoint: Endpoint,
        addresses: Sequence[str],
        ask: Callable[[Sequence[str]], Awaitable[T]],
        *,
        skipped: dict[str, str] | None = None,
    ) -> list[T]:
        """
        Return the answers for all batches.

        A service that timed out over many owners once stopped the whole chain. A refusal of one address alone was
        not about their number, and teaches nothing. With `skipped`, an address that was refused several times,
        while others are answered for, is noted there and skipped: a stranger who makes one address unreadable must
        not stop the others.

        Raises:
            ChainError: the endpoint does not serve even one.
        """
        limit = endpoint.limits.owners
        size = limit.size
        refused: int | None = None  # the smallest number refused that one more question will explain
        answers: list[T] = []
        rest = list(addresses)
        time_outs = 0
        served = True  # since the last address that was skipped
        while rest:
            batch = rest[:size]
            try:
                answer = await ask(batch)
            except RETRY_SMALLER as exc:
                if len(batch) == 1:
                    if skipped is None or not self._is_given_up(endpoint, batch[0]) or not served:
                        raise
                    skipped[batch[0]], served = str(exc), False
                    rest, size, refused = rest[1:], limit.size, None
                    continue
                if refused is None:
                    await self._alive(endpoint)
                refused, size = len(batch), len(batch) // 2
                time_outs += isinstance(exc, TimedOut)
                if time_outs > MAX_TIME_OUTS:
                    limit.refused(refused)
                    raise
                continue
            if refused is not None:
                size, refused = limit.refused(refused), None
            limit.served(len(batch))
            served = True
            for address in batch:
                self._refused.pop((endpoint, address), None)
            answers.append(answer)
            rest = rest[len(batch) :]
        if skipped and not answers:
            raise AsksTooMuch(next(iter(skipped.values())))
        return answers

    def _is_given_up(self, endpoint: Endpoint, address: str) -> bool:
        """Count a refusal of one address alone; say whether it is time to skip it."""
        key = (endpoint, address)
        self._refused[key] = self._refused.get(key, 0) + 1
        while len(self._refused) > MAX_REFUSED:
            del self._refused[next(iter(self._refused))]
        return self._refused[key] >= REFUSALS_TO_SKIP
