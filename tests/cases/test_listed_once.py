"""Money that settles nothing is listed once, whoever told of it first, and however much of it could be read then."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from clients.python.amn_scanner_client import ScannerUnavailable
from tests.harness import USDC
from tests.marketplace.deals import TEN, Deal
from tests.marketplace.stand_in import SENDER, news, tx_hash

ONE = 10**18


def row(deal: Deal, amount: int, reason: str | None, *, tx: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a transfer as the scanner lists it."""
    intent = deal.scanner.intents[deal.payment_id]
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


def told(deal: Deal, found: dict[str, Any], *, count: int = 1) -> dict[str, Any]:
    """Return the event about a transfer that settles nothing, or about so many of which it is the newest."""
    said = {"reason": found["reason"], "txHash": found["txHash"], "transfers": [found]}
    return news(deal.scanner.intents[deal.payment_id], "payment.anomaly", **said, count=count, transferCount=count)


def part(deal: Deal, received: int) -> dict[str, Any]:
    """Return the event about a part: it tells a sum, and no transfers."""
    said = {"amountReceived": str(received), "missing": str(TEN - received), "txHash": None, "transfers": None}
    return news(deal.scanner.intents[deal.payment_id], "payment.partial", **said)


def lists(deal: Deal, *rows: dict[str, Any]) -> None:
    deal.scanner.all_transfers[deal.payment_id] = list(rows)


async def listed(deal: Deal) -> list[dict[str, Any]]:
    """Return what waits for a person."""
    deal.market.admin.token = deal.market.marketplace.services.tokens.issue(deal.market.admin.user_id, "admin")
    found = (await deal.market.admin.ok("GET", "/api/admin/recoveries?limit=100"))["recoveries"]
    return [each for each in found if each["paymentId"] == deal.payment_id]


async def waiting(deal: Deal) -> list[tuple[str, int, int]]:
    """Return what waits for a person: reason, transfers, and their sum."""
    mine = await listed(deal)
    return sorted((each["reason"], each["count"], int(each["amountBaseUnits"])) for each in mine)


async def sweep(deal: Deal) -> None:
    await deal.market.marketplace.sweep.once()


# --- what could not be read when it was told ------------------------------------------------------


async def test_many_in_one_transaction_are_counted_while_the_scanner_is_away(deal: Deal) -> None:
    await deal.open("direct")
    crumbs = row(deal, 40, "wrong_token", token=USDC, count=40)
    lists(deal, crumbs)
    deal.scanner.down = True

    await deal.hook(told(deal, crumbs, count=40))
    early = await waiting(deal)
    deal.scanner.down = False
    await sweep(deal)

    assert early == [("wrong_token", 40, 40)]
    assert await waiting(deal) == early


async def test_what_is_told_together_is_added_up_once_the_scanner_is_back(deal: Deal) -> None:
    await deal.open("direct")
    rows = [row(deal, number, "duplicate") for number in range(1, 61)]
    for each in rows[:20]:
        await deal.hook(told(deal, each))
    lists(deal, *rows)
    deal.scanner.down = True

    await deal.hook(told(deal, rows[-1], count=40))
    early = await waiting(deal)
    await sweep(deal)
    still = await waiting(deal)
    deal.scanner.down = False
    await sweep(deal)

    assert sum(count for _, count, _ in early) == 60
    assert still == early
    found = await waiting(deal)
    assert (len(found), sum(count for _, count, _ in found)) == (21, 60)
    assert sum(amount for _, _, amount in found) == 60 * 61 // 2


async def test_it_is_judged_again_once_and_not_at_every_sweep(deal: Deal) -> None:
    await deal.open("direct")
    crumbs = row(deal, 40, "wrong_token", token=USDC, count=40)
    lists(deal, crumbs)
    event = told(deal, crumbs, count=40)
    deal.scanner.down = True
    await deal.hook(event)
    deal.scanner.down = False
    await sweep(deal)
    deal.scanner.calls.clear()

    await sweep(deal)
    _, answer = await deal.hook(event)

    assert answer["data"]["outcome"] == "duplicate"
    assert not any(path.endswith("/transfers") for _, path in deal.scanner.calls)


async def test_what_the_scanner_will_never_list_is_not_asked_for_again(deal: Deal) -> None:
    await deal.open("direct")
    crumbs = row(deal, 40, "wrong_token", token=USDC, count=40)
    event = told(deal, crumbs, count=40)
    deal.scanner.down = True
    await deal.hook(event)
    deal.scanner.down = False
    del deal.scanner.intents[deal.payment_id]

    await sweep(deal)
    await sweep(deal)

    asked = [path for _, path in deal.scanner.calls if path.endswith("/transfers")]
    assert len(asked) == 2  # when it came, and once more
    assert sum(count for _, count, _ in await waiting(deal)) == 40


