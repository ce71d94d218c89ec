"""Shapes of a question for logs that nodes refuse: topics, addresses, logs without `address`, rows of one block."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import AsyncExitStack

import orjson
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.errors import ChainError, ChainMisconfigured
from chains.types import BalanceKey, Cursor, Fork, Head, Rail, ScanPage, Targets, Transfer
from devnet.evm.generated_chain import ChainSpec
from devnet.evm.generated_node import generated_node
from tests.chains.evm_world import (
    BUYER,
    SHOP,
    TOKEN,
    FakeNode,
    World,
    event_log,
    hash_of,
    receipt_of,
    token_log,
    tx_of,
)

HEAD = Head(200, hash_of(200), 1_700_000_200)
START = Cursor(90, hash_of(90))
PUBLICNODE = (
    "Please specify an address in your request or, to remove restrictions, order a dedicated full node here: "
    "https://www.allnodes.com/bsc/host"
)
WORTHLESS = "0x" + "e0" * 20
NO_RECEIPTS = frozenset({"eth_getBlockReceipts", "eth_getTransactionReceipt"})
OTHER_TOKEN = "0x" + "71" * 20


def shop(number: int) -> str:
    return f"0x{number + 0x5E00:040x}"


def targets(*destinations: str, tokens: tuple[str, ...] = (TOKEN,), beneficiaries: tuple[str, ...] = ()) -> Targets:
    return Targets(frozenset(destinations), frozenset(beneficiaries), frozenset(tokens))


async def read(adapter, wanted: Targets, *, rail: Rail = Rail.DIRECT, after: Cursor = START) -> list[Transfer]:
    """Read pages of one rail up to the head, as the worker does in one poll."""
    found: list[Transfer] = []
    while after.position < HEAD.position:
        page = await adapter.scan(rail, wanted, after, HEAD)
        assert isinstance(page, ScanPage)
        assert page.cursor.position > after.position
        found += page.transfers
        after = page.cursor
    return found


def logs_asked(node: FakeNode) -> list[dict]:
    return [params[0] for params in node.calls("eth_getLogs")]


def spam(count: int, to: str = SHOP, *, block: int = 150, token: str = WORTHLESS) -> list[dict]:
    """Return what a stranger prints for cents: one transaction with many logs, all to one address."""
    return [token_log(token=token, to=to, value=0, block=block, tx=tx_of(900), index=10 + n) for n in range(count)]


class LoopWatch:
    """
    The processor time of the longest step of the loop; other programs of the machine do not count.

    Nor does what thousands of tests before left in memory: looked through for garbage, that is most of a second.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def __aenter__(self) -> None:
        gc.collect()
        gc.freeze()
        self._task = asyncio.create_task(self._watch())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        gc.unfreeze()

    async def _watch(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.longest_s = max(self.longest_s, time.thread_time() - before)


@pytest.fixture
def filled(world: World):
    async def make(*logs: dict, **how) -> FakeNode:
        node = await world.node(filters=True, **how)
        node.fill(*logs)
        return node

    return make


# --- values in a topic position ------------------------------------------------------------------


@pytest.mark.parametrize(("most", "count"), [(20, 21), (20, 300), (1, 5), (7, 64), (1000, 1001)])
@pytest.mark.parametrize(
    "message",
    [
        "exceed max addresses or topics per search position",
        "query exceeds the maximum of {most} addresses or topics per search position",
        "too many topics",
        "unacceptable",
    ],
)
async def test_more_destinations_than_a_topic_position_takes_are_asked_in_parts(world, filled, most, count, message):
    shops = [shop(number) for number in range(count)]
    paid = [token_log(to=to, block=95 + n % 100, tx=tx_of(n), index=n) for n, to in enumerate(shops)]
    node = await filled(*paid, most_topics=most, topics_message=message.format(most=most))
    adapter = await world.adapter(node)
    found = await read(adapter, targets(*shops))
    assert sorted(transfer.destination for transfer in found) == sorted(shops)
    again = len(logs_asked(node))
    await read(adapter, targets(*shops))
    served = logs_asked(node)[again:]
    assert all(len(wanted["topics"][2]) <= most for wanted in served)  # learnt, not refused again


async def test_what_was_learnt_about_topics_is_shown_and_tried_larger_after_a_while(world, filled):
    node = await filled(token_log(), most_topics=20)
    adapter = await world.adapter(node)
    wanted = targets(*(shop(number) for number in range(40)))
    await read(adapter, wanted)
    learnt = adapter.condition().endpoints[0].limits.topics
    assert learnt is not None
    assert 10 <= learnt <= 20
    node.most_topics = None
    world.now.seconds += 3600
    await read(adapter, wanted)
    assert max(len(asked["topics"][2]) for asked in logs_asked(node)[-3:]) > learnt


# --- logs without an address ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        PUBLICNODE,
        PUBLICNODE.replace("bsc", "eth"),
        "eth_getLogs requires an address filter",
        "missing required field: address",
        "address is required",
        "this is for paying customers",  # with publicnode's code
    ],
)
async def test_an_endpoint_that_wants_addresses_is_asked_with_those_of_our_tokens(world, filled, message):
    node = await filled(
        token_log(to=SHOP, tx=tx_of(1), index=1),
        token_log(token=OTHER_TOKEN, to=SHOP, tx=tx_of(2), index=2),
        token_log(token=WORTHLESS, to=SHOP, tx=tx_of(3), index=3),
        event_log(tx=tx_of(4)),
        needs_address=message,
    )
    adapter = await world.adapter(node)
    wanted = targets(SHOP, tokens=(TOKEN, OTHER_TOKEN))
    assert {transfer.tx_hash for transfer in await read(adapter, wanted)} == {tx_of(1), tx_of(2)}
    assert {transfer.tx_hash for transfer in await read(adapter, wanted, rail=Rail.PROXY)} == {tx_of(4)}
    condition = adapter.condition()
    assert condition.endpoints[0].limits.addressless_logs is False
    (warning,) = condition.warnings
    assert (warning.rail, warning.code) == (Rail.DIRECT, "other_tokens_unseen")
    assert any("other tokens" in problem for problem in condition.problems)
    assert [asked for asked in logs_asked(node) if "address" not in asked][1:] == []  # asked for once


