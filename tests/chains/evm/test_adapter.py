"""The EVM adapter against nodes that lag, lie, refuse, hang and reorganise."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from aiohttp import web

from chains.errors import ChainMisconfigured, ChainProtocolError, ChainUnavailable, InvalidTxHash
from chains.evm.logs import reader
from chains.types import Cursor, Fork, Head, Rail, ScanPage, Targets, TokenMeta, VerificationOutcome
from config.catalog import Finality
from tests.chains.evm_world import (
    BUYER,
    PROXY,
    REFERENCE,
    SHOP,
    TOKEN,
    ZERO,
    a_transfer,
    event_log,
    hash_of,
    key_of,
    receipt_of,
    token_log,
    tx_of,
)

HEAD = Head(200, hash_of(200), 1_700_000_200)
START = Cursor(90, hash_of(90))


async def read(adapter, after=START, head=HEAD, reread_s=0):
    return await adapter.scan(Rail.PROXY, Targets(), after, head, reread_s=reread_s)


async def read_all(adapter, after, head):
    """Read pages until the head, as the worker does."""
    pages = []
    while after.position < head.position:
        pages.append(await read(adapter, after, head))
        after = pages[-1].cursor
    return pages


# --- head ----------------------------------------------------------------------------------------


async def test_opening_an_adapter_asks_no_node(world):
    node = await world.node()
    adapter = await world.adapter(node)
    assert node.posts == []
    assert adapter.endpoint.endswith("#1")
    assert "secretkey" not in adapter.endpoint


async def test_the_head_is_the_latest_block(world):
    adapter = await world.adapter(await world.node())
    assert await adapter.head() == HEAD


@pytest.mark.parametrize(("seen", "expected"), [(150, 150), (None, None), (999, None)])
async def test_the_finalized_position_comes_with_the_head_where_it_counts(world, seen, expected):
    node = await world.node(finalized=seen)
    adapter = await world.adapter(node, finality=Finality.FINALIZED)
    assert (await adapter.head()).finalized == expected
    assert len(node.posts[-1]) == 2


async def test_a_chain_that_has_finalized_nothing_yet_has_a_head(world):
    def block(params):
        if params[0] == "finalized":
            raise LookupError(-39001, "Unknown block")
        return {"number": "0xc8", "hash": hash_of(200), "timestamp": "0x1"}

    adapter = await world.adapter(await world.node(replies={"eth_getBlockByNumber": block}), finality=Finality.BOTH)
    assert await adapter.head() == Head(200, hash_of(200), 1, None)


async def test_a_store_without_a_checkpoint_starts_a_little_below_the_head(world):
    adapter = await world.adapter(await world.node())
    assert adapter.first_cursor(HEAD) == Cursor(190)
    assert adapter.first_cursor(HEAD._replace(position=3)) == Cursor(0)


@pytest.mark.parametrize("age_s", [0, 1, 2, 3, 37, 150, 199])
async def test_where_a_moment_lies_is_found_in_a_few_steps(world, age_s):
    node = await world.node()
    adapter = await world.adapter(node)
    await adapter.head()
    before = len(node.posts)
    assert await adapter.cursor_before(HEAD.time - age_s, HEAD) == Cursor(HEAD.position - age_s)
    assert len(node.posts) - before <= 16


@pytest.mark.parametrize("pace_s", [1, 3, 20])
async def test_a_moment_between_two_blocks_lies_at_the_older_one(world, pace_s):
    def block(params):
        number = 200 if params[0] == "latest" else int(params[0], 16)
        return {"number": hex(number), "hash": hash_of(number), "timestamp": hex(10_000 + number * pace_s)}

    adapter = await world.adapter(await world.node(replies={"eth_getBlockByNumber": block}))
    head = await adapter.head()
    assert await adapter.cursor_before(10_000 + 61 * pace_s - 1, head) == Cursor(60)
    assert await adapter.cursor_before(10_000 + 300 * pace_s, head) == Cursor(200)
    assert await adapter.cursor_before(1, head) == Cursor(0)


async def test_without_a_block_on_the_way_nobody_guesses_where_a_moment_lies(world):
    def block(params):
        number = 200 if params[0] == "latest" else int(params[0], 16)
        return None if number < 190 else {"number": hex(number), "hash": hash_of(number), "timestamp": hex(number)}

    adapter = await world.adapter(await world.node(replies={"eth_getBlockByNumber": block}))
    head = await adapter.head()
    with pytest.raises(ChainUnavailable, match="does not hold block"):
        await adapter.cursor_before(100, head)


async def test_an_endpoint_of_another_chain_is_passed_over(world):
    wrong, right = await world.node(chain_id=1), await world.node()
    adapter = await world.adapter(wrong, right)
    assert await adapter.head() == HEAD
    assert adapter.endpoint.endswith("#2")
    assert wrong.calls("eth_getBlockByNumber") == []


async def test_only_endpoints_of_another_chain_is_a_misconfiguration(world):
    adapter = await world.adapter(await world.node(chain_id=1))
    with pytest.raises(ChainMisconfigured, match="serves chain 1, expected chain 97"):
        await adapter.head()


async def test_the_chain_is_checked_again_after_a_failure(world):
    """Behind one URL the node may have been exchanged for one of another chain."""
    node = await world.node()
    adapter = await world.adapter(node)
    await adapter.head()
    node.raw = lambda _: web.Response(status=502)
    with pytest.raises(ChainUnavailable):
        await adapter.head()
    node.raw, node.chain_id = None, 1
    world.now.seconds += 1
    with pytest.raises(ChainMisconfigured):
        await adapter.head()


# --- scanning ------------------------------------------------------------------------------------


async def test_a_page_holds_the_events_up_to_the_head(world):
    node = await world.node(logs=[event_log(), event_log(block=200, tx=tx_of(8)), event_log(block=90, tx=tx_of(9))])
    page = await read(await world.adapter(node))
    assert page == ScanPage(
        [a_transfer(), a_transfer(block_number=200, block_hash=hash_of(200), tx_hash=tx_of(8))],
        Cursor(200, hash_of(200)),
        time=1_700_000_200,
        rows_read=2,
    )


async def test_a_page_is_one_request_with_the_proof_beside_the_logs(world):
    node = await world.node()
    adapter = await world.adapter(node)
    await adapter.head()
    node.posts.clear()
    await read(adapter)
    (post,) = node.posts
    assert [(call["method"], call["params"][0]) for call in post if call["method"] != "eth_getLogs"] == [
        ("eth_getBlockByNumber", hex(200)),
        ("eth_getBlockByNumber", hex(90)),
    ]
    assert node.calls("eth_getLogs")[0][0]["address"] == PROXY.lower()


async def test_blocks_before_the_cursor_are_read_again_when_asked(world):
    node = await world.node(logs=[event_log(block=88)])
    page = await read(await world.adapter(node), reread_s=60)
    assert node.calls("eth_getLogs")[0][0]["fromBlock"] == hex(86)
    assert len(page.transfers) == 1


async def test_the_last_minute_takes_as_many_blocks_as_the_chain_made_of_late(world):
    node = await world.node(head=100)
    adapter = await world.adapter(node)
    await adapter.head()
    node.head = 200
    later = (await adapter.head())._replace(time=1_700_000_150)  # two blocks a second
    await read(adapter, after=Cursor(190), head=later, reread_s=60)
    assert node.calls("eth_getLogs")[-1][0]["fromBlock"] == hex(191 - 121)


async def test_a_stale_node_that_answers_nothing_for_unseen_blocks_is_not_believed(world):
    """The classical gap: logs of a range that ends above the node's own head, without an error."""
    stale, fresh = await world.node(head=150, logs=[]), await world.node(logs=[event_log(block=199)])
    adapter = await world.adapter(stale, fresh)
    page = await read(adapter)
    assert [transfer.block_number for transfer in page.transfers] == [199]
    assert len(stale.calls("eth_getLogs")) == 1


