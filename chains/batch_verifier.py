"""The second look at transfers, of which each is judged by itself: what one lacks never keeps another waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from chains.errors import ChainError
from chains.rpc.endpoints import Endpoint, EndpointPool
from chains.types import Outcome, Transfer, Verification

MOST_DOUBTS = 10_000

Key = tuple[str, str]
Look = Callable[[Endpoint, Sequence[Transfer]], Awaitable[list[Verification]]]


class SecondLook:
    """
    Looks at transfers in parts, and asks another endpoint about what the last one could not judge.

    A receipt that one node has pruned, or cannot read, another one holds: asking the same again and again
    once kept a payment unconfirmed for ever.
    """

    def __init__(self, pool: EndpointPool, method: str, look: Look, *, part: int) -> None:
        self._pool = pool
        self._method = method
        self._look = look
        self._part = part
        self._doubts: dict[Key, Endpoint] = {}  # who could not judge what

    async def verify(self, transfers: Sequence[Transfer]) -> list[Verification]:
        """
        Look at transfers; answers in the order asked.

        Raises:
            ChainError: no endpoint serves; of transfers that were in doubt before it is told as a reason instead.
        """
        found: dict[int, Verification] = {}
        for doubted, places in self._groups(transfers).items():
            for part in self._parts(transfers, places):
                seen = await self._verify([transfers[place] for place in part], doubted)
                found |= dict(zip(part, seen, strict=True))
        return [found[place] for place in range(len(transfers))]

    def _groups(self, transfers: Sequence[Transfer]) -> dict[Endpoint | None, list[int]]:
        """Return the places of transfers by the endpoint that could not judge them; first those without one."""
        groups: dict[Endpoint | None, list[int]] = {None: []}
        for place, transfer in enumerate(transfers):
            groups.setdefault(self._doubts.get(_key(transfer)), []).append(place)
        return groups

    def _parts(self, transfers: Sequence[Transfer], places: Sequence[int]) -> Iterator[list[int]]:
        """
        Cut to so many transactions each; all that one of them moved is looked at in one go.

        A transaction with thousands of crumbs, asked for again for every few, grew with their square.
        """
        by_transaction: dict[str, list[int]] = {}
        for place in places:
            by_transaction.setdefault(transfers[place].tx_hash, []).append(place)
        together = list(by_transaction.values())
        for start in range(0, len(together), self._part):
            yield [place for group in together[start : start + self._part] for place in group]

    async def _verify(self, part: Sequence[Transfer], doubted: Endpoint | None) -> list[Verification]:
        asked: list[Endpoint] = []

        async def look(endpoint: Endpoint) -> list[Verification]:
            asked.append(endpoint)
            return await self._look(endpoint, part)

        try:
            seen = await self._pool.run(self._method, look, avoiding=() if doubted is None else (doubted,))
        except ChainError as exc:
            if doubted is None:
                raise
            return [Verification(transfer, Outcome.NOT_YET, 0, why=str(exc)) for transfer in part]
        for each in seen:
            self._note(each, asked[-1])
        return seen

    def _note(self, seen: Verification, by: Endpoint) -> None:
        key = _key(seen.transfer)
        self._doubts.pop(key, None)
        if seen.why is not None:
            self._doubts[key] = by
        while len(self._doubts) > MOST_DOUBTS:
            del self._doubts[next(iter(self._doubts))]


def _key(transfer: Transfer) -> Key:
    return transfer.tx_hash, transfer.event_key
