"""Digital goods: handed to whoever paid, once, shown to nobody else, and never lost."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kernel.errors import WrongKey
from marketplace.goods import purchases, stock
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import BUYERS_WALLET, DONE_IN, SELLERS_WALLET, AcceptedPurchase
from tests.marketplace.fake_scanner import FakeScanner, news
from tests.marketplace.goods_for_sale import Shelf, open_shelf, reveal, revealed, send_file
from tests.marketplace.harness import (
    GOODS_KEY,
    MARKET,
    Api,
    Running,
    environment,
    new_request,
    notes,
    offer_body,
    running,
)

BOTH = pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
CODES = ("AAAA-1111", "BBBB-2222", "CCCC-3333")
OTHER_KEY = base64.b64encode(bytes(range(64, 96))).decode()


@pytest.fixture
async def shelf(market: Running, fake_scanner: FakeScanner, clock: FakeClock) -> Shelf:
    return await open_shelf(market, fake_scanner, clock, *CODES, low_at=1)


async def heard(who: Api) -> list[str]:
    return [kind for kind, _ in await notes(who)]


def column(shelf: Shelf, sql: str, *values: Any) -> list[Any]:
    with shelf.market.opened() as store:
        return [row[0] for row in store.execute(sql, list(values)).fetchall()]


# -- buying ----------------------------------------------------------------------------------------------


@BOTH
async def test_a_funded_payment_gets_one_item_and_its_buyer_sees_it_once_asked(shelf: Shelf) -> None:
    purchase = await shelf.bought()

    kept = await purchase.buyer.ok("GET", purchase.path("goods"))
    assert [item["revealed"] for item in kept["goods"]] == [False]
    assert (await shelf.counts()) == {"free": 2, "reserved": 1, "revealed": 0, "expired": 0, "withdrawn": 0}
    assert "goods_ready" in await heard(purchase.buyer)
    assert (await purchase.request())["status"] == "delivery"

    assert await revealed(purchase) == ["AAAA-1111"]
    assert await revealed(purchase) == ["AAAA-1111"]  # a lost answer is no lost good
    assert (await shelf.counts())["revealed"] == 1
    assert (await heard(shelf.seller)).count("goods_revealed") == 1
    assert column(shelf, "SELECT items FROM goods_readings WHERE payment_id = ?", purchase.payment_id) == [1, 1]


async def test_as_many_are_handed_over_as_were_asked_for(shelf: Shelf) -> None:
    purchase = await shelf.bought(quantity=2)

    assert sorted(await revealed(purchase)) == ["AAAA-1111", "BBBB-2222"]
    assert sorted(await revealed(await shelf.bought())) == ["CCCC-3333"]


async def test_nothing_is_shown_before_it_is_paid(shelf: Shelf) -> None:
    purchase = await shelf.accepted()
    assert (await reveal(purchase))[0] == 409
    await purchase.open()

    assert (await reveal(purchase))[0] == 409
    assert (await purchase.buyer.ok("GET", purchase.path("goods"))) == {"goods": [], "waiting": 0}


async def test_nobody_but_the_buyer_is_shown_what_it_is(shelf: Shelf) -> None:
    purchase, stranger = await shelf.bought(), await shelf.market.user("buyer")

    assert (await reveal(purchase, stranger))[0] == 403
    for other in (shelf.seller, shelf.market.admin):
        assert (await reveal(purchase, other))[0] == 403
    assert (await stranger.call("GET", purchase.path("goods")))[0] == 403


async def test_out_of_stock_blocks_new_payments_by_name(shelf: Shelf) -> None:
    for _ in CODES:
        await shelf.bought()
    late = await shelf.accepted()

    status, answer = await late.buyer.call("POST", "/api/payment/intents", late.intent())

    assert (status, answer["error"]["code"], answer["error"]["details"]) == (
        409,
        "out_of_stock",
        {"wanted": 1, "left": 0},
    )
    path = f"/api/payment/options?requestId={late.request_id}"
    assert await late.buyer.refused("GET", path) == (409, "out_of_stock")


@BOTH
async def test_who_paid_for_the_last_item_too_late_waits_visibly_and_is_served_first(shelf: Shelf) -> None:
    opened = [await shelf.accepted() for _ in range(4)]
    for each in opened:
        await each.open()
    for each in opened:
        await each.hook(each.scanner.pay(each.payment_id))
    late = opened[-1]

    assert (await late.payment())["escrowState"] == "funded"
    assert (await late.buyer.ok("GET", late.path("goods")))["waiting"] == 1
    assert "goods_waiting" in await heard(late.buyer)
    assert "goods_waiting" in await heard(shelf.seller)
    assert (await reveal(late))[1]["error"]["code"] == "out_of_stock"
    assert (await late.request())["status"] == "processing"

    await shelf.fill("DDDD-4444")
    await shelf.market.marketplace.sweep.once()

    assert await revealed(late) == ["DDDD-4444"]
    assert "goods_ready" in await heard(late.buyer)
    shown = [await revealed(each) for each in opened]
    assert sorted(code for codes in shown for code in codes) == [*CODES, "DDDD-4444"]


async def test_the_purchase_of_goods_is_released_once_its_buyer_confirms(shelf: Shelf) -> None:
    purchase = await shelf.bought()
    await revealed(purchase)
    await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))

    status, _ = await purchase.release(SELLERS_WALLET)

    assert status == 200
    assert await revealed(purchase) == ["AAAA-1111"]
    assert await purchase.findings() == []


# -- what may go wrong -----------------------------------------------------------------------------------


@BOTH
async def test_what_was_refunded_unseen_is_sold_to_somebody_else(shelf: Shelf) -> None:
    purchase = await shelf.bought()
    assert (await purchase.refund(BUYERS_WALLET))[0] == 200

    assert (await reveal(purchase))[1]["error"]["details"]["reason"] == "refunded"
    assert (await shelf.counts())["free"] == 3
    assert await revealed(await shelf.bought()) == ["AAAA-1111"]
    assert (await reveal(purchase))[1]["error"]["details"]["reason"] == "refunded"


async def split(purchase: AcceptedPurchase, buyer_bps: int) -> None:
    body = {"purchaseRequestId": purchase.request_id, "reason": "It does not open.", "category": "quality"}
    dispute = (await purchase.buyer.ok("POST", "/api/disputes", body, 201))["dispute"]["id"]
    ruling = {"outcome": "split", "buyerBps": buyer_bps, "note": "Both are right."}
    await purchase.market.admin.ok("POST", f"/api/disputes/{dispute}/resolve", ruling)


@BOTH
@pytest.mark.parametrize("bps", [1, 10_000])
async def test_after_a_split_nothing_new_is_shown_and_unseen_goods_are_sold_to_somebody_else(
    shelf: Shelf, bps: int
) -> None:
    """Whoever is paid back a part of the price would have the goods and the money."""
    unseen, seen = await shelf.bought(), await shelf.bought()
    assert await revealed(seen) == ["BBBB-2222"]
    await split(unseen, bps)
    await split(seen, bps)

    assert (await reveal(unseen))[1]["error"]["details"]["reason"] == "split"
    assert await revealed(seen) == ["BBBB-2222"]  # what was shown stays shown
    assert (await shelf.counts())["free"] == 2
    assert await revealed(await shelf.bought()) == ["AAAA-1111"]
    assert (await reveal(unseen))[1]["error"]["details"]["reason"] == "split"
    assert await unseen.findings() == []


@BOTH
async def test_after_a_split_that_gives_the_seller_everything_the_buyer_is_shown_what_they_paid(shelf: Shelf) -> None:
    purchase = await shelf.bought()
    await split(purchase, 0)

    assert await revealed(purchase) == ["AAAA-1111"]
    assert (await shelf.counts())["free"] == 2


async def test_who_waits_for_goods_waits_no_more_after_a_split(shelf: Shelf) -> None:
    first, late = await shelf.accepted(3), await shelf.accepted()
    await late.open()
    await first.fund()
    await late.hook(shelf.scanner.pay(late.payment_id))
    await split(late, 5_000)

    await shelf.fill("DDDD-4444")
    await shelf.market.marketplace.sweep.once()

    assert (await shelf.counts())["free"] == 1
    assert (await reveal(late))[1]["error"]["details"]["reason"] == "split"


async def test_what_was_shown_before_a_refund_is_nobody_elses_for_ever(shelf: Shelf) -> None:
    purchase = await shelf.bought()
    await revealed(purchase)
    _, answer = await purchase.refund(BUYERS_WALLET)
    settle = f"/api/admin/instructions/{answer['data']['instruction']['id']}/settle"
    await shelf.market.admin.call("POST", settle, {"txHash": DONE_IN})

    assert (await shelf.counts()) == {"free": 2, "reserved": 0, "revealed": 1, "expired": 0, "withdrawn": 0}
    assert await revealed(await shelf.bought()) == ["BBBB-2222"]


async def test_while_a_reorganisation_is_not_cleared_nothing_new_is_shown(shelf: Shelf) -> None:
    seen, unseen = await shelf.bought(), await shelf.bought()
    await revealed(seen)
    for purchase in (seen, unseen):
        await purchase.hook(news(purchase.scanner.intents[purchase.payment_id], "payment.reorged", status="reorged"))

    assert (await reveal(unseen))[1]["error"]["code"] == "reorged"
    assert await revealed(seen) == ["AAAA-1111"]  # it cannot be taken back, so it is not kept from its buyer either

    await shelf.market.admin.ok(
        "POST", f"/api/admin/payments/{unseen.payment_id}/clear-reorg", {"note": "It is there."}
    )
    assert await revealed(unseen) == ["BBBB-2222"]


async def test_while_a_dispute_is_open_nothing_new_is_shown(shelf: Shelf) -> None:
    purchase = await shelf.bought()
    body = {"purchaseRequestId": purchase.request_id, "reason": "It never came.", "category": "not_received"}
    dispute = (await purchase.buyer.ok("POST", "/api/disputes", body))["dispute"]["id"]

    assert (await reveal(purchase))[1]["error"]["details"]["reason"] == "dispute_open"
    await shelf.market.admin.ok("POST", f"/api/disputes/{dispute}/resolve", {"outcome": "no_action", "note": "Look."})
    assert await revealed(purchase) == ["AAAA-1111"]


@BOTH
async def test_expired_goods_are_given_to_nobody(market: Running, fake_scanner: FakeScanner, clock: FakeClock) -> None:
    shelf = await open_shelf(market, fake_scanner, clock, "LASTS-1")
    await shelf.fill("SOON-1", expires=_in(clock, 60))
    reserved = await shelf.bought()  # the one that expires first
    clock.advance(61)

    assert await revealed(reserved) == ["LASTS-1"]
    assert (await shelf.counts()) == {"free": 0, "reserved": 0, "revealed": 1, "expired": 1, "withdrawn": 0}
    late = await shelf.accepted()
    status, answer = await late.buyer.call("POST", "/api/payment/intents", late.intent())
    assert (status, answer["error"]["code"]) == (409, "out_of_stock")


async def test_what_expired_before_it_was_looked_at_is_replaced_or_refused(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    shelf = await open_shelf(market, fake_scanner, clock)
    await shelf.fill("SOON-1", expires=_in(clock, 60))
    purchase = await shelf.bought()
    clock.advance(61)

    assert (await reveal(purchase))[1]["error"]["code"] == "out_of_stock"
    await shelf.fill("NEW-1")
    assert await revealed(purchase) == ["NEW-1"]


async def test_a_payment_is_shown_its_goods_so_often_and_no_more(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purchases, "MAX_READINGS", 2)
    purchase = await shelf.bought()

    answers = [(await reveal(purchase))[0] for _ in range(3)]

    assert answers == [200, 200, 429]


# -- the stock -------------------------------------------------------------------------------------------


@BOTH
async def test_a_seller_is_told_once_that_a_stock_runs_out_and_once_that_it_is_empty(shelf: Shelf) -> None:
    for _ in CODES:
        await shelf.bought()
    assert (await heard(shelf.seller)).count("stock_low") == 2

    await shelf.fill("DDDD-4444", "EEEE-5555")
    await shelf.bought()
    assert (await heard(shelf.seller)).count("stock_low") == 3


async def test_a_seller_is_told_when_what_is_left_expires(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    shelf = await open_shelf(market, fake_scanner, clock)
    await shelf.fill("SOON-1", expires=_in(clock, 60))
    clock.advance(61)

    await market.marketplace.sweep.once()
    await market.marketplace.sweep.once()

    assert (await heard(shelf.seller)).count("stock_low") == 1


async def test_a_file_is_taken_whole_or_not_at_all_and_its_bad_lines_are_named(shelf: Shelf) -> None:
    raw = b"content\nNEW-1\nBBBB-2222\nNEW-1\n"

    status, answer = await send_file(shelf.seller, shelf.stock_id, raw)

    assert (status, answer["error"]["code"]) == (422, "invalid")
    assert answer["error"]["details"]["lines"] == [{"line": 4, "message": "has the same content as line 2"}]
    status, answer = await send_file(shelf.seller, shelf.stock_id, b"content\nNEW-1\nBBBB-2222\n")
    assert answer["error"]["details"]["lines"] == [{"line": 3, "message": "is in your stock already, or was"}]
    assert "BBBB" not in str(answer)
    assert (await shelf.counts())["free"] == 3


async def test_a_code_that_was_sold_is_not_sold_again_by_uploading_it_again(shelf: Shelf) -> None:
    await revealed(await shelf.bought())
    other = (await shelf.seller.ok("POST", f"{MARKET}/stocks", {"name": "Another"}))["stock"]["id"]

    status, _ = await send_file(shelf.seller, other, b"content\nAAAA-1111\n")

    assert status == 422


@BOTH
async def test_a_seller_takes_back_what_nobody_bought(shelf: Shelf) -> None:
    purchase = await shelf.bought()
    listed = (await shelf.seller.ok("GET", f"{shelf.path}/items"))["items"]
    states = {item["id"]: item["state"] for item in listed}
    [sold] = [item["id"] for item in listed if item["state"] == "reserved"]
    free = next(item_id for item_id, state in states.items() if state == "free")

    assert (await shelf.seller.call("POST", f"{MARKET}/stock-items/{sold}/withdraw"))[0] == 409
    await shelf.seller.ok("POST", f"{MARKET}/stock-items/{free}/withdraw")
    assert (await shelf.seller.call("POST", f"{MARKET}/stock-items/{free}/withdraw"))[0] == 409

    assert (await shelf.counts()) == {"free": 1, "reserved": 1, "revealed": 0, "expired": 0, "withdrawn": 1}
    assert listed[0]["paymentId"] == purchase.payment_id
    withdrawn = await shelf.seller.ok("GET", f"{shelf.path}/items?state=withdrawn")
    assert [item["id"] for item in withdrawn["items"]] == [free]


async def test_a_stock_is_its_sellers_alone(shelf: Shelf) -> None:
    rival = await shelf.market.user("seller")
    item = (await shelf.seller.ok("GET", f"{shelf.path}/items"))["items"][0]["id"]
    buyer = await shelf.market.user("buyer")
    request_id = await new_request(buyer, productType="digital_product")

    assert (await rival.call("GET", shelf.path))[0] == 404
    assert (await rival.call("PATCH", shelf.path, {"name": "Mine"}))[0] == 404
    assert (await rival.call("GET", f"{shelf.path}/items"))[0] == 404
    assert (await send_file(rival, shelf.stock_id, b"content\nX\n"))[0] == 404
    assert (await rival.call("POST", f"{MARKET}/stock-items/{item}/withdraw"))[0] == 404
    offered = offer_body(poolId=shelf.stock_id)
    assert (await rival.call("POST", f"{MARKET}/purchase-requests/{request_id}/offers", offered))[0] == 404
    assert (await rival.ok("GET", f"{MARKET}/stocks"))["total"] == 0


async def test_only_an_offer_for_digital_goods_hands_over_any(shelf: Shelf) -> None:
    request_id = await new_request(await shelf.market.user("buyer"))

    status, answer = await shelf.seller.call(
        "POST", f"{MARKET}/purchase-requests/{request_id}/offers", offer_body(poolId=shelf.stock_id)
    )

    assert (status, answer["error"]["details"]["field"]) == (422, "poolId")


async def test_a_stock_has_bounds(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock, "MAX_FREE", 4)
    monkeypatch.setattr(stock, "MAX_POOLS", 2)

    assert (await send_file(shelf.seller, shelf.stock_id, b"content\nX\nY\n"))[0] == 409
    await shelf.seller.ok("POST", f"{MARKET}/stocks", {"name": "Second"})
    assert (await shelf.seller.call("POST", f"{MARKET}/stocks", {"name": "Third"}))[0] == 409
    assert (await send_file(shelf.seller, shelf.stock_id, b"content\n" + b"x" * 70_000))[0] == 413


async def test_a_stock_is_renamed_and_its_warning_moved(shelf: Shelf) -> None:
    changed = (await shelf.seller.ok("PATCH", shelf.path, {"name": "Cards", "lowAt": 7}))["stock"]

    assert (changed["name"], changed["lowAt"]) == ("Cards", 7)
    assert (await shelf.seller.call("PATCH", shelf.path, {}))[0] == 422
    assert (await shelf.seller.call("POST", f"{MARKET}/stocks", {"name": "Cards"}))[0] == 409


# -- secrecy ---------------------------------------------------------------------------------------------


async def test_what_is_sold_lies_nowhere_in_the_clear(
    shelf: Shelf, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("marketplace"), "level", logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    purchase = await shelf.bought()
    await revealed(purchase)
    await shelf.market.settled_down()

    texts = [str(await notes(who)) for who in (purchase.buyer, shelf.seller, shelf.market.admin)]
    texts.append(str((await shelf.seller.ok("GET", f"{shelf.path}/items"))["items"]))
    texts.append(str(await purchase.buyer.ok("GET", purchase.path("goods"))))
    texts.append(str(await purchase.payment()) + str(await purchase.request()))
    texts.append(caplog.text)
    texts.append(str(shelf.scanner.intents))
    for table in ("stock_items", "goods_keys", "goods_reveals", "goods_readings", "notifications", "payments"):
        with shelf.market.opened() as store:
            texts.append(str(store.execute(f"SELECT * FROM {table}").fetchall()))  # noqa: S608 - names of ours

    assert [text[:80] for text in texts if any(code in text for code in CODES)] == []


@BOTH
async def test_a_sealed_good_opens_in_its_own_row_alone(shelf: Shelf) -> None:
    """Whoever can write the store could otherwise be shown what another one paid for."""
    purchase = await shelf.bought()
    mine = column(shelf, "SELECT id FROM stock_items WHERE payment_id = ?", purchase.payment_id)[0]
    other = column(shelf, "SELECT sealed FROM stock_items WHERE payment_id IS NULL")[0]
    await shelf.market.write("UPDATE stock_items SET sealed = ? WHERE id = ?", [other, mine])

    status, answer = await reveal(purchase)

    assert (status, answer["error"]["code"]) == (503, "not_configured")
    assert column(shelf, "SELECT count(*) FROM goods_reveals") == [0]


@BOTH
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE goods_reveals SET buyer_id = 'x'",
        "DELETE FROM goods_reveals",
        "DELETE FROM goods_readings",
        "UPDATE stock_items SET payment_id = NULL, reserved_at = NULL WHERE payment_id IS NOT NULL",
    ],
)
async def test_what_was_shown_to_whom_is_not_changed_by_anybody(shelf: Shelf, change: str) -> None:
    await revealed(await shelf.bought())

    with pytest.raises(Exception, match=r"append-only|stays theirs"):
        await shelf.market.write(change)


@BOTH
async def test_keys_are_exchanged_by_their_ids(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock, place: Mapping[str, str]
) -> None:
    """With the former key beside the new one everything opens and is sealed anew; then the new one is enough."""
    env = environment(tmp_path, fake_scanner.url, **place)
    new = {**env, "MARKETPLACE_GOODS_KEY": OTHER_KEY}
    async with running(env, clock=clock) as market:
        shelf = await open_shelf(market, fake_scanner, clock, *CODES)
        purchase = await shelf.bought()
        sealed = column(shelf, "SELECT sealed FROM stock_items")
    with pytest.raises(WrongKey, match="MARKETPLACE_GOODS_KEY_FORMER"):
        async with running(new, clock=clock):
            pass
    with pytest.raises(WrongKey, match="set MARKETPLACE_GOODS_KEY"):
        async with running({**env, "MARKETPLACE_GOODS_KEY": ""}, clock=clock):
            pass
    async with running({**new, "MARKETPLACE_GOODS_KEY_FORMER": GOODS_KEY}, clock=clock) as market:
        await market.marketplace.sweep.once()
        assert len(set(column(shelf, "SELECT key_id FROM stock_items"))) == 1
        assert not set(column(shelf, "SELECT sealed FROM stock_items")) & set(sealed)
    async with running(new, clock=clock) as market:
        buyer = Api(market.nobody.url, market.nobody.session, purchase.buyer.token)
        status, answer = await reveal(purchase, buyer)
        assert (status, [each["content"] for each in answer["data"]["goods"]]) == (200, ["AAAA-1111"])
        seller = Api(market.nobody.url, market.nobody.session, shelf.seller.token)
        assert (await send_file(seller, shelf.stock_id, b"content\nAAAA-1111\n"))[0] == 422  # still known


def _in(clock: FakeClock, seconds: int) -> str:
    return datetime.fromtimestamp(clock.now_ms() / 1000 + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_without_a_key_there_are_no_digital_goods(tmp_path: Path, clock: FakeClock) -> None:
    async with running(environment(tmp_path, MARKETPLACE_GOODS_KEY=""), clock=clock) as shop:
        seller = await shop.user("seller")

        assert await seller.refused("POST", f"{MARKET}/stocks", {"name": "Cards"}) == (503, "not_configured")
        assert (await seller.ok("GET", f"{MARKET}/stocks"))["stocks"] == []


async def test_two_uploads_at_once_put_no_code_twice_into_a_stock(shelf: Shelf) -> None:
    raw = b"content\nSAME-1\n"

    answers = await asyncio.gather(*(send_file(shelf.seller, shelf.stock_id, raw) for _ in range(2)))

    assert sorted(status for status, _ in answers) == [201, 422]
