"""Work on one transaction of an EVM chain grows with its logs and no faster, and lets everything else go on."""

from __future__ import annotations

import asyncio
import gc
import time

import orjson
import pytest
from msgspec import Raw

from chains.evm.logs.log_decoder import LogDecoder
from chains.evm.rpc.structs import parse_logs
from chains.evm.verification import endpoint_verifier, receipts
from chains.types import Head, VerificationOutcome
from tests.chains.conftest import world
from tests.chains.evm_world import (
    CHAIN_ID,
    PROXY,
    SHOP,
    TOKEN,
    a_transfer,
    event_log,
    hash_of,
    key_of,
    receipt_of,
    token_log,
    tx_of,
)

__all__ = ["world"]

MANY = 10_000
LONGEST_STEP_S = 0.05
HEAD = Head(200, hash_of(200), 1_700_000_200)


class Steps:
    """The processor time of the longest step of the loop; other programs of the machine do not count."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._task: asyncio.Task[None]

    async def __aenter__(self):
        gc.collect()
        gc.disable()  # what else these tests hold is not what is measured, and the daemon tames its collector
        self._task = asyncio.create_task(self._watch())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_):
        await asyncio.sleep(0)
        self._task.cancel()
        gc.enable()

    async def _watch(self):
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.longest = max(self.longest, time.thread_time() - before)


def equal_dust(count):
    return [token_log(index=place, value=1) for place in range(count)]


def varied_dust(count):
    return [token_log(index=place, value=1 + place, to=f"0x{place % 97:040x}") for place in range(count)]


def events_and_moves(count):
    return [
        log
        for place in range(0, count, 2)
        for log in (token_log(index=place, value=1), event_log(index=place + 1, amount=1))
    ]


def unpaid_events(count):
    """Half of it moves one by one, then as many events as there are moves, and each wants another value."""
    moves = [token_log(index=place, value=2) for place in range(count // 2)]
    return moves + [event_log(index=count + place, amount=3) for place in range(count // 2)]


def sent(logs):
    return Raw(orjson.dumps(receipt_of(*logs)))


def read(raw):
    return receipts.read_receipt(raw, tx_hash=tx_of(7), proxy=PROXY.lower())


@pytest.mark.long
@pytest.mark.parametrize("kind", [equal_dust, varied_dust, events_and_moves, unpaid_events])
async def test_a_receipt_of_ten_thousand_logs_is_read_in_short_steps(kind):
    raw = sent(kind(MANY))
    async with Steps() as steps:
        receipt = await read(raw)
    assert len(receipt.plain) + len(receipt.events) == MANY
    assert steps.longest < LONGEST_STEP_S


@pytest.mark.parametrize("kind", [equal_dust, varied_dust, events_and_moves, unpaid_events])
async def test_four_times_the_logs_take_about_four_times_the_work(kind):
    async def work(count):
        raw = sent(kind(count))
        best = float("inf")
        for _ in range(3):
            before = time.thread_time()
            await read(raw)
            best = min(best, time.thread_time() - before)
        return best

    assert await work(MANY) < 10 * await work(MANY // 4)  # what grows with the square would take sixteen times


async def test_ten_thousand_equal_logs_of_one_page_are_numbered_in_short_steps():
    rows = parse_logs(Raw(orjson.dumps(equal_dust(MANY))))
    decoder = LogDecoder(chain_id=CHAIN_ID, proxy=PROXY.lower(), first=0, last=1000)
    longest = 0.0
    for start in range(0, MANY, 2_000):
        before = time.thread_time()
        decoder.feed_credits(rows[start : start + 2_000])
        longest = max(longest, time.thread_time() - before)
    assert len({transfer.event_key for transfer in decoder.transfers}) == MANY
    assert longest < LONGEST_STEP_S


def dust_of(count):
    """Return what a scan finds of equal dust."""
    keys = [key_of(token_log(value=1), place) for place in range(count)]
    plain = a_transfer(token=TOKEN, destination=SHOP, amount=1, reference="0x" + "0" * 64, fee_address="0x" + "0" * 40)
    return [plain._replace(event_key=key, reference=None, fee_address=None) for key in keys]


async def test_a_receipt_is_asked_for_and_read_once_however_many_transfers_are_in_it(world, monkeypatch):
    node = await world.node(receipts={tx_of(7): receipt_of(*equal_dust(MANY))})
    adapter = await world.adapter(node)
    times, read_receipt = 0, receipts.read_receipt

    async def counted(*args, **more):
        nonlocal times
        times += 1
        return await read_receipt(*args, **more)

    monkeypatch.setattr(receipts, "read_receipt", counted)
    dust = dust_of(MANY)
    for start in range(0, MANY, 500):  # as the confirmer does, which stores part by part
        seen = await adapter.verify(dust[start : start + 500], head=HEAD)
        assert {look.outcome for look in seen} == {VerificationOutcome.CREDITED}
    assert times == 1
    assert len(node.calls("eth_getTransactionReceipt")) == 1


@pytest.mark.long
async def test_what_is_remembered_of_large_receipts_is_bounded_and_goes_with_the_head(world):
    node = await world.node()
    wanted = []
    for number in range(30):
        tx = tx_of(1_000 + number)
        node.receipts[tx] = receipt_of(*(log | {"transactionHash": tx} for log in equal_dust(2_000)), tx=tx)
        wanted.append(dust_of(1)[0]._replace(tx_hash=tx))
    adapter = await world.adapter(node)
    for transfer in wanted:
        await adapter.verify([transfer], head=HEAD)
    known = adapter._verifier._endpoint_verifier._large
    assert 0 < sum(receipt.size for receipt in known.values()) <= endpoint_verifier.MAX_CACHED_LOGS
    await adapter.verify([], head=HEAD._replace(position=201, block_hash=hash_of(201)))
    assert known == {}


async def test_receipts_too_large_to_come_together_come_one_by_one(world, monkeypatch):
    node = await world.node()
    wanted = []
    for number in range(8):
        tx = tx_of(1_000 + number)
        node.receipts[tx] = receipt_of(*(log | {"transactionHash": tx} for log in equal_dust(300)), tx=tx)
        wanted.append(dust_of(1)[0]._replace(tx_hash=tx))
    adapter = await world.adapter(node)
    monkeypatch.setattr(adapter._client._http, "_max_bytes", 400_000)
    seen = await adapter.verify(wanted, head=HEAD)
    assert [look.outcome for look in seen] == [VerificationOutcome.CREDITED] * len(wanted)


async def test_a_receipt_larger_than_is_read_keeps_no_other_transfer_waiting(world, monkeypatch):
    node = await world.node()
    node.receipts[tx_of(7)] = receipt_of(*equal_dust(3_000))
    node.receipts[tx_of(8)] = receipt_of(token_log(value=1, tx=tx_of(8)), tx=tx_of(8))
    adapter = await world.adapter(node)
    monkeypatch.setattr(adapter._client._http, "_max_bytes", 400_000)
    huge, small = dust_of(1)[0], dust_of(1)[0]._replace(tx_hash=tx_of(8))
    seen = await adapter.verify([huge, small], head=HEAD)
    assert [look.outcome for look in seen] == [VerificationOutcome.NOT_YET, VerificationOutcome.CREDITED]
    assert "larger than" in seen[0].why
