"""The direct rail on Tron and TON alike: what adds up, what is too much, and what counts for nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from devnet.receiver import Receiver
from tests.e2e.index_shop import IndexShop
from tests.e2e.ton_shop import run_ton_shop
from tests.e2e.tron_shop import run_tron_shop


@pytest.fixture(params=[run_tron_shop, run_ton_shop], ids=["tron", "ton"])
async def shop(request: Any, hooks: Receiver, tmp_path: Path) -> AsyncIterator[IndexShop]:
    async with request.param(tmp_path, hooks) as found:
        yield found


async def test_two_partial_transfers_add_up(shop: IndexShop) -> None:
    to = shop.fresh_address()
    intent_id = await shop.sell(destination=to)
    first = await shop.pay_hash(to, 400)
    seen = await shop.api.intent(intent_id)
    assert (seen["status"], seen["amountReceived"]) == ("pending", "400")
    assert await shop.unmatched(intent_id) == [("underpaid", first)]

    last = await shop.pay_hash(to, 600)
    await shop.delivered(intent_id)

    (delivery,) = shop.hooks.deliveries
    reported = delivery.json
    assert (reported["txHash"], reported["amountReceived"], reported["transferCount"]) == (last, "1000", 2)
    assert await shop.unmatched(intent_id) == []


async def test_more_than_the_amount_settles_and_shows_the_surplus(shop: IndexShop) -> None:
    to = shop.fresh_address()
    intent_id = await shop.sell(destination=to)

    tx = await shop.pay_hash(to, 1003)

    assert (await shop.api.intent(intent_id))["status"] == "confirmed"
    (row,) = await shop.api.unmatched()
    assert (row["reason"], row["amount"], row["transferAmount"], row["txHash"]) == ("overpaid_surplus", "3", "1003", tx)


async def test_a_transfer_of_nothing_counts_for_nothing(shop: IndexShop) -> None:
    to = shop.fresh_address()
    intent_id = await shop.sell(destination=to)

    tx = await shop.pay_hash(to, 0)

    seen = await shop.api.intent(intent_id)
    assert (seen["status"], seen["amountReceived"]) == ("pending", "0")
    assert await shop.unmatched(intent_id) == [("zero_amount", tx)]