async def test_one_payment_that_cannot_be_listed_keeps_no_other_waiting(deal: Deal) -> None:
    await deal.open("direct")
    rows = [row(deal, 40, reason, count=40) for reason in ("wrong_token", "zero_amount")]
    lists(deal, *rows)
    deal.scanner.down = True
    for each in rows:
        await deal.hook(told(deal, each, count=40))
    deal.scanner.down = False
    with sqlite3.connect(deal.market.db_path) as store:
        store.execute(
            "INSERT INTO webhook_inbox SELECT 'evt_0', event_type, payment_id, replace(body, 'wrong_token', 'late'), "
            "outcome, 0 FROM webhook_inbox WHERE outcome = 'unread' LIMIT 1"
        )
    once = deal.market.marketplace.services.verifier.every_transfer
    failing = iter([True])

    async def every_transfer(payment: Any) -> Any:
        if next(failing, False):
            raise ScannerUnavailable("not this one")
        return await once(payment)

    deal.market.marketplace.services.verifier.every_transfer = every_transfer  # type: ignore[method-assign]
    await sweep(deal)

    with sqlite3.connect(deal.market.db_path) as store:
        unread = store.execute("SELECT event_id FROM webhook_inbox WHERE outcome = 'unread'").fetchall()
    assert unread == [("evt_0",)]


# --- a part that a reorganisation moved past the end ----------------------------------------------


@pytest.mark.parametrize("rail", ["direct", "proxy"])
async def test_a_part_that_moved_past_the_end_is_listed_by_itself_alone(deal: Deal, rail: str) -> None:
    await deal.open(rail)
    await deal.hook(part(deal, 4 * ONE))
    await deal.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    before = await waiting(deal)
    moved = row(deal, 4 * ONE, "cancelled")
    lists(deal, moved)

    await deal.hook(told(deal, moved))

    assert before == [("partial_payment", 1, 4 * ONE)]
    assert await waiting(deal) == [("cancelled", 1, 4 * ONE)]


async def test_crumbs_that_moved_past_the_end_are_listed_by_themselves_alone(deal: Deal) -> None:
    await deal.open("direct")
    await deal.hook(part(deal, 40))
    await deal.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    tx = tx_hash()
    crumbs = [row(deal, 1, "cancelled", tx=tx, eventKey=f"key-{number}") for number in range(40)]
    lists(deal, *crumbs)

    for each in crumbs[:20]:
        await deal.hook(told(deal, each))
    await deal.hook(told(deal, crumbs[-1], count=20))

    assert await waiting(deal) == [*[("cancelled", 1, 1)] * 20, ("cancelled", 20, 20)]


async def test_a_part_that_is_told_of_when_it_has_moved_is_not_listed_again(deal: Deal) -> None:
    await deal.open("direct")
    await deal.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    moved = row(deal, 4 * ONE, "cancelled")
    lists(deal, moved)
    await deal.hook(told(deal, moved))

    await deal.hook(part(deal, 4 * ONE))

    assert await waiting(deal) == [("cancelled", 1, 4 * ONE)]


async def test_a_part_that_stayed_and_what_came_after_the_end_are_both_listed(deal: Deal) -> None:
    await deal.open("direct")
    await deal.hook(part(deal, 4 * ONE))
    await deal.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    rest = row(deal, 6 * ONE, "cancelled")
    lists(deal, row(deal, 4 * ONE, "underpaid"), rest)

    await deal.hook(told(deal, rest))
    await deal.hook(part(deal, 4 * ONE))

    assert await waiting(deal) == [("cancelled", 1, 6 * ONE), ("partial_payment", 1, 4 * ONE)]


async def test_of_two_parts_one_that_moved_is_listed_by_itself(deal: Deal) -> None:
    await deal.open("direct")
    await deal.hook(part(deal, 7 * ONE))
    await deal.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    moved = row(deal, 3 * ONE, "cancelled")
    lists(deal, row(deal, 4 * ONE, "underpaid"), moved)

    await deal.hook(told(deal, moved))

    assert await waiting(deal) == [("cancelled", 1, 3 * ONE), ("partial_payment", 1, 4 * ONE)]


async def test_what_left_the_chain_stays_listed(deal: Deal) -> None:
    await deal.open("direct")
    await deal.hook(part(deal, 4 * ONE))
    await deal.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    lists(deal, row(deal, 4 * ONE, "reorged"))

    await deal.hook(part(deal, 4 * ONE))

    assert await waiting(deal) == [("partial_payment", 1, 4 * ONE)]


async def test_what_was_listed_twice_while_the_scanner_was_away_is_listed_once_when_it_is_back(deal: Deal) -> None:
    await deal.open("direct")
    await deal.hook(part(deal, 4 * ONE))
    await deal.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    moved = row(deal, 4 * ONE, "cancelled")
    lists(deal, moved)
    deal.scanner.down = True
    await deal.hook(told(deal, moved))
    deal.scanner.down = False

    await sweep(deal)

    assert await waiting(deal) == [("cancelled", 1, 4 * ONE)]


