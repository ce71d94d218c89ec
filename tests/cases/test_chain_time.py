"""Expiry, lateness and creation are judged by the chain's time; the host's clock decides nothing."""

from __future__ import annotations

from typing import Any

import pytest

from chains.errors import ChainUnavailable
from chains.types import Rail
from scanner import ingest
from scanner.model import EventType, IntentStatus, Reason
from scanner.registration.intents import Registrations
from tests.cases.scripted import bench, in_s
from tests.scanner.bench import Bench
from tests.scanner.facts import CHAIN, HOUR_MS, LATE_MS, NOW, a_hash, a_transfer, an_intent
from tests.scanner.test_registration import a_draft

__all__ = ["bench"]

DAY_S = 86_400
SHOP = "0x" + "d1" * 20


def direct(intent_id: str = "order-1", **fields: Any) -> Any:
    return an_intent(intent_id, **{"rail": Rail.DIRECT, "destination": SHOP, "destination_key": SHOP, **fields})


@pytest.mark.parametrize("clock_s", [-3650 * DAY_S, -3600, 3600, 25 * 3600, 3650 * DAY_S])
async def test_a_payment_made_in_time_is_confirmed_although_the_node_stood_still_over_the_expiry(
    bench: Bench, clock_s: int
) -> None:
    intent = an_intent(expires_at=in_s(bench, 10))
    await bench.wait_for(intent)
    for _ in range(3):  # the node shows nothing new, while time goes by
        bench.clock.advance(clock_s)
        await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.PENDING

    bench.chain.extend(wait=8)
    bench.chain.put(a_transfer(intent))
    bench.chain.extend(4, wait=1000)
    await bench.worker.poll()

    assert (await bench.intent()).status is IntentStatus.CONFIRMED


@pytest.mark.parametrize(
    ("after_s", "status", "reasons"),
    [
        (-1, IntentStatus.CONFIRMED, [None]),
        (0, IntentStatus.CONFIRMED, [None]),
        (60, IntentStatus.CONFIRMED, [None]),
        (61, IntentStatus.EXPIRED, [Reason.LATE]),
        (600, IntentStatus.EXPIRED, [Reason.LATE]),
    ],
)
async def test_sixty_seconds_after_the_expiry_a_block_is_late(
    bench: Bench, after_s: int, status: IntentStatus, reasons: list[Reason | None]
) -> None:
    intent = an_intent(expires_at=in_s(bench, 100))
    await bench.wait_for(intent)
    bench.chain.extend(wait=100 + after_s - 1)
    bench.chain.put(a_transfer(intent))
    bench.chain.extend(4, wait=1000)

    await bench.worker.poll()
    await bench.worker.poll()

    assert (await bench.intent()).status is status
    assert await bench.reasons() == reasons