async def test_an_endpoint_that_shows_every_token_is_preferred(world, filled):
    logs = [token_log(tx=tx_of(1), index=1), token_log(token=WORTHLESS, tx=tx_of(3), index=3)]
    strict, open_ = await filled(*logs, needs_address=PUBLICNODE), await filled(*logs)
    adapter = await world.adapter(strict, open_)
    for _ in range(3):
        found = await read(adapter, targets(SHOP))
        assert {transfer.tx_hash for transfer in found} == {tx_of(1), tx_of(3)}
    assert len(logs_asked(strict)) == 1
    assert adapter.condition().warnings == ()
    open_.raw = lambda _: web.Response(status=502)
    assert [transfer.tx_hash for transfer in await read(adapter, targets(SHOP))] == [tx_of(1)]


@pytest.mark.parametrize(("tokens", "most"), [(3, 2), (10, 3), (5, 1)])
async def test_more_tokens_than_an_endpoint_takes_addresses_are_asked_in_parts(world, filled, tokens, most):
    known = [f"0x{0x7100 + number:040x}" for number in range(tokens)]
    paid = [token_log(token=token, to=SHOP, tx=tx_of(n), index=n) for n, token in enumerate(known)]
    node = await filled(*paid, needs_address=PUBLICNODE, most_addresses=most)
    adapter = await world.adapter(node)
    found = await read(adapter, targets(SHOP, tokens=tuple(known)))
    assert {transfer.token for transfer in found} == set(known)
    learnt = adapter.condition().endpoints[0].limits.addresses
    assert learnt is not None
    assert learnt <= most


