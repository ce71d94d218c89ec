"""What one endpoint keeps back, makes up or changes is found out by the blocks themselves, and the endpoint is named."""

from __future__ import annotations

import functools
import math
import operator
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest

from chains.errors import ChainError
from chains.evm.adapter import EvmAdapter, open_adapter
from chains.evm.logs.bloom import bits_of, may_hold
from chains.evm.logs.queries import LogFilter, LogSource
from chains.evm.proofs import withheld
from chains.types import Cursor, EndpointState, Rail, ScanPage, Targets
from config.catalog import Chain
from devnet.evm.anvil import CHAIN_ID, PROXY, Anvil
from devnet.evm.faulty_rpc import FaultyRpc
from tests.harness import MERCHANT, USDC, USDT

REFERENCE, OTHER_REFERENCE = "0xa0098add01acc736", "0x1122334455667788"
SHOP, NOBODY = f"0x6{1:039x}", f"0x6{2:039x}"
Json = dict[str, Any]
Lie = Callable[[str, list[Any], Any], Any]


def test_the_bits_of_an_item_are_those_a_filter_is_asked_for() -> None:
    chosen = random.Random(7)
    for _ in range(200):
        item, bloom = chosen.randbytes(20), chosen.getrandbits(2048)
        assert (bloom & bits_of(item) == bits_of(item)) is may_hold(bloom.to_bytes(256), item)


@pytest.mark.parametrize(("items", "addresses", "expected"), [(50, 100, 0.035), (150, 10, 0.074), (400, 1, 0.087)])
def test_filters_say_perhaps_for_nothing_as_often_as_the_page_says(items: int, addresses: int, expected: float) -> None:
    """docs/proofs.md: with n items p = (1 - (1 - 1/2048)^3n)^3, and 1 - (1 - p)^D with D addresses."""
    chosen = random.Random(items)
    masks = [bits_of(chosen.randbytes(20)) for _ in range(addresses)]
    filters = [
        functools.reduce(operator.or_, (bits_of(chosen.randbytes(20)) for _ in range(items))) for _ in range(600)
    ]
    perhaps = sum(any(bloom & mask == mask for mask in masks) for bloom in filters) / len(filters)
    single = (1 - (1 - 1 / 2048) ** (3 * items)) ** 3
    assert round(1 - (1 - single) ** addresses, 3) == expected
    assert abs(perhaps - expected) < 5 * math.sqrt(expected / len(filters))


class Silent:
    def rpc_call(self, *_: object) -> None:
        """Nobody counts here."""


class Liar(FaultyRpc):
    """Changes answers of the node behind it; `lie` gets method, parameters and result."""

    def __init__(self, target: str) -> None:
        self.lie: Lie = lambda _method, _params, result: result
        super().__init__(target)

    async def _forward(self, calls: list[Json]) -> list[Json]:
        answers = await super()._forward(calls)
        for call, answer in zip(calls, answers, strict=True):
            if "result" in answer:
                answer["result"] = self.lie(call["method"], call["params"], deepcopy(answer["result"]))
        return answers


@dataclass
class World:
    node: Anvil
    liar: Liar
    honest: FaultyRpc
    stack: AsyncExitStack
    paid: int = 0  # the block of both payments

    async def adapter(self, *urls: str, **fields: Any) -> EvmAdapter:
        chain = Chain(
            chain_id=CHAIN_ID,
            name="Test",
            proxy_address=PROXY,
            confirmation_threshold=5,
            rpc_urls=urls,
            **{"proof": "receipts", **fields},
        )
        return await self.stack.enter_async_context(open_adapter(chain, timeout_s=10, telemetry=Silent()))


@pytest.fixture
async def world(chain: Anvil) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        liar = await stack.enter_async_context(Liar(chain.url))
        honest = await stack.enter_async_context(FaultyRpc(chain.url))
        found = World(chain, liar, honest, stack)
        for amount, reference in ((1000, REFERENCE), (2000, OTHER_REFERENCE)):
            await chain.pay(USDT, MERCHANT, amount, reference)
        await chain.transfer(USDT, SHOP, 300)
        await chain.transfer(USDC, SHOP, 400)
        found.paid = int(await chain.rpc("eth_blockNumber"), 16)
        await chain.mine(3)
        yield found


