"""Sources are asked together, once in a while, and nobody waits long for one."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal

import pytest

from marketplace.pricing import board
from marketplace.pricing.board import PriceBoard
from marketplace.pricing.decision import Limits, NoPrice, Observation
from marketplace.pricing.sources import Reading, SourceFailed
from tests.harness import FakeClock


class Told:
    """A source that says what it is told to, or nothing for ever."""

    def __init__(self, name: str, price: str | None = "1") -> None:
        self.name = name
        self.assets = frozenset({"USDT"})
        self.price = price
        self.hangs = False
        self.asked = 0
        self.began = asyncio.Event()

    async def read(self) -> Reading:
        self.asked += 1
        self.began.set()
        if self.hangs:
            await asyncio.Event().wait()
        if self.price is None:
            raise SourceFailed("it is away")
        said = Observation(source=self.name, asset="USDT", price=Decimal(self.price), as_of_s=1, age_s=0)
        return Reading({"USDT": said})


async def test_a_source_that_gives_no_answer_is_left_out_in_time(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "READ_S", 0.05)
    good, slow = Told("good"), Told("slow")
    slow.hangs = True
    asked = PriceBoard([good, slow], Limits(), clock)

    found = await asyncio.gather(*(asked.price("USDT") for _ in range(3)))

    assert {price for price, _ in found} == {Decimal(1)}
    assert [each.source for each in found[0][1]] == ["good"]
    assert (good.asked, slow.asked) == (1, 1)


async def test_the_only_source_that_gives_no_answer_is_down(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "READ_S", 0.05)
    slow = Told("slow")
    slow.hangs = True

    with pytest.raises(NoPrice) as caught:
        await PriceBoard([slow], Limits(), clock).price("USDT")

    assert caught.value.reason == "down"


async def test_what_breaks_and_what_recovers_is_logged_once(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="marketplace.pricing.board")
    source = Told("one", None)
    asked = PriceBoard([source], Limits(), clock)
    for _ in range(3):
        clock.advance(11)
        with pytest.raises(NoPrice):
            await asked.price("USDT")
    source.price = "1"
    clock.advance(11)
    await asked.price("USDT")

    assert [record.getMessage() for record in caplog.records] == [
        "[pricing] one: it is away",
        "[pricing] USDT: no source of the price of USDT answers",
        "[pricing] one: recovered",
        "[pricing] USDT: recovered",
    ]


async def test_whoever_stops_waiting_leaves_the_source_to_the_next_one(clock: FakeClock) -> None:
    source = Told("one")
    source.hangs = True
    asked = PriceBoard([source], Limits(), clock)
    waiting = asyncio.create_task(asked.price("USDT"))
    await source.began.wait()
    waiting.cancel()
    await asyncio.wait([waiting])
    source.hangs = False

    assert (await asked.price("USDT"))[0] == 1
