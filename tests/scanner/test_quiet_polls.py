"""A chain on which nobody waits is read one poll behind its newest block, in one request; with anybody, to the end."""

from __future__ import annotations

import pytest

from chains.errors import ChainUnavailable
from chains.types import Cursor, Rail
from kernel.store.database import Database
from scanner.model import IntentStatus
from scanner.store.errors import StoreError
from scanner.worker import QUIET_LAG_S, RECENT_S
from tests.harness import FakeClock
from tests.scanner.bench import Bench
from tests.scanner.facts import a_transfer, an_intent
from tests.scanner.fake_chain import FIRST


@pytest.fixture
async def bench(db: Database, clock: FakeClock) -> Bench:
    """Return a worker that has polled once: with nothing known before, up to the newest block."""
    found = Bench(db, clock)
    found.chain.reads_ahead = True
    await found.worker.poll()
    assert await found.checkpoint() == Cursor(FIRST, found.chain.blocks[FIRST][0])
    return found


async def read_to(bench: Bench) -> list[int]:
    found = [await bench.checkpoint(rail) for rail in (Rail.PROXY, Rail.DIRECT)]
    return [cursor.position for cursor in found if cursor is not None]


async def poll(bench: Bench, blocks: int = 2) -> int:
    """Let the chain grow, and poll; return its newest block."""
    bench.chain.extend(blocks)
    await bench.worker.poll()
    return bench.chain.top


async def test_while_nobody_waits_a_poll_reads_up_to_what_the_one_before_was_shown(bench: Bench) -> None:
    start = bench.chain.top
    newest = await poll(bench)
    assert await read_to(bench) == [start, start]
    for _ in range(3):
        before, newest = newest, await poll(bench)
        assert await read_to(bench) == [before, before]
        assert [(page.rail, page.head.position) for page in bench.chain.ahead] == [
            (Rail.PROXY, before),
            (Rail.DIRECT, before),
        ]
    await poll(bench, 0)
    assert await read_to(bench) == [newest, newest]
    await poll(bench, 0)
    assert bench.chain.ahead == ()  # nothing is left to be read


async def test_the_first_poll_after_a_registration_reads_to_the_newest_block(bench: Bench) -> None:
    await poll(bench)
    intent = an_intent()
    bench.chain.extend()
    bench.chain.put(a_transfer(intent))  # before it was registered
    await bench.wait_for(intent)

    newest = await poll(bench, 1)

    assert await read_to(bench) == [newest, newest]
    assert (await bench.intent()).status is IntentStatus.CONFIRMING


async def test_what_came_before_a_registration_is_matched_by_the_poll_after_it(bench: Bench) -> None:
    await poll(bench)
    intent = an_intent(rail=Rail.DIRECT)
    bench.chain.extend()
    bench.chain.put(a_transfer(intent))
    await bench.worker.poll()  # does not read it: nobody waits
    assert (await read_to(bench))[1] < bench.chain.top
    await bench.wait_for(intent)
    await bench.worker.poll()
    assert (await bench.intent()).status is IntentStatus.CONFIRMING


async def test_a_chain_is_read_to_its_newest_block_until_ten_minutes_after_the_last_has_waited(bench: Bench) -> None:
    intent = an_intent()
    await bench.wait_for(intent)
    bench.chain.extend()
    bench.chain.put(a_transfer(intent))
    for _ in range(6):
        newest = await poll(bench, 1)
        assert await read_to(bench) == [newest, newest]
    assert (await bench.intent()).status is IntentStatus.CONFIRMED
    bench.seconds += RECENT_S
    newest = await poll(bench)
    assert await read_to(bench) == [newest, newest]
    bench.seconds += 1
    await poll(bench)
    assert await read_to(bench) == [newest, newest]


async def test_whoever_leads_the_chain_anew_reads_to_the_newest_block_first(bench: Bench) -> None:
    await poll(bench)
    bench.worker.begin()
    newest = await poll(bench)
    assert bench.chain.ahead == ()
    assert await read_to(bench) == [newest, newest]


async def test_a_known_block_that_was_reorganised_away_is_read_as_it_is_now(bench: Bench) -> None:
    known = await poll(bench)
    await poll(bench, 1)
    assert await read_to(bench) == [known, known]
    bench.chain.cut(known - 1)
    bench.chain.extend(3, branch="b")
    await bench.worker.poll()
    found = await bench.checkpoint()
    assert found is not None
    assert found == Cursor(found.position, bench.chain.blocks[found.position][0])
    assert found.position >= known
    assert bench.value("reorgs_total") == 1


async def test_a_head_that_goes_back_is_read_up_to_and_no_further(bench: Bench) -> None:
    known = await poll(bench)
    bench.chain.cut(known - 1)
    await bench.worker.poll()
    assert await read_to(bench) == [known - 1, known - 1]


@pytest.mark.parametrize(("blocks", "wait"), [(11, 0), (1, QUIET_LAG_S)])
async def test_a_chain_whose_polls_are_far_apart_is_read_to_its_newest_block(
    bench: Bench, blocks: int, wait: int
) -> None:
    bench.chain.lag_warning = 10
    for _ in range(2):
        bench.chain.extend(wait=wait)
        newest = await poll(bench, blocks - 1)
        assert await read_to(bench) == [newest, newest]
    await poll(bench, 10)
    assert await read_to(bench) == [newest, newest]
    assert bench.worker.health.lag == 10


async def test_a_poll_that_fails_has_the_next_ask_for_the_head_alone(bench: Bench) -> None:
    await poll(bench)
    bench.chain.refuses = {Rail.PROXY}
    with pytest.raises(ChainUnavailable):
        await poll(bench)
    assert len(bench.chain.ahead) == 2
    bench.chain.refuses = set()
    await poll(bench)
    assert bench.chain.ahead == ()


async def test_an_announcement_makes_a_poll_only_where_somebody_waits(bench: Bench) -> None:
    await bench.worker.poll()
    bench.worker.wakeup._event.clear()
    assert not await bench.worker.announced()
    assert not bench.worker.wakeup._event.is_set()
    await bench.wait_for(an_intent())
    assert await bench.worker.announced()
    assert bench.worker.wakeup._event.is_set()


async def test_an_announcement_makes_a_poll_while_the_store_cannot_tell(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked() -> None:
        raise StoreError("the store is locked")

    monkeypatch.setattr(bench.db, "read", locked)
    assert await bench.worker.announced()