async def test_a_lonely_stale_node_is_an_outage_and_not_an_empty_page(world):
    adapter = await world.adapter(await world.node(head=150))
    with pytest.raises(ChainUnavailable, match="does not hold block 200"):
        await read(adapter)


@pytest.mark.parametrize("head", [89, 90])
async def test_a_node_below_the_cursor_is_stale_and_no_fork(world, head):
    behind, fresh = await world.node(head=head), await world.node()
    page = await read(await world.adapter(behind, fresh))
    assert page.cursor == Cursor(200, hash_of(200))


async def test_an_error_about_the_head_goes_to_the_next_endpoint(world):
    error = LookupError(-32602, "block range extends beyond current head block")
    late, fresh = await world.node(replies={"eth_getLogs": error}), await world.node()
    adapter = await world.adapter(late, fresh)
    assert (await read(adapter)).cursor.position == 200
    assert len(late.calls("eth_getLogs")) <= 8  # it might have served fewer


async def test_a_reorganisation_between_the_calls_of_a_page_is_a_fork(world):
    branches = iter("a")

    def block(params):
        number = int(params[0], 16)
        return {"number": params[0], "hash": hash_of(number, next(branches, "b")), "timestamp": hex(1_700_000_000)}

    adapter = await world.adapter(await world.node(replies={"eth_getBlockByNumber": block}))
    page = await adapter.scan(Rail.PROXY, Targets(), START, HEAD)
    assert page == Fork(START)


async def test_a_reorganised_cursor_is_a_fork(world):
    node = await world.node(branch_from={85: "b"}, logs=[event_log(branch="b")])
    assert await read(await world.adapter(node)) == Fork(Cursor(90, hash_of(90)))


