"""What cannot be is kept, shown to a person, and does nothing: in a webhook and in the scanner's answers."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from aiohttp import web

from tests.marketplace.accepted_purchase import TEN, AcceptedPurchase
from tests.marketplace.fake_scanner import FakeScanner, balance_changed, confirmed, news
from tests.marketplace.harness import HOOK_SECRET
from tests.rounds import a_few_and_the_rest_long
from webhooks.signing import headers_for

FUNDED = [("payment_detected", TEN), ("hold", TEN)]
BROKEN_INTENTS: list[dict[str, Any]] = [
    {"amount": "-5"},
    {"amountReceived": "-5"},
    {"amountReceived": -5},
    {"amountReceived": "ten"},
    {"amountReceived": 1.5},
    {"amountReceived": "1e19"},
    {"amountReceived": "0x10"},
    {"amountReceived": ["10"]},
    {"amountReceived": {"wei": "10"}},
    {"amountReceived": "9" * 79},
    {"amountReceived": True},
    {"amount": None},
    {"chainId": "BSC"},
    {"chainId": 97.0},
    {"token": None},
    {"token": ["0x"]},
    {"token": "0x" + "a" * 20_000},
    {"status": 7},
    {"status": None},
    {"eventType": ["payment.confirmed"]},
    {"confirmations": "many"},
    {"confirmations": str(-(2**63) - 1)},
    {"blockNumber": str(2**200)},
    {"blockNumber": "9" * 79},
    {"txHash": 7},
    {"txHash": {}},
    {"sender": []},
    {"transfers": "none"},
    {"transfers": {"0": {}}},
    {"transfers": [None]},
    {"transfers": [[]]},
    {"transfers": [{"txHash": "0x1", "eventKey": "0", "amount": str(TEN)}]},
    {"transferCount": "two"},
    {"rail": 1},
    {"eventId": 7},
    {"eventId": "evt id"},
    {"eventId": "e" * 300},
]
TRANSFERS: list[dict[str, Any]] = [
    {"amount": "-5"},
    {"amount": "NaN"},
    {"amount": 2.5},
    {"amount": None},
    {"txHash": "0xzz"},
    {"txHash": 12},
    {"eventKey": 0},
    {"sender": 5},
    {"blockNumber": "x"},
]


async def state(purchase: AcceptedPurchase) -> tuple[Any, ...]:
    payment = await purchase.payment()
    return payment["status"], payment["escrowState"], payment["txHash"], purchase.entries(), await purchase.recoveries()


def kept(purchase: AcceptedPurchase) -> int:
    with purchase.market.opened() as store:
        return int(store.execute("SELECT count(*) FROM webhook_inbox").fetchone()[0])


@pytest.mark.parametrize("wrong", a_few_and_the_rest_long(BROKEN_INTENTS))
async def test_a_broken_confirmation_is_kept_and_held_and_the_right_one_still_counts(
    purchase: AcceptedPurchase, wrong: dict[str, Any]
) -> None:
    await purchase.open("direct")
    body = purchase.scanner.pay(purchase.payment_id)

    status, answer = await purchase.hook({**body, **wrong})

    payment = await purchase.payment()
    assert (status, answer["data"]["outcome"], kept(purchase)) == (200, "held", 1)
    assert (payment["holdReason"], payment["evidence"]["reason"]) == ("broken_answer", "broken_answer")
    assert await state(purchase) == ("processing", None, None, [], [])
    assert (await purchase.hook({**body, "eventId": "evt_right"}))[1]["data"]["outcome"] == "funded"
    assert purchase.entries() == FUNDED


@pytest.mark.parametrize("wrong", a_few_and_the_rest_long(TRANSFERS, every=3))
@pytest.mark.parametrize("rail", ["direct", "direct_balance"])
async def test_a_broken_transfer_in_an_event_is_no_transfer(
    purchase: AcceptedPurchase, wrong: dict[str, Any], rail: str
) -> None:
    payment = (await purchase.open(rail, **({"mode": "watch"} if rail == "direct_balance" else {})))["payment"]
    body = balance_changed(payment, TEN) if rail == "direct_balance" else purchase.scanner.pay(purchase.payment_id)
    if rail == "direct_balance" and "eventKey" in wrong:
        wrong = {"txHash": "no hash at all"}

    status, answer = await purchase.hook({**body, "transfers": [{**body["transfers"][0], **wrong}]})

    assert (status, answer["data"]["outcome"]) == (200, "held")
    assert (await purchase.payment())["holdReason"] == "broken_answer"
    assert purchase.entries() == []


BALANCES = [
    {"currentBalance": "-5"},
    {"currentBalance": -5},
    {"currentBalance": "ten"},
    {"currentBalance": 10.0},
    {"currentBalance": None},
    {"currentBalance": str(2**256)},
    {"previousBalance": "-1"},
    {"delta": "lots"},
    {"chainId": []},
    {"checkedAt": "yesterday"},
    {"address": None},
    {"changeCount": {}},
]


@pytest.mark.parametrize("wrong", a_few_and_the_rest_long(BALANCES, every=3))
async def test_a_broken_balance_is_kept_and_held_and_the_right_one_still_counts(
    purchase: AcceptedPurchase, wrong: dict[str, Any]
) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]

    status, answer = await purchase.hook(balance_changed(payment, TEN, **wrong))

    assert (status, answer["data"]["outcome"], kept(purchase)) == (200, "held", 1)
    assert (await purchase.payment())["holdReason"] == "broken_answer"
    assert await state(purchase) == ("processing", None, None, [], [])
    assert (await purchase.hook(balance_changed(payment, TEN)))[1]["data"]["outcome"] == "funded"


@pytest.mark.parametrize("kind", ["payment.partial", "payment.late", "payment.anomaly", "payment.reorged"])
async def test_broken_news_changes_nothing_of_what_was_paid(purchase: AcceptedPurchase, kind: str) -> None:
    await purchase.fund()
    before = await state(purchase)

    status, _ = await purchase.hook(news(purchase.scanner.intents[purchase.payment_id], kind, missing="-5", amount=[]))

    assert (status, await state(purchase)) == (200, before)


async def test_a_broken_event_does_not_overwrite_why_a_payment_is_held(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    body = purchase.scanner.pay(purchase.payment_id)
    await purchase.hook({**body, "amount": str(TEN - 1)})

    await purchase.hook({**body, "amountReceived": "-1", "eventId": "evt_broken"})

    assert (await purchase.payment())["holdReason"] == "amount_mismatch"


RAW = [
    b'{"intentId": "%s", "amount": NaN}',
    b'{"intentId": "%s", "amount": -Infinity}',
    b'{"intentId": "%s", "amount": 1e999}',
    b'{"intentId": "%s", "x": ' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"intentId": "%s", "x": ' + b'{"a":' * 60 + b"1" + b"}" * 60 + b"}",
    b'{"intentId": "%s", "intentId": ["%s"]}',
    b'{"intentId": "%s", "eventId": {"a": 1}, "eventType": null}',
    b'{"intentId": "%s", "eventId": "\\u0000\\n", "eventType": "payment.confirmed", "status": "confirmed"}',
    b'{"watchId": "%s", "intentId": 5}',
    b'["%s"]',
    b'"%s"',
    b"%s",
    b"",
]


@pytest.mark.parametrize("raw", RAW)
async def test_no_shape_of_a_body_is_a_failure_of_ours(purchase: AcceptedPurchase, raw: bytes) -> None:
    await purchase.open("direct")
    body = raw.replace(b"%s", purchase.payment_id.encode())
    signed = headers_for(
        event_id="evt_raw",
        event_type="payment.confirmed",
        delivery_id="x",
        body=body,
        secret=HOOK_SECRET,
        timestamp=purchase.clock.now_ms() // 1000,
    )

    status, _ = await purchase.buyer.nobody().call("POST", "/api/payment/amn-scanner/webhook", body, headers=signed)

    assert status in {200, 400, 404}
    assert purchase.entries() == []


# -- what is about another rail ------------------------------------------------------------------------


async def test_a_confirmation_that_names_a_watch_is_about_another_rail(purchase: AcceptedPurchase) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]
    await StandInOf(purchase.scanner).knows(payment, "direct")
    body = confirmed(purchase.scanner.intents[payment["id"]])

    for name in (payment["providerPaymentId"], payment["id"]):
        status, answer = await purchase.hook({**body, "intentId": name, "eventId": f"evt_{name}"})
        assert (status, answer["data"]["outcome"]) == (200, "held")

    assert (await purchase.payment())["holdReason"] == "another_rail"
    assert (kept(purchase), purchase.entries()) == (2, [])


class StandInOf:
    """Lets the stand-in know an intent for a payment that has none."""

    def __init__(self, scanner: FakeScanner) -> None:
        self.scanner = scanner

    async def knows(self, payment: dict[str, Any], rail: str) -> None:
        self.scanner.intents[payment["id"]] = {
            "intentId": payment["id"],
            "chainId": payment["chainId"],
            "chainType": "evm",
            "rail": rail,
            "tokenAddress": payment["tokenAddress"],
            "destination": payment["destination"],
            "amount": payment["amountBaseUnits"],
            "confirmationsRequired": 5,
            "paymentReference": "0x0011223344556677",
            "createdAt": payment["createdAt"],
            "transfers": [],
        }
        self.scanner.pay(payment["id"])


@pytest.mark.parametrize("rail", ["proxy", "direct"])
async def test_a_balance_that_names_an_intent_is_about_another_rail(purchase: AcceptedPurchase, rail: str) -> None:
    payment = (await purchase.open(rail))["payment"]

    status, answer = await purchase.hook(balance_changed(payment, TEN))

    assert (status, answer["data"]["outcome"], purchase.entries()) == (200, "held", [])
    assert (await purchase.payment())["holdReason"] == "another_rail"


@pytest.mark.parametrize(("mine", "reported"), [("proxy", "direct"), ("direct", "proxy"), ("direct", "direct_balance")])
async def test_an_event_about_another_rail_than_the_payments_funds_nothing(
    purchase: AcceptedPurchase, mine: str, reported: str
) -> None:
    await purchase.open(mine)

    status, answer = await purchase.hook(purchase.scanner.pay(purchase.payment_id, rail=reported))

    assert (status, answer["data"]["outcome"], purchase.entries()) == (200, "held", [])
    assert (await purchase.payment())["holdReason"] == "another_rail"


async def test_an_event_about_another_rail_says_nothing_of_a_payment_that_is_paid(purchase: AcceptedPurchase) -> None:
    payment = await purchase.fund()
    before = await state(purchase)

    status, answer = await purchase.hook(balance_changed(payment, 0))

    assert (status, answer["data"]["outcome"], await state(purchase)) == (200, "refused", before)


# -- the scanner's answers -----------------------------------------------------------------------------

ANSWERS: list[dict[str, Any]] = [
    {"balance": "-5"},
    {"balance": -5},
    {"balance": "much"},
    {"balance": None},
    {"balance": 1.0},
    {"blockNumber": "x"},
    {"balance": str(2**256)},
]


def lies(scanner: FakeScanner, path: str, answer: Any) -> None:
    """Let the stand-in answer this on one path."""
    scanner.lies[path] = lambda _request: web.json_response(answer)


def balance(payment: dict[str, Any], **fields: Any) -> dict[str, Any]:
    known = {
        "chainId": payment["chainId"],
        "chainType": "evm",
        "address": payment["destination"],
        "tokenAddress": payment["tokenAddress"],
        "tokenSymbol": "USDT",
        "decimals": 18,
        "balance": str(TEN),
        "blockNumber": 100,
        "checkedAt": "2026-01-01T00:00:00Z",
    }
    return {**known, **fields}


@pytest.mark.parametrize("wrong", a_few_and_the_rest_long(ANSWERS, every=3))
@pytest.mark.parametrize("mode", ["check", "watch"])
async def test_a_balance_that_cannot_be_credits_nothing_and_ends_with_a_good_answer(
    purchase: AcceptedPurchase, wrong: dict[str, Any], mode: str
) -> None:
    payment = (await purchase.open("direct_balance", mode=mode))["payment"]
    lies(purchase.scanner, "/balances/check", balance(payment, **wrong))

    found = await purchase.check()
    await purchase.market.marketplace.sweep.once()
    held = await purchase.payment()
    purchase.scanner.lies.clear()
    again = await purchase.check()

    assert (found["funded"], found["reason"], purchase.entries()) == (False, "broken_answer", [])
    assert (held["holdReason"], held["evidence"]["reason"]) == ("broken_answer", "broken_answer")
    assert (again["reason"], (await purchase.payment())["holdReason"]) == (f"underpaid:delta=0,expected={TEN}", None)
    assert (await purchase.payment())["status"] == "pending"


async def test_the_sweep_goes_on_past_answers_that_cannot_be(purchase: AcceptedPurchase) -> None:
    payment = (await purchase.open("direct_balance"))["payment"]
    purchase.scanner.newest[payment["destination"]] = TEN
    await purchase.check()
    running = asyncio.create_task(purchase.market.marketplace.sweep.run())
    try:
        for wrong in ({"balance": "-5"}, {"balance": {}}, [], "x", {"blockNumber": -1, "checkedAt": 5}):
            answer = balance(payment, **wrong) if isinstance(wrong, dict) else wrong
            lies(purchase.scanner, "/balances/check", answer)
            before = len(purchase.scanner.calls)
            purchase.market.marketplace.sweep.wakeup.wake()
            await purchase.scanner.called(before + 1)
            await purchase.market.marketplace.sweep.once()
        purchase.scanner.lies.clear()
        purchase.scanner.balances[payment["destination"]] = TEN
        await purchase.market.marketplace.sweep.once()
        assert not running.done()
    finally:
        running.cancel()

    assert purchase.entries() == FUNDED


INTENTS: list[dict[str, Any]] = [
    {"amountReceived": "-5"},
    {"amountReceived": str(TEN + 1)},  # more than its transfers
    {"amount": "-5"},
    {"confirmations": []},
    {"transfers": None},
    {"txHash": 5},
]


@pytest.mark.parametrize("wrong", INTENTS)
async def test_an_intent_that_cannot_be_credits_nothing(purchase: AcceptedPurchase, wrong: dict[str, Any]) -> None:
    await purchase.open("direct")
    body = {**purchase.scanner.pay(purchase.payment_id), "transfers": None}
    good = purchase.scanner.intents[purchase.payment_id]
    lies(purchase.scanner, f"/intents/{purchase.payment_id}", {"intent": {**good, **wrong}})
    lies(purchase.scanner, f"/intents/{purchase.payment_id}/recheck", {"intent": {**good, **wrong}, "seen": []})

    status, answer = await purchase.hook(body)
    await purchase.market.marketplace.sweep.once()

    assert (status, answer["data"]["funded"], purchase.entries()) == (200, False, [])


async def test_a_baseline_that_cannot_be_is_no_baseline(purchase: AcceptedPurchase) -> None:
    answer = {"chainId": 97, "chainType": "evm", "address": "0x", "balance": "-5"}
    lies(purchase.scanner, "/balances/check", answer)

    hidden = (await purchase.open("direct_balance"))["payment"]

    assert (hidden["destination"], hidden["baselineBalance"], hidden["holdReason"]) == (None, None, None)


async def test_one_payment_nobody_can_judge_does_not_stop_the_sweep(
    purchase: AcceptedPurchase, monkeypatch: Any
) -> None:
    await purchase.open()
    purchase.scanner.pay(purchase.payment_id)
    purchase.clock.advance(24 * 3600 + 1)
    verifier = purchase.market.marketplace.services.verifier
    verify, failed = verifier.verify_payment, []

    async def breaks(payment: Any, *, thoroughly: bool) -> Any:
        if not failed:
            failed.append(payment.id)
            raise ZeroDivisionError
        return await verify(payment, thoroughly=thoroughly)

    monkeypatch.setattr(verifier, "verify_payment", breaks)

    await purchase.market.marketplace.sweep.once()
    await purchase.market.marketplace.sweep.once()

    assert orjson.dumps(failed) == orjson.dumps([purchase.payment_id])
    assert purchase.entries() == FUNDED