async def read(adapter: EvmAdapter, rail: Rail, *, blocks: int = 14) -> ScanPage:
    head = await adapter.head()
    targets = Targets(frozenset({SHOP, NOBODY}), tokens=frozenset({USDT.lower()}))
    page = await adapter.scan(rail, targets, Cursor(head.position - blocks), head)
    assert isinstance(page, ScanPage)
    return page


AMOUNTS = {Rail.PROXY: [1000, 2000], Rail.DIRECT: [300, 400]}


def logs_of(change: Callable[[list[Json]], list[Json]]) -> Lie:
    return lambda method, _, result: change(result) if method == "eth_getLogs" else result


def changed(log: Json, **fields: Any) -> Json:
    return {**log, **fields}


def more(log: Json) -> Json:
    """Return a log of ten times the amount, or so."""
    return changed(log, data=log["data"][:-1] + ("0" if log["data"][-1] != "0" else "1"))


def in_receipts(change: Callable[[list[Json]], list[Json]]) -> Lie:
    """Change logs wherever they are shown."""

    def lie(method: str, _: list[Any], result: Any) -> Any:
        if method == "eth_getLogs":
            return change(result)
        if method == "eth_getBlockReceipts":
            return [changed(receipt, logs=change(receipt["logs"])) for receipt in result]
        return result

    return lie


def blocks_with(**fields: Any) -> Lie:
    def lie(method: str, _: list[Any], result: Any) -> Any:
        return {**result, **fields} if method == "eth_getBlockByNumber" and result["logsBloom"].strip("0x") else result

    return lie


HASH = "0x" + "12" * 32


def in_the_newest_block(method: str, params: list[Any], result: Any) -> Any:
    """Show a log in a block that holds none, under that block's own hash: it comes first in the same request."""
    if method == "eth_getBlockByNumber":
        newest.append((result["number"], result["hash"]))
    if method != "eth_getLogs":
        return result
    number, block_hash = max(newest, key=lambda block: int(block[0], 16))
    return [*result, changed(result[0], blockNumber=number, blockHash=block_hash, transactionHash=HASH)]


newest: list[tuple[str, str]] = []
LIES: dict[str, tuple[Lie, str]] = {
    "withholds one log": (logs_of(lambda logs: logs[1:]), "keeps back a log of block"),
    "withholds all logs": (logs_of(lambda _: []), "keeps back a log of block"),
    "invents a log": (
        logs_of(lambda logs: [*logs, *(changed(log, transactionHash=HASH) for log in logs[:1])]),
        "shows a log that block",
    ),
    "invents a log in an empty block": (in_the_newest_block, "shows a log that the filter of block"),
    "changes an amount": (logs_of(lambda logs: [more(log) for log in logs]), "shows a log that block"),
    "changes it in the receipts as well": (
        in_receipts(lambda logs: [more(log) for log in logs]),
        "the receipts it shows are not those of block",
    ),
    "withholds it in the receipts as well": (
        in_receipts(lambda _: []),
        "the receipts it shows are not those of block",
    ),
    "shows no receipts": (
        lambda method, _, result: [] if method == "eth_getBlockReceipts" else [] if method == "eth_getLogs" else result,
        "the receipts it shows are not those of block",
    ),
    "empties the filter": (blocks_with(logsBloom="0x" + "00" * 256), "the header it shows does not hash to block"),
    "shows another root": (blocks_with(receiptsRoot=HASH), "the header it shows does not hash to block"),
}


