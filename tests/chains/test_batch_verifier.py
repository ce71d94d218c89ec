"""What one endpoint cannot judge is put to another one, for as long as that takes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from chains.batch_verifier import BatchVerifier
from chains.rpc.endpoint import Endpoint
from chains.rpc.endpoint_pool import EndpointPool
from chains.types import Transfer, Verification, VerificationOutcome

CREDITED, NOT_YET = VerificationOutcome.CREDITED, VerificationOutcome.NOT_YET


class NoTelemetry:
    """Counts nothing."""

    def rpc_call(self, endpoint: str, method: str, seconds: float, error: str | None) -> None: ...


def transfer(tx_hash: str) -> Transfer:
    return Transfer(
        chain_id=1,
        tx_hash=tx_hash,
        event_key="0",
        log_index=0,
        block_number=1,
        block_hash=None,
        block_time=1,
        token="token",
        destination="shop",
        amount=1,
    )


PARTS = [transfer("first"), transfer("second")]


class Nodes:
    """Two endpoints, of which the first one lacks some transactions."""

    def __init__(self) -> None:
        self.lacking = {"first", "second"}
        self.asked: list[tuple[str, list[str]]] = []
        self.pool = EndpointPool(["http://pruned.test", "http://whole.test"], telemetry=NoTelemetry())
        self.verifier = BatchVerifier(self.pool, "receipts", self._verify, batch_size=20)

    async def _verify(self, endpoint: Endpoint, batch: Sequence[Transfer]) -> list[Verification]:
        self.asked.append((endpoint.label, [each.tx_hash for each in batch]))
        lacking = self.lacking if endpoint is self.pool.endpoints[0] else set()
        return [
            Verification(t, NOT_YET, 0, why="no receipt") if t.tx_hash in lacking else Verification(t, CREDITED, 1)
            for t in batch
        ]

    async def outcomes(self, transfers: Sequence[Transfer]) -> list[VerificationOutcome]:
        return [seen.outcome for seen in await self.verifier.verify(transfers)]


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


async def test_what_one_cannot_judge_another_one_is_asked_for(nodes: Nodes) -> None:
    assert await nodes.outcomes(PARTS) == [NOT_YET, NOT_YET]
    assert await nodes.outcomes(PARTS) == [CREDITED, CREDITED]
    assert nodes.asked[-1] == ("whole.test#2", ["first", "second"])


async def test_the_parts_of_a_sum_that_were_lacking_since_different_polls_are_judged_in_one(nodes: Nodes) -> None:
    assert await nodes.outcomes(PARTS[:1]) == [NOT_YET]
    assert await nodes.outcomes(PARTS) == [CREDITED, NOT_YET]
    for _ in range(3):
        assert await nodes.outcomes(PARTS) == [CREDITED, CREDITED]


async def test_who_can_judge_again_is_asked_again(nodes: Nodes) -> None:
    await nodes.outcomes(PARTS)
    nodes.lacking.clear()
    nodes.pool.endpoints[1].backoff_until = float("inf")

    assert await nodes.outcomes(PARTS) == [CREDITED, CREDITED]
    nodes.pool.endpoints[1].backoff_until = 0
    await nodes.outcomes(PARTS)

    assert nodes.asked[-1][0] == "pruned.test#1"
