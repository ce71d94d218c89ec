"""A quiet chain costs the store next to nothing: the transactions of a quiet poll and a quiet minute are counted."""

from __future__ import annotations

import pytest

from chains.errors import ChainUnavailable
from chains.types import Cursor, Rail
from config.settings import RetentionSettings
from kernel.store.database import Database
from scanner import ingest
from scanner.model import EventType, IntentStatus, Reason
from scanner.redelivery import Redelivery
from scanner.services import alone
from scanner.store import checkpoints, samples
from scanner.upkeep.metrics import Metrics
from scanner.upkeep.retention import Retention
from scanner.upkeep.samples import Sampler
from tests.harness import FakeClock
from tests.scanner.bench import Bench
from tests.scanner.facts import CHAIN, LATE_MS, NOW, a_hash, a_transfer, an_intent
from tests.scanner.transactions import Transactions

RAILS = {"evm": (Rail.PROXY, Rail.DIRECT), "tron, ton": (Rail.DIRECT,)}


@pytest.fixture
def counted(db: Database, monkeypatch: pytest.MonkeyPatch) -> Transactions:
    return Transactions(db, monkeypatch)


@pytest.fixture(params=RAILS.values(), ids=RAILS)
async def bench(db: Database, clock: FakeClock, request: pytest.FixtureRequest) -> Bench:
    """Return a worker of a family's rails that has polled."""
    found = Bench(db, clock)
    found.chain.rails = request.param
    found.chain.reads_ahead = len(request.param) > 1
    found.worker._rails = {rail: found.worker._rails[rail] for rail in request.param}
    await found.worker.poll()
    return found


async def polled(bench: Bench, counted: Transactions, *, grow: int, polls: int = 3) -> list[dict[str, int]]:
    """Poll a chain that grows, and return the transactions of each poll."""
    found = []
    for _ in range(polls):
        bench.chain.extend(grow)
        counted.take()
        await bench.worker.poll()
        found.append(counted.take())
    return found


@pytest.mark.parametrize("waits", [False, True], ids=["nobody waits", "somebody waits"])
async def test_a_quiet_poll_is_two_reads_and_a_write_if_the_head_moved(
    bench: Bench, counted: Transactions, waits: bool
) -> None:
    if waits:
        await bench.wait_for(an_intent(rail=Rail.DIRECT))
    await polled(bench, counted, grow=2)  # the minutes before its creation are read
    assert await polled(bench, counted, grow=2) == [{"read": 2, "write": 1}] * 3
    await polled(bench, counted, grow=0)
    assert await polled(bench, counted, grow=0) == [{"read": 2}] * 3


async def test_the_poll_after_a_registration_asks_once_more_who_it_was(bench: Bench, counted: Transactions) -> None:
    await bench.wait_for(an_intent(rail=Rail.DIRECT))
    first, second = await polled(bench, counted, grow=2, polls=2)
    assert first["read"] >= 3
    assert second == {"read": 2, "write": 1}


async def test_what_a_poll_finds_it_confirms(bench: Bench) -> None:
    """What there is to decide is asked once all rails are read, not with what is asked before."""
    intent = an_intent(rail=Rail.DIRECT)
    await bench.wait_for(intent)
    bench.chain.extend()
    bench.chain.put(a_transfer(intent))
    bench.chain.extend(10)
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.CONFIRMED


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_what_a_poll_finds_gone_is_looked_for_before_it_expires(
    db: Database, clock: FakeClock, elsewhere: bool
) -> None:
    """Its rail goes back, and was read to the intent's end by then: what stood there in time was told as never paid."""
    bench = Bench(db, clock)
    await bench.wait_for(an_intent(expires_at=NOW + 200_000, events=(EventType.EXPIRED,)))
    bench.chain.extend()
    paid = bench.chain.put(a_transfer(await bench.intent()))
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.CONFIRMING
    bench.chain.extend(10, wait=3600)
    other = a_hash("elsewhere")
    bench.chain.blocks[paid.block_number] = (other, [paid._replace(block_hash=other)] if elsewhere else [])
    async with db.write() as tx:  # no fork shows above what was read
        top = Cursor(bench.chain.top, bench.chain.blocks[bench.chain.top][0])
        await checkpoints.put(tx, CHAIN, Rail.PROXY, top, time=None, now=NOW, keep_from=-1)

    await bench.worker.poll()
    assert ((await bench.intent()).status, await bench.reasons()) == (IntentStatus.PENDING, [Reason.REORGED])

    await bench.worker.poll()
    assert (await bench.intent()).status is (IntentStatus.CONFIRMED if elsewhere else IntentStatus.EXPIRED)
    assert (EventType.EXPIRED in await bench.event_types()) is not elsewhere


async def test_a_rail_over_which_nothing_can_be_said_stops_at_its_checkpoint_alone(
    db: Database, clock: FakeClock
) -> None:
    """The checkpoints of both rails move in one write, and what stops one does not stop the other."""
    bench = Bench(db, clock)
    await bench.worker.poll()
    start = bench.chain.top
    bench.chain.extend(2)
    stray = bench.chain.put(a_transfer(an_intent(rail=Rail.DIRECT)))
    async with db.write() as tx:  # as a sweep does, which reads on to the head
        await ingest.record_page(tx, CHAIN, [stray], now=NOW, late_ms=LATE_MS)
    bench.chain.on_call = _refuse_replaced
    with pytest.raises(ChainUnavailable):
        await bench.worker.poll()
    found = [await bench.checkpoint(rail) for rail in (Rail.PROXY, Rail.DIRECT)]
    assert [each and each.position for each in found] == [bench.chain.top, start]


def _refuse_replaced(name: str) -> None:
    if name == "replaced":
        raise ChainUnavailable("no endpoint answered")


async def test_a_quiet_minute_of_housekeeping_is_one_read(
    db: Database, clock: FakeClock, counted: Transactions
) -> None:
    retention = Retention(db, clock, Metrics(), RetentionSettings(30, 30, 30))
    chores = Redelivery(db, clock, retry_hours=6, on_events=lambda: None, retention=retention)
    for _ in range(3):
        await chores.turn()
        assert counted.take() == {"read": 1}


async def test_all_chains_are_sampled_in_one_write(db: Database, clock: FakeClock, counted: Transactions) -> None:
    workers = {chain_id: Bench(db, clock).worker for chain_id in (CHAIN, CHAIN + 1, CHAIN + 2)}
    sampler = Sampler(workers, db, clock, alone(db, clock, workers))
    await sampler.sample()
    assert counted.take() == {"write": 1}
    async with db.read() as tx:
        assert [len(await samples.since(tx, each, now=NOW + 1, hours=1)) for each in workers] == [1, 1, 1]
