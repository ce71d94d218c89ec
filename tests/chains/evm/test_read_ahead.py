"""Pages asked for beside the head: the same answers in one request, and nothing that was not shown before."""

from __future__ import annotations

import pytest

from chains.errors import ChainUnavailable
from chains.evm.logs.queries import merge_pages
from chains.evm.logs.reader import MAX_ADDRESSES_AHEAD
from chains.types import Cursor, Fork, Head, PageAhead, Rail, ScanPage, Targets
from tests.chains.evm_world import (
    SHOP,
    FakeNode,
    World,
    a_transfer,
    event_log,
    hash_of,
    key_of,
    token_log,
)

KNOWN = Head(200, hash_of(200), 1_700_000_200)
CURSOR = Cursor(195, hash_of(195))
LATER = "0x" + "1a" * 20
NOBODY = Targets()
SOMEBODY = Targets(frozenset({SHOP}))


def ahead(targets: Targets = NOBODY, *, after: Cursor = CURSOR, head: Head = KNOWN) -> list[PageAhead]:
    return [PageAhead(rail, targets, after, head, 0) for rail in Rail]


async def a_node(world: World) -> FakeNode:
    """Return a node that is five blocks above what an earlier answer has shown."""
    return await world.node(head=205, filters=True, logs=[event_log(block=198), event_log(block=203, index=6)])


def methods(post: list[dict[str, object]]) -> list[object]:
    return [call["method"] for call in post]


async def test_a_page_up_to_a_block_that_is_known_is_one_request_with_the_head(world: World) -> None:
    node = await a_node(world)
    adapter = await world.adapter(node)
    await adapter.head()
    node.posts.clear()

    head = await adapter.head(ahead())
    page = await adapter.scan(Rail.PROXY, NOBODY, CURSOR, KNOWN)

    assert head.position == 205
    assert page == ScanPage(
        [a_transfer(block_number=198, block_hash=hash_of(198), event_key=key_of(event_log()))],
        Cursor(200, hash_of(200)),
        time=1_700_000_200,
        rows_read=1,
    )
    (post,) = node.posts
    assert methods(post) == ["eth_getBlockByNumber", "eth_getBlockByNumber", "eth_getLogs", "eth_getBlockByNumber"]
    assert [call["params"][0] for call in post if call["method"] != "eth_getLogs"] == ["latest", "0xc8", "0xc3"]


async def test_both_rails_come_with_the_head_and_ask_for_no_block_twice(world: World) -> None:
    node = await a_node(world)
    node.fill(token_log(block=197, tx="0x" + "11" * 32))
    adapter = await world.adapter(node)
    await adapter.head()
    node.posts.clear()

    await adapter.head(ahead(SOMEBODY))
    proxied = await adapter.scan(Rail.PROXY, SOMEBODY, CURSOR, KNOWN)
    direct = await adapter.scan(Rail.DIRECT, SOMEBODY, CURSOR, KNOWN)

    assert isinstance(proxied, ScanPage)
    assert isinstance(direct, ScanPage)
    assert [t.block_number for t in proxied.transfers + direct.transfers] == [198, 197]
    (post,) = node.posts
    assert methods(post) == [*["eth_getBlockByNumber"] * 2, *["eth_getLogs"] * 2, "eth_getBlockByNumber"]


async def test_a_node_that_takes_no_batch_is_asked_one_call_at_a_time_for_the_same_page(world: World) -> None:
    node = await a_node(world)
    node.batches = False
    adapter = await world.adapter(node)
    await adapter.head(ahead())
    before = len(node.posts)
    page = await adapter.scan(Rail.PROXY, NOBODY, CURSOR, KNOWN)
    assert isinstance(page, ScanPage)
    assert (page.cursor, len(node.posts)) == (Cursor(200, hash_of(200)), before)


async def test_a_reorganisation_below_the_page_shows_as_with_a_request_of_its_own(world: World) -> None:
    node = await a_node(world)
    adapter = await world.adapter(node)
    node.branch_from = {194: "b"}
    await adapter.head(ahead())
    assert await adapter.scan(Rail.PROXY, NOBODY, CURSOR, KNOWN) == Fork(CURSOR)


async def test_a_block_that_became_another_since_ends_the_page_as_it_is_now(world: World) -> None:
    node = await a_node(world)
    adapter = await world.adapter(node)
    node.branch_from = {199: "b"}
    await adapter.head(ahead())
    page = await adapter.scan(Rail.PROXY, NOBODY, CURSOR, KNOWN)
    assert isinstance(page, ScanPage)
    assert page.cursor == Cursor(200, hash_of(200, "b"))