@pytest.mark.parametrize("rail", list(Rail))
@pytest.mark.parametrize("parts", [1, 3])
async def test_what_came_in_time_and_is_found_after_the_expiry_is_confirmed_and_reported(
    bench: Bench, rail: Rail, parts: int
) -> None:
    make = direct if rail is Rail.DIRECT else an_intent
    intent = make(expires_at=in_s(bench, 10), amount=900, events=(EventType.EXPIRED, EventType.LATE))
    await bench.wait_for(intent)
    bench.chain.extend()
    paid = [bench.chain.put(a_transfer(intent, amount=900 // parts, tx_hash=a_hash("tx", n))) for n in range(parts)]
    bench.chain.extend()
    held = bench.chain.blocks[paid[0].block_number][1]
    hidden, held[:] = list(held), []
    bench.chain.extend(4, wait=200)
    await bench.read_twice()
    assert (await bench.intent()).status is IntentStatus.EXPIRED

    held[:] = hidden  # a node had not told of it
    async with bench.db.write() as tx:
        await ingest.record_page(tx, CHAIN, hidden, now=NOW, late_ms=LATE_MS)
    assert (await bench.intent()).status is IntentStatus.CONFIRMING
    await bench.worker.poll()

    after = await bench.intent()
    assert (after.status, after.amount_received) == (IntentStatus.CONFIRMED, 900)
    assert await bench.event_types() == [EventType.EXPIRED, EventType.CONFIRMED]


async def test_a_cancelled_intent_stays_cancelled_whenever_it_was_paid(bench: Bench) -> None:
    ended = in_s(bench, 0)
    intent = an_intent(status=IntentStatus.EXPIRED, cancelled_at=ended, expired_at=ended)
    await bench.wait_for(intent)
    bench.chain.extend()
    bench.chain.put(a_transfer(intent))
    bench.chain.extend(4)

    await bench.worker.poll()

    assert (await bench.intent()).status is IntentStatus.EXPIRED
    assert await bench.reasons() == [Reason.CANCELLED]


async def test_an_expired_intent_that_was_paid_in_time_expires_again_when_the_payment_leaves_the_chain(
    bench: Bench,
) -> None:
    intent = an_intent(expires_at=in_s(bench, 10), events=(EventType.REORGED,))
    await bench.wait_for(intent)
    bench.chain.extend()
    fork = bench.chain.top
    bench.chain.extend(wait=200)
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.EXPIRED
    bench.chain.cut(fork)
    bench.chain.extend(2, branch="b")
    bench.chain.put(a_transfer(intent))
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.CONFIRMING

    bench.chain.cut(fork)
    bench.chain.extend(4, branch="c", wait=200)
    await bench.worker.poll()

    assert (await bench.intent()).status is IntentStatus.EXPIRED
    assert (await bench.intent()).amount_received == 0
    assert await bench.event_types() == [EventType.REORGED]


async def test_a_part_in_time_and_the_rest_too_late_is_not_enough(bench: Bench) -> None:
    intent = an_intent(expires_at=in_s(bench, 10))
    await bench.wait_for(intent)
    bench.chain.extend()
    bench.chain.put(a_transfer(intent, amount=600))
    bench.chain.extend(wait=100)
    bench.chain.put(a_transfer(intent, amount=400, tx_hash=a_hash("tx", 2)))
    bench.chain.extend(5)

    await bench.worker.poll()
    await bench.worker.poll()

    after = await bench.intent()
    assert (after.status, after.amount_received) == (IntentStatus.EXPIRED, 600)
    assert await bench.reasons() == [Reason.UNDERPAID, Reason.LATE]


@pytest.mark.parametrize("stops", ["head", "scan"])
async def test_while_a_chain_is_not_read_nothing_expires_and_the_status_says_why(bench: Bench, stops: str) -> None:
    await bench.wait_for(an_intent(expires_at=in_s(bench, 10)))
    bench.chain.extend(wait=1000)
    bench.chain.on_call = lambda name: setattr(bench.chain, "down", name == stops)
    bench.chain.refuses = {Rail.DIRECT}
    bench.clock.advance(1000 * 3600)

    with pytest.raises(ChainUnavailable) as why:
        await bench.worker.poll()
    bench.worker._failed(str(why.value))

    assert (await bench.intent()).status is IntentStatus.PENDING
    assert "no endpoint answered" in (bench.worker.health.last_error or "")
    bench.chain.on_call = lambda name: setattr(bench.chain, "down", False)
    bench.chain.refuses = set()
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.EXPIRED


def registrations(bench: Bench) -> Registrations:
    return Registrations(bench.db, bench.clock, ttl_hours=1, chain_time=lambda _: bench.worker.chain_time())


@pytest.mark.parametrize("minutes_ahead", [20, 60 * 24, -20, -60 * 24])
async def test_a_host_clock_that_is_off_turns_no_payment_into_one_before_its_intent(
    bench: Bench, minutes_ahead: int
) -> None:
    bench.clock.advance(minutes_ahead * 60 + bench.chain.top)
    (made,) = await registrations(bench)._store([a_draft()])
    assert not isinstance(made, Exception)
    bench.chain.extend()
    bench.chain.put(a_transfer(made))
    bench.chain.extend(5)

    await bench.worker.poll()

    assert (await bench.intent(made.intent_id)).status is IntentStatus.CONFIRMED
    host, chain = bench.clock.now_ms(), in_s(bench, -6)
    assert abs((made.expires_at or 0) - max(host, chain) - HOUR_MS) <= 6_000


@pytest.mark.parametrize("unknown", ["never polled", "stale", "not seen for minutes"])
async def test_a_head_that_is_not_fresh_measures_nothing(bench: Bench, unknown: str) -> None:
    if unknown == "never polled":
        bench.worker._newest = None
    elif unknown == "stale":
        bench.chain.is_stale = True
        await bench.worker.poll()
    else:
        bench.seconds += 121

    assert bench.worker.chain_time() is None
    (made,) = await registrations(bench)._store([a_draft()])
    assert not isinstance(made, Exception)
    assert (made.chain_created_at, made.chain_position) == (NOW, None)


async def test_a_new_direct_intents_last_ten_minutes_are_read_in_its_first_poll(bench: Bench) -> None:
    bench.chain.extend(wait=400)
    paid_at = bench.chain.top
    bench.chain.extend(30, wait=100)
    bench.chain.extend(30, wait=100)
    await bench.worker.poll()
    now = in_s(bench, 0)
    intent, early = direct(created_at=now), direct("order-2", created_at=now, destination_key="0x" + "d2" * 20)
    bench.chain.put(a_transfer(intent), at=paid_at)
    bench.chain.put(a_transfer(early, tx_hash=a_hash("tx", 2)), at=paid_at - 1)
    await bench.wait_for(intent, early)

    await bench.worker.poll()

    assert (await bench.intent()).status is IntentStatus.CONFIRMED
    assert await bench.reasons("order-2") in ([], [Reason.BEFORE_INTENT])
    scans = bench.chain.calls["cursor_before"]
    await bench.worker.poll()
    assert bench.chain.calls["cursor_before"] == scans  # once


async def test_a_new_intent_does_not_expire_before_its_first_minutes_were_read(bench: Bench) -> None:
    intent = direct(created_at=in_s(bench, 0), expires_at=in_s(bench, 1))
    bench.chain.extend()
    bench.chain.put(a_transfer(intent))
    bench.chain.extend(wait=100)
    await bench.worker.poll()  # its blocks are read before it is known
    await bench.wait_for(intent)
    bench.chain.refuses = {Rail.DIRECT}
    with pytest.raises(ChainUnavailable):
        await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.PENDING

    bench.chain.refuses = set()
    bench.chain.extend(4)
    await bench.read_twice()

    assert (await bench.intent()).status is IntentStatus.CONFIRMED