async def test_without_a_token_to_ask_for_the_receipts_of_each_block_show_the_transfers(world, filled):
    node = await filled(token_log(to=SHOP, block=95), needs_address=PUBLICNODE)
    adapter = await world.adapter(node)
    page = await adapter.scan(Rail.DIRECT, targets(SHOP, tokens=()), Cursor(94, hash_of(94)), HEAD)
    assert page.cursor.position == 95
    assert [transfer.destination for transfer in page.transfers] == [SHOP]


async def test_plain_transfers_to_who_is_paid_through_the_proxy_are_seen_on_the_direct_rail(world, filled):
    node = await filled(token_log(to=BUYER, tx=tx_of(1), index=1), token_log(to=SHOP, tx=tx_of(2), index=2))
    adapter = await world.adapter(node)
    found = await read(adapter, targets(SHOP, beneficiaries=(BUYER,)))
    assert {transfer.destination for transfer in found} == {BUYER, SHOP}


# --- more rows in one block than an answer holds -------------------------------------------------


@pytest.mark.parametrize("rows", ["query returned more than {limit} results", "limit exceeded", "response too large"])
@pytest.mark.parametrize("endpoints", [1, 2])
async def test_a_block_full_of_worthless_logs_is_no_dead_end(world, filled, endpoints, rows):
    honest = token_log(to=SHOP, block=150, tx=tx_of(1), index=5)
    later = token_log(to=shop(3), block=160, tx=tx_of(2), index=1)
    nodes = [await filled(*spam(250), honest, later, most_rows=200, rows_message=rows) for _ in range(endpoints)]
    adapter = await world.adapter(*nodes)
    shops = [SHOP, *(shop(number) for number in range(50))]
    found = await read(adapter, targets(*shops))
    assert {transfer.tx_hash for transfer in found} >= {tx_of(1), tx_of(2)}
    assert len(found) == 252  # nothing is hidden where the receipts are shown


async def test_without_receipts_what_counts_is_found_by_token_and_the_status_says_what_is_not_shown(world, filled):
    honest = token_log(to=SHOP, block=150, tx=tx_of(1), index=5)
    node = await filled(*spam(250), honest, most_rows=200, unserved=NO_RECEIPTS)
    adapter = await world.adapter(node)
    assert [transfer.tx_hash for transfer in await read(adapter, targets(SHOP, shop(1)))] == [tx_of(1)]
    (problem,) = adapter.condition().problems
    assert SHOP in problem
    assert "only transfers of known tokens" in problem
    world.now.seconds += 600
    assert adapter.condition().problems == ()


async def test_the_crowded_address_is_asked_about_by_token_and_the_others_as_before(world, filled):
    """A stranger who fills every block must not slow the chain down: the flood is asked around, not waded through."""
    flood = [log for block in range(100, 160) for log in spam(30, block=block)]
    honest = [token_log(to=SHOP, block=150, tx=tx_of(1), index=5), token_log(to=shop(3), block=151, tx=tx_of(2))]
    node = await filled(*flood, *honest, most_rows=20)
    adapter = await world.adapter(node)
    wanted = targets(SHOP, *(shop(number) for number in range(20)))
    found = await read(adapter, wanted)
    assert {tx_of(1), tx_of(2)} <= {transfer.tx_hash for transfer in found}
    before = len(node.posts)
    await read(adapter, wanted)
    assert len(node.posts) - before <= 3


@pytest.mark.parametrize("unserved", [frozenset(), frozenset({"eth_getBlockReceipts"})])
async def test_a_block_full_of_dust_of_the_right_token_is_read_from_its_receipts(world, filled, unserved):
    honest = token_log(to=SHOP, block=150, tx=tx_of(1), index=5)
    node = await filled(*spam(250, token=TOKEN), honest, most_rows=200, unserved=unserved)
    adapter = await world.adapter(node)
    found = await read(adapter, targets(SHOP, shop(1)))
    assert tx_of(1) in {transfer.tx_hash for transfer in found}
    assert len(found) == 251
    assert adapter.condition().endpoints[0].limits.block_receipts is not bool(unserved)