async def test_an_endpoint_that_holds_the_known_block_no_more_is_not_believed(world: World) -> None:
    node = await a_node(world)
    adapter = await world.adapter(node)
    node.head = 198
    head = await adapter.head(ahead())
    assert head.position == 198
    with pytest.raises(ChainUnavailable, match="does not hold block 200 yet"):
        await adapter.scan(Rail.PROXY, NOBODY, CURSOR, KNOWN)


async def test_answers_serve_no_other_question(world: World) -> None:
    node = await a_node(world)
    adapter = await world.adapter(node)
    newest = await adapter.head(ahead())
    page = await adapter.scan(Rail.PROXY, NOBODY, CURSOR, newest)
    assert isinstance(page, ScanPage)
    assert [t.block_number for t in page.transfers] == [198, 203]

    node.fill(token_log(block=199, to=LATER, tx="0x" + "12" * 32))
    await adapter.head(ahead(SOMEBODY))
    wider = Targets(frozenset({SHOP, LATER}))
    page = await adapter.scan(Rail.DIRECT, wider, CURSOR, KNOWN)
    assert isinstance(page, ScanPage)
    assert [t.destination for t in page.transfers] == [LATER]


async def test_answers_are_for_the_poll_that_asked_and_of_the_endpoint_that_gave_them(world: World) -> None:
    first, second = await a_node(world), await a_node(world)
    adapter = await world.adapter(first, second)
    await adapter.head(ahead())
    first.logs, first.posts = [event_log(block=199)], []
    await adapter.head([])  # the next poll; whoever else asks for the head leaves them alone
    page = await adapter.scan(Rail.PROXY, NOBODY, CURSOR, KNOWN)
    assert isinstance(page, ScanPage)
    assert [t.block_number for t in page.transfers] == [199]

    await adapter.head(ahead())
    adapter._pool.prefer(adapter._pool.endpoints[1])
    second.posts.clear()
    page = await adapter.scan(Rail.PROXY, NOBODY, CURSOR, KNOWN)
    assert isinstance(page, ScanPage)
    assert ([t.block_number for t in page.transfers], len(second.posts)) == ([198], 1)


async def test_somebody_else_who_asks_for_the_head_takes_no_answer_away(world: World) -> None:
    node = await a_node(world)
    adapter = await world.adapter(node)
    await adapter.head(ahead())
    await adapter.head()
    before = len(node.posts)
    await adapter.scan(Rail.PROXY, NOBODY, CURSOR, KNOWN)
    assert len(node.posts) == before


async def test_a_page_that_came_with_the_head_is_neither_counted_nor_timed_again(world: World) -> None:
    adapter = await world.adapter(await a_node(world))
    await adapter.head(ahead())
    counted, latency = len(world.calls.seen), adapter._pool.preferred.latency_s
    world.now.seconds += 5
    await adapter.scan(Rail.PROXY, NOBODY, CURSOR, KNOWN)
    assert (len(world.calls.seen), adapter._pool.preferred.latency_s) == (counted, latency)


async def test_logs_that_are_refused_beside_the_head_are_asked_for_in_smaller_questions(world: World) -> None:
    node = await a_node(world)
    node.max_range = 2
    adapter = await world.adapter(node)
    head = await adapter.head(ahead())
    page = await adapter.scan(Rail.PROXY, NOBODY, CURSOR, KNOWN)
    assert isinstance(page, ScanPage)
    assert (head.position, page.cursor.position) == (205, 197)


async def test_whom_a_request_would_be_long_for_is_not_asked_about_beside_the_head(world: World) -> None:
    node = await a_node(world)
    adapter = await world.adapter(node)
    await adapter.head(ahead(Targets(frozenset(f"0x{n:040x}" for n in range(MAX_ADDRESSES_AHEAD + 1)))))
    assert methods(node.posts[-1]) == [*["eth_getBlockByNumber"] * 2, "eth_getLogs", "eth_getBlockByNumber"]


def test_the_block_below_is_asked_for_after_all_logs_even_where_another_page_ends_with_it() -> None:
    block, logs = "eth_getBlockByNumber", "eth_getLogs"
    one = [(block, ("0x5", False)), (logs, (1,)), (block, ("0x3", False))]
    other = [(block, ("0x3", False)), (logs, (2,)), (logs, (1,)), (block, ("0x1", False))]
    calls, places = merge_pages([one, other])
    assert calls == [one[0], other[0], one[1], other[1], one[2], other[3]]
    assert [[calls[place] for place in mine] for mine in places] == [one, other]
    assert places[0][-1] == 4
