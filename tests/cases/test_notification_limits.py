"""Dust reaches nobody's attention more than once an hour, and what was not told is counted."""

from __future__ import annotations

from typing import Any

from tests.harness import USDC
from tests.marketplace.accepted_purchase import AcceptedPurchase
from tests.marketplace.fake_scanner import SENDER, balance_changed, news, tx_hash

ONE = 10**18


def unapplied_event(purchase: AcceptedPurchase, reason: str, amount: int, **row: Any) -> dict[str, Any]:
    found = tx_hash()
    transfer = {"txHash": found, "eventKey": "0", "blockNumber": 100, "sender": SENDER, "amount": str(amount), **row}
    fields = {"txHash": found, "reason": reason, "transfers": [transfer], "transferCount": 1}
    return news(purchase.scanner.intents[purchase.payment_id], "payment.anomaly", **fields)


def notification_titles(purchase: AcceptedPurchase, user_id: str, kind: str) -> list[str]:
    """Return the titles of the notifications of a user about the payment, as they lie on disk."""
    with purchase.market.opened() as store:
        rows = store.execute(
            "SELECT title FROM notifications WHERE user_id = ? AND type = ? AND related_id = ? ORDER BY seq",
            [user_id, kind, purchase.payment_id],
        ).fetchall()
    return [row[0] for row in rows]


async def rows(purchase: AcceptedPurchase) -> list[dict[str, Any]]:
    token = purchase.market.marketplace.services.tokens.issue(purchase.market.admin.user_id, "admin")
    purchase.market.admin.token = token
    found = (await purchase.market.admin.ok("GET", "/api/admin/recoveries?limit=100"))["recoveries"]
    return [row for row in found if row["paymentId"] == purchase.payment_id]


async def test_spam_is_reported_once_and_then_hourly_with_its_count(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    admin = purchase.market.admin.user_id
    for _ in range(60):
        await purchase.hook(unapplied_event(purchase, "wrong_token", 1, token=USDC))
    at_once = (
        len(notification_titles(purchase, admin, "payment_recovery")),
        len(notification_titles(purchase, purchase.buyer.user_id, "payment-wrong-token")),
    )
    purchase.clock.advance(3600)
    await purchase.market.marketplace.sweep.once()
    await purchase.market.marketplace.sweep.once()

    later = notification_titles(purchase, admin, "payment_recovery")
    buyer = notification_titles(purchase, purchase.buyer.user_id, "payment-wrong-token")
    assert at_once == (1, 1)
    assert (len(later), len(buyer)) == (2, 2)
    assert later[1].endswith("(and 58 more)")
    assert buyer[1].endswith("(and 58 more)")


async def test_spam_fills_a_bounded_number_of_rows_whose_counts_add_up(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    for number in range(120):
        await purchase.hook(unapplied_event(purchase, "wrong_token", number + 1, token=USDC))

    found = await rows(purchase)

    assert len(found) == 21
    assert sum(row["count"] for row in found) == 120
    assert sum(int(row["amountBaseUnits"]) for row in found) == 120 * 121 // 2
    [rest] = [row for row in found if row["count"] > 1]
    assert (rest["count"], rest["tokenAddress"]) == (100, USDC)
    assert rest["txHash"] != rest["lastTxHash"]


async def test_another_payments_news_is_not_held_back_by_it(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    for _ in range(5):
        await purchase.hook(unapplied_event(purchase, "wrong_token", 1, token=USDC))

    await purchase.hook(purchase.scanner.pay(purchase.payment_id))
    await purchase.hook(news(purchase.scanner.intents[purchase.payment_id], "payment.reorged", status="reorged"))

    assert len(notification_titles(purchase, purchase.buyer.user_id, "payment_confirmed")) == 1
    admins = notification_titles(purchase, purchase.market.admin.user_id, "payment_recovery")
    assert [title.rsplit("(", 1)[1] for title in admins] == ["wrong_token)", "reorged)"]


async def test_parts_by_dust_are_reported_hourly(purchase: AcceptedPurchase) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]
    for number in range(1, 40):
        await purchase.hook(balance_changed(payment, number))
    first = notification_titles(purchase, purchase.buyer.user_id, "payment-underpaid")
    purchase.clock.advance(3601)
    await purchase.hook(balance_changed(payment, ONE))

    titles = notification_titles(purchase, purchase.buyer.user_id, "payment-underpaid")
    assert len(first) == 1
    assert titles[1:] == [f"Payment {payment['paymentRef']}: 9 USDT are missing (and 38 more)"]


async def test_a_surplus_by_dust_is_one_worry(purchase: AcceptedPurchase) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]
    price = int(payment["amountBaseUnits"])
    for number in range(50):
        await purchase.hook(balance_changed(payment, price + number))

    found = await rows(purchase)
    assert len(notification_titles(purchase, purchase.market.admin.user_id, "payment_recovery")) == 1
    assert (len(found), sum(row["count"] for row in found)) == (21, 49)
    assert sum(int(row["amountBaseUnits"]) for row in found) == 49
    assert await purchase.findings() == []


async def test_the_row_names_the_token_that_really_moved(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    await purchase.hook(unapplied_event(purchase, "wrong_token", 5, token=USDC))
    await purchase.hook(unapplied_event(purchase, "wrong_token", 6))
    await purchase.hook(unapplied_event(purchase, "late", 7))
    await purchase.hook(unapplied_event(purchase, "wrong_asset", 8, token="native", txHash=None))

    found = {row["amountBaseUnits"]: row["tokenAddress"] for row in await rows(purchase)}

    mine = (await purchase.payment())["tokenAddress"]
    assert found == {"5": USDC, "6": None, "7": mine, "8": "native"}


async def test_what_was_summarised_is_added_up_from_the_scanners_list(purchase: AcceptedPurchase) -> None:
    """The scanner names the first ones, and then the newest of many with their count."""
    await purchase.open("direct")
    intent = purchase.scanner.intents[purchase.payment_id]
    listed = []
    for number in range(1, 61):
        event = unapplied_event(purchase, "duplicate", number)
        row = event["transfers"][0] | {"token": intent["tokenAddress"], "destination": intent["destination"]}
        known = {"blockHash": None, "counted": False, "settled": False, "reason": "duplicate", "count": 1}
        listed.append(row | known | {"seenAt": intent["createdAt"]})
        if number <= 20:
            await purchase.hook(event)
    purchase.scanner.all_transfers[purchase.payment_id] = listed

    for count in (30, 40):
        together = unapplied_event(purchase, "duplicate", 1) | {"count": count, "transferCount": count}
        await purchase.hook(together | {"transfers": [listed[-1]]})

    found = await rows(purchase)
    assert (len(found), sum(row["count"] for row in found)) == (21, 60)
    assert sum(int(row["amountBaseUnits"]) for row in found) == 60 * 61 // 2


async def test_what_was_summarised_is_listed_even_while_the_scanner_is_down(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    purchase.scanner.down = True

    status, _ = await purchase.hook(unapplied_event(purchase, "late", 5) | {"count": 30, "transferCount": 30})

    [row] = await rows(purchase)
    assert (status, row["reason"], row["amountBaseUnits"]) == (200, "late", "5")