@pytest.mark.parametrize("unserved", [frozenset(), frozenset({"eth_getBlockReceipts"})])
async def test_a_block_full_of_proxy_events_is_read_from_its_receipts(world, filled, unserved):
    logs = [event_log(block=150, tx=tx_of(900), index=n, reference=f"0x{n + 1:064x}") for n in range(250)]
    honest = event_log(block=150, tx=tx_of(1), index=500)
    node = await filled(*logs, honest, most_rows=200, unserved=unserved)
    adapter = await world.adapter(node)
    found = await read(adapter, targets(), rail=Rail.PROXY)
    assert len(found) == 251
    assert {transfer.tx_hash for transfer in found} == {tx_of(900), tx_of(1)}


async def test_many_crowded_addresses_are_found_in_few_questions_or_passed_by_receipts(world, filled):
    shops = [shop(number) for number in range(200)]
    flood = [
        token_log(token=WORTHLESS, to=to, block=150, tx=tx_of(900 + n), index=12 * n + index)
        for n, to in enumerate(shops[:60])
        for index in range(12)
    ]
    honest = token_log(to=shops[7], block=150, tx=tx_of(1), index=5000)
    node = await filled(*flood, honest, most_rows=10)
    found = await read(await world.adapter(node), targets(*shops))
    assert tx_of(1) in {transfer.tx_hash for transfer in found}
    assert len(logs_asked(node)) < 200


async def test_an_endpoint_that_serves_no_logs_at_all_is_read_by_receipts_when_nobody_else_is_there(world, filled):
    logs = [token_log(block=95, tx=tx_of(1)), event_log(block=96, tx=tx_of(2))]
    node = await filled(*logs, max_range=0, range_message="limit exceeded")
    adapter = await world.adapter(node)
    start = Cursor(94, hash_of(94))
    page = await adapter.scan(Rail.DIRECT, targets(SHOP), start, HEAD)
    assert [transfer.block_number for transfer in page.transfers] == [95]
    page = await adapter.scan(Rail.PROXY, targets(), Cursor(95, hash_of(95)), HEAD)
    assert [transfer.block_number for transfer in page.transfers] == [96]
    codes = {(warning.rail, warning.code) for warning in adapter.condition().warnings}
    assert codes == {(Rail.PROXY, "logs_unserved"), (Rail.DIRECT, "logs_unserved")}


async def test_receipts_that_are_not_all_there_are_not_taken_for_a_block_without_transfers(world, filled):
    node = await filled(token_log(to=SHOP, block=95), max_range=0, range_message="limit exceeded")
    node.replies |= {"eth_getBlockReceipts": [], "eth_getTransactionReceipt": None}
    adapter = await world.adapter(node)
    with pytest.raises(ChainMisconfigured, match="limit exceeded"):
        await adapter.scan(Rail.DIRECT, targets(SHOP), Cursor(94, hash_of(94)), HEAD)


@pytest.mark.parametrize("rail", [Rail.DIRECT, Rail.PROXY])
async def test_a_node_that_lists_no_transactions_is_not_believed_that_a_block_is_empty(world, filled, rail):
    logs = [token_log(to=SHOP, block=95, tx=tx_of(1)), event_log(block=95, tx=tx_of(2))]
    node = await filled(*logs, max_range=0, range_message="limit exceeded", lists_transactions=False)
    with pytest.raises(ChainMisconfigured, match="limit exceeded"):
        await (await world.adapter(node)).scan(rail, targets(SHOP), Cursor(94, hash_of(94)), HEAD)


