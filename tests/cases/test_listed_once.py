"""Money that settles nothing is listed once, whoever told of it first, and however much of it could be read then."""

from __future__ import annotations

from typing import Any

import pytest

from clients.python.amn_scanner_client import ScannerUnavailable
from marketplace.payments.scanner_provider import ScannerProvider
from tests.harness import USDC
from tests.marketplace.accepted_purchase import TEN, AcceptedPurchase
from tests.marketplace.fake_scanner import SENDER, news, tx_hash

ONE = 10**18


def row(
    purchase: AcceptedPurchase, amount: int, reason: str | None, *, tx: str | None = None, **more: Any
) -> dict[str, Any]:
    """Return a transfer as the scanner lists it."""
    intent = purchase.scanner.intents[purchase.payment_id]
    return {
        "txHash": tx or tx_hash(),
        "eventKey": "0",
        "blockNumber": 100,
        "blockHash": None,
        "token": intent["tokenAddress"],
        "sender": SENDER,
        "destination": intent["destination"],
        "amount": str(amount),
        "counted": reason in {None, "underpaid"},
        "settled": False,
        "reason": reason,
        "seenAt": intent["createdAt"],
        "count": 1,
        **more,
    }


def event_about(purchase: AcceptedPurchase, found: dict[str, Any], *, count: int = 1) -> dict[str, Any]:
    """Return the event about a transfer that settles nothing, or about so many of which it is the newest."""
    said = {"reason": found["reason"], "txHash": found["txHash"], "transfers": [found]}
    return news(
        purchase.scanner.intents[purchase.payment_id], "payment.anomaly", **said, count=count, transferCount=count
    )


def part(purchase: AcceptedPurchase, received: int) -> dict[str, Any]:
    """Return the event about a part: it tells a sum, and no transfers."""
    said = {"amountReceived": str(received), "missing": str(TEN - received), "txHash": None, "transfers": None}
    return news(purchase.scanner.intents[purchase.payment_id], "payment.partial", **said)


def lists(purchase: AcceptedPurchase, *rows: dict[str, Any]) -> None:
    purchase.scanner.all_transfers[purchase.payment_id] = list(rows)


async def listed(purchase: AcceptedPurchase) -> list[dict[str, Any]]:
    """Return what waits for a person."""
    purchase.market.admin.token = purchase.market.marketplace.services.tokens.issue(
        purchase.market.admin.user_id, "admin"
    )
    found = (await purchase.market.admin.ok("GET", "/api/admin/recoveries?limit=100"))["recoveries"]
    return [each for each in found if each["paymentId"] == purchase.payment_id]


async def waiting(purchase: AcceptedPurchase) -> list[tuple[str, int, int]]:
    """Return what waits for a person: reason, transfers, and their sum."""
    mine = await listed(purchase)
    return sorted((each["reason"], each["count"], int(each["amountBaseUnits"])) for each in mine)


async def sweep(purchase: AcceptedPurchase) -> None:
    await purchase.market.marketplace.sweep.once()


# --- what could not be read when it was reported ------------------------------------------------------