async def test_logs_of_another_block_than_the_one_the_node_holds_are_refused(world):
    node = await world.node(logs=[event_log(block=200, branch="b")])
    adapter = await world.adapter(node)
    with pytest.raises(ChainProtocolError, match="logs of block 200"):
        await read(adapter)


async def test_a_log_nobody_asked_for_is_refused(world):
    node = await world.node(replies={"eth_getLogs": [event_log(block=20)]})
    adapter = await world.adapter(node)
    with pytest.raises(ChainProtocolError, match="outside 91 to 200"):
        await read(adapter)


async def test_at_the_head_only_the_cursor_is_looked_at(world):
    node = await world.node()
    adapter = await world.adapter(node)
    here = Cursor(200, hash_of(200))
    assert await read(adapter, here) == ScanPage([], here, time=1_700_000_200, rows_read=0)
    assert node.posts == []  # the head has shown that very block
    node.branch_from = {200: "b"}
    assert await read(adapter, here, HEAD._replace(block_hash=hash_of(200, "b"))) == Fork(here)
    assert node.calls("eth_getLogs") == []


async def test_a_cursor_without_hash_at_the_head_needs_no_node(world):
    node = await world.node()
    adapter = await world.adapter(node)
    assert await read(adapter, Cursor(200)) == ScanPage([], Cursor(200), time=HEAD.time, rows_read=0)
    assert node.posts == []


# --- ranges --------------------------------------------------------------------------------------


async def test_pages_are_no_longer_than_the_registry_allows(world):
    node = await world.node()
    adapter = await world.adapter(node, max_log_range=30)
    pages = await read_all(adapter, Cursor(90, hash_of(90)), HEAD)
    assert [page.cursor.position for page in pages] == [120, 150, 180, 200]


async def test_the_suggested_range_is_used_and_nothing_is_left_out(world):
    """Each block is asked for, once, whatever the endpoint refused on the way."""
    node = await world.node(max_range=40, logs=[event_log(block=block, tx=tx_of(block)) for block in range(91, 201)])
    adapter = await world.adapter(node)
    pages = await read_all(adapter, Cursor(90, hash_of(90)), HEAD)
    assert [page.cursor.position for page in pages] == [130, 170, 200]
    assert [transfer.block_number for page in pages for transfer in page.transfers] == list(range(91, 201))
    assert len(node.calls("eth_getLogs")) == 4


async def test_a_limit_nobody_names_is_found_by_halving(world):
    node = await world.node(max_range=30, range_message="limit exceeded")
    pages = await read_all(await world.adapter(node), Cursor(90, hash_of(90)), HEAD)
    positions = [90, *(page.cursor.position for page in pages)]
    assert positions[-1] == 200
    assert all(0 < after - before <= 30 for before, after in pairwise(positions))


async def test_an_endpoint_without_logs_is_passed_over_and_keeps_serving_the_rest(world):
    """BSC's public nodes refuse every log query, one block included, and answer everything else."""
    mute, good = await world.node(max_range=0, range_message="limit exceeded"), await world.node()
    adapter = await world.adapter(mute, good)
    await read(adapter)
    asked = len(mute.calls("eth_getLogs"))
    adapter._pool._preferred = adapter._pool.endpoints[0]
    await adapter.head()
    await read(adapter)
    assert len(mute.calls("eth_getLogs")) == asked
    assert ["latest", False] in mute.calls("eth_getBlockByNumber")


async def test_no_endpoint_with_logs_is_a_misconfiguration_that_says_so(world):
    adapter = await world.adapter(await world.node(max_range=0, range_message="limit exceeded"))
    with pytest.raises(ChainMisconfigured, match="even for one block"):
        await read(adapter)
    with pytest.raises(ChainMisconfigured, match="no eth_getLogs"):
        await read(adapter)
    assert await adapter.head() == HEAD


async def test_an_unknown_refusal_of_every_question_teaches_nothing(world):
    node = await world.node(replies={"eth_getLogs": LookupError(-32000, "you ask a lot")})
    adapter = await world.adapter(node)
    for _ in range(2):
        with pytest.raises(ChainMisconfigured, match="you ask a lot"):
            await read(adapter)
        world.now.seconds += 10
    asked = len(node.calls("eth_getLogs"))
    with pytest.raises(ChainMisconfigured, match="you ask a lot"):
        await read(adapter)
    assert len(node.calls("eth_getLogs")) == asked + 2  # it began with the smallest
    world.now.seconds += 10
    del node.replies["eth_getLogs"]
    assert (await read(adapter)).cursor.position == 200


async def test_an_unknown_refusal_makes_the_question_smaller_at_once(world):
    node = await world.node(max_range=30, range_message="you ask a lot")
    adapter = await world.adapter(node)
    assert 90 < (await read(adapter)).cursor.position <= 120