@pytest.mark.anvil
@pytest.mark.parametrize("rail", [Rail.PROXY, Rail.DIRECT])
@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_is_found_out_with_one_endpoint_and_another_is_asked_in_the_same_poll(
    world: World, lie: str, rail: Rail
) -> None:
    world.liar.lie, why = LIES[lie]
    newest.clear()
    alone = await world.adapter(world.liar.url)
    with pytest.raises(ChainError, match=why):
        await read(alone, rail)
    (report,) = alone.condition().endpoints
    assert why in (report.last_error or "")
    hashes_prove_it = "does not hash" not in why
    assert (report.state is EndpointState.LYING) is hashes_prove_it

    beside = await world.adapter(world.liar.url, world.honest.url)
    page = await read(beside, rail)
    assert sorted(transfer.amount for transfer in page.transfers) == AMOUNTS[rail]
    assert (page.unread, beside.endpoint.endswith("#2")) == ((), True)
    if hashes_prove_it:
        assert beside.condition().endpoints[0].state is EndpointState.LYING


@pytest.mark.anvil
async def test_receipts_of_another_block_and_a_made_up_head_are_no_answer(world: World) -> None:
    def of_another(method: str, _: list[Any], result: Any) -> Any:
        if method == "eth_getBlockReceipts":
            return [changed(receipt, blockHash=HASH, status="0x0") for receipt in result]
        return result

    world.liar.lie = of_another
    with pytest.raises(ChainError, match="the receipts it shows are of another block"):
        await read(await world.adapter(world.liar.url), Rail.PROXY)

    def another_head(method: str, params: list[Any], result: Any) -> Any:
        number = int(result["number"], 16) if method == "eth_getBlockByNumber" else 0
        return {**result, "hash": HASH} if number > world.paid else result

    world.liar.lie = another_head
    with pytest.raises(ChainError, match=f"the header it shows does not hash to block {HASH}"):
        await read(await world.adapter(world.liar.url), Rail.PROXY)


@pytest.mark.anvil
async def test_what_nobody_keeps_back_costs_a_request_for_headers_and_one_a_block_that_may_hold_something(
    world: World,
) -> None:
    adapter = await world.adapter(world.honest.url)
    await adapter.head()
    world.honest.requests = 0
    page = await read(adapter, Rail.PROXY)
    assert [transfer.amount for transfer in page.transfers] == AMOUNTS[Rail.PROXY]
    # The head, the page, its headers, and the receipts of two blocks with the proxy's events.
    assert world.honest.requests == 1 + 1 + 1 + 2

    world.honest.requests = 0
    page = await read(adapter, Rail.DIRECT)
    assert [transfer.amount for transfer in page.transfers] == AMOUNTS[Rail.DIRECT]
    # The headers are known by now; two blocks hold transfers to the shop.
    assert world.honest.requests == 1 + 1 + 2


@pytest.mark.anvil
async def test_a_block_that_cannot_be_compared_keeps_no_other_waiting(world: World) -> None:
    def odd(method: str, _: list[Any], result: Any) -> Any:
        if method == "eth_getBlockReceipts":
            return [changed(receipt, type="0x6a") for receipt in result]
        return result

    world.liar.lie = odd
    page = await read(await world.adapter(world.liar.url), Rail.PROXY)
    assert [transfer.amount for transfer in page.transfers] == AMOUNTS[Rail.PROXY]
    assert [(log.tx_hash, "cannot be compared with its receipts" in log.why) for log in page.unread] == [
        (None, True)
    ] * 2


@pytest.mark.anvil
async def test_tokens_that_an_endpoint_was_not_asked_for_are_not_held_back(world: World) -> None:
    world.honest.needs_address = True
    page = await read(await world.adapter(world.honest.url), Rail.DIRECT)
    assert [transfer.amount for transfer in page.transfers] == [300]  # USDC is neither waited for nor known here


@pytest.mark.anvil
async def test_nobody_is_asked_for_filters_where_that_is_switched_off(world: World) -> None:
    world.liar.lie = LIES["withholds all logs"][0]
    page = await read(await world.adapter(world.liar.url, bloom_check=False), Rail.PROXY)
    assert page.transfers == []
    assert world.liar.calls["eth_getBlockReceipts"] == 0