async def test_receipts_that_show_nothing_of_a_block_said_to_be_too_full_are_not_believed(world, filled):
    logs = [event_log(block=150, tx=tx_of(900), index=n, reference=f"0x{n + 1:064x}") for n in range(250)]
    node = await filled(*logs, most_rows=200)
    node.receipts = {tx: receipt | {"logs": []} for tx, receipt in node.receipts.items()}
    with pytest.raises(ChainError):
        await read(await world.adapter(node), targets(), rail=Rail.PROXY)


async def test_a_receipt_left_out_of_the_blocks_receipts_is_asked_for_alone(world, filled):
    node = await filled(token_log(to=SHOP, block=95), max_range=0, range_message="limit exceeded")
    node.replies["eth_getBlockReceipts"] = []
    page = await (await world.adapter(node)).scan(Rail.DIRECT, targets(SHOP), Cursor(94, hash_of(94)), HEAD)
    assert [transfer.block_number for transfer in page.transfers] == [95]


async def test_receipts_of_another_branch_are_refused(world, filled):
    node = await filled(token_log(to=SHOP, block=95), max_range=0, range_message="limit exceeded")
    node.replies["eth_getBlockReceipts"] = [receipt_of(tx=tx_of(7), block=95) | {"blockHash": hash_of(95, "b")}]
    with pytest.raises(ChainError):
        await (await world.adapter(node)).scan(Rail.DIRECT, targets(SHOP), Cursor(94, hash_of(94)), HEAD)


async def test_a_reorganisation_is_seen_on_the_way_by_receipts_too(world, filled):
    node = await filled(token_log(to=SHOP, block=95), max_range=0, range_message="limit exceeded")
    adapter = await world.adapter(node)
    at = Cursor(94, hash_of(94, "b"))
    assert await adapter.scan(Rail.DIRECT, targets(SHOP), at, HEAD) == Fork(at)


# --- passing troubles ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message"), [(-32005, "limit exceeded"), (-32000, "you ask a lot"), (-32603, "Internal error")]
)
async def test_what_refused_everything_for_a_moment_is_asked_as_before_when_it_is_well(world, filled, code, message):
    node = await filled(token_log(to=SHOP, block=91, tx=tx_of(1)), token_log(to=SHOP, block=150), unserved=NO_RECEIPTS)
    adapter = await world.adapter(node)
    wanted = targets(SHOP, *(shop(number) for number in range(40)))
    node.replies["eth_getLogs"] = LookupError(code, message)
    with pytest.raises(ChainError):
        await adapter.scan(Rail.DIRECT, wanted, START, HEAD)
    del node.replies["eth_getLogs"]
    world.now.seconds += 10
    before = len(node.posts)
    assert [transfer.block_number for transfer in await read(adapter, wanted)] == [91, 150]
    assert len(node.posts) - before <= 3
    assert len(logs_asked(node)[-1]["topics"][2]) == 41
    assert adapter.condition().endpoints[0].limits.topics is None


# --- the second look -----------------------------------------------------------------------------


async def test_the_second_look_asks_another_endpoint(world, filled):
    """What the scanning endpoint's index had not yet is found where it has arrived."""
    late = token_log(to=SHOP, block=150, tx=tx_of(1))
    scanning, other = await filled(), await filled(late, token_log(to=SHOP, block=120, tx=tx_of(2)))
    adapter = await world.adapter(scanning, other)
    assert await read(adapter, targets(SHOP)) == []
    asked = len(logs_asked(scanning))
    found, unread = await second_look(adapter, since=140, until=160)
    assert ([transfer.tx_hash for transfer in found], unread) == ([tx_of(1)], {})
    assert len(logs_asked(scanning)) == asked


async def test_the_second_look_asks_another_endpoint_by_token_rather_than_the_same_once_more(world, filled):
    late = token_log(to=SHOP, block=150, tx=tx_of(1))
    scanning, other = await filled(), await filled(late, needs_address=PUBLICNODE)
    adapter = await world.adapter(scanning, other)
    assert await read(adapter, targets(SHOP)) == []
    found, unread = await second_look(adapter, since=140, until=160)
    assert ([transfer.tx_hash for transfer in found], unread) == ([tx_of(1)], {})


