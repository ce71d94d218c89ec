"""A payment that cannot be judged is named on the status and holds up nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from api.answers import chain_status
from chains.types import Transfer, Verification, VerificationOutcome
from protocol.codec import plain
from scanner.model import IntentStatus
from scanner.services import ChainStatus
from tests.cases.scripted import bench
from tests.scanner.bench import Bench
from tests.scanner.facts import NOW, a_hash, a_transfer, an_intent

__all__ = ["bench"]


def unreadable(bench: Bench, hashes: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    look = bench.chain._look

    def not_these(transfer: Transfer) -> Verification:
        if transfer.tx_hash in hashes:
            return Verification(transfer, VerificationOutcome.NOT_YET, 0, why="no endpoint holds its receipt")
        return look(transfer)

    monkeypatch.setattr(bench.chain, "_look", not_these)


def shown(bench: Bench) -> dict[str, Any]:
    status = ChainStatus(
        chain=bench.worker.chain,
        health=bench.worker.health,
        condition=bench.chain.condition(),
        pending_intents=0,
        counts={},
        active_watches=0,
        backlog=None,
        tokens=(),
        leader=None,
    )
    return plain(chain_status(status, NOW))


@pytest.mark.parametrize("count", [1, 21, 45])
async def test_those_that_cannot_be_judged_are_listed_and_the_others_confirm_and_expire(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    stuck = [an_intent(f"s-{n:02}") for n in range(count)]
    fine = [an_intent(f"f-{n:02}") for n in range(5)]
    unpaid = an_intent("unpaid", expires_at=NOW)
    await bench.wait_for(*stuck, *fine, unpaid)
    bench.chain.extend()
    for order in (*stuck, *fine):
        bench.chain.put(a_transfer(order, tx_hash=a_hash("tx", order.intent_id)))
    bench.chain.extend(4, wait=200)
    hashes = {a_hash("tx", order.intent_id) for order in stuck}
    unreadable(bench, hashes, monkeypatch)

    await bench.worker.poll()
    bench.clock.advance(60)
    await bench.worker.poll()

    assert {(await bench.intent(order.intent_id)).status for order in fine} == {IntentStatus.CONFIRMED}
    assert {(await bench.intent(order.intent_id)).status for order in stuck} == {IntentStatus.CONFIRMING}
    assert (await bench.intent("unpaid")).status is IntentStatus.EXPIRED
    status = shown(bench)
    assert (status["state"], status["stuckCount"], len(status["stuck"])) == ("ready", count, min(count, 20))
    assert {row["txHash"] for row in status["stuck"]} <= hashes
    assert {row["why"] for row in status["stuck"]} == {"no endpoint holds its receipt"}
    assert {row["since"] for row in status["stuck"]} == {"2026-09-21T14:13:20.000Z"}  # since it was first seen so

    hashes.clear()
    await bench.worker.poll()
    assert (shown(bench)["stuck"], shown(bench)["stuckCount"]) == ([], 0)
    assert {(await bench.intent(order.intent_id)).status for order in stuck} == {IntentStatus.CONFIRMED}


async def test_a_sum_of_which_one_part_cannot_be_judged_waits_and_names_that_part(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    bench.chain.put(a_transfer(intent, amount=400))
    bad = bench.chain.put(a_transfer(intent, amount=600, tx_hash=a_hash("tx", 2)))
    bench.chain.extend(4)
    unreadable(bench, {bad.tx_hash}, monkeypatch)

    await bench.worker.poll()

    assert (await bench.intent()).status is IntentStatus.CONFIRMING
    assert [row["txHash"] for row in shown(bench)["stuck"]] == [bad.tx_hash]


async def test_a_sum_of_more_parts_than_are_looked_at_at_once_is_confirmed_as_a_whole(bench: Bench) -> None:
    intent = an_intent(amount=1201)
    await bench.wait_for(intent)
    bench.chain.extend()
    for part in range(1201):
        bench.chain.put(a_transfer(intent, amount=1, tx_hash=a_hash("tx", part)))
    bench.chain.extend(4)

    await bench.worker.poll()

    assert (await bench.intent()).status is IntentStatus.CONFIRMED
    assert [len(looked) for looked in bench.chain.verified] == [500, 500, 201]