async def test_money_of_a_closed_hold_is_not_listed_again_as_a_part(deal: Deal) -> None:
    await deal.open("direct")
    await deal.hook(deal.scanner.pay(deal.payment_id, 9 * ONE))
    token = deal.market.marketplace.services.tokens.issue(deal.market.admin.user_id, "admin")
    deal.market.admin.token = token
    await deal.market.admin.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    before = await waiting(deal)

    await deal.hook(part(deal, 9 * ONE))

    assert before == [("insufficient_amount", 1, 9 * ONE)]
    assert await waiting(deal) == before


# --- what came second and has paid after a reorganisation -----------------------------------------


def paid_by(deal: Deal, *rows: dict[str, Any]) -> dict[str, Any]:
    """Let the scanner confirm the payment with these transfers; return its event."""
    intent = deal.scanner.intents[deal.payment_id]
    received = sum(int(each["amount"]) for each in rows)
    body = deal.scanner.pay(deal.payment_id, received)
    settled = [each | {"counted": True, "settled": True, "reason": None} for each in rows]
    intent |= {"transfers": settled, "txHash": rows[-1]["txHash"], "sender": SENDER}
    lists(deal, *settled)
    return body | {"transfers": settled[::-1][:20], "transferCount": len(rows), "txHash": rows[-1]["txHash"]}


async def test_a_duplicate_that_pays_after_all_is_not_to_be_given_back(deal: Deal) -> None:
    await deal.open("direct")
    first, second = row(deal, TEN, "duplicate"), row(deal, TEN, "duplicate")
    await deal.hook(told(deal, first))

    _, answer = await deal.hook(paid_by(deal, first))
    await deal.hook(told(deal, second))

    assert answer["data"]["outcome"] == "funded"
    assert await waiting(deal) == [("duplicate", 1, TEN)]
    assert [each["txHash"] for each in await listed(deal)] == [second["txHash"]]


async def test_a_duplicate_that_is_told_of_when_it_has_paid_is_not_listed(deal: Deal) -> None:
    await deal.open("direct")
    paid = row(deal, TEN, "duplicate", blockHash="0x" + "b1" * 32)
    await deal.hook(paid_by(deal, paid))

    await deal.hook(told(deal, paid | {"blockHash": "0x" + "b0" * 32}))

    assert await waiting(deal) == []


async def test_crumbs_that_pay_after_all_are_not_to_be_given_back(deal: Deal) -> None:
    await deal.open("direct")
    tx = tx_hash()
    crumbs = [row(deal, 1, "duplicate", tx=tx, eventKey=f"key-{number}") for number in range(40)]
    lists(deal, *crumbs)
    for each in crumbs[:20]:
        await deal.hook(told(deal, each))
    await deal.hook(told(deal, crumbs[-1], count=20))
    before = sum(count for _, count, _ in await waiting(deal))

    _, answer = await deal.hook(paid_by(deal, *crumbs, row(deal, TEN, None)))
    await sweep(deal)

    assert (before, answer["data"]["outcome"]) == (40, "funded")
    assert await waiting(deal) == []


async def test_of_many_told_together_those_that_did_not_pay_stay_listed(deal: Deal) -> None:
    await deal.open("direct")
    rows = [row(deal, 1, "duplicate") for _ in range(60)]
    lists(deal, *rows)
    for each in rows[:20]:
        await deal.hook(told(deal, each))
    await deal.hook(told(deal, rows[-1], count=40))

    await deal.hook(told(deal, rows[-1], count=2) | {"amount": "no number"})  # kept, and never to be read

    event = paid_by(deal, *rows[:30], row(deal, TEN, None))
    deal.scanner.all_transfers[deal.payment_id] += rows[30:]
    await deal.hook(event)
    await sweep(deal)

    found = await waiting(deal)
    assert sum(count for _, count, _ in found) == sum(amount for _, _, amount in found) == 30


async def test_what_left_the_chain_hides_nothing_that_came_later(deal: Deal) -> None:
    await deal.open("direct")
    gone = [row(deal, 1, "duplicate") for _ in range(20)]
    for each in gone:
        await deal.hook(told(deal, each))
    tx = tx_hash()
    later = [row(deal, 1, "duplicate", tx=tx, eventKey=f"key-{number}") for number in range(40)]
    lists(deal, *(each | {"reason": "reorged"} for each in gone), *later)

    await deal.hook(told(deal, later[-1], count=40))

    assert [(each["count"], each["amountBaseUnits"]) for each in await listed(deal) if each["txHash"] == tx] == [
        (40, "40")
    ]


async def test_what_is_told_together_and_is_so_no_more_is_not_listed(deal: Deal) -> None:
    await deal.open("direct")
    stands = row(deal, TEN, None)
    lists(deal, stands)

    await deal.hook(told(deal, stands | {"reason": "duplicate"}, count=21))

    assert await waiting(deal) == []
