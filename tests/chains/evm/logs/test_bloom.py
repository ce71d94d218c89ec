"""Logs that are kept back are found out by the block's own filter, on a real chain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from chains.errors import ChainMisconfigured, ChainUnavailable
from chains.evm.adapter import EvmAdapter, open_adapter
from chains.evm.fee_proxy import EVENT_TOPIC
from chains.evm.logs.bloom import may_hold
from chains.types import Cursor, Rail, ScanPage, Targets
from config.catalog import Chain
from devnet.evm.anvil import CHAIN_ID, PROXY, Anvil
from devnet.evm.faulty_rpc import FaultyRpc
from tests.harness import MERCHANT, USDT

pytestmark = pytest.mark.anvil
REFERENCE = "0xa0098add01acc736"


class Silent:
    def rpc_call(self, *_: object) -> None:
        """Nobody counts here."""


@dataclass
class World:
    node: Anvil
    liar: FaultyRpc
    honest: FaultyRpc
    stack: AsyncExitStack

    async def adapter(self, *urls: str, **fields: object) -> EvmAdapter:
        chain = Chain(
            chain_id=CHAIN_ID,
            name="Test",
            proxy_address=PROXY,
            confirmation_threshold=5,
            rpc_urls=urls or (self.liar.url, self.honest.url),
            bloom_check=True,
            **fields,
        )
        return await self.stack.enter_async_context(open_adapter(chain, timeout_s=10, telemetry=Silent()))


@pytest.fixture
async def world(chain: Anvil) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        liar = await stack.enter_async_context(FaultyRpc(chain.url))
        honest = await stack.enter_async_context(FaultyRpc(chain.url))
        yield World(chain, liar, honest, stack)


async def read(adapter: EvmAdapter, blocks: int = 8) -> ScanPage:
    head = await adapter.head()
    page = await adapter.scan(Rail.PROXY, Targets(), Cursor(head.position - blocks), head)
    assert isinstance(page, ScanPage)
    return page


async def test_the_filter_of_a_real_block_holds_what_happened_in_it_and_that_of_an_empty_one_nothing(
    chain: Anvil,
) -> None:
    tx = await chain.pay(USDT, MERCHANT, 1000, REFERENCE)
    paid = await chain.mined(tx)
    await chain.mine(1)
    number = int(paid["blockNumber"], 16)
    full, empty = [
        bytes.fromhex((await chain.rpc("eth_getBlockByNumber", [hex(n), False]))["logsBloom"][2:])
        for n in (number, number + 1)
    ]
    items = (bytes.fromhex(PROXY[2:]), bytes.fromhex(EVENT_TOPIC[2:]))
    assert [may_hold(full, item) for item in items] == [True, True]
    assert [may_hold(empty, item) for item in items] == [False, False]
    assert not may_hold(full, b"nobody was here")


async def test_an_endpoint_that_keeps_an_event_back_is_found_out_and_passed_over(world: World) -> None:
    await world.node.pay(USDT, MERCHANT, 1000, REFERENCE)
    await world.node.mine(3)
    world.liar.fail("eth_getLogs", result=[])
    adapter = await world.adapter()

    page = await read(adapter)

    assert [transfer.amount for transfer in page.transfers] == [1000]
    assert adapter.endpoint.endswith("#2")


async def test_what_nobody_else_can_tell_is_not_taken_as_read(world: World) -> None:
    await world.node.pay(USDT, MERCHANT, 1000, REFERENCE)
    await world.node.mine(3)
    world.liar.fail("eth_getLogs", result=[])
    world.honest.fail(status=503)
    with pytest.raises(ChainUnavailable):
        await read(await world.adapter())


async def test_blocks_whose_filter_is_empty_are_nobody_elses_business(world: World) -> None:
    await world.node.mine(10)
    await read(await world.adapter())
    assert world.honest.calls["eth_getLogs"] == 0


async def test_what_was_shown_needs_no_second_opinion(world: World) -> None:
    await world.node.pay(USDT, MERCHANT, 1000, REFERENCE)
    await world.node.mine(3)
    page = await read(await world.adapter(), blocks=4)
    assert [transfer.amount for transfer in page.transfers] == [1000]
    assert world.honest.calls["eth_getLogs"] == 0


async def test_a_filter_that_says_yes_for_nothing_is_settled_by_the_other_endpoint(world: World) -> None:
    await world.node.mine(5)
    await full_filters(world)
    adapter = await world.adapter()
    page = await read(adapter, blocks=3)
    assert page.transfers == []
    assert adapter.endpoint.endswith("#1")
    assert world.honest.calls["eth_getLogs"] == 1


async def test_another_endpoint_that_is_behind_has_no_opinion(world: World) -> None:
    await world.node.pay(USDT, MERCHANT, 1000, REFERENCE)
    await world.node.mine(3)
    world.liar.fail("eth_getLogs", result=[])
    world.honest.fail("eth_getLogs", result=[])
    world.honest.fail("eth_getBlockByNumber", result=None)
    with pytest.raises(ChainUnavailable, match="asked for a second opinion, does not hold block"):
        await read(await world.adapter())


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        ("0x", "does not show block"),
        ({"number": "0x1"}, "does not show block"),
        ({"hash": f"0x{7:064x}"}, "holds another block"),
    ],
    ids=["no block", "of another number", "of another fork"],
)
async def test_nor_has_one_that_does_not_show_that_very_block(world: World, shown: object, why: str) -> None:
    await world.node.pay(USDT, MERCHANT, 1000, REFERENCE)
    await world.node.mine(3)
    head = int(await world.node.rpc("eth_blockNumber", []), 16)
    real = {hex(n): await world.node.rpc("eth_getBlockByNumber", [hex(n), False]) for n in range(head - 9, head + 1)}

    def answer(params: list[object]) -> object:
        return real[str(params[0])] | shown if isinstance(shown, dict) else shown

    world.liar.fail("eth_getLogs", result=[])
    world.honest.fail("eth_getLogs", result=[])
    adapter = await world.adapter()
    cursor = await adapter.head()
    world.honest.fail("eth_getBlockByNumber", result=answer)

    with pytest.raises(ChainUnavailable, match=f"asked for a second opinion, .*{why}"):
        await adapter.scan(Rail.PROXY, Targets(), Cursor(cursor.position - 8), cursor)


async def full_filters(world: World, *, blocks: int = 10) -> None:
    """Let the first endpoint show filters that may hold anything."""
    real = world.node.rpc
    head = int(await real("eth_blockNumber"), 16)
    full = {
        hex(n): {**await real("eth_getBlockByNumber", [hex(n), False]), "logsBloom": "0x" + "ff" * 256}
        for n in range(head - blocks, head + 1)
    }
    full["latest"] = full[hex(head)]
    world.liar.fail("eth_getBlockByNumber", result=lambda params: full[params[0]])


async def test_who_cannot_tell_is_passed_over_for_a_third(world: World) -> None:
    await world.node.mine(5)
    await full_filters(world)
    world.honest.fail("eth_getBlockByNumber", result="0x")
    third = await world.stack.enter_async_context(FaultyRpc(world.node.url))
    adapter = await world.adapter(world.liar.url, world.honest.url, third.url)

    page = await read(adapter, blocks=3)

    assert (page.transfers, adapter.endpoint[-2:]) == ([], "#1")
    assert third.calls["eth_getLogs"] == 1


@pytest.mark.parametrize(
    "shown",
    [None, {}, "0x", [None], [{}], {"error": "busy"}],
    ids=["null", "object", "text", "nulls", "empty", "error"],
)
async def test_so_is_one_whose_logs_are_none(world: World, shown: object) -> None:
    await world.node.pay(USDT, MERCHANT, 1000, REFERENCE)
    await world.node.mine(3)
    for endpoint, logs in ((world.liar, []), (world.honest, shown)):
        endpoint.fail("eth_getLogs", result=logs)
    third = await world.stack.enter_async_context(FaultyRpc(world.node.url))
    adapter = await world.adapter(world.liar.url, world.honest.url, third.url)

    assert [transfer.amount for transfer in (await read(adapter)).transfers] == [1000]
    assert adapter.endpoint[-2:] == "#3"


async def test_one_that_is_left_alone_is_asked_last(world: World) -> None:
    """Each page waited for the time-out of one that is known not to answer, though a third could tell."""
    await world.node.mine(5)
    await full_filters(world)
    down = world.honest.fail(status=503)
    third = await world.stack.enter_async_context(FaultyRpc(world.node.url))
    adapter = await world.adapter(world.liar.url, world.honest.url, third.url)
    head = await adapter.head()  # all are asked for theirs
    down.times = 0
    before = world.honest.requests

    await adapter.scan(Rail.PROXY, Targets(), Cursor(head.position - 3), head)

    assert (world.honest.requests - before, third.calls["eth_getLogs"]) == (0, 1)


@pytest.mark.parametrize(
    "changed",
    [{"logsBloom": None}, {"logsBloom": "0x00"}, {"logsBloom": "0x" + "zz" * 256}, {"number": "0x1"}],
    ids=["none", "short", "not hex", "of another block"],
)
async def test_a_block_without_a_filter_of_its_own_proves_nothing(world: World, changed: dict[str, object]) -> None:
    await world.node.mine(6)
    real = world.node.rpc
    head = int(await real("eth_blockNumber"), 16)
    blocks = {hex(n): await real("eth_getBlockByNumber", [hex(n), False]) for n in range(head - 5, head + 1)}
    blocks["latest"] = blocks[hex(head)]
    blocks[hex(head - 1)] = blocks[hex(head - 1)] | changed
    world.liar.fail("eth_getBlockByNumber", result=lambda params: blocks[params[0]])
    adapter = await world.adapter()

    await read(adapter, blocks=3)

    assert adapter.endpoint.endswith("#2")


async def test_without_a_second_endpoint_there_is_nobody_to_ask(world: World) -> None:
    with pytest.raises(ChainMisconfigured, match="bloomCheck needs a second endpoint"):
        await world.adapter(world.honest.url)