async def test_a_hanging_endpoint_is_left_for_the_next(world):
    hanging, good = await world.node(hang=asyncio.Event()), await world.node()
    adapter = await world.adapter(hanging, good, timeout_s=0.1)
    assert (await read(adapter)).cursor.position == 200
    hanging.hang.set()
    assert world.calls.seen[0][1:] == ("eth_getLogs", "TimedOut")


async def test_an_answer_that_breaks_off_is_left_for_the_next(world):
    broken, good = await world.node(), await world.node()
    broken.raw = lambda _: web.Response(body=b'[{"jsonrpc":"2.0","id":0,"result":[{"addr')
    adapter = await world.adapter(broken, good)
    assert (await read(adapter)).cursor.position == 200
    assert world.calls.seen[0][2] == "Garbled"


async def test_an_endpoint_without_batches_is_read_all_the_same(world):
    node = await world.node(batches=False, logs=[event_log()])
    page = await read(await world.adapter(node))
    assert page.transfers == [a_transfer()]


async def test_a_throttling_endpoint_is_left_alone_as_long_as_it_asks(world):
    node = await world.node(raw=lambda _: web.Response(status=429, headers={"Retry-After": "7"}))
    adapter = await world.adapter(node)
    for _ in range(2):
        with pytest.raises(ChainUnavailable) as refused:
            await read(adapter)
        assert refused.value.retry_after == 7
    assert len(node.posts) == 1


