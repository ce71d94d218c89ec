"""Endpoints that keep only the newest part of a chain are read as far back as they go, and what they lack is reported."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import pairwise

import pytest

from chains.backfill import MAX_SPANS, RETRY_PRUNED_S, RETRY_S, SHOWN_S, Backfill
from chains.errors import ChainError, ChainMisconfigured, ChainUnavailable
from chains.ton.toncenter.address_batches import REFUSALS_TO_SKIP
from chains.types import Cursor, Rail, ScanPage, Targets, VerificationOutcome
from devnet.receiver import receiver
from devnet.tron.ledger import USDT, TronLedger, account
from devnet.tron.node import TronNode
from devnet.tron.trongrid import TronGrid
from tests.chains.ton_world import OTHER, OWNER
from tests.chains.ton_world import scan as scan_ton
from tests.chains.tron_world import SHOP, scan_all, scan_page
from tests.e2e import tron_shop
from tests.e2e.tron_shop import fresh_address

NODE = "/walletsolidity"
HISTORY = "/v1/accounts/transactions/trc20"
EVENTS = "/v1/contracts/events"
DAY_BLOCKS = 28_800


def without(grid, *routes):
    for route in routes:
        grid.fail(route, status=404, body=b'{"error":"not found"}')


async def pruned(tron, *, keeps=400, **state):
    """Return a service over the newest blocks alone, without the index of another service."""
    grid = await tron.grid(keeps=keeps, **state)
    without(grid, HISTORY, EVENTS)
    return grid


@pytest.mark.parametrize("jsonrpc", [True, False], ids=["logs", "receipts"])
@pytest.mark.parametrize("genesis", [True, False])
async def test_a_first_start_reads_as_far_back_as_the_node_holds(tron, jsonrpc, genesis):
    tron.ledger.advance(3_000)
    old = tron.ledger.transfer(SHOP, 4)
    tron.ledger.advance(1_000)
    grid = await pruned(tron, jsonrpc=jsonrpc, shows_genesis=genesis or not jsonrpc)
    adapter = await tron.adapter(grid)
    oldest = tron.ledger.head - grid.keeps + 1
    tron.ledger.advance(1)  # as the chain goes on while it is asked
    kept = [tron.ledger.transfer(SHOP, 5)]
    tron.ledger.settle()
    head = await adapter.head()
    found, cursor = await scan_all(adapter, adapter.first_cursor(head))
    assert [transfer.tx_hash for transfer in found] == kept
    assert old not in {transfer.tx_hash for transfer in found}
    assert cursor.position == head.position
    (problem,) = adapter.condition().problems
    assert adapter.endpoint in problem
    assert "was not read" in problem
    assert oldest > 0
    (seen,) = await adapter.verify(found, head=head)
    assert seen.outcome is VerificationOutcome.CREDITED


async def test_the_oldest_block_that_is_held_is_read(tron):
    tron.ledger.advance(2_000)
    grid = await pruned(tron, keeps=500)
    adapter = await tron.adapter(grid)
    tron.ledger.settle()
    first = tron.ledger.head - 500 + 1
    paid, before = tron.ledger.by_block[first], tron.ledger.by_block[first - 1]
    found, _ = await scan_all(adapter, adapter.first_cursor(await adapter.head()), account("a stranger"))
    hashes = {transfer.tx_hash for transfer in found}
    assert paid[0].id in hashes
    assert before[0].id not in hashes


async def test_finding_the_oldest_block_costs_a_bounded_number_of_calls(tron):
    tron.ledger.advance(DAY_BLOCKS + 5_000)
    grid = await pruned(tron)
    adapter = await tron.adapter(grid)
    head = await adapter.head()
    before = grid.requests
    page = await adapter.scan(Rail.DIRECT, Targets(frozenset([SHOP])), adapter.first_cursor(head), head)
    assert page.cursor.position == head.position
    assert grid.requests - before <= 40
    before = grid.requests
    tron.ledger.advance(2)
    await scan_all(adapter, page.cursor, reread_s=60)
    assert grid.requests - before <= 5  # and nothing of it again but another proof


async def test_the_node_that_holds_the_past_is_asked_for_it(tron):
    tron.ledger.advance(3_000)
    old = tron.ledger.transfer(SHOP, 4)
    tron.ledger.advance(1_000)
    shallow, whole = await pruned(tron), await tron.grid()
    adapter = await tron.adapter(shallow, whole)
    head = await adapter.head()
    found, cursor = await scan_all(adapter, adapter.first_cursor(head))
    assert [transfer.tx_hash for transfer in found] == [old]
    assert cursor.position == head.position
    assert adapter.condition().problems == ()


async def test_what_no_endpoint_could_tell_is_read_when_one_can(tron):
    """The one that holds it is down at the start: what is paid now is seen at once, the rest when it is back."""
    tron.ledger.advance(3_000)
    old = tron.ledger.transfer(SHOP, 4)
    tron.ledger.advance(1_000)
    shallow, whole = await pruned(tron), await tron.grid()
    adapter = await tron.adapter(shallow, whole)
    fault = whole.fail(status=500)
    new = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    found, after = await scan_all(adapter, adapter.first_cursor(await adapter.head()))
    assert [transfer.tx_hash for transfer in found] == [new]
    assert "was not read" in adapter.condition().problems[0]
    fault.times = 0
    tron.now.seconds += RETRY_S + 60
    tron.ledger.advance(2)
    # One log read again by itself keeps nothing but that one.
    again = await adapter.scan(Rail.DIRECT, Targets(frozenset([SHOP])), after, await adapter.head())
    assert again.transfers == []
    # And what was told along with a page that could not be stored is told once more.
    for _ in range(2):
        page = await scan_page(adapter, after, reread_s=60)
        assert old in {transfer.tx_hash for transfer in page.transfers}
        assert len(adapter.condition().problems) == 1
    tron.ledger.advance(2)
    page = await scan_page(adapter, page.cursor, reread_s=60)
    assert old not in {transfer.tx_hash for transfer in page.transfers}
    assert adapter.condition().problems == ()


async def test_what_is_read_late_by_a_row_alone_is_read_again(tron):
    """Of forty alike a row shows one: nothing said that there were more."""
    tron.ledger.advance(3_000)
    swarm = tron.ledger.transfers([(USDT, SHOP, 0)] * 40)
    tron.ledger.advance(1_000)
    shallow, whole = await pruned(tron), await tron.grid(jsonrpc=False)
    adapter = await tron.adapter(shallow, whole)
    fault = whole.fail(status=500)
    _, after = await scan_all(adapter, adapter.first_cursor(await adapter.head()))
    fault.times = 0
    whole.unindexed, whole.unindexed_blocks = {swarm}, {tron.ledger.by_id[swarm].block}
    tron.now.seconds += RETRY_S + 60
    tron.ledger.advance(2)
    page = await scan_page(adapter, after, reread_s=60)
    assert [transfer.tx_hash for transfer in page.transfers] == [swarm]
    assert [(log.position, log.tx_hash) for log in page.unread] == [(tron.ledger.time_of(swarm), swarm)]


@pytest.mark.parametrize("genesis", [True, False])
async def test_histories_that_go_back_further_than_the_blocks_are_read(tron, genesis):
    tron.ledger.advance(3_000)
    old = tron.ledger.transfer(SHOP, 4)
    tron.ledger.advance(1_000)
    grid = await tron.grid(keeps=400, shows_genesis=genesis)
    adapter = await tron.adapter(grid)
    new = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    head = await adapter.head()
    found, cursor = await scan_all(adapter, adapter.first_cursor(head))
    assert {transfer.tx_hash for transfer in found} == {old, new}
    assert cursor.position == head.position
    assert adapter.condition().problems == ()
    reported = {look.transfer.tx_hash: look for look in await adapter.verify(found, head=head)}
    assert reported[new].outcome is VerificationOutcome.CREDITED
    assert reported[old].outcome is VerificationOutcome.NOT_YET  # its receipt is gone: told of that payment alone
    assert "receipt" in reported[old].why


@pytest.mark.parametrize("jsonrpc", [True, False], ids=["logs", "receipts"])
async def test_blocks_of_a_snapshot_without_receipts_are_no_empty_blocks(tron, jsonrpc):
    """A node that was started from a snapshot holds 65,536 blocks without receipts and logs, for ever."""
    tron.ledger.advance(3_000)
    old = tron.ledger.transfer(SHOP, 4)
    tron.ledger.advance(1_000)
    grid = await pruned(tron, keeps=2_000, told_from=tron.ledger.head - 300, jsonrpc=jsonrpc)
    adapter = await tron.adapter(grid)
    new = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    head = await adapter.head()
    found, cursor = await scan_all(adapter, adapter.first_cursor(head))
    assert [transfer.tx_hash for transfer in found] == [new]
    assert cursor.position == head.position
    (problem,) = adapter.condition().problems
    assert f"before block {grid.told_from}" in problem
    assert old in tron.ledger.by_id


async def test_receipts_that_are_missing_everywhere_are_an_outage_and_nothing_is_passed_by(tron):
    tron.ledger.advance(1_000)
    grid = await pruned(tron, keeps=None, told_from=2**62, jsonrpc=False)
    adapter = await tron.adapter(grid)
    after = Cursor(tron.ledger.times[300])
    with pytest.raises(ChainError):
        await scan_all(adapter, after)
    assert adapter.condition().problems == ()


async def test_receipts_that_are_late_are_waited_for(tron):
    """Newer blocks have theirs already: what is a few minutes old may still come."""
    tron.ledger.advance(1_000)
    after = Cursor(tron.ledger.times[tron.ledger.solid])
    tron.ledger.advance(100)
    grid = await pruned(tron, keeps=None, jsonrpc=False)
    grid.unindexed_blocks = set(range(tron.ledger.solid - 110, tron.ledger.solid - 50))
    adapter = await tron.adapter(grid)
    with pytest.raises(ChainError):
        await scan_all(adapter, after)
    assert adapter.condition().problems == ()
    grid.unindexed_blocks = set()
    tron.now.seconds += 60
    _, cursor = await scan_all(adapter, after)
    assert cursor.position == tron.ledger.times[tron.ledger.solid]


@pytest.mark.parametrize("known", [True, False])
async def test_what_is_only_read_again_may_be_gone(tron, known):
    """Just above the oldest block, the minute that is read again lies below it."""
    tron.ledger.advance(2_000)
    grid = await pruned(tron, keeps=100, jsonrpc=False)
    adapter = await tron.adapter(grid)
    oldest = tron.ledger.head - 100 + 1
    paid = tron.ledger.by_block[oldest + 6][0].id
    if known:
        await scan_all(adapter, adapter.first_cursor(await adapter.head()))
        assert len(adapter.condition().problems) == 1
    after = Cursor(tron.ledger.times[oldest + 5])
    found, cursor = await scan_all(adapter, after, account("a stranger"), reread_s=60)
    assert paid in {transfer.tx_hash for transfer in found}
    assert cursor.position == tron.ledger.times[tron.ledger.solid]
    assert len(adapter.condition().problems) == known


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 404, "body": b"{}"}, {"body": b"[]"}, {"close": True}])
async def test_a_node_that_fails_is_not_taken_for_one_that_holds_nothing(tron, fault):
    tron.ledger.advance(1_000)
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    head = await adapter.head()
    for name in ("getblock", "getblockbynum"):
        grid.fail(f"{NODE}/{name}", skip=3 if name == "getblock" else 0, **fault)
    for _ in range(3):
        with suppress(ChainError):
            await adapter.scan(Rail.DIRECT, Targets(frozenset([SHOP])), Cursor(tron.ledger.times[300]), head)
        tron.now.seconds += 60
    assert not any("was not read" in problem for problem in adapter.condition().problems)


@pytest.mark.parametrize("words", [b"null", b'{"Error":"block not found"}', b'{"Error":"history pruned"}'])
async def test_a_missing_block_may_be_reported_in_other_words(tron, words, monkeypatch):
    whole = TronNode.block_or_header

    def reported(grid, name, asked, *, solid):
        answer = whole(grid, name, asked, solid=solid)
        if answer.body == b"{}":
            answer.body = words
        return answer

    monkeypatch.setattr(TronNode, "block_or_header", reported)
    tron.ledger.advance(2_000)
    adapter = await tron.adapter(await pruned(tron))
    head = await adapter.head()
    _, cursor = await scan_all(adapter, adapter.first_cursor(head))
    assert cursor.position == head.position
    assert len(adapter.condition().problems) == 1


async def test_a_node_that_drops_blocks_while_they_are_read_is_read_all_the_same(tron):
    tron.ledger.advance(2_000)
    grid = await pruned(tron, keeps=150)
    adapter = await tron.adapter(grid)
    head = await adapter.head()
    grid.before = lambda _: tron.ledger.advance(grid.requests % 3 == 0)
    page = await adapter.scan(Rail.DIRECT, Targets(frozenset([SHOP])), adapter.first_cursor(head), head)
    assert page.cursor.position == head.position


async def test_many_blocks_dropped_at_the_wrong_moment_are_reported_with_the_rest(tron):
    tron.ledger.advance(2_000)
    grid = await pruned(tron, keeps=150, shows_genesis=False)
    adapter = await tron.adapter(grid)
    head = await adapter.head()
    dropped = []

    def drop(route):
        if route == f"{NODE}/gettransactioninfobyblocknum" and not dropped:
            dropped.append(route)
            tron.ledger.advance(40)

    grid.before = drop
    page = await adapter.scan(Rail.DIRECT, Targets(frozenset([SHOP])), adapter.first_cursor(head), head)
    assert page.cursor.position == head.position
    (problem,) = [problem for problem in adapter.condition().problems if "not read" in problem]  # its head is old
    begins = int(problem.rpartition("before block ")[2].split(",")[0])
    assert begins > tron.ledger.head - 150
    assert time.strftime("%H:%M:%S", time.gmtime(tron.ledger.times[begins] // 1000)) in problem


async def test_a_proof_that_is_still_held_proves_a_node_without_an_index(tron):
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    tron.ledger.advance(5)
    _, after = await scan_all(adapter, after)
    asked = grid.calls["/jsonrpc"]
    grid.blind_below = 2**62
    tron.ledger.advance(5)
    await scan_all(adapter, after)
    assert grid.calls["/jsonrpc"] == asked + 1
    (endpoint,) = adapter._pool.endpoints
    assert not adapter._readers.logs.usable(endpoint)


async def test_a_transfer_the_node_has_dropped_is_no_proof_against_its_index(tron):
    tron.ledger.advance(2_000)
    grid = await pruned(tron, keeps=300)
    adapter = await tron.adapter(grid)
    _, after = await scan_all(adapter, adapter.first_cursor(await adapter.head()))
    for _ in range(4):
        tron.ledger.advance(100)
        _, after = await scan_all(adapter, after, reread_s=60)
    (endpoint,) = adapter._pool.endpoints
    assert adapter._readers.logs.usable(endpoint)
    assert not adapter._readers.logs.is_broken(endpoint)


# --- looking again ---------------------------------------------------------------------------------------


async def test_looking_again_names_what_is_no_longer_held_and_tells_the_rest(tron):
    tron.ledger.advance(3_000)
    grid = await pruned(tron)
    adapter = await tron.adapter(grid)
    tron.ledger.advance(200)
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.settle()
    head = await adapter.head()
    again = await adapter.rescan([SHOP], since=head.time - 5_000, until=head.time)
    assert [transfer.tx_hash for transfer in again.transfers] == [paid]
    assert "before block" in again.unread[SHOP]
    again = await adapter.rescan([SHOP], since=head.time - 300, until=head.time)
    assert [transfer.tx_hash for transfer in again.transfers] == [paid]
    assert again.unread == {}


async def test_looking_again_asks_the_node_that_holds_it(tron):
    tron.ledger.advance(3_000)
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.advance(1_000)
    whole, shallow = await tron.grid(), await pruned(tron)
    without(whole, HISTORY, EVENTS)
    adapter = await tron.adapter(whole, shallow)
    head = await adapter.head()
    again = await adapter.rescan([SHOP], since=head.time - 4_000, until=head.time)
    assert [transfer.tx_hash for transfer in again.transfers] == [paid]
    assert again.unread == {}


async def test_looking_again_before_everything_that_is_held_reads_nothing_and_says_so(tron):
    tron.ledger.advance(3_000)
    adapter = await tron.adapter(await pruned(tron))
    head = await adapter.head()
    again = await adapter.rescan([SHOP], since=head.time - 6_000, until=head.time - 5_000)
    assert again.transfers == []
    assert set(again.unread) == {SHOP}


# --- TON -------------------------------------------------------------------------------------------------


def young(ton, center, *, seconds=600):
    center.begins_at = ton.ledger.now - seconds


async def test_a_ton_index_that_begins_later_says_what_it_lacks(ton):
    center, adapter = await ton.both()
    ton.ledger.pay(OWNER)
    ton.ledger.advance(3_600)
    young(ton, center)
    ton.ledger.advance(5)
    mine = ton.ledger.pay(OWNER)
    ton.ledger.advance(5)
    head = await adapter.head()
    page = await adapter.scan(Rail.DIRECT, Targets(frozenset([OWNER])), adapter.first_cursor(head), head)
    assert [transfer.tx_hash for transfer in page.transfers] == [mine.tx_hash]
    assert page.cursor.position == head.position
    (problem,) = adapter.condition().problems
    assert adapter.endpoint in problem
    again = await adapter.rescan([OWNER], since=head.time - 3_000, until=head.time)
    assert [transfer.tx_hash for transfer in again.transfers] == [mine.tx_hash]
    assert "begins at" in again.unread[OWNER]


async def test_another_ton_index_is_asked_for_what_one_lacks(ton):
    first, second = await ton.center(), await ton.center()
    adapter = await ton.adapter(first, second)
    old = ton.ledger.pay(OWNER)
    ton.ledger.advance(3_600)
    young(ton, first)
    ton.ledger.advance(5)
    head = await adapter.head()
    page = await adapter.scan(Rail.DIRECT, Targets(frozenset([OWNER])), adapter.first_cursor(head), head)
    assert [transfer.tx_hash for transfer in page.transfers] == [old.tx_hash]
    assert adapter.condition().problems == ()


async def test_what_a_ton_index_lacked_is_read_when_another_is_back(ton):
    first, second = await ton.center(), await ton.center()
    adapter = await ton.adapter(first, second)
    old = ton.ledger.pay(OWNER)
    ton.ledger.advance(3_600)
    young(ton, first)
    ton.ledger.advance(5)
    fault = second.fail(status=500)
    head = await adapter.head()
    targets = Targets(frozenset([OWNER]))
    page = await adapter.scan(Rail.DIRECT, targets, adapter.first_cursor(head), head)
    assert page.transfers == []
    fault.times = 0
    ton.now.seconds += RETRY_S + 60
    ton.ledger.advance(5)
    again = await adapter.scan(Rail.DIRECT, targets, page.cursor, await adapter.head())
    assert again.transfers == []
    for _ in range(2):  # as where it could not be stored; this endpoint's own page shows it as well
        late = await adapter.scan(Rail.DIRECT, targets, page.cursor, await adapter.head(), reread_s=60)
        assert [transfer.tx_hash for transfer in late.transfers] == [old.tx_hash]
        assert len(adapter.condition().problems) == 1
    ton.ledger.advance(5)
    await adapter.scan(Rail.DIRECT, targets, late.cursor, await adapter.head(), reread_s=60)
    assert adapter.condition().problems == ()


async def read_late(ton, *owners):
    """Return an adapter and where its scan goes on; the second of its indexes can tell what none could before."""
    first, second = await ton.center(), await ton.center()
    adapter = await ton.adapter(first, second)
    ton.ledger.advance(3_600)
    young(ton, first)
    for _ in range(5):
        ton.ledger.advance(100)
    fault = second.fail(status=500)
    page = await scan_ton(adapter, *owners)
    assert (page.transfers, len(adapter.condition().problems)) == ([], 1)
    fault.times = 0
    return adapter, second, page.cursor.position


async def go_on(ton, adapter, after, *owners):
    ton.now.seconds += RETRY_S + 60
    ton.ledger.advance(5)
    return await scan_ton(adapter, *owners, after=after)


async def test_a_row_that_cannot_be_read_late_either_is_named(ton):
    strange, mine = ton.ledger.pay(OWNER), ton.ledger.pay(OWNER)
    adapter, second, after = await read_late(ton, OWNER)
    second.spoilt_rows[strange.tx_hash] = {"amount": "0x5"}
    page = await go_on(ton, adapter, after, OWNER)
    assert [transfer.tx_hash for transfer in page.transfers] == [mine.tx_hash]
    await go_on(ton, adapter, page.cursor.position, OWNER)
    (problem,) = adapter.condition().problems
    assert strange.tx_hash in problem


async def test_an_address_that_cannot_be_read_late_either_is_asked_about_again(ton):
    """It was taken for read with the others, and nothing said that it was not."""
    theirs, mine = ton.ledger.pay(OTHER), ton.ledger.pay(OWNER)
    adapter, second, after = await read_late(ton, OWNER, OTHER)
    second.unreadable_owners = {OTHER}
    found = set()
    for _ in range(2 * REFUSALS_TO_SKIP):
        page = await go_on(ton, adapter, after, OWNER, OTHER)
        found |= {transfer.tx_hash for transfer in page.transfers}
        after = page.cursor.position
    assert found == {mine.tx_hash}
    assert any("was not read" in problem and OTHER in problem for problem in adapter.condition().problems)
    second.unreadable_owners = set()
    for _ in range(2):
        page = await go_on(ton, adapter, after, OWNER, OTHER)
        found |= {transfer.tx_hash for transfer in page.transfers}
        after = page.cursor.position
    assert found == {mine.tx_hash, theirs.tx_hash}
    assert adapter.condition().problems == ()


@pytest.mark.parametrize("first", [None, "a block", {}, {"gen_utime": "soon"}, "the last one"])
async def test_a_first_block_that_cannot_be_is_no_reason_to_believe_anything(ton, first, monkeypatch):
    center, adapter = await ton.both()
    info = center._index.info
    center._index.info = lambda query: (
        info(query) | {"first": info(query)["last"] if first == "the last one" else first}
    )
    head = await adapter.head()
    await adapter.scan(Rail.DIRECT, Targets(frozenset([OWNER])), adapter.first_cursor(head), head)
    assert adapter.condition().problems == ()


# --- what is remembered of it ----------------------------------------------------------------------------


class FrozenClock:
    now = 0.0

    def __call__(self):
        return self.now


async def refused(_span):
    raise ChainUnavailable("down")


async def lacking(_span):
    raise ChainMisconfigured("nobody holds it")


async def test_unread_spans_are_bounded_whoever_causes_them():
    backfill = Backfill("test", per_second=1, clock=FrozenClock())
    for number in range(200):
        backfill.note(1_000 + 10 * number, 1_005 + 10 * number, frozenset([str(number)]), "gone")
    assert len(backfill.problems()) == MAX_SPANS
    spans = backfill._ranges
    assert (min(span.after for span in spans), max(span.until for span in spans)) == (1_000, 2_995)
    assert frozenset().union(*(span.destinations for span in spans)) == {str(number) for number in range(200)}


@pytest.mark.parametrize(("read", "wait"), [(refused, RETRY_S), (lacking, RETRY_PRUNED_S)])
async def test_it_is_asked_for_again_after_a_while_and_not_before(read, wait):
    clock = FrozenClock()
    backfill = Backfill("test", per_second=1, clock=clock)
    backfill.note(10, 20, frozenset(["a"]), "gone")
    asked = []

    async def counting(span):
        asked.append(clock.now)
        return await read(span)

    for _ in range(2_000):
        clock.now += 1
        await backfill.fill(counting, beside=30)
    assert asked[0] == RETRY_S
    assert {b - a for a, b in pairwise(asked)} == {wait}


async def test_it_is_read_page_by_page_and_forgotten_after_a_day():
    clock = FrozenClock()
    backfill = Backfill("test", per_second=1, clock=clock)
    backfill.note(10, 20, frozenset(["a"]), "gone")
    clock.now = RETRY_S

    async def read(span):
        return ScanPage([], Cursor(min(span.until, span.after + 5)), time=0, rows_read=0)

    await backfill.fill(read, beside=30)
    assert "00:00:10" in backfill.problems()[0]
    backfill.going_on(31)
    assert "00:00:15" in backfill.problems()[0]
    await backfill.fill(read, beside=31)
    backfill.going_on(32)
    assert backfill.problems() == ()
    backfill.note(10, 20, frozenset(["a"]), "gone")
    clock.now += SHOWN_S
    await backfill.fill(refused, beside=32)
    assert backfill.problems() == ()


# --- through the daemon ----------------------------------------------------------------------------------


async def test_a_daemon_over_a_pruned_tron_node_confirms_and_says_what_it_did_not_read(tmp_path):
    ledger = TronLedger.until(int(time.time() * 1000), blocks=DAY_BLOCKS + 100)
    async with receiver() as hooks, TronGrid(ledger) as grid:
        grid.keeps = 1_000
        down = grid.fail(status=500)  # until somebody waits: before that nothing of the past is read at all
        without(grid, HISTORY, EVENTS)
        async with tron_shop.opened(tmp_path, grid, hooks) as shop:
            made = await shop.checkout(destination=(to := fresh_address()))
            down.times = 0
            await shop.answers_again()
            tx = await shop.pay(to, 1000)
            confirmed = await shop.api.status_is(made["intentId"], "confirmed")
            assert confirmed["txHash"] == tx
            chain = await shop.chain()
            assert chain["state"] == "ready"
            assert any("was not read" in problem for problem in chain["problems"])
