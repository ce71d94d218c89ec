"""What a cursor passed too early is found by the sweep, or by the last look before an intent expires."""

from __future__ import annotations

from typing import Any

import pytest

from chains.errors import ChainUnavailable
from chains.types import Cursor, Head, Rail, RescanResult, ScanPage, Targets
from scanner.model import EventType, IntentStatus, Reason
from scanner.reading.second_reading import MOST_VERIFIED
from scanner.store import transfers
from tests.cases.scripted import bench, in_s
from tests.scanner.bench import Bench
from tests.scanner.facts import a_hash, a_transfer, an_intent

__all__ = ["bench"]

SHOPS = ["0x" + f"d{n:03x}" * 10 for n in range(1, 40)]
HOUR = 3600.0


def direct(number: int = 0, **fields: Any) -> Any:
    shop = SHOPS[number]
    return an_intent(f"order-{number}", rail=Rail.DIRECT, destination=shop, destination_key=shop, **fields)


async def missed(bench: Bench, *orders: Any) -> None:
    """Let payments lie in blocks that were read before the index told of them."""
    await bench.wait_for(*orders)
    bench.chain.extend()
    for order in orders:
        tx_hash = a_hash("tx", order.intent_id)
        bench.chain.unlisted.add(tx_hash)
        bench.chain.put(a_transfer(order, tx_hash=tx_hash))
    bench.chain.extend(6)
    await bench.worker.poll()
    bench.chain.extend(4)
    await bench.worker.poll()
    for order in orders:
        assert (await bench.intent(order.intent_id)).status is IntentStatus.PENDING


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("counts_blocks", [True, False])
async def test_the_last_look_finds_what_the_running_scan_never_saw(
    bench: Bench, count: int, counts_blocks: bool
) -> None:
    bench.chain.counts_blocks = counts_blocks
    orders = [direct(n, expires_at=in_s(bench, 100), events=(EventType.EXPIRED,)) for n in range(count)]
    await missed(bench, *orders)
    bench.chain.extend(wait=200)
    bench.chain.extend(4)

    await bench.read_twice()

    for order in orders:
        assert (await bench.intent(order.intent_id)).status is IntentStatus.CONFIRMED
    assert await bench.event_types() == [EventType.CONFIRMED] * count
    (looked,) = bench.chain.looked_again  # all in one question
    assert looked == (orders[0].created_at // 1000 - 600, orders[0].expires_at // 1000 + 60)


async def test_nothing_is_looked_for_twice_before_it_would_expire_and_once_then(bench: Bench) -> None:
    await bench.wait_for(direct(expires_at=in_s(bench, 100)))
    bench.chain.extend(wait=150)
    await bench.read_twice()
    assert bench.chain.looked_again == []

    bench.chain.extend(wait=150)
    await bench.read_twice()
    await bench.read_twice()

    assert len(bench.chain.looked_again) == 1
    assert (await bench.intent("order-0")).status is IntentStatus.EXPIRED


@pytest.mark.long
async def test_an_address_that_cannot_be_read_again_waits_an_hour_alone_and_is_named(bench: Bench) -> None:
    ends = in_s(bench, 100)
    await bench.wait_for(direct(0, expires_at=ends), direct(1, expires_at=ends))
    bench.chain.unreadable[SHOPS[0]] = "the history is not served"
    bench.chain.extend(wait=300)
    for _ in range(60):
        await bench.read_twice()
        bench.seconds += 59
    assert (await bench.intent("order-1")).status is IntentStatus.EXPIRED
    assert (await bench.intent("order-0")).status is IntentStatus.PENDING

    bench.seconds += HOUR
    await bench.read_twice()

    assert (await bench.intent("order-0")).status is IntentStatus.EXPIRED
    why = "intent order-0 expired without having been read a second time: the history is not served"
    assert why in bench.worker.health.problems


async def test_an_address_that_is_readable_again_in_time_is_read(bench: Bench) -> None:
    order = direct(expires_at=in_s(bench, 100))
    await missed(bench, order)
    bench.chain.unreadable[SHOPS[0]] = "busy"
    bench.chain.extend(5, wait=300)
    await bench.read_twice()
    bench.seconds += HOUR / 2
    bench.chain.unreadable = {}

    await bench.read_twice()

    assert (await bench.intent("order-0")).status is IntentStatus.CONFIRMED
    assert bench.worker.health.problems == []


async def test_the_sweep_finds_it_hours_before_the_expiry_and_the_status_says_how_far(bench: Bench) -> None:
    await missed(bench, direct())
    assert bench.worker.health.sweep is None
    await bench.worker.second.turn()
    assert bench.chain.looked_again == []

    bench.seconds += 600
    await bench.worker.second.turn()
    await bench.worker.poll()

    assert (await bench.intent("order-0")).status is IntentStatus.CONFIRMED
    now = in_s(bench, 0) // 1000
    assert bench.chain.looked_again == [(now - 3 * 3600, now)]
    sweep = bench.worker.health.sweep
    assert sweep is not None
    assert (sweep.covered_to, sweep.at) == (now, bench.clock.now_ms())


async def test_sweeps_come_an_interval_apart_and_ask_nothing_where_nobody_waits(bench: Bench) -> None:
    bench.seconds += 600
    await bench.worker.second.turn()
    assert bench.chain.looked_again == []
    await bench.wait_for(direct())
    await bench.worker.poll()
    for minutes, sweeps in [(30, 0), (29, 0), (1, 1), (59, 1), (1, 2)]:
        bench.seconds += minutes * 60
        await bench.worker.second.turn()
        assert len(bench.chain.looked_again) == sweeps


async def test_what_a_sweep_covered_is_not_read_a_third_time_where_blocks_are_read(bench: Bench) -> None:
    order = direct(expires_at=in_s(bench, 1000))
    await bench.wait_for(order)
    bench.chain.extend(5, wait=500)
    await bench.worker.poll()
    bench.seconds += 600
    await bench.worker.second.turn()
    swept_to = in_s(bench, 0) // 1000
    bench.chain.extend(wait=2000)

    await bench.read_twice()

    assert bench.chain.looked_again[1:] == [(swept_to, order.expires_at // 1000 + 60)]
    assert (await bench.intent("order-0")).status is IntentStatus.EXPIRED


async def test_an_address_no_sweep_could_read_is_named_and_the_others_are_swept(bench: Bench) -> None:
    await missed(bench, direct(0), direct(1))
    bench.chain.unreadable[SHOPS[0]] = "busy"
    bench.seconds += 600

    await bench.worker.second.turn()
    await bench.worker.poll()

    assert (await bench.intent("order-1")).status is IntentStatus.CONFIRMED
    assert bench.worker.health.problems == [f"address {SHOPS[0]} could not be swept: busy"]
    assert bench.worker.health.sweep is not None


@pytest.mark.parametrize("count", [1, 3, 30])
async def test_addresses_no_sweep_can_read_are_named_and_the_others_say_how_far_it_came(
    bench: Bench, count: int
) -> None:
    orders = [direct(number) for number in range(count + 1)]
    await bench.wait_for(*orders)
    await bench.worker.poll()
    bench.chain.unreadable = {order.destination_key: "busy" for order in orders[1:]}
    bench.seconds += 600

    await bench.worker.second.turn()
    await bench.worker.poll()

    sweep = bench.worker.health.sweep
    assert sweep is not None
    assert sweep.covered_to == in_s(bench, 0) // 1000
    named = [problem for problem in bench.worker.health.problems if problem.endswith("could not be swept: busy")]
    assert len(named) == min(count, 20)
    assert (f"{count - 20} more could not be swept" in bench.worker.health.problems) is (count > 20)


async def test_a_sweep_that_could_read_nobody_leaves_what_the_last_one_reached(bench: Bench) -> None:
    await bench.wait_for(direct())
    await bench.worker.poll()
    bench.seconds += 600
    await bench.worker.second.turn()
    before = bench.worker.health.sweep
    assert before is not None
    bench.chain.unreadable[SHOPS[0]] = "busy"
    bench.chain.extend(30)
    await bench.worker.poll()
    bench.seconds += 3600

    await bench.worker.second.turn()

    assert bench.worker.health.sweep == before


@pytest.mark.parametrize("waits_directly", [True, False])
async def test_what_of_the_proxy_could_be_swept_is_reported_and_what_stopped_it_is_named(
    bench: Bench, waits_directly: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.wait_for(an_intent(), *([direct()] if waits_directly else []))
    bench.chain.extend(30)
    await bench.worker.poll()
    whole = bench.chain.scan

    async def breaks_off(rail: Rail, targets: Targets, after: Cursor, head: Head, *, reread_s: int = 0) -> Any:
        if after.position > bench.chain.top - 10:
            raise ChainUnavailable("the node is away")
        return await whole(rail, targets, after, head, reread_s=reread_s)

    monkeypatch.setattr(bench.chain, "scan", breaks_off)
    bench.seconds += 600
    await bench.worker.second.turn()
    monkeypatch.undo()
    await bench.worker.poll()

    sweep = bench.worker.health.sweep
    assert sweep is not None
    assert in_s(bench, -10) // 1000 < sweep.covered_to < in_s(bench, 0) // 1000
    assert bench.worker.health.problems == ["the proxy's events could not be swept: the node is away"]


async def test_the_sweep_reads_the_proxy_once_more_as_well(bench: Bench) -> None:
    intent = an_intent()
    await missed(bench, intent)
    bench.chain.unlisted.clear()
    bench.seconds += 600

    await bench.worker.second.turn()
    await bench.worker.poll()

    assert (await bench.intent()).status is IntentStatus.CONFIRMED


@pytest.mark.parametrize("rail", list(Rail))
async def test_what_another_endpoint_shows_in_a_block_that_was_replaced_is_not_listed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, rail: Rail
) -> None:
    order = direct() if rail is Rail.DIRECT else an_intent("order-0")
    await bench.wait_for(order)
    bench.chain.extend()
    replaced = bench.chain.put(a_transfer(order, amount=0))
    bench.chain.cut(replaced.block_number - 1)
    bench.chain.extend(6, branch="b")
    bench.chain.unlisted.add(a_hash("late"))
    stands = bench.chain.put(a_transfer(order, amount=0, tx_hash=a_hash("late")), at=bench.chain.top - 3)
    await bench.worker.poll()
    bench.chain.extend(9)
    await bench.worker.poll()

    async def rescan(*_: Any, **__: Any) -> RescanResult:
        return RescanResult([replaced, stands], {})

    async def scan(*_: Any, **__: Any) -> ScanPage:
        return ScanPage([replaced, stands], Cursor(bench.chain.top), bench.chain.times[bench.chain.top], 2)

    monkeypatch.setattr(bench.chain, "rescan", rescan)
    monkeypatch.setattr(bench.chain, "scan", scan)
    assert await bench.reasons("order-0") == []
    await bench.worker.second.sweep()

    async with bench.db.read() as tx:
        listed = (await transfers.of_intents(tx, ["order-0"]))["order-0"]
    assert [(row.tx_hash, row.reason) for row in listed] == [(a_hash("late"), "zero_amount")]


async def test_of_what_a_second_reading_shows_for_the_first_time_a_bounded_number_is_asked_about_and_all_is_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = direct()
    await bench.wait_for(order)
    bench.chain.extend()
    await bench.worker.poll()
    shown = [
        a_transfer(order, amount=1, tx_hash=a_hash(f"crumb {number}"), block_number=bench.chain.top)
        for number in range(MOST_VERIFIED + 1)
    ]
    asked: list[int] = []
    verify = bench.chain.verify

    async def counted(found: Any, **how: Any) -> Any:
        asked.append(len(found))
        return await verify(found, **how)

    async def rescan(*_: Any, **__: Any) -> RescanResult:
        return RescanResult(shown, {})

    monkeypatch.setattr(bench.chain, "rescan", rescan)
    monkeypatch.setattr(bench.chain, "verify", counted)
    await bench.worker.second.sweep()

    assert asked == [MOST_VERIFIED]
    async with bench.db.read() as tx:
        kept = (await transfers.of_intents(tx, ["order-0"]))["order-0"]
    assert a_hash(f"crumb {MOST_VERIFIED}") in {row.tx_hash for row in kept}  # of what nobody asked nothing is left out


@pytest.mark.parametrize("rail", list(Rail))
@pytest.mark.parametrize("reason", [Reason.CANCELLED, Reason.LATE])
@pytest.mark.parametrize(("ended_before_s", "is_listed"), [(60, True), (3 * 3600 - 600, True), (3 * 3600, False)])
async def test_what_an_index_shows_late_and_was_paid_to_an_order_that_had_just_ended_is_listed(
    bench: Bench, rail: Rail, reason: Reason, ended_before_s: int, is_listed: bool
) -> None:
    ended = in_s(bench, -ended_before_s)
    fields: dict[str, Any] = {
        "status": IntentStatus.EXPIRED,
        "created_at": ended - 600_000,
        "expires_at": ended - 60_000,
        "expired_at": ended,
        "cancelled_at": ended if reason is Reason.CANCELLED else None,
    }
    order = direct(**fields) if rail is Rail.DIRECT else an_intent("order-0", **fields)
    await bench.wait_for(order)
    bench.chain.extend()
    bench.chain.unlisted.add(a_hash("late"))
    bench.chain.put(a_transfer(order, tx_hash=a_hash("late"), block_time=in_s(bench, 0) // 1000))
    bench.chain.extend(6, wait=120)
    await bench.worker.poll()
    bench.chain.unlisted.clear()
    await bench.worker.poll()
    assert await bench.reasons("order-0") == []

    await bench.worker.second.sweep()

    assert await bench.reasons("order-0") == [reason] * is_listed
    assert (await bench.intent("order-0")).status is IntentStatus.EXPIRED
