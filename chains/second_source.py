"""A second source of a chain: what it does not say as well is not believed of the first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from chains.errors import ChainError
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool
from chains.types import EndpointReport, Verification, VerificationOutcome

NOT_YET = VerificationOutcome.NOT_YET
MAX_ASKED = 3  # endpoints in one go about what the others could not tell
MAX_REASON_CHARS = 300

VerifyAgain = Callable[[Endpoint, Sequence[Verification]], Awaitable[list[Verification]]]


class SecondSource:
    """
    Endpoints of another operator than the first one's, which are asked the same once more.

    `verify_again` reads from one endpoint what was verified, and says of each what that endpoint shows.
    """

    def __init__(self, pool: EndpointPool, method: str, verify_again: VerifyAgain) -> None:
        for endpoint in pool.endpoints:
            endpoint.label += " second"  # the first source may be another path of the same host
        self._pool = pool
        self._method = method
        self._verify_again = verify_again
        self.problem: str | None = None  # of the last comparison, for an operator

    def reports(self) -> tuple[EndpointReport, ...]:
        """Return what is known of its endpoints."""
        return tuple(map(self._pool.report, self._pool.endpoints))

    def problems(self) -> tuple[str, ...]:
        """Return a sentence about the last comparison, if it ended without agreement."""
        return () if self.problem is None else (self.problem,)

    async def compare(self, said: Sequence[Verification], first: str) -> list[Verification]:
        """
        Return what both sources say, in the order given; `first` names the one that said it.

        What they do not say alike is `NOT_YET`: nothing is confirmed by it, and nothing turned down.
        """
        self.problem = None
        decided = [place for place, each in enumerate(said) if each.outcome is not NOT_YET]
        if not decided:
            return list(said)
        found = list(said)
        try:
            told = await self._told([said[place] for place in decided])
        except ChainError as exc:
            why = f"the second source cannot be asked: {exc}"
            return [each if each.outcome is NOT_YET else self._undecided(each, why) for each in said]
        for place, (second, again) in zip(decided, told, strict=True):
            found[place] = self._compared(said[place], again, first, second)
        return found

    async def _told(self, said: Sequence[Verification]) -> list[tuple[str, Verification]]:
        """Return what the second source says and who of it; what one endpoint cannot tell is put to another."""
        told: dict[int, tuple[str, Verification]] = {}
        asked: list[Endpoint] = []
        unsaid = list(range(len(said)))
        while unsaid and len(asked) < min(MAX_ASKED, len(self._pool.endpoints)):
            ask = partial(self._ask, said=[said[place] for place in unsaid])
            try:
                endpoint, answers = await self._pool.call(self._method, ask, avoiding=asked)
            except ChainError:
                if told:  # what the first of them said stands
                    break
                raise
            if endpoint in asked:
                break
            asked.append(endpoint)
            told |= {place: (endpoint.label, answer) for place, answer in zip(unsaid, answers, strict=True)}
            unsaid = [place for place in unsaid if told[place][1].outcome is NOT_YET]
        if unsaid:
            self._begin_after(asked)
        return [told[place] for place in range(len(said))]

    async def _ask(self, endpoint: Endpoint, *, said: Sequence[Verification]) -> tuple[Endpoint, list[Verification]]:
        return endpoint, await self._verify_again(endpoint, said)

    def _begin_after(self, asked: Iterable[Endpoint]) -> None:
        """Begin with another endpoint next time: what those asked now do not hold, one further on may."""
        endpoints = self._pool.endpoints
        last = max(map(endpoints.index, asked))
        self._pool.prefer(endpoints[(last + 1) % len(endpoints)])

    def _compared(self, one: Verification, other: Verification, first: str, second: str) -> Verification:
        if (one.outcome, one.credited, one.transfer) == (other.outcome, other.credited, other.transfer):
            return one
        shown = other.why if other.outcome is NOT_YET else _shown(other)
        why = f"{first} says {_shown(one)} and {second} says {shown} of {one.transfer.tx_hash}"
        return self._undecided(one, why)

    def _undecided(self, one: Verification, why: str) -> Verification:
        self.problem = self.problem or why[:MAX_REASON_CHARS]
        return Verification(one.transfer, NOT_YET, 0, why=why[:MAX_REASON_CHARS])


def _shown(seen: Verification) -> str:
    return f"{seen.outcome} ({seen.credited} from {seen.transfer.sender})"
