"""Verification in batches, one endpoint a batch: a transfer one endpoint cannot judge is put to another endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from chains.errors import ChainError
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool
from chains.types import Transfer, Verification, VerificationOutcome

MAX_UNDECIDED = 10_000

TransferKey = tuple[str, str]
VerifyBatch = Callable[[Endpoint, Sequence[Transfer]], Awaitable[list[Verification]]]


class BatchVerifier:
    """
    Verifies transfers in batches, and asks another endpoint about what the last one could not judge.

    A receipt that one node has pruned, or cannot read, another node holds. Asking the same node again and
    again once kept a payment unconfirmed for ever.
    """

    def __init__(self, pool: EndpointPool, method: str, verify_batch: VerifyBatch, *, batch_size: int) -> None:
        self._pool = pool
        self._method = method
        self._verify_batch = verify_batch
        self._batch_size = batch_size  # transactions
        self._undecided: dict[TransferKey, Endpoint] = {}  # by whom a transfer could not be judged

    async def verify(self, transfers: Sequence[Transfer]) -> list[Verification]:
        """
        Verify transfers; answers in the order asked.

        Raises:
            ChainError: no endpoint serves. For transfers that were undecided before it becomes their reason instead.
        """
        found: dict[int, Verification] = {}
        for avoided, places in self._by_avoided_endpoint(transfers).items():
            for batch in self._batches(transfers, places):
                answers = await self._ask([transfers[place] for place in batch], avoided)
                found |= dict(zip(batch, answers, strict=True))
        return [found[place] for place in range(len(transfers))]

    def _by_avoided_endpoint(self, transfers: Sequence[Transfer]) -> dict[Endpoint | None, list[int]]:
        """Return the places of transfers by the endpoint that could not judge them; first those without one."""
        groups: dict[Endpoint | None, list[int]] = {None: []}
        for place, transfer in enumerate(transfers):
            groups.setdefault(self._undecided.get(_key(transfer)), []).append(place)
        return groups

    def _batches(self, transfers: Sequence[Transfer], places: Sequence[int]) -> Iterator[list[int]]:
        """
        Cut places into batches of so many transactions; all transfers of one transaction stay together.

        A transaction with thousands of dust transfers, fetched again for every few of them, cost quadratic work.
        """
        by_transaction: dict[str, list[int]] = {}
        for place in places:
            by_transaction.setdefault(transfers[place].tx_hash, []).append(place)
        groups = list(by_transaction.values())
        for start in range(0, len(groups), self._batch_size):
            yield [place for group in groups[start : start + self._batch_size] for place in group]

    async def _ask(self, batch: Sequence[Transfer], avoided: Endpoint | None) -> list[Verification]:
        asked: list[Endpoint] = []

        async def verify(endpoint: Endpoint) -> list[Verification]:
            asked.append(endpoint)
            return await self._verify_batch(endpoint, batch)

        try:
            answers = await self._pool.call(self._method, verify, avoiding=() if avoided is None else (avoided,))
        except ChainError as exc:
            if avoided is None:
                raise
            return [Verification(transfer, VerificationOutcome.NOT_YET, 0, why=str(exc)) for transfer in batch]
        for answer in answers:
            self._remember(answer, asked[-1])
        return answers

    def _remember(self, answer: Verification, endpoint: Endpoint) -> None:
        key = _key(answer.transfer)
        if answer.why is not None:
            self._undecided.pop(key, None)
            self._undecided[key] = endpoint
        elif self._undecided.get(key) is endpoint:
            # What another endpoint told, this one still lacks: two parts of one sum, lacking since different polls,
            # were told in turn, and never both at once.
            del self._undecided[key]
        while len(self._undecided) > MAX_UNDECIDED:
            del self._undecided[next(iter(self._undecided))]


def _key(transfer: Transfer) -> TransferKey:
    return transfer.tx_hash, transfer.event_key