@pytest.mark.anvil
async def test_where_too_many_wait_each_block_with_a_transfer_is_looked_into(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(withheld, "MAX_ASKED", 1)
    world.liar.lie = LIES["withholds one log"][0]
    with pytest.raises(ChainError, match="keeps back a log of block"):
        await read(await world.adapter(world.liar.url), Rail.DIRECT)


@pytest.mark.anvil
async def test_headers_and_logs_that_are_kept_have_a_bound(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(withheld, "MAX_KEPT", 12)
    monkeypatch.setattr(withheld, "MAX_KEPT_LOGS", 1)
    adapter = await world.adapter(world.honest.url)
    await world.node.mine(60)
    check = adapter._scanner._withheld
    assert check is not None
    for _ in range(3):
        await world.node.mine(10)
        await read(adapter, Rail.PROXY, blocks=9)
    assert len(check._headers) <= 12
    assert len(check._logs) <= 1


@pytest.mark.anvil
async def test_blocks_that_do_not_build_on_what_was_read_or_are_not_those_of_the_logs_are_no_answer(
    world: World,
) -> None:
    adapter = await world.adapter(world.honest.url)
    head = await adapter.head()
    after = Cursor(head.position - 14, HASH)
    check, page = adapter._scanner._withheld, await read(adapter, Rail.PROXY)
    assert check is not None
    endpoint, log_filter = adapter._pool.preferred, LogFilter(Rail.PROXY)

    with pytest.raises(ChainError, match=f"does not build on block {HASH}"):
        await check.check(endpoint, log_filter, LogSource.LOGS, page, after)
    other = [transfer._replace(block_hash=HASH) for transfer in page.transfers]
    with pytest.raises(ChainError, match="its logs and its headers are of different blocks"):
        await check.check(endpoint, log_filter, LogSource.LOGS, replace(page, transfers=other), Cursor(after.position))


@pytest.mark.anvil
@pytest.mark.parametrize("rail", [Rail.PROXY, Rail.DIRECT])
async def test_a_lie_in_what_is_read_again_is_found_out(world: World, rail: Rail) -> None:
    """What is read again below the cursor was taken as it came, and stayed listed."""
    adapter = await world.adapter(world.liar.url)
    head = await adapter.head()
    targets = Targets(frozenset({SHOP, NOBODY}), tokens=frozenset({USDT.lower()}))
    after = Cursor(world.paid)
    page = await adapter.scan(rail, targets, after, head, reread_s=60)
    assert isinstance(page, ScanPage)
    assert max(transfer.amount for transfer in page.transfers) == AMOUNTS[rail][-1]

    world.liar.lie = LIES["changes an amount"][0]
    with pytest.raises(ChainError, match="shows a log that block"):
        await adapter.scan(rail, targets, after, head, reread_s=60)


@pytest.mark.anvil
async def test_a_lie_told_to_a_second_reading_is_found_out(world: World) -> None:
    adapter = await world.adapter(world.liar.url)
    head = await adapter.head()
    await read(adapter, Rail.DIRECT)
    honest = await adapter.rescan({SHOP}, since=head.time - 3600, until=head.time)
    assert sorted(transfer.amount for transfer in honest.transfers) == AMOUNTS[Rail.DIRECT]

    world.liar.lie = LIES["invents a log"][0]
    result = await adapter.rescan({SHOP}, since=head.time - 3600, until=head.time)
    assert (result.transfers, set(result.unread)) == ([], {SHOP})
    assert "shows a log that block" in result.unread[SHOP]


@pytest.mark.anvil
async def test_of_one_transaction_the_blocks_receipts_are_believed_and_not_what_is_told_of_it_alone(
    world: World,
) -> None:
    page = await read(await world.adapter(world.honest.url), Rail.DIRECT)
    paid = max(page.transfers, key=lambda transfer: transfer.amount)

    def lie(method: str, _: list[Any], result: Any) -> Any:
        told = method == "eth_getTransactionReceipt"
        return changed(result, logs=[more(log) for log in result["logs"]]) if told else result

    world.liar.lie = lie
    adapter = await world.adapter(world.liar.url)
    await adapter.head()
    seen = await adapter.transaction(paid.tx_hash)
    moved = await adapter.inspect(paid.tx_hash, Targets(frozenset({SHOP})))
    assert seen is not None
    assert [each.amount for each in seen.transfers] == [each.amount for each in moved] == [paid.amount]