async def test_the_second_look_asks_the_only_endpoint_again_in_the_shape_it_takes(world, filled):
    node = await filled(token_log(to=SHOP, block=150), needs_address=PUBLICNODE, max_range=7)
    adapter = await world.adapter(node)
    await read(adapter, targets(SHOP))
    found, unread = await second_look(adapter, since=100, until=180)
    assert ([transfer.block_number for transfer in found], unread) == ([150], {})


@pytest.mark.parametrize(("since", "until", "seen"), [(150, 150, 1), (151, 160, 0), (100, 149, 0), (0, 400, 1)])
async def test_the_second_look_reads_the_blocks_between_two_moments(world, filled, since, until, seen):
    node = await filled(token_log(to=SHOP, block=150))
    found, unread = await second_look(await world.adapter(node), since=since, until=until)
    assert (len(found), unread) == (seen, {})


async def test_what_the_second_look_could_not_read_is_named_and_not_raised(world, filled):
    node = await filled(token_log(to=SHOP, block=150), unserved=NO_RECEIPTS)
    node.replies["eth_getLogs"] = LookupError(-32005, "limit exceeded")
    found, unread = await second_look(await world.adapter(node), since=100, until=180)
    assert found == []
    assert unread.keys() == {SHOP}
    assert "limit exceeded" in unread[SHOP]


async def test_the_second_look_pauses_nine_times_as_long_as_it_asks(world, filled, monkeypatch):
    pauses: list[float] = []
    rest = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        await rest(0)

    node = await filled(token_log(to=SHOP, block=150), max_range=10)
    adapter = await world.adapter(node)
    monkeypatch.setattr("chains.evm.scan.asyncio.sleep", noted)
    node.raw = lambda body: _slow(world, node, body)
    await second_look(adapter, since=100, until=140)
    assert len([pause for pause in pauses if pause >= 4.5]) >= 4


def _slow(world: World, node: FakeNode, body: bytes) -> web.Response:
    world.now.seconds += 0.5
    question = orjson.loads(body)
    answers = [node._answer(call) for call in question] if isinstance(question, list) else node._answer(question)
    return web.Response(body=orjson.dumps(answers), content_type="application/json")


async def second_look(adapter, *, since: int, until: int):
    """Look at the blocks whose times these are: block n is of second n."""
    epoch = 1_700_000_000
    again = await adapter.rescan({SHOP}, since=epoch + since, until=epoch + until)
    return again.transfers, dict(again.unread)


# --- the loop ------------------------------------------------------------------------------------


@pytest.mark.parametrize("most_rows", [9_999, None])
async def test_ten_thousand_logs_in_one_block_never_hold_the_loop_for_long(world, most_rows):
    spec = ChainSpec(logs=10_000, blocks=1, max_rows=most_rows)
    async with generated_node(spec) as url:  # in a process of its own: its work is not ours
        adapter = await world.adapter(FakeNode(url=url), timeout_s=60)
        head = await adapter.head()
        held = LoopWatch()
        async with held:
            page = await adapter.scan(Rail.PROXY, targets(), Cursor(0), head._replace(position=1))
    assert len(page.transfers) == 10_000
    assert held.longest_s < 0.5  # 50 ms on a machine of its own; all in one piece it was over a second


# --- what a watched balance received -------------------------------------------------------------


