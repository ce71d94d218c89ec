"""Paying: what is asked for, when it counts, and that it counts once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.harness import USDC, USDT, FakeClock
from tests.marketplace.accepted_purchase import TEN, AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import SENDER, FakeScanner, balance_changed, confirmed
from tests.marketplace.harness import ESCROW, Running, notes

FUNDED = [("payment_detected", TEN), ("hold", TEN)]
ONE = 10**18


async def settled_down(purchase: AcceptedPurchase) -> None:
    """Let the commands finish."""
    await purchase.market.settled_down()


# -- opening -------------------------------------------------------------------------------------------


async def test_the_amount_is_the_offers_whatever_the_client_says(purchase: AcceptedPurchase) -> None:
    data = await purchase.open(amount="1", amountBaseUnits="1", destination=SENDER)

    payment = data["payment"]
    assert (payment["amount"], payment["amountBaseUnits"], payment["decimals"]) == ("10", str(TEN), 18)
    assert (payment["destination"], payment["tokenAddress"], payment["tokenSymbol"]) == (ESCROW, USDT, "USDT")
    assert (payment["provider"], payment["providerPaymentId"]) == ("amn.scanner", payment["id"])
    assert payment["paymentRef"] == f"PAY-{payment['id'][-8:]}"
    assert data["checkoutBlock"]["amountWei"] == str(TEN)
    assert purchase.scanner.intents[payment["id"]]["confirmationsRequired"] == 5
    assert await notes(purchase.buyer) == [("offer_received", purchase.offer_id), ("pending_payment", payment["id"])]


@pytest.mark.parametrize("rail", ["proxy", "direct"])
async def test_the_scanners_page_is_handed_on_to_the_buyer(purchase: AcceptedPurchase, rail: str) -> None:
    payment = (await purchase.open(rail))["payment"]

    assert payment["paymentUrl"] == f"https://pay.example.test/pay/{payment['id']}"
    assert (await purchase.payment())["paymentUrl"] == payment["paymentUrl"]


async def test_a_balance_has_no_page_and_a_scanner_without_a_public_url_has_none(purchase: AcceptedPurchase) -> None:
    purchase.scanner.public_url = None
    assert (await purchase.open())["payment"]["paymentUrl"] is None

    another = await accept_purchase(purchase.market, purchase.scanner, purchase.clock)
    assert (await another.open("direct_balance"))["payment"]["paymentUrl"] is None


async def test_the_page_appears_with_the_address_and_not_before(purchase: AcceptedPurchase) -> None:
    purchase.scanner.down = True
    waiting = (await purchase.open())["payment"]
    purchase.scanner.down = False
    purchase.clock.advance(10)
    await settled_down(purchase)

    assert (waiting["paymentUrl"], waiting["destination"]) == (None, None)
    assert (await purchase.payment())["paymentUrl"]


@pytest.mark.parametrize("url", ["javascript:alert(1)//", "https://pay.example.test/" + "x" * 2_000])
async def test_what_is_no_page_is_not_handed_on(purchase: AcceptedPurchase, url: str) -> None:
    """A buyer, and an admin, opens it in a browser that is signed in."""
    purchase.scanner.public_url = url

    payment = (await purchase.open())["payment"]

    assert (payment["paymentUrl"], payment["destination"]) == (None, ESCROW)


async def test_opening_again_is_the_same_payment_and_another_way_is_a_conflict(purchase: AcceptedPurchase) -> None:
    first = await purchase.open()

    status, again = await purchase.buyer.call("POST", "/api/payment/intents", purchase.intent())
    others = [purchase.intent("direct"), purchase.intent(token="USDC"), purchase.intent(chainId=56)]
    refused = [await purchase.buyer.refused("POST", "/api/payment/intents", body) for body in others]

    assert (status, again["data"]) == (200, first)
    assert refused == [(409, "conflict")] * 3


async def test_many_simultaneous_openings_are_one_payment(purchase: AcceptedPurchase) -> None:
    answers = await asyncio.gather(
        *(purchase.buyer.call("POST", "/api/payment/intents", purchase.intent("direct")) for _ in range(10))
    )

    assert len({answer["data"]["payment"]["id"] for _, answer in answers}) == 1
    assert len(purchase.scanner.intents) == 1


async def test_fresh_addresses_are_never_used_twice(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    observed = set()
    for _ in range(3):
        purchase = await accept_purchase(market, fake_scanner, clock)
        observed.add((await purchase.open("direct"))["instructions"]["address"])
        await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
        observed.add((await purchase.open("direct"))["instructions"]["address"])

    assert len(observed) == 6
    assert ESCROW not in observed


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("chainId", {"chainId": 999}),
        ("chainId", {"chainId": "97"}),
        ("token", {"token": "DOGE"}),
        ("rail", {"rail": "pigeon"}),
        ("rail", {"chainId": 728126428}),
        ("mode", {"rail": "direct_balance", "mode": "guess"}),
    ],
)
async def test_a_bad_intent_names_its_field(purchase: AcceptedPurchase, field: str, fields: dict[str, Any]) -> None:
    status, answer = await purchase.buyer.call("POST", "/api/payment/intents", purchase.intent(**fields))

    assert (status, answer["error"]["details"]["field"]) == (422, field)


async def test_a_price_the_token_cannot_express_is_422(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    purchase = await accept_purchase(market, fake_scanner, clock, price="1.0000001")

    status, answer = await purchase.buyer.call("POST", "/api/payment/intents", purchase.intent("direct", chainId=1))

    assert (status, answer["error"]["details"]["field"]) == (422, "token")
    assert "7 fractional digits" in answer["error"]["message"]


async def test_a_price_in_another_currency_is_422(market: Running, fake_scanner: FakeScanner, clock: FakeClock) -> None:
    purchase = await accept_purchase(market, fake_scanner, clock, price="1")
    assert (await purchase.open(token="USDC"))["payment"]["tokenAddress"] == USDC
    other = await accept_purchase(market, fake_scanner, clock)
    await market.write("UPDATE offers SET price_currency = 'EUR' WHERE id = ?", [other.offer_id])

    assert (await other.buyer.refused("POST", "/api/payment/intents", other.intent()))[0] == 422


async def test_only_the_buyer_pays_and_only_what_was_accepted(purchase: AcceptedPurchase) -> None:
    stranger = await purchase.market.user("buyer")

    assert await stranger.refused("POST", "/api/payment/intents", purchase.intent()) == (403, "forbidden")
    assert await purchase.seller.refused("POST", "/api/payment/intents", purchase.intent()) == (403, "forbidden")
    assert await purchase.market.nobody.refused("POST", "/api/payment/intents", purchase.intent()) == (
        401,
        "unauthorized",
    )


async def test_a_chain_without_addresses_is_said_to_be_unavailable(purchase: AcceptedPurchase) -> None:
    refused = await purchase.buyer.refused("POST", "/api/payment/intents", purchase.intent("direct", chainId=1100))

    assert refused == (503, "rail_unavailable")


# -- the scanner is away -------------------------------------------------------------------------------


async def test_while_the_scanner_is_down_the_payment_waits_and_shows_no_address(purchase: AcceptedPurchase) -> None:
    purchase.scanner.down = True
    status, answer = await purchase.buyer.call("POST", "/api/payment/intents", purchase.intent("direct"))
    waiting = answer["data"]["payment"]

    purchase.scanner.down = False
    purchase.clock.advance(600)
    await settled_down(purchase)
    data = await purchase.open("direct")

    assert (status, waiting["status"], waiting["destination"]) == (202, "pending", None)
    assert "instructions" not in answer["data"]
    assert data["payment"]["id"] == waiting["id"] in purchase.scanner.intents
    assert data["instructions"]["address"] == data["payment"]["destination"]


async def test_a_payment_the_scanner_refuses_has_failed_and_another_may_be_opened(purchase: AcceptedPurchase) -> None:
    purchase.scanner.refuses = {"error": "unsupported chain", "code": "unsupported_chain"}
    refused = await purchase.buyer.refused("POST", "/api/payment/intents", purchase.intent())
    failed = (await purchase.buyer.ok("GET", "/api/payment/history"))["payments"][0]

    purchase.scanner.refuses = None
    data = await purchase.open()

    assert refused == (503, "rail_unavailable")
    assert (failed["status"], failed["escrowState"]) == ("failed", "failed")
    assert data["payment"]["id"] != failed["id"]


# -- the webhook ---------------------------------------------------------------------------------------


async def test_a_confirmed_payment_funds_the_escrow_and_tells_both_sides(purchase: AcceptedPurchase) -> None:
    other = await purchase.market.user("seller")
    before = await notes(other)
    await purchase.open()

    status, answer = await purchase.hook(purchase.scanner.pay(purchase.payment_id))

    payment = await purchase.payment()
    assert (status, answer["data"]) == (200, {"outcome": "funded", "funded": True})
    assert (payment["status"], payment["escrowState"]) == ("completed", "funded")
    assert payment["evidence"]["sender"] == SENDER
    assert (await purchase.request())["status"] == "processing"
    assert purchase.entries() == FUNDED
    ledger = await purchase.ledger()
    assert (ledger["held"], ledger["releasable"], ledger["available"], ledger["currency"]) == ("10", "0", "0", "USDT")
    assert (
        (await notes(purchase.buyer))[-1]
        == (await notes(purchase.seller))[-1]
        == ("payment_confirmed", purchase.payment_id)
    )
    assert await notes(other) == before
    assert await purchase.findings() == []


async def test_fifty_copies_of_one_webhook_fund_once(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    body = purchase.scanner.pay(purchase.payment_id)

    answers = await asyncio.gather(*(purchase.hook(body) for _ in range(50)))

    assert {status for status, _ in answers} == {200}
    assert sorted(answer["data"]["outcome"] for _, answer in answers) == ["duplicate"] * 49 + ["funded"]
    assert purchase.entries() == FUNDED
    assert (await notes(purchase.seller)).count(("payment_confirmed", purchase.payment_id)) == 1


@pytest.mark.parametrize("attempt", range(5))
async def test_the_webhook_against_i_paid_funds_once(purchase: AcceptedPurchase, attempt: int) -> None:
    await purchase.open()
    body = purchase.scanner.pay(purchase.payment_id)
    moves: list[Any] = [
        purchase.hook(body),
        purchase.check(),
        purchase.check(),
        purchase.hook(confirmed(purchase.scanner.intents[purchase.payment_id])),
    ]

    await asyncio.gather(*(moves if attempt % 2 else reversed(moves)))

    assert purchase.entries() == FUNDED
    assert (await notes(purchase.buyer)).count(("payment_confirmed", purchase.payment_id)) == 1
    assert await purchase.recoveries() == []


async def test_only_a_right_and_recent_signature_counts(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    body = purchase.scanner.pay(purchase.payment_id)
    now = purchase.clock.now_ms() // 1000

    forged = await purchase.hook(body, secret="another secret")
    old = await purchase.hook(body, now=now - 301)
    altered = await purchase.hook(body, **{"X-AMN-Signature": "0" * 64})
    good = await purchase.hook(body, now=now - 299)

    assert [forged[0], old[0], altered[0], good[0]] == [401, 401, 401, 200]


async def test_without_a_secret_nothing_is_believed(purchase: AcceptedPurchase) -> None:
    purchase.market.marketplace.services.webhook_receiver._provider._callback.secret = None

    assert (await purchase.hook({"eventId": "evt"}))[0] == 503


async def test_an_unknown_payment_is_404_and_what_is_no_event_400(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    body = purchase.scanner.pay(purchase.payment_id)

    assert (await purchase.hook({**body, "intentId": "somebody-elses"}))[0] == 404
    assert (await purchase.hook({"eventId": "evt_x", "hello": 1}))[0] == 400


async def test_news_that_is_not_a_confirmation_is_kept_and_credits_nothing(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    body = purchase.scanner.pay(purchase.payment_id)

    detected = await purchase.hook({**body, "eventId": "evt_d", "eventType": "payment.detected", "status": "pending"})
    overpaid = await purchase.hook({**body, "eventId": "evt_o", "eventType": "payment.overpaid"})

    assert (detected[0], overpaid[0]) == (200, 200)
    assert (await purchase.payment())["status"] == "processing"
    assert purchase.entries() == []
    waiting = (await purchase.market.admin.ok("GET", "/api/admin/payments/awaiting-confirmation"))["payments"]
    assert [each["id"] for each in waiting] == [purchase.payment_id]


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("wrong_token", {"token": USDC}),
        ("wrong_asset", {"chainId": 56}),
        ("amount_mismatch", {"amount": str(TEN - 1)}),
        ("wrong_recipient", {"destination": SENDER}),
        ("transfer_not_found", {"txHash": "0x" + "77" * 32, "transfers": []}),
    ],
)
async def test_what_does_not_match_is_held_with_its_evidence(
    purchase: AcceptedPurchase, reason: str, fields: dict[str, Any]
) -> None:
    await purchase.open()

    status, answer = await purchase.hook({**purchase.scanner.pay(purchase.payment_id), **fields})

    payment = await purchase.payment()
    assert (status, answer["data"]["outcome"]) == (200, "held")
    assert (payment["status"], payment["holdReason"], payment["evidence"]["reason"]) == ("processing", reason, reason)
    assert purchase.entries() == []
    assert ("payment_held", purchase.payment_id) in await notes(purchase.market.admin)


async def test_too_few_confirmations_wait(purchase: AcceptedPurchase) -> None:
    await purchase.open()

    first = await purchase.hook(purchase.scanner.pay(purchase.payment_id, confirmations=4))
    second = await purchase.hook(purchase.scanner.pay(purchase.payment_id))

    assert [first[1]["data"]["outcome"], second[1]["data"]["outcome"]] == ["waiting", "funded"]


async def test_a_surplus_is_in_the_books_and_held_for_nobody(purchase: AcceptedPurchase) -> None:
    await purchase.open()

    await purchase.hook(purchase.scanner.pay(purchase.payment_id, TEN + 3))

    assert purchase.entries() == [("payment_detected", TEN + 3), ("hold", TEN)]
    assert (await purchase.ledger())["availableBaseUnits"] == "3"
    assert await purchase.findings() == []


async def test_a_transfer_that_paid_once_pays_for_nothing_else(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    one, two = await accept_purchase(market, fake_scanner, clock), await accept_purchase(market, fake_scanner, clock)
    await one.fund()
    await two.open()
    body = fake_scanner.pay(two.payment_id)
    first = fake_scanner.intents[one.payment_id]
    body |= {"txHash": first["txHash"], "transfers": confirmed(first)["transfers"]}

    _, answer = await two.hook(body)

    assert answer["data"]["outcome"] == "held"
    assert (await two.payment())["holdReason"] == "transfer_credited_elsewhere"
    assert two.entries() == []


async def test_money_after_cancelling_is_for_a_person_and_never_credited(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")

    status, answer = await purchase.hook(purchase.scanner.pay(purchase.payment_id))

    assert (status, answer["data"]["outcome"]) == (200, "late")
    assert (await purchase.payment())["status"] == "cancelled"
    assert purchase.entries() == []
    assert await purchase.recoveries() == [("late_payment", str(TEN))]


async def test_a_second_payment_is_for_a_person(purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    unapplied_event = {
        "eventType": "payment.anomaly",
        "reason": "duplicate",
        "status": "confirmed",
        "eventId": "evt_dup",
    }

    await purchase.hook({**confirmed(purchase.scanner.intents[purchase.payment_id]), **unapplied_event})

    assert await purchase.recoveries() == [("duplicate", str(TEN))]
    assert purchase.entries() == FUNDED


async def test_a_wrong_token_is_reported_to_the_buyer(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    unapplied_event = {
        "eventType": "payment.anomaly",
        "reason": "wrong_token",
        "status": "pending",
        "eventId": "evt_wrong",
    }

    await purchase.hook({**purchase.scanner.pay(purchase.payment_id), **unapplied_event})

    assert (await notes(purchase.buyer))[-1] == ("payment-wrong-token", purchase.payment_id)
    assert await purchase.recoveries() == [("wrong_token", str(TEN))]


# -- cancelling and expiring ---------------------------------------------------------------------------


async def test_what_is_on_its_way_cannot_be_cancelled(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    purchase.scanner.intents[purchase.payment_id]["status"] = "confirming"

    refused = await purchase.buyer.refused("POST", f"/api/payment/{purchase.payment_id}/cancel")

    assert refused == (409, "conflict")
    assert (await purchase.payment())["status"] == "pending"


async def test_a_payment_expires_and_the_scanner_forgets_it(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    purchase.clock.advance(24 * 3600 + 1)

    await purchase.market.marketplace.sweep.once()

    with purchase.market.opened() as store:
        found = store.execute("SELECT status, stop_reason FROM payments WHERE id = ?", [purchase.payment_id]).fetchone()
    assert found == ("cancelled", "expired")
    assert purchase.scanner.intents[purchase.payment_id]["status"] == "expired"


async def test_a_payment_expires_when_the_scanner_ended_its_intent_first(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    purchase.scanner.intents[purchase.payment_id]["status"] = "expired"
    purchase.clock.advance(24 * 3600 + 1)

    await purchase.market.marketplace.sweep.once()

    assert stored(purchase, "status, stop_reason") == ("cancelled", "expired")


async def test_a_payment_whose_intent_has_expired_can_be_cancelled(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    purchase.scanner.intents[purchase.payment_id]["status"] = "expired"

    data = await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")

    assert data["payment"]["status"] == "cancelled"


async def test_a_payment_the_scanner_is_about_to_confirm_does_not_expire(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    purchase.scanner.intents[purchase.payment_id]["status"] = "confirming"
    purchase.clock.advance(24 * 3600 + 1)

    await purchase.market.marketplace.sweep.once()
    _, answer = await purchase.hook(purchase.scanner.pay(purchase.payment_id))

    assert answer["data"]["outcome"] == "funded"


async def test_a_lost_webhook_is_made_up_for_when_the_time_is_over(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    purchase.scanner.pay(purchase.payment_id)
    purchase.clock.advance(24 * 3600 + 1)

    await purchase.market.marketplace.sweep.once()

    assert purchase.entries() == FUNDED


# -- direct balance ------------------------------------------------------------------------------------


async def test_the_baseline_is_read_before_the_address_is_shown(purchase: AcceptedPurchase) -> None:
    purchase.scanner.down = True
    hidden = (await purchase.open("direct_balance"))["payment"]
    purchase.scanner.down = False

    data = await purchase.open("direct_balance")

    assert (hidden["destination"], hidden["baselineBalance"]) == (None, None)
    assert data["instructions"]["baselineBalance"] == "0"
    assert data["instructions"]["paymentUri"].endswith(f"uint256={TEN}")


@pytest.mark.parametrize(
    ("paid", "funded", "reason"),
    [
        (0, False, f"underpaid:delta=0,expected={TEN}"),
        (TEN - 1, False, f"underpaid:delta={TEN - 1},expected={TEN}"),
        (TEN, True, None),
        (TEN + 1, True, None),
    ],
)
async def test_i_paid_compares_with_the_stored_baseline(
    purchase: AcceptedPurchase, paid: int, funded: bool, reason: str | None
) -> None:
    purchase.scanner.balances = FreshBalances(777)
    address = (await purchase.open("direct_balance"))["instructions"]["address"]
    purchase.scanner.balances[address] = 777 + paid

    found = await purchase.check()

    assert (found["funded"], found["reason"], found["deltaBaseUnits"]) == (funded, reason, str(paid))
    assert (found["expected"], found["currency"]) == ("10", "USDT")
    assert purchase.entries() == ([("payment_detected", paid), ("hold", TEN)] if funded else [])


class FreshBalances(dict[str, int]):
    """Every account has something already."""

    def __init__(self, amount: int) -> None:
        super().__init__()
        self._amount = amount

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key, self._amount)


async def test_what_is_only_at_the_newest_block_is_on_its_way(purchase: AcceptedPurchase) -> None:
    address = (await purchase.open("direct_balance"))["instructions"]["address"]
    purchase.scanner.newest[address] = TEN
    early = await purchase.check()
    purchase.scanner.balances[address] = TEN

    await purchase.market.marketplace.sweep.once()

    assert (early["funded"], early["reason"]) == (False, "awaiting-confirmations")
    assert purchase.entries() == FUNDED


async def asked_for_more(purchase: AcceptedPurchase, mode: str) -> str:
    """Open a payment that needs seven confirmations more than balances are read at; return its address."""
    thresholds = {"thresholds": [{"chainId": 97, "confirmations": 12}]}
    await purchase.market.admin.ok("PUT", "/api/admin/settings/confirmation-thresholds", thresholds)
    return str((await purchase.open("direct_balance", mode=mode))["instructions"]["address"])


async def test_a_balance_counts_once_it_lies_as_deep_as_the_payment_asks(purchase: AcceptedPurchase) -> None:
    address = await asked_for_more(purchase, "check")
    purchase.scanner.balances[address] = TEN
    first = await purchase.check()
    purchase.scanner.block = 106
    early = await purchase.check()
    purchase.scanner.block = 107
    await purchase.market.marketplace.sweep.once()

    assert (first["funded"], first["reason"]) == (False, "awaiting-confirmations:missing=7")
    assert (early["funded"], early["reason"]) == (False, "awaiting-confirmations:missing=1")
    assert purchase.entries() == FUNDED
    assert (await purchase.payment())["evidence"]["confirmations"] == 12


@pytest.mark.parametrize("newest", [0, 4 * ONE, TEN])
async def test_a_balance_that_was_gone_in_between_begins_anew(purchase: AcceptedPurchase, newest: int) -> None:
    address = await asked_for_more(purchase, "check")
    purchase.scanner.balances[address] = TEN
    await purchase.check()
    purchase.scanner.block, purchase.scanner.balances[address], purchase.scanner.newest[address] = 105, 0, newest
    await purchase.check()
    purchase.scanner.block, purchase.scanner.balances[address] = 110, TEN

    again = await purchase.check()

    assert (again["funded"], again["reason"]) == (False, "awaiting-confirmations:missing=7")


async def test_what_a_watch_tells_counts_once_it_lies_deep_enough(purchase: AcceptedPurchase) -> None:
    address = await asked_for_more(purchase, "watch")
    payment = await purchase.payment()
    purchase.scanner.balances[address] = TEN

    reported = await purchase.hook(balance_changed(payment, TEN))
    await purchase.market.marketplace.sweep.once()
    waiting = purchase.entries()
    purchase.scanner.block = 107
    await purchase.market.marketplace.sweep.once()

    assert (reported[0], reported[1]["data"]["outcome"]) == (202, "waiting")
    assert waiting == []
    assert purchase.entries() == FUNDED


async def test_partial_sums_add_up_and_the_buyer_hears_what_is_missing(purchase: AcceptedPurchase) -> None:
    address = (await purchase.open("direct_balance"))["instructions"]["address"]
    purchase.scanner.balances[address] = 4 * ONE
    await purchase.check()
    await purchase.check()
    reported = (await purchase.buyer.ok("GET", "/api/notifications"))["notifications"]
    partial = await purchase.payment()
    purchase.scanner.balances[address] = TEN

    await purchase.check()

    short = [note["title"] for note in reported if note["type"] == "payment-underpaid"]
    assert len(short) == 1
    assert "6 USDT" in short[0]
    assert (partial["status"], partial["escrowState"]) == ("processing", "partial")
    assert purchase.entries() == FUNDED


async def test_a_watch_tells_202_until_it_is_paid_and_is_stopped_then(purchase: AcceptedPurchase) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]
    assert payment["providerPaymentId"] == f"{payment['id']}-balance-c97-USDT" in purchase.scanner.watches

    part = await purchase.hook(balance_changed(payment, TEN - 1))
    whole = await purchase.hook(balance_changed(payment, TEN))
    await settled_down(purchase)

    assert (part[0], part[1]["data"]["outcome"]) == (202, "not_paid")
    assert (whole[0], whole[1]["data"]["outcome"]) == (200, "funded")
    assert purchase.scanner.watches[payment["providerPaymentId"]]["status"] == "stopped"
    assert (await purchase.payment())["stopReason"] == "paid"
    assert purchase.entries() == FUNDED


@pytest.mark.parametrize(
    "fields", [{"tokenAddress": USDC}, {"tokenAddress": None}, {"chainId": 56}, {"address": SENDER}]
)
async def test_a_balance_of_something_else_says_nothing(purchase: AcceptedPurchase, fields: dict[str, Any]) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]

    status, _ = await purchase.hook(balance_changed(payment, TEN, **fields))

    assert status == 202
    assert (await purchase.payment())["evidence"]["reason"] == "address-token-mismatch"
    assert (await notes(purchase.buyer))[-1] == ("payment-wrong-token", purchase.payment_id)
    assert purchase.entries() == []


async def test_without_a_baseline_nothing_is_paid(purchase: AcceptedPurchase) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]
    await purchase.market.write("UPDATE payments SET baseline_balance = NULL WHERE id = ?", [purchase.payment_id])

    status, _ = await purchase.hook(balance_changed(payment, TEN))

    assert (status, purchase.entries()) == (202, [])


async def test_cancelling_stops_the_watch_and_late_money_is_for_a_person(purchase: AcceptedPurchase) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
    await settled_down(purchase)

    status, _ = await purchase.hook(balance_changed(payment, TEN))

    assert purchase.scanner.watches[payment["providerPaymentId"]]["status"] == "stopped"
    assert (status, (await purchase.payment())["stopReason"]) == (202, "cancelled")
    assert await purchase.recoveries() == [("late_payment", str(TEN))]
    assert purchase.entries() == []


async def test_an_expired_watch_is_stopped_for_that_reason(purchase: AcceptedPurchase) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]
    purchase.clock.advance(24 * 3600 + 1)

    await purchase.market.marketplace.sweep.once()
    await settled_down(purchase)

    assert stored(purchase, "status, stop_reason") == ("cancelled", "expired")
    assert purchase.scanner.watches[payment["providerPaymentId"]]["status"] == "stopped"


async def test_an_admin_stops_a_watch_by_hand_and_the_payment_stays_open(purchase: AcceptedPurchase) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]

    await purchase.market.admin.ok("POST", f"/api/admin/payments/{purchase.payment_id}/stop-watch")
    await settled_down(purchase)

    assert stored(purchase, "status, stop_reason") == ("pending", "manual")
    assert purchase.scanner.watches[payment["providerPaymentId"]]["status"] == "stopped"


async def test_a_watch_that_was_forgotten_is_stopped_by_the_sweep(purchase: AcceptedPurchase) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]
    # as if it had ended without its command
    await purchase.market.write("UPDATE payments SET status = 'cancelled', escrow_state = 'cancelled'")

    await purchase.market.marketplace.sweep.once()
    await settled_down(purchase)

    assert purchase.scanner.watches[payment["providerPaymentId"]]["status"] == "stopped"
    assert stored(purchase, "watch_stopped_at") != (None,)


def stored(purchase: AcceptedPurchase, columns: str) -> Any:
    """Return columns of the payment as they lie on disk."""
    with purchase.market.opened() as store:
        return store.execute(f"SELECT {columns} FROM payments WHERE id = ?", [purchase.payment_id]).fetchone()  # noqa: S608


@pytest.mark.parametrize(
    ("who", "role", "total"), [("buyer", "buyer", 1), ("buyer", "seller", 0), ("seller", "seller", 1)]
)
async def test_the_history_is_ones_own_by_role(purchase: AcceptedPurchase, who: str, role: str, total: int) -> None:
    await purchase.open()
    api = {"buyer": purchase.buyer, "seller": purchase.seller}[who]

    assert (await api.ok("GET", f"/api/payment/history?role={role}"))["total"] == total
    assert (await api.ok("GET", "/api/payment/history?role=all"))["total"] == 1
    assert (await purchase.market.admin.ok("GET", "/api/payment/history"))["total"] == 1


async def test_i_paid_while_nobody_can_look_is_503(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct_balance")
    purchase.scanner.down = True

    path = f"/api/payment/amn-scanner/direct-balance/check/{purchase.payment_id}"
    assert await purchase.buyer.refused("POST", path) == (503, "scanner_unavailable")


async def test_strangers_see_cancel_and_check_nothing(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    stranger, rival = await purchase.market.user("buyer"), await purchase.market.user("seller")
    path = f"/api/payment/{purchase.payment_id}"
    check = f"/api/payment/amn-scanner/direct-balance/check/{purchase.payment_id}"

    for somebody in (stranger, rival):
        assert await somebody.refused("GET", path) == (403, "forbidden")
        assert await somebody.refused("POST", f"{path}/cancel") == (403, "forbidden")
        assert await somebody.refused("POST", check) == (403, "forbidden")
        assert (await somebody.ok("GET", "/api/payment/history"))["total"] == 0
    assert await purchase.seller.refused("POST", f"{path}/cancel") == (403, "forbidden")
    await purchase.seller.ok("GET", path)


# -- thresholds ----------------------------------------------------------------------------------------


async def test_an_admin_may_raise_a_chains_floor_and_never_lower_it(purchase: AcceptedPurchase) -> None:
    path = "/api/admin/settings/confirmation-thresholds"

    low = await purchase.market.admin.refused("PUT", path, {"thresholds": [{"chainId": 97, "confirmations": 4}]})
    data = await purchase.market.admin.ok("PUT", path, {"thresholds": [{"chainId": 97, "confirmations": 12}]})
    await purchase.open()

    assert low == (422, "invalid")
    assert {"chainId": 97, "floor": 5, "confirmations": 12} in data["thresholds"]
    assert [(row["chainId"], row["confirmations"]) for row in data["history"]] == [(97, 12)]
    assert purchase.scanner.intents[purchase.payment_id]["confirmationsRequired"] == 12
    assert await purchase.buyer.refused("GET", path) == (403, "forbidden")


async def test_a_request_that_is_no_id_is_a_bad_request(purchase: AcceptedPurchase) -> None:
    body = purchase.intent() | {"purchaseRequestId": "x"}

    assert await purchase.buyer.refused("POST", "/api/payment/intents", body) == (400, "bad_request")