async def test_many_in_one_transaction_are_counted_while_the_scanner_is_away(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    dust = row(purchase, 40, "wrong_token", token=USDC, count=40)
    lists(purchase, dust)
    purchase.scanner.down = True

    await purchase.hook(event_about(purchase, dust, count=40))
    early = await waiting(purchase)
    purchase.scanner.down = False
    await sweep(purchase)

    assert early == [("wrong_token", 40, 40)]
    assert await waiting(purchase) == early


async def test_what_is_summarised_is_added_up_once_the_scanner_is_back(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    rows = [row(purchase, number, "duplicate") for number in range(1, 61)]
    for each in rows[:20]:
        await purchase.hook(event_about(purchase, each))
    lists(purchase, *rows)
    purchase.scanner.down = True

    await purchase.hook(event_about(purchase, rows[-1], count=40))
    early = await waiting(purchase)
    await sweep(purchase)
    still = await waiting(purchase)
    purchase.scanner.down = False
    await sweep(purchase)

    assert sum(count for _, count, _ in early) == 60
    assert still == early
    found = await waiting(purchase)
    assert (len(found), sum(count for _, count, _ in found)) == (21, 60)
    assert sum(amount for _, _, amount in found) == 60 * 61 // 2


async def test_it_is_judged_again_once_and_not_at_every_sweep(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    dust = row(purchase, 40, "wrong_token", token=USDC, count=40)
    lists(purchase, dust)
    event = event_about(purchase, dust, count=40)
    purchase.scanner.down = True
    await purchase.hook(event)
    purchase.scanner.down = False
    await sweep(purchase)
    purchase.scanner.calls.clear()

    await sweep(purchase)
    _, answer = await purchase.hook(event)

    assert answer["data"]["outcome"] == "duplicate"
    assert not any(path.endswith("/transfers") for _, path in purchase.scanner.calls)


async def test_what_the_scanner_will_never_list_is_not_asked_for_again(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    dust = row(purchase, 40, "wrong_token", token=USDC, count=40)
    event = event_about(purchase, dust, count=40)
    purchase.scanner.down = True
    await purchase.hook(event)
    purchase.scanner.down = False
    del purchase.scanner.intents[purchase.payment_id]

    await sweep(purchase)
    await sweep(purchase)

    asked = [path for _, path in purchase.scanner.calls if path.endswith("/transfers")]
    assert len(asked) == 2  # when it came, and once more
    assert sum(count for _, count, _ in await waiting(purchase)) == 40


async def test_one_payment_that_cannot_be_listed_keeps_no_other_waiting(
    purchase: AcceptedPurchase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await purchase.open("direct")
    rows = [row(purchase, 40, reason, count=40) for reason in ("wrong_token", "zero_amount")]
    lists(purchase, *rows)
    purchase.scanner.down = True
    for each in rows:
        await purchase.hook(event_about(purchase, each, count=40))
    purchase.scanner.down = False
    await purchase.market.write(
        "INSERT INTO webhook_inbox (event_id, event_type, payment_id, body, outcome, received_at) "
        "SELECT 'evt_0', event_type, payment_id, replace(body, 'wrong_token', 'late'), outcome, 0 FROM webhook_inbox WHERE outcome = 'unread' LIMIT 1"
    )
    once = ScannerProvider.every_transfer
    failing = iter([True])

    async def every_transfer(provider: ScannerProvider, payment: Any) -> Any:
        if next(failing, False):
            raise ScannerUnavailable("not this one")
        return await once(provider, payment)

    monkeypatch.setattr(ScannerProvider, "every_transfer", every_transfer)
    await sweep(purchase)

    with purchase.market.opened() as store:
        unread = store.execute("SELECT event_id FROM webhook_inbox WHERE outcome = 'unread'").fetchall()
    assert unread == [("evt_0",)]


# --- a part that a reorganisation moved past the end ----------------------------------------------


@pytest.mark.parametrize("rail", ["direct", "proxy"])
async def test_a_part_that_moved_past_the_end_is_listed_by_itself_alone(purchase: AcceptedPurchase, rail: str) -> None:
    await purchase.open(rail)
    await purchase.hook(part(purchase, 4 * ONE))
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
    before = await waiting(purchase)
    moved = row(purchase, 4 * ONE, "cancelled")
    lists(purchase, moved)

    await purchase.hook(event_about(purchase, moved))

    assert before == [("partial_payment", 1, 4 * ONE)]
    assert await waiting(purchase) == [("cancelled", 1, 4 * ONE)]


async def test_a_part_of_several_transactions_names_none_of_them(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    for amount in (4 * ONE, 3 * ONE):
        seen = {"txHash": tx_hash(), "amountReceived": str(amount)}
        await purchase.hook(news(purchase.scanner.intents[purchase.payment_id], "payment.detected", **seen))
    await purchase.hook(part(purchase, 7 * ONE))
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")

    (found,) = await listed(purchase)
    assert (found["reason"], found["amountBaseUnits"], found["txHash"]) == ("partial_payment", str(7 * ONE), None)


async def test_crumbs_that_moved_past_the_end_are_listed_by_themselves_alone(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    await purchase.hook(part(purchase, 40))
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
    tx = tx_hash()
    dust = [row(purchase, 1, "cancelled", tx=tx, eventKey=f"key-{number}") for number in range(40)]
    lists(purchase, *dust)

    for each in dust[:20]:
        await purchase.hook(event_about(purchase, each))
    await purchase.hook(event_about(purchase, dust[-1], count=20))

    assert await waiting(purchase) == [*[("cancelled", 1, 1)] * 20, ("cancelled", 20, 20)]


async def test_a_part_that_is_reported_when_it_has_moved_is_not_listed_again(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
    moved = row(purchase, 4 * ONE, "cancelled")
    lists(purchase, moved)
    await purchase.hook(event_about(purchase, moved))

    await purchase.hook(part(purchase, 4 * ONE))

    assert await waiting(purchase) == [("cancelled", 1, 4 * ONE)]


async def test_a_part_that_stayed_and_what_came_after_the_end_are_both_listed(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    await purchase.hook(part(purchase, 4 * ONE))
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
    rest = row(purchase, 6 * ONE, "cancelled")
    lists(purchase, row(purchase, 4 * ONE, "underpaid"), rest)

    await purchase.hook(event_about(purchase, rest))
    await purchase.hook(part(purchase, 4 * ONE))

    assert await waiting(purchase) == [("cancelled", 1, 6 * ONE), ("partial_payment", 1, 4 * ONE)]


async def test_of_two_parts_one_that_moved_is_listed_by_itself(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    await purchase.hook(part(purchase, 7 * ONE))
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
    moved = row(purchase, 3 * ONE, "cancelled")
    lists(purchase, row(purchase, 4 * ONE, "underpaid"), moved)

    await purchase.hook(event_about(purchase, moved))

    assert await waiting(purchase) == [("cancelled", 1, 3 * ONE), ("partial_payment", 1, 4 * ONE)]


async def test_what_left_the_chain_stays_listed(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    await purchase.hook(part(purchase, 4 * ONE))
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
    lists(purchase, row(purchase, 4 * ONE, "reorged"))

    await purchase.hook(part(purchase, 4 * ONE))

    assert await waiting(purchase) == [("partial_payment", 1, 4 * ONE)]


async def test_what_was_listed_twice_while_the_scanner_was_away_is_listed_once_when_it_is_back(
    purchase: AcceptedPurchase,
) -> None:
    await purchase.open("direct")
    await purchase.hook(part(purchase, 4 * ONE))
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
    moved = row(purchase, 4 * ONE, "cancelled")
    lists(purchase, moved)
    purchase.scanner.down = True
    await purchase.hook(event_about(purchase, moved))
    purchase.scanner.down = False

    await sweep(purchase)

    assert await waiting(purchase) == [("cancelled", 1, 4 * ONE)]


async def test_money_of_a_closed_hold_is_not_listed_again_as_a_part(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    await purchase.hook(purchase.scanner.pay(purchase.payment_id, 9 * ONE))
    token = purchase.market.marketplace.services.tokens.issue(purchase.market.admin.user_id, "admin")
    purchase.market.admin.token = token
    await purchase.market.admin.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
    before = await waiting(purchase)

    await purchase.hook(part(purchase, 9 * ONE))

    assert before == [("insufficient_amount", 1, 9 * ONE)]
    assert await waiting(purchase) == before


# --- what came second and has paid after a reorganisation -----------------------------------------


def paid_by(purchase: AcceptedPurchase, *rows: dict[str, Any]) -> dict[str, Any]:
    """Let the scanner confirm the payment with these transfers; return its event."""
    intent = purchase.scanner.intents[purchase.payment_id]
    received = sum(int(each["amount"]) for each in rows)
    body = purchase.scanner.pay(purchase.payment_id, received)
    settled = [each | {"counted": True, "settled": True, "reason": None} for each in rows]
    intent |= {"transfers": settled, "txHash": rows[-1]["txHash"], "sender": SENDER}
    lists(purchase, *settled)
    return body | {"transfers": settled[::-1][:20], "transferCount": len(rows), "txHash": rows[-1]["txHash"]}


async def test_a_duplicate_that_pays_after_all_is_not_to_be_given_back(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    first, second = row(purchase, TEN, "duplicate"), row(purchase, TEN, "duplicate")
    await purchase.hook(event_about(purchase, first))

    _, answer = await purchase.hook(paid_by(purchase, first))
    await purchase.hook(event_about(purchase, second))

    assert answer["data"]["outcome"] == "funded"
    assert await waiting(purchase) == [("duplicate", 1, TEN)]
    assert [each["txHash"] for each in await listed(purchase)] == [second["txHash"]]


async def test_a_duplicate_that_is_reported_when_it_has_paid_is_not_listed(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    paid = row(purchase, TEN, "duplicate", blockHash="0x" + "b1" * 32)
    await purchase.hook(paid_by(purchase, paid))

    await purchase.hook(event_about(purchase, paid | {"blockHash": "0x" + "b0" * 32}))

    assert await waiting(purchase) == []


async def test_crumbs_that_pay_after_all_are_not_to_be_given_back(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    tx = tx_hash()
    dust = [row(purchase, 1, "duplicate", tx=tx, eventKey=f"key-{number}") for number in range(40)]
    lists(purchase, *dust)
    for each in dust[:20]:
        await purchase.hook(event_about(purchase, each))
    await purchase.hook(event_about(purchase, dust[-1], count=20))
    before = sum(count for _, count, _ in await waiting(purchase))

    _, answer = await purchase.hook(paid_by(purchase, *dust, row(purchase, TEN, None)))
    await sweep(purchase)

    assert (before, answer["data"]["outcome"]) == (40, "funded")
    assert await waiting(purchase) == []


async def test_of_many_summarised_those_that_did_not_pay_stay_listed(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    rows = [row(purchase, 1, "duplicate") for _ in range(60)]
    lists(purchase, *rows)
    for each in rows[:20]:
        await purchase.hook(event_about(purchase, each))
    await purchase.hook(event_about(purchase, rows[-1], count=40))

    await purchase.hook(
        event_about(purchase, rows[-1], count=2) | {"amount": "no number"}
    )  # kept, and never to be read

    event = paid_by(purchase, *rows[:30], row(purchase, TEN, None))
    purchase.scanner.all_transfers[purchase.payment_id] += rows[30:]
    await purchase.hook(event)
    await sweep(purchase)

    found = await waiting(purchase)
    assert sum(count for _, count, _ in found) == sum(amount for _, _, amount in found) == 30


async def test_what_left_the_chain_hides_nothing_that_came_later(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    gone = [row(purchase, 1, "duplicate") for _ in range(20)]
    for each in gone:
        await purchase.hook(event_about(purchase, each))
    tx = tx_hash()
    later = [row(purchase, 1, "duplicate", tx=tx, eventKey=f"key-{number}") for number in range(40)]
    lists(purchase, *(each | {"reason": "reorged"} for each in gone), *later)

    await purchase.hook(event_about(purchase, later[-1], count=40))

    assert [(each["count"], each["amountBaseUnits"]) for each in await listed(purchase) if each["txHash"] == tx] == [
        (40, "40")
    ]


async def test_what_is_summarised_and_is_so_no_more_is_not_listed(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    stands = row(purchase, TEN, None)
    lists(purchase, stands)

    await purchase.hook(event_about(purchase, stands | {"reason": "duplicate"}, count=21))

    assert await waiting(purchase) == []