async def test_other_tasks_run_while_a_long_page_is_decoded(world, monkeypatch):
    logs = [event_log(block=91 + i // 100, index=i % 100, tx=tx_of(i)) for i in range(9000)]
    adapter = await world.adapter(await world.node(logs=logs))
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    await adapter.head()
    decoder = reader.decode_page
    seen = []

    async def watched(*args, **named):
        before = turns
        page = await decoder(*args, **named)
        seen.append(turns - before)
        return page

    monkeypatch.setattr(reader, "decode_page", watched)
    counter = asyncio.create_task(count())
    page = await read(adapter)
    counter.cancel()
    assert page.rows_read == len(page.transfers) == 9000
    assert seen[0] >= 4


# --- forks ---------------------------------------------------------------------------------------


def known_blocks(*positions, branch="a"):
    return [Cursor(position, hash_of(position, branch)) for position in positions]


@pytest.mark.parametrize(
    ("head", "branch_from", "expected"),
    [
        (200, {}, 120),
        (200, {115: "b"}, 110),
        (115, {105: "b"}, 100),  # the newest cannot be seen, and what can be is another chain
        (200, {5: "b"}, None),
    ],
)
async def test_the_newest_anchor_still_on_the_chain_is_found(world, head, branch_from, expected):
    adapter = await world.adapter(await world.node(head=head, branch_from=branch_from))
    found = await adapter.latest_canonical(known_blocks(120, 110, 100, 10))
    assert found == (None if expected is None else Cursor(expected, hash_of(expected)))


@pytest.mark.parametrize("head", [115, 5])
async def test_a_node_that_lags_behind_rewinds_nothing(world, head):
    adapter = await world.adapter(await world.node(head=head))
    with pytest.raises(ChainUnavailable, match="does not hold block 120"):
        await adapter.latest_canonical(known_blocks(120, 110, 100))


async def test_a_lagging_node_is_passed_over_for_one_that_knows(world):
    adapter = await world.adapter(await world.node(head=115), await world.node())
    assert await adapter.latest_canonical(known_blocks(120, 110)) == Cursor(120, hash_of(120))


async def test_a_hole_in_the_chain_is_no_answer(world):
    node = await world.node(replies={"eth_getBlockByNumber": None})
    adapter = await world.adapter(node)
    with pytest.raises(ChainProtocolError, match="at block 200 and does not hold block 120"):
        await adapter.latest_canonical(known_blocks(120))


async def test_many_anchors_go_in_small_batches_and_no_further_than_needed(world):
    node = await world.node(head=2000, branch_from={1900: "b"})
    adapter = await world.adapter(node)
    found = await adapter.latest_canonical(known_blocks(*range(1999, 1000, -1)))
    assert found == Cursor(1899, hash_of(1899))
    assert [len(post) for post in node.posts if isinstance(post, list)] == [50, 50, 50]


async def test_which_of_some_blocks_were_replaced_is_told_of_each(world):
    adapter = await world.adapter(await world.node(head=2000, branch_from={1900: "b"}))
    asked = [*known_blocks(*range(1800, 1999)), Cursor(1950, hash_of(1950, "b"))]
    tip = Cursor(2000, hash_of(2000, "b"))
    assert await adapter.replaced(asked, tip=tip) == set(known_blocks(*range(1900, 1999)))
    assert await adapter.replaced([Cursor(5)], tip=tip) == set()


async def test_whether_blocks_were_replaced_is_told_by_a_node_on_the_branch_that_is_meant(world):
    """Of two nodes behind one address one may never have heard of the fork, and holds what it replaced."""
    unaware, aware = await world.node(head=2000), await world.node(head=2001, branch_from={1900: "b"})
    tip = Cursor(2000, hash_of(2000, "b"))
    alone = await world.adapter(unaware)
    with pytest.raises(ChainUnavailable, match="has another block 2000 than was read"):
        await alone.replaced(known_blocks(1899, 1900), tip=tip)
    both = await world.adapter(unaware, aware)
    assert await both.replaced(known_blocks(1899, 1900), tip=tip) == set(known_blocks(1900))
    behind = await world.adapter(unaware)
    with pytest.raises(ChainUnavailable, match="does not hold block 2001"):
        await behind.replaced(known_blocks(1899, 1900), tip=Cursor(2001, hash_of(2001, "b")))


async def test_a_node_that_lags_behind_replaces_nothing(world):
    adapter = await world.adapter(await world.node(head=115, branch_from={105: "b"}))
    with pytest.raises(ChainUnavailable, match="does not hold block 120"):
        await adapter.replaced(known_blocks(110, 120), tip=Cursor(115, hash_of(115, "b")))


async def test_without_anchors_there_is_nothing_to_find(world):
    node = await world.node()
    adapter = await world.adapter(node)
    assert await adapter.latest_canonical([Cursor(5)]) is None
    assert node.posts == []


# --- a second look -------------------------------------------------------------------------------


async def node_with(world, *logs, **options):
    receipt = receipt_of(*logs, **options)
    return await world.node(receipts={tx_of(7): receipt})


@pytest.mark.parametrize(
    ("logs", "status", "outcome", "credited"),
    [
        ([token_log(), event_log()], 1, VerificationOutcome.CREDITED, 1000),
        ([token_log(index=20), event_log(index=21)], 1, VerificationOutcome.CREDITED, 1000),
        ([token_log(value=990), event_log()], 1, VerificationOutcome.SHORT, 990),
        ([event_log()], 1, VerificationOutcome.NO_TRANSFER_LOG, 0),
        ([], 0, VerificationOutcome.REVERTED, 0),
        ([], 1, VerificationOutcome.NO_TRANSFER_LOG, 0),
        ([token_log(), event_log(amount=999)], 1, VerificationOutcome.NO_TRANSFER_LOG, 0),
        ([token_log(), event_log(reference="0x" + "11" * 32)], 1, VerificationOutcome.NO_TRANSFER_LOG, 0),
    ],
)
async def test_what_the_second_look_finds(world, logs, status, outcome, credited):
    adapter = await world.adapter(await node_with(world, *logs, status=status))
    (seen,) = await adapter.verify([a_transfer()], head=HEAD)
    assert (seen.outcome, seen.credited) == (outcome, credited)


async def test_a_receipt_that_does_not_show_what_the_logs_show_proves_nothing(world):
    node = await node_with(world)
    node.logs = [event_log()]
    (seen,) = await (await world.adapter(node)).verify([a_transfer()], head=HEAD)
    assert (seen.outcome, seen.credited) == (VerificationOutcome.NOT_YET, 0)
    assert "does not show this log" in seen.why


async def test_a_credited_transfer_learns_its_time_and_sender(world):
    adapter = await world.adapter(await node_with(world, token_log(), event_log()))
    (seen,) = await adapter.verify([a_transfer()], head=HEAD)
    assert seen.transfer == a_transfer(block_time=1_700_000_100, sender=BUYER)


async def test_a_transfer_of_an_orphaned_block_is_gone(world):
    node = await node_with(world, token_log(), event_log())
    node.branch_from = {100: "b"}
    (seen,) = await (await world.adapter(node)).verify([a_transfer()], head=HEAD._replace(block_hash=hash_of(200, "b")))
    assert seen == type(seen)(a_transfer(), VerificationOutcome.GONE, 0)


@pytest.mark.parametrize(
    ("other", "outcome"),
    [
        ({"branch_from": {200: "b"}}, VerificationOutcome.NOT_YET),  # it is as high, and still holds the block
        ({"branch_from": {100: "a", 101: "b"}}, VerificationOutcome.NOT_YET),
        ({"branch_from": {100: "b"}}, VerificationOutcome.GONE),
        ({"branch_from": {100: "c"}}, VerificationOutcome.GONE),
        ({"head": 150}, VerificationOutcome.GONE),  # it merely stands still
    ],
)
async def test_what_another_endpoint_as_high_as_the_head_still_holds_is_not_gone(world, other, outcome):
    first, second = await world.node(branch_from={100: "b"}), await world.node(**other)
    adapter = await world.adapter(first, second)
    (seen,) = await adapter.verify([a_transfer()], head=HEAD._replace(block_hash=hash_of(200, "b")))
    assert seen.outcome is outcome
    assert (outcome is VerificationOutcome.GONE) or "hold different blocks 100" in seen.why


@pytest.mark.parametrize("finality", [Finality.FINALIZED, Finality.BOTH])
@pytest.mark.parametrize(
    ("seen_final", "outcome"),
    [(150, VerificationOutcome.CREDITED), (100, VerificationOutcome.CREDITED), (99, VerificationOutcome.NOT_YET)],
)
async def test_who_cannot_tell_what_is_final_judges_nothing(world, finality, seen_final, outcome):
    blind, telling = [await node_with(world, token_log(), event_log()) for _ in range(2)]
    blind.finalized, telling.finalized = None, seen_final
    adapter = await world.adapter(blind, telling, finality=finality)
    (seen,) = await adapter.verify([a_transfer()], head=HEAD)
    assert seen.outcome is outcome


async def test_when_nobody_can_tell_what_is_final_every_transfer_waits_with_the_reason(world):
    node = await node_with(world, token_log(), event_log())
    node.finalized = None
    adapter = await world.adapter(node, finality=Finality.BOTH)
    (seen,) = await adapter.verify([a_transfer()], head=HEAD)
    assert (seen.outcome, seen.credited) == (VerificationOutcome.NOT_YET, 0)
    assert "finalized" in seen.why
    assert any("finalized" in problem for problem in adapter.condition().problems)
    node.finalized = 150
    (seen,) = await adapter.verify([a_transfer()], head=HEAD)
    assert seen.outcome is VerificationOutcome.CREDITED
    assert not any("finalized" in problem for problem in adapter.condition().problems)


async def test_who_does_not_answer_contradicts_nobody(world):
    first, down = await world.node(branch_from={100: "b"}), await world.node()
    down.raw = lambda _: web.Response(status=503)
    adapter = await world.adapter(first, down)
    (seen,) = await adapter.verify([a_transfer()], head=HEAD._replace(block_hash=hash_of(200, "b")))
    assert seen.outcome is VerificationOutcome.GONE


async def test_a_node_that_lags_makes_nothing_gone(world):
    node = await node_with(world, token_log(), event_log())
    node.head = 99
    (seen,) = await (await world.adapter(node)).verify([a_transfer()], head=HEAD)
    assert seen.outcome is VerificationOutcome.NOT_YET
    assert "does not hold block 200" in seen.why


async def test_a_block_without_its_receipt_is_asked_for_elsewhere_and_nobody_is_blamed(world):
    lossy, good = await world.node(), await node_with(world, token_log(), event_log())
    (seen,) = await (await world.adapter(lossy, good)).verify([a_transfer()], head=HEAD)
    assert seen.outcome is VerificationOutcome.CREDITED
    assert {error for _, _, error in world.calls.seen} == {None}


async def test_a_receipt_that_contradicts_its_block_is_no_answer(world):
    node = await node_with(world, token_log(), event_log())
    node.receipts[tx_of(7)]["blockHash"] = hash_of(100, "b")
    (seen,) = await (await world.adapter(node)).verify([a_transfer()], head=HEAD)
    assert seen.outcome is VerificationOutcome.NOT_YET
    assert "another block" in seen.why


async def test_many_transfers_are_looked_at_in_small_batches_and_in_order(world):
    node = await world.node(head=1000)
    wanted = []
    for number in range(60):
        tx = tx_of(1000 + number)
        place = {"block": 100 + number, "tx": tx}
        node.receipts[tx] = receipt_of(token_log(**place), event_log(**place), tx=tx, block=100 + number)
        wanted.append(a_transfer(tx_hash=tx, block_number=100 + number, block_hash=hash_of(100 + number)))
    seen = await (await world.adapter(node)).verify(wanted, head=HEAD)
    assert [look.transfer.tx_hash for look in seen] == [transfer.tx_hash for transfer in wanted]
    assert {look.outcome for look in seen} == {VerificationOutcome.CREDITED}
    assert [len(post) for post in node.posts if isinstance(post, list)] == [49, 49, 25]


async def test_two_events_of_one_transaction_cannot_share_one_movement(world):
    adapter = await world.adapter(await node_with(world, token_log(), event_log(), event_log(index=6)))
    seen = await adapter.verify([a_transfer(event_key=key_of(event_log(), 1), log_index=6), a_transfer()], head=HEAD)
    assert [look.outcome for look in seen] == [VerificationOutcome.NO_TRANSFER_LOG, VerificationOutcome.CREDITED]


# --- one transaction -----------------------------------------------------------------------------


async def test_a_transaction_is_read_for_its_proxy_events(world):
    node = await node_with(world, token_log(), event_log(), token_log(index=9))
    found = await (await world.adapter(node)).inspect("0x" + tx_of(7)[2:].upper(), Targets())
    assert found == [a_transfer(block_time=1_700_000_100, sender=BUYER)]


async def test_an_unknown_or_failed_transaction_holds_nothing(world):
    adapter = await world.adapter(await node_with(world, status=0))
    assert await adapter.inspect(tx_of(7), Targets()) == []
    assert await adapter.inspect(tx_of(8), Targets()) == []


@pytest.mark.parametrize("text", ["", "0x1", tx_of(1)[2:], tx_of(1) + "0", "0x" + "g" * 64])
async def test_what_is_no_transaction_hash_is_refused(world, text):
    adapter = await world.adapter(await world.node())
    with pytest.raises(InvalidTxHash, match="64 hex"):
        await adapter.inspect(text, Targets())


async def test_a_receipt_of_a_block_that_is_not_sealed_does_not_count(world):
    """Some nodes hand out receipts before the block exists."""
    node = await node_with(world, token_log(), event_log())
    node.head = 99
    adapter = await world.adapter(node)
    with pytest.raises(ChainUnavailable):
        await adapter.inspect(tx_of(7), Targets())


# --- tokens, self-test, checkout -----------------------------------------------------------------


async def test_a_token_is_asked_once(world):
    node = await world.node(replies={"eth_call": "0x" + f"{6:064x}"})
    adapter = await world.adapter(node)
    assert await adapter.token(TOKEN) == TokenMeta(None, 6)
    symbol = "0x" + b"USDT".hex().ljust(64, "0")
    node.replies["eth_call"] = lambda params: symbol if params[0]["data"] == "0x95d89b41" else "0x" + f"{6:064x}"
    assert await adapter.token(TOKEN) == TokenMeta("USDT", 6)
    asked = len(node.posts)
    assert await adapter.token(TOKEN) == TokenMeta("USDT", 6)
    assert len(node.posts) == asked


async def test_a_missing_proxy_is_reported_in_a_sentence(world):
    node = await world.node()
    adapter = await world.adapter(node)
    assert await adapter.self_test() == []
    node.replies["eth_getCode"] = "0x"
    (problem,) = await adapter.self_test()
    assert PROXY in problem


async def test_the_checkout_of_the_proxy_rail_is_its_call(world):
    adapter = await world.adapter(await world.node())
    checkout = adapter.checkout(
        Rail.PROXY,
        token=TOKEN,
        destination=SHOP,
        amount=5,
        reference=REFERENCE[:18],
        fee_amount=0,
        fee_address=ZERO,
    )
    assert checkout.payment_uri is None
    assert checkout.calldata.startswith("0xc219a14d")
    assert adapter.rails == (Rail.PROXY, Rail.DIRECT)


async def test_the_checkout_of_the_direct_rail_is_a_plain_transfer_as_a_uri(world):
    adapter = await world.adapter(await world.node())
    checkout = adapter.checkout(
        Rail.DIRECT, token=TOKEN, destination=SHOP, amount=5, reference=REFERENCE[:18], fee_amount=0, fee_address=ZERO
    )
    assert checkout.calldata is None
    shown = adapter.show_address
    assert checkout.payment_uri.startswith(f"ethereum:{shown(TOKEN)}@")
    assert checkout.payment_uri.endswith(f"/transfer?address={shown(SHOP)}&uint256=5")


# --- reading ahead -------------------------------------------------------------------------------


async def settled(node, count):
    """Wait until a node has been asked so often."""
    async with asyncio.timeout(5):
        while len(node.calls("eth_getLogs")) < count:  # noqa: ASYNC110 - the node is a list of what it was asked
            await asyncio.sleep(0)


async def test_the_next_page_is_under_way_before_it_is_asked_for_and_is_read_once(world):
    node = await world.node(logs=[event_log(block=block, tx=tx_of(block)) for block in (100, 150, 200)])
    adapter = await world.adapter(node, max_log_range=40)
    first = await read(adapter)
    await settled(node, 2)
    second = await read(adapter, first.cursor)
    third = await read(adapter, second.cursor)

    assert [t.block_number for page in (first, second, third) for t in page.transfers] == [100, 150, 200]
    assert [int(call[0]["fromBlock"], 16) for call in node.calls("eth_getLogs")] == [91, 131, 171]


async def test_a_page_asked_ahead_for_other_destinations_is_not_used(world):
    node = await world.node()
    adapter = await world.adapter(node, max_log_range=40)
    first = await adapter.scan(Rail.DIRECT, Targets(frozenset({BUYER.lower()})), START, HEAD)
    await settled(node, 2)
    await adapter.scan(Rail.DIRECT, Targets(frozenset({SHOP.lower()})), first.cursor, HEAD)

    asked = node.calls("eth_getLogs")
    assert [int(call[0]["fromBlock"], 16) for call in asked[1:3]] == [131, 131]
    assert asked[2][0]["topics"][2] == [f"0x{SHOP[2:].lower():0>64}"]


async def test_each_rail_is_read_apart_and_reads_ahead_for_itself(world):
    node = await world.node()
    adapter = await world.adapter(node, max_log_range=40)
    targets = Targets(frozenset({SHOP.lower()}))
    proxy = await adapter.scan(Rail.PROXY, targets, START, HEAD)
    direct = await adapter.scan(Rail.DIRECT, targets, START, HEAD)
    await settled(node, 4)
    await adapter.scan(Rail.PROXY, targets, proxy.cursor, HEAD)
    await adapter.scan(Rail.DIRECT, targets, direct.cursor, HEAD)

    asked = [call[0] for call in node.calls("eth_getLogs")]
    of_proxy = [int(call["fromBlock"], 16) for call in asked if "address" in call]
    of_direct = [int(call["fromBlock"], 16) for call in asked if "address" not in call]
    assert of_proxy[:2] == of_direct[:2] == [91, 131]
    assert len(set(of_proxy)) == len(of_proxy)
    assert len(set(of_direct)) == len(of_direct)


async def test_what_was_read_ahead_of_a_reorganisation_is_noticed_after_it(world):
    node = await world.node()
    adapter = await world.adapter(node, max_log_range=40)
    first = await read(adapter)
    await settled(node, 2)
    node.branch_from = {120: "b"}
    second = await read(adapter, first.cursor)
    assert await read(adapter, second.cursor) == Fork(second.cursor)


async def test_a_request_ahead_that_fails_is_told_when_its_page_is_wanted(world):
    node = await world.node()
    adapter = await world.adapter(node, max_log_range=40)
    first = await read(adapter, head=HEAD._replace(position=130, block_hash=hash_of(130)))
    node.raw = lambda _: web.Response(status=502)
    with pytest.raises(ChainUnavailable):
        await read(adapter, first.cursor)
    node.raw = None
    world.now.seconds += 60
    assert (await read(adapter, first.cursor)).cursor.position == 170


async def test_a_failed_request_ahead_nobody_wants_does_no_harm(world):
    node = await world.node()
    adapter = await world.adapter(node, max_log_range=40)
    first = await read(adapter)
    await settled(node, 2)
    node.raw = lambda _: web.Response(status=502)
    second = await read(adapter, first.cursor)
    adapter.close()
    node.raw = None
    assert second.cursor.position == 170
    assert (await read(adapter, second.cursor)).cursor.position == 200


# --- endpoints that must agree -------------------------------------------------------------------


async def test_a_payment_two_endpoints_tell_alike_is_credited_and_both_were_asked(world):
    nodes = [await node_with(world, token_log(), event_log()) for _ in range(3)]
    adapter = await world.adapter(*nodes, rpc_quorum=2)
    (seen,) = await adapter.verify([a_transfer()], head=HEAD)
    assert (seen.outcome, seen.credited) == (VerificationOutcome.CREDITED, 1000)
    assert [len(node.calls("eth_getTransactionReceipt")) for node in nodes] == [1, 1, 0]


async def test_a_payment_one_endpoint_invents_is_not_credited(world):
    liar, honest = await node_with(world, token_log(), event_log()), await node_with(world)
    adapter = await world.adapter(liar, honest, rpc_quorum=2)
    (seen,) = await adapter.verify([a_transfer()], head=HEAD)
    assert seen.outcome is VerificationOutcome.NOT_YET
    assert "contradict each other" in seen.why


async def test_a_payment_only_one_of_two_can_tell_waits(world):
    here, down = await node_with(world, token_log(), event_log()), await world.node()
    down.raw = lambda _: web.Response(status=503)
    adapter = await world.adapter(here, down, rpc_quorum=2)
    (seen,) = await adapter.verify([a_transfer()], head=HEAD)
    assert seen.outcome is VerificationOutcome.NOT_YET
    assert "only 1 of the 2 endpoints that must agree" in seen.why
    assert "HTTP 503" in seen.why


async def test_a_third_endpoint_stands_in_for_one_that_is_down(world):
    here, down, there = [await node_with(world, token_log(), event_log()) for _ in range(3)]
    down.raw = lambda _: web.Response(status=503)
    adapter = await world.adapter(here, down, there, rpc_quorum=2)
    (seen,) = await adapter.verify([a_transfer()], head=HEAD)
    assert seen.outcome is VerificationOutcome.CREDITED


async def test_more_endpoints_that_must_agree_than_there_are_is_a_misconfiguration(world):
    with pytest.raises(ChainMisconfigured, match="rpcQuorum is 2 and there are 1 endpoints"):
        await world.adapter(await world.node(), rpc_quorum=2)


async def test_all_blocks_that_are_not_deep_yet_are_read_again(world):
    """A node may answer for logs in the middle of a reorganisation, and for blocks before and after it."""
    node = await world.node()
    adapter = await world.adapter(node, max_log_range=None)
    after = Cursor(198, hash_of(198))
    await adapter.scan(Rail.PROXY, Targets(), after, HEAD, reread_s=1)
    assert int(node.calls("eth_getLogs")[-1][0]["fromBlock"], 16) == 199 - 5