@pytest.mark.parametrize(
    "limits",
    [
        {"most_topics": 3},
        {"most_addresses": 1},
        {"max_range": 4},
        {"max_range": 4, "range_message": "unacceptable"},
        {"needs_address": PUBLICNODE},
        {"most_rows": 5},
        {"max_range": 0, "range_message": "limit exceeded"},
    ],
    ids=str,
)
async def test_what_watched_addresses_received_is_read_in_the_shape_an_endpoint_takes(world, filled, limits):
    shops = [shop(number) for number in range(8)]
    paid = [token_log(to=to, block=120 + n, tx=tx_of(n), index=n) for n, to in enumerate(shops)]
    flood = spam(20, shops[0], token=TOKEN, block=140)
    foreign = token_log(token=WORTHLESS, to=shops[1], block=130, tx=tx_of(500), index=900)
    node = await filled(*paid, *flood, foreign, **limits)
    adapter = await world.adapter(node)
    await adapter.scan(Rail.PROXY, targets(), Cursor(199, hash_of(199)), HEAD)
    holdings = [BalanceKey(to, token) for to in shops for token in (TOKEN, OTHER_TOKEN)]
    found = await adapter.token_receipts(holdings, first=120, last=160)
    assert [move.tx_hash for move in found if move.tx_hash != tx_of(900)] == [tx_of(n) for n in range(8)]
    assert sum(move.tx_hash == tx_of(900) for move in found) == 20


# --- refusals without words ----------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 402, 413, 414, 422, 429, 500, 504, None])
@pytest.mark.parametrize("most", [7, 1])
async def test_too_many_topics_are_refused_without_a_word_and_asked_in_parts_in_the_same_poll(
    world, filled, status, most
):
    """Some gateways answer a question that is too long with a bare status, or close the connection."""
    shops = [shop(number) for number in range(40)]
    paid = [token_log(to=to, block=95 + n, tx=tx_of(n), index=n) for n, to in enumerate(shops)]
    node = await filled(*paid)
    taken = node.serve

    async def picky(request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        calls = asked if isinstance(asked, list) else [asked]
        slots = [slot for call in calls if call["method"] == "eth_getLogs" for slot in call["params"][0]["topics"]]
        if all(len(slot) <= most for slot in slots if isinstance(slot, list)):
            return await taken(request)
        if status is None:
            request.transport.abort()
            return web.Response()
        return web.Response(status=status, text="too complex")

    node.picky = picky
    found = await read(await world.adapter(node), targets(*shops))
    assert sorted(transfer.destination for transfer in found) == sorted(shops)


# --- whatever an endpoint refuses ----------------------------------------------------------------


LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "max_range": st.integers(0, 40),
        "range_message": st.sampled_from(["exceed maximum block range: {limit}", "limit exceeded", "no"]),
        "most_topics": st.integers(1, 12),
        "topics_message": st.sampled_from(["exceed max addresses or topics per search position", "no", "too many"]),
        "most_rows": st.integers(1, 30),
        "rows_message": st.sampled_from(["query returned more than {limit} results", "response too large", "no"]),
        "needs_address": st.sampled_from([PUBLICNODE, "address is required"]),
        "most_addresses": st.integers(1, 3),
        "batches": st.booleans(),
    },
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limits=LIMITS,
    blocks=st.lists(st.integers(91, 200), min_size=1, max_size=60),
    crowd=st.integers(0, 40),
    unserved=st.sampled_from([frozenset(), frozenset({"eth_getBlockReceipts"})]),
)
async def test_every_transfer_is_found_once_whatever_shapes_an_endpoint_refuses(limits, blocks, crowd, unserved):
    async with AsyncExitStack() as stack:
        world = World(stack)
        shops = [shop(number) for number in range(15)]
        logs = [
            token_log(to=shops[n % 15], token=TOKEN if n % 3 else OTHER_TOKEN, block=block, tx=tx_of(n), index=n)
            for n, block in enumerate(sorted(blocks))
        ]
        node = await world.node(filters=True, unserved=unserved, **limits)
        node.fill(*logs, *spam(crowd, shops[0], block=blocks[0]))
        adapter = await world.adapter(node)
        found = await read(adapter, targets(*shops, tokens=(TOKEN, OTHER_TOKEN)))
        ours = sorted(transfer.tx_hash for transfer in found if transfer.token != WORTHLESS)
        assert ours == sorted(tx_of(n) for n in range(len(blocks)))
