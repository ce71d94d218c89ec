"""Two buyers and the last item: whatever two processes on one PostgreSQL do at once, one gets it, and once."""

from __future__ import annotations

import asyncio

import pytest

from marketplace.goods.upkeep import GoodsUpkeep
from tests import postgres
from tests.marketplace.accepted_purchase import BUYERS_WALLET
from tests.marketplace.goods_for_sale import Shelf, open_shelf, reveal, send_file
from tests.marketplace.harness import Api, Running
from tests.marketplace.test_races import Pair, at_once, pair, statuses
from tests.rounds import rounds

pytestmark = postgres.needed
__all__ = ["pair"]  # a fixture


@pytest.fixture(params=rounds(short=5))
def races(request: pytest.FixtureRequest) -> int:
    return int(request.param)


async def shelf_of(pair: Pair, *codes: str) -> Shelf:
    shelf = await open_shelf(pair.one, pair.scanner, pair.clock)
    if codes:
        await shelf.fill(*codes)
    return shelf


def sold(pair: Pair, shelf: Shelf) -> list[tuple[str, ...]]:
    return pair.rows("SELECT payment_id FROM stock_items WHERE pool_id = ? AND payment_id IS NOT NULL", shelf.stock_id)


async def test_of_two_buyers_of_the_last_item_one_gets_it_and_the_other_waits(pair: Pair, races: int) -> None:
    for number in range(races):
        shelf = await open_shelf(pair.one, pair.scanner, pair.clock, f"LAST-{number}")
        first, second = await shelf.accepted(), await shelf.accepted()
        for each in (first, second):
            await each.open()

        answers = await at_once(
            pair.hook(first.buyer, pair.scanner.pay(first.payment_id)),
            pair.hook(pair.there(second.buyer), pair.scanner.pay(second.payment_id)),
        )

        assert [answer["data"]["outcome"] for _, answer in answers] == ["funded", "funded"]
        assert len(sold(pair, shelf)) == 1
        found = pair.rows("SELECT status FROM goods_orders WHERE pool_id = ? ORDER BY status", shelf.stock_id)
        assert found == [("reserved",), ("waiting",)]
        shown = await at_once(reveal(first), reveal(second, pair.there(second.buyer)))
        assert statuses(shown) == [200, 409], shown


async def test_what_is_shown_is_not_refunded_into_the_stock_and_what_is_refunded_is_not_shown(
    pair: Pair, races: int
) -> None:
    for number in range(races):
        shelf = await open_shelf(pair.one, pair.scanner, pair.clock, f"ONE-{number}")
        purchase = await shelf.bought()

        shown, refunded = await at_once(reveal(purchase, pair.there(purchase.buyer)), purchase.refund(BUYERS_WALLET))

        assert refunded[0] == 200
        counts = await shelf.counts()
        if shown[0] == 200:
            assert (counts["free"], counts["revealed"]) == (0, 1)
        else:
            assert (shown[0], counts["free"], counts["revealed"]) == (409, 1, 0)


async def test_a_good_is_taken_out_or_sold_never_both(pair: Pair, races: int) -> None:
    for number in range(races):
        shelf = await open_shelf(pair.one, pair.scanner, pair.clock, f"ONE-{number}")
        purchase = await shelf.accepted()
        await purchase.open()
        item = (await shelf.seller.ok("GET", f"{shelf.path}/items"))["items"][0]["id"]

        taken, hooked = await at_once(
            pair.there(shelf.seller).call("POST", f"/api/marketplace/stock-items/{item}/withdraw"),
            pair.hook(purchase.buyer, pair.scanner.pay(purchase.payment_id)),
        )

        assert hooked[1]["data"]["outcome"] == "funded"
        waits = (await purchase.buyer.ok("GET", purchase.path("goods")))["waiting"]
        assert (taken[0], waits) in {(200, 1), (409, 0)}


async def test_those_who_wait_are_served_once_whoever_serves_them(pair: Pair, races: int) -> None:
    for number in range(max(1, races // 4)):
        shelf = await open_shelf(pair.one, pair.scanner, pair.clock, f"A-{number}", f"B-{number}")
        waiting = [await shelf.accepted() for _ in range(2)]
        for each in waiting:
            await each.open()
        for item in (await shelf.seller.ok("GET", f"{shelf.path}/items"))["items"]:
            await shelf.seller.ok("POST", f"/api/marketplace/stock-items/{item['id']}/withdraw")
        for each in waiting:
            await each.hook(each.scanner.pay(each.payment_id))
        await shelf.fill(f"C-{number}", f"D-{number}")

        await asyncio.gather(*(upkeep(each).serve() for each in (pair.one, pair.other)))

        assert len({payment for (payment,) in sold(pair, shelf)}) == len(sold(pair, shelf)) == 2


async def test_one_code_uploaded_twice_at_once_is_in_stock_once(pair: Pair, races: int) -> None:
    shelf = await shelf_of(pair)
    other = Api(pair.other.nobody.url, shelf.seller.session, shelf.seller.token)
    for number in range(races):
        raw = f"content\nSAME-{number}\n".encode()

        answers = await at_once(send_file(shelf.seller, shelf.stock_id, raw), send_file(other, shelf.stock_id, raw))

        assert statuses(answers) == [201, 422], answers


def upkeep(process: Running) -> GoodsUpkeep:
    return process.marketplace.sweep.goods
