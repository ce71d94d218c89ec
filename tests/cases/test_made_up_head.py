"""A checkpoint that a made-up head left above the chain heals by itself, and marks nothing as reorganised."""

from __future__ import annotations

import logging

import pytest

from chains.errors import ChainUnavailable
from scanner.model import EventType, IntentStatus, Reason
from scanner.upkeep.health import ChainState
from tests.cases.scripted import bench
from tests.scanner.bench import Bench
from tests.scanner.facts import a_hash, a_transfer, an_intent

__all__ = ["bench"]

MINUTE = 60.0


async def polls(bench: Bench) -> None:
    try:
        await bench.worker.poll()
    except ChainUnavailable as exc:
        bench.worker._failed(str(exc))


async def read_a_lie(bench: Bench, blocks: int) -> int:
    """Let the node show blocks that are not real, and then the chain as it is."""
    real = bench.chain.top
    bench.chain.extend(blocks, branch="lie")
    await bench.worker.poll()
    bench.chain.cut(real)
    return real


@pytest.mark.parametrize("blocks", [1, 40, 1000])
async def test_after_ten_minutes_above_every_head_a_checkpoint_is_taken_back(
    bench: Bench, blocks: int, caplog: pytest.LogCaptureFixture
) -> None:
    bench.chain.page = 100
    real = await read_a_lie(bench, blocks)
    await polls(bench)
    bench.seconds += 10 * MINUTE - 1
    await polls(bench)
    assert bench.worker.health.state is not ChainState.READY
    assert bench.worker.health.checkpoint == real + blocks

    bench.seconds += 1
    await polls(bench)

    assert bench.worker.health.state is ChainState.READY
    assert bench.worker.health.checkpoint == real
    assert any("above every endpoint's head" in problem for problem in bench.worker.health.problems)
    assert [r.levelno for r in caplog.records if "above every endpoint's head" in r.getMessage()] == [logging.ERROR] * 2
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    bench.chain.put(a_transfer(intent))
    bench.chain.extend(4)
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.CONFIRMED
    bench.seconds += 61 * MINUTE
    await bench.worker.poll()
    assert bench.worker.health.problems == []


async def test_a_node_that_is_behind_for_less_than_that_takes_nothing_back(bench: Bench) -> None:
    bench.chain.extend(5)
    await bench.worker.poll()
    for _ in range(20):  # behind again and again, never for long
        bench.chain.seen_up_to = bench.chain.top - 3
        await polls(bench)
        bench.seconds += 5 * MINUTE
        await polls(bench)
        bench.chain.seen_up_to = None
        await polls(bench)
        bench.seconds += 5 * MINUTE

    assert bench.worker.health.problems == []
    assert bench.worker.health.state is ChainState.READY


async def taken_back(bench: Bench) -> None:
    await polls(bench)
    bench.seconds += 10 * MINUTE
    await polls(bench)


async def test_what_was_found_above_is_unknown_and_neither_reorganised_nor_confirmed(bench: Bench) -> None:
    intent = an_intent(events=(EventType.REORGED,))
    await bench.wait_for(intent)
    real = bench.chain.top
    bench.chain.extend(2, branch="lie")
    paid = bench.chain.put(a_transfer(intent))
    await bench.worker.poll()
    bench.chain.cut(real)

    await taken_back(bench)
    assert await bench.reasons() == [None]
    assert await bench.event_types() == []
    assert (await bench.intent()).status is IntentStatus.CONFIRMING

    bench.chain.extend(8)  # the chain gets there, without it
    await polls(bench)
    assert await bench.reasons() == [Reason.REORGED]
    assert (await bench.intent()).status is IntentStatus.PENDING
    assert await bench.event_types() == [EventType.REORGED]
    bench.chain.put(paid)
    bench.chain.extend(4)
    await polls(bench)
    assert (await bench.intent()).status is IntentStatus.CONFIRMED


async def test_what_was_confirmed_on_a_lie_is_reported_once_the_real_chain_gets_there(bench: Bench) -> None:
    intent = an_intent()
    await bench.wait_for(intent)
    real = bench.chain.top
    bench.chain.extend(branch="lie")
    bench.chain.put(a_transfer(intent))
    bench.chain.extend(6, branch="lie")
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.CONFIRMED
    bench.chain.cut(real)
    await taken_back(bench)
    assert await bench.event_types() == [EventType.CONFIRMED]

    bench.chain.extend(8)
    await polls(bench)
    await polls(bench)

    assert (await bench.intent()).status is IntentStatus.CONFIRMED
    (body,) = await bench.bodies(EventType.REORGED)
    assert (body["status"], body["txHash"]) == ("reorged", a_hash("tx", 1))
    assert any("order-1" in problem for problem in bench.worker.health.problems)


async def test_what_stands_where_it_stood_is_confirmed_when_the_same_blocks_are_back(bench: Bench) -> None:
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend(3)
    bench.chain.put(a_transfer(intent))
    await bench.worker.poll()
    blocks, times = dict(bench.chain.blocks), dict(bench.chain.times)
    bench.chain.cut(bench.chain.top - 3)  # every endpoint is behind, and for long

    await taken_back(bench)
    bench.chain.blocks, bench.chain.times = blocks, times
    bench.chain.extend(4)
    await polls(bench)

    assert (await bench.intent()).status is IntentStatus.CONFIRMED
    assert await bench.event_types() == [EventType.CONFIRMED]
