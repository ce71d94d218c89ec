"""What cannot be is kept, shown to a person, and does nothing: in a webhook and in the scanner's answers."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import orjson
import pytest
from aiohttp import web

from tests.marketplace.deals import TEN, Deal
from tests.marketplace.harness import HOOK_SECRET
from tests.marketplace.stand_in import StandIn, balance_changed, confirmed, news
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


async def state(deal: Deal) -> tuple[Any, ...]:
    payment = await deal.payment()
    return payment["status"], payment["escrowState"], payment["txHash"], deal.entries(), await deal.recoveries()


def kept(deal: Deal) -> int:
    with sqlite3.connect(deal.market.db_path) as store:
        return int(store.execute("SELECT count(*) FROM webhook_inbox").fetchone()[0])


@pytest.mark.parametrize("wrong", BROKEN_INTENTS)
async def test_a_broken_confirmation_is_kept_and_held_and_the_right_one_still_counts(
    deal: Deal, wrong: dict[str, Any]
) -> None:
    await deal.open("direct")
    body = deal.scanner.pay(deal.payment_id)

    status, answer = await deal.hook({**body, **wrong})

    payment = await deal.payment()
    assert (status, answer["data"]["outcome"], kept(deal)) == (200, "held", 1)
    assert (payment["holdReason"], payment["evidence"]["reason"]) == ("broken_answer", "broken_answer")
    assert await state(deal) == ("processing", None, None, [], [])
    assert (await deal.hook({**body, "eventId": "evt_right"}))[1]["data"]["outcome"] == "funded"
    assert deal.entries() == FUNDED


@pytest.mark.parametrize("wrong", TRANSFERS)
@pytest.mark.parametrize("rail", ["direct", "direct_balance"])
async def test_a_broken_transfer_in_an_event_is_no_transfer(deal: Deal, wrong: dict[str, Any], rail: str) -> None:
    payment = (await deal.open(rail, **({"mode": "watch"} if rail == "direct_balance" else {})))["payment"]
    body = balance_changed(payment, TEN) if rail == "direct_balance" else deal.scanner.pay(deal.payment_id)
    if rail == "direct_balance" and "eventKey" in wrong:
        wrong = {"txHash": "no hash at all"}

    status, answer = await deal.hook({**body, "transfers": [{**body["transfers"][0], **wrong}]})

    assert (status, answer["data"]["outcome"]) == (200, "held")
    assert (await deal.payment())["holdReason"] == "broken_answer"
    assert deal.entries() == []


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


@pytest.mark.parametrize("wrong", BALANCES)
async def test_a_broken_balance_is_kept_and_held_and_the_right_one_still_counts(
    deal: Deal, wrong: dict[str, Any]
) -> None:
    payment = (await deal.open("direct_balance", mode="watch"))["payment"]

    status, answer = await deal.hook(balance_changed(payment, TEN, **wrong))

    assert (status, answer["data"]["outcome"], kept(deal)) == (200, "held", 1)
    assert (await deal.payment())["holdReason"] == "broken_answer"
    assert await state(deal) == ("processing", None, None, [], [])
    assert (await deal.hook(balance_changed(payment, TEN)))[1]["data"]["outcome"] == "funded"


@pytest.mark.parametrize("kind", ["payment.partial", "payment.late", "payment.anomaly", "payment.reorged"])
async def test_broken_news_changes_nothing_of_what_was_paid(deal: Deal, kind: str) -> None:
    await deal.fund()
    before = await state(deal)

    status, _ = await deal.hook(news(deal.scanner.intents[deal.payment_id], kind, missing="-5", amount=[]))

    assert (status, await state(deal)) == (200, before)


async def test_a_broken_event_does_not_overwrite_why_a_payment_is_held(deal: Deal) -> None:
    await deal.open("direct")
    body = deal.scanner.pay(deal.payment_id)
    await deal.hook({**body, "amount": str(TEN - 1)})

    await deal.hook({**body, "amountReceived": "-1", "eventId": "evt_broken"})

    assert (await deal.payment())["holdReason"] == "amount_mismatch"


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
async def test_no_shape_of_a_body_is_a_failure_of_ours(deal: Deal, raw: bytes) -> None:
    await deal.open("direct")
    body = raw.replace(b"%s", deal.payment_id.encode())
    signed = headers_for(
        event_id="evt_raw",
        event_type="payment.confirmed",
        delivery_id="x",
        body=body,
        secret=HOOK_SECRET,
        timestamp=deal.clock.now_ms() // 1000,
    )

    status, _ = await deal.buyer.nobody().call("POST", "/api/payment/amn-scanner/webhook", body, headers=signed)

    assert status in {200, 400, 404}
    assert deal.entries() == []


# -- what is about another rail ------------------------------------------------------------------------


async def test_a_confirmation_that_names_a_watch_is_about_another_rail(deal: Deal) -> None:
    payment = (await deal.open("direct_balance", mode="watch"))["payment"]
    await StandInOf(deal.scanner).knows(payment, "direct")
    body = confirmed(deal.scanner.intents[payment["id"]])

    for name in (payment["providerPaymentId"], payment["id"]):
        status, answer = await deal.hook({**body, "intentId": name, "eventId": f"evt_{name}"})
        assert (status, answer["data"]["outcome"]) == (200, "held")

    assert (await deal.payment())["holdReason"] == "another_rail"
    assert (kept(deal), deal.entries()) == (2, [])


class StandInOf:
    """Lets the stand-in know an intent for a payment that has none."""

    def __init__(self, scanner: StandIn) -> None:
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
async def test_a_balance_that_names_an_intent_is_about_another_rail(deal: Deal, rail: str) -> None:
    payment = (await deal.open(rail))["payment"]

    status, answer = await deal.hook(balance_changed(payment, TEN))

    assert (status, answer["data"]["outcome"], deal.entries()) == (200, "held", [])
    assert (await deal.payment())["holdReason"] == "another_rail"


@pytest.mark.parametrize(("mine", "told"), [("proxy", "direct"), ("direct", "proxy"), ("direct", "direct_balance")])
async def test_an_event_about_another_rail_than_the_payments_funds_nothing(deal: Deal, mine: str, told: str) -> None:
    await deal.open(mine)

    status, answer = await deal.hook(deal.scanner.pay(deal.payment_id, rail=told))

    assert (status, answer["data"]["outcome"], deal.entries()) == (200, "held", [])
    assert (await deal.payment())["holdReason"] == "another_rail"


async def test_an_event_about_another_rail_says_nothing_of_a_payment_that_is_paid(deal: Deal) -> None:
    payment = await deal.fund()
    before = await state(deal)

    status, answer = await deal.hook(balance_changed(payment, 0))

    assert (status, answer["data"]["outcome"], await state(deal)) == (200, "refused", before)


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


def lies(scanner: StandIn, path: str, answer: Any) -> None:
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


@pytest.mark.parametrize("wrong", ANSWERS)
@pytest.mark.parametrize("mode", ["check", "watch"])
async def test_a_balance_that_cannot_be_credits_nothing_and_ends_with_a_good_answer(
    deal: Deal, wrong: dict[str, Any], mode: str
) -> None:
    payment = (await deal.open("direct_balance", mode=mode))["payment"]
    lies(deal.scanner, "/balances/check", balance(payment, **wrong))

    found = await deal.check()
    await deal.market.marketplace.sweep.once()
    held = await deal.payment()
    deal.scanner.lies.clear()
    again = await deal.check()

    assert (found["funded"], found["reason"], deal.entries()) == (False, "broken_answer", [])
    assert (held["holdReason"], held["evidence"]["reason"]) == ("broken_answer", "broken_answer")
    assert (again["reason"], (await deal.payment())["holdReason"]) == (f"underpaid:delta=0,expected={TEN}", None)
    assert (await deal.payment())["status"] == "pending"


async def test_the_sweep_goes_on_past_answers_that_cannot_be(deal: Deal) -> None:
    payment = (await deal.open("direct_balance"))["payment"]
    deal.scanner.newest[payment["destination"]] = TEN
    await deal.check()
    running = asyncio.create_task(deal.market.marketplace.sweep.run())
    try:
        for wrong in ({"balance": "-5"}, {"balance": {}}, [], "x", {"blockNumber": -1, "checkedAt": 5}):
            answer = balance(payment, **wrong) if isinstance(wrong, dict) else wrong
            lies(deal.scanner, "/balances/check", answer)
            deal.market.marketplace.sweep.wakeup.wake()
            await asyncio.sleep(0.05)
            await deal.market.marketplace.sweep.once()
        deal.scanner.lies.clear()
        deal.scanner.balances[payment["destination"]] = TEN
        await deal.market.marketplace.sweep.once()
        assert not running.done()
    finally:
        running.cancel()

    assert deal.entries() == FUNDED


INTENTS: list[dict[str, Any]] = [
    {"amountReceived": "-5"},
    {"amountReceived": str(TEN + 1)},  # more than its transfers
    {"amount": "-5"},
    {"confirmations": []},
    {"transfers": None},
    {"txHash": 5},
]


@pytest.mark.parametrize("wrong", INTENTS)
async def test_an_intent_that_cannot_be_credits_nothing(deal: Deal, wrong: dict[str, Any]) -> None:
    await deal.open("direct")
    body = {**deal.scanner.pay(deal.payment_id), "transfers": None}
    good = deal.scanner.intents[deal.payment_id]
    lies(deal.scanner, f"/intents/{deal.payment_id}", {"intent": {**good, **wrong}})
    lies(deal.scanner, f"/intents/{deal.payment_id}/recheck", {"intent": {**good, **wrong}, "seen": []})

    status, answer = await deal.hook(body)
    await deal.market.marketplace.sweep.once()

    assert (status, answer["data"]["funded"], deal.entries()) == (200, False, [])


async def test_a_baseline_that_cannot_be_is_no_baseline(deal: Deal) -> None:
    answer = {"chainId": 97, "chainType": "evm", "address": "0x", "balance": "-5"}
    lies(deal.scanner, "/balances/check", answer)

    hidden = (await deal.open("direct_balance"))["payment"]

    assert (hidden["destination"], hidden["baselineBalance"], hidden["holdReason"]) == (None, None, None)


async def test_one_payment_nobody_can_judge_does_not_stop_the_sweep(deal: Deal, monkeypatch: Any) -> None:
    await deal.open()
    deal.scanner.pay(deal.payment_id)
    deal.clock.advance(24 * 3600 + 1)
    verifier = deal.market.marketplace.services.verifier
    verify, failed = verifier.verify_payment, []

    async def breaks(payment: Any, *, thoroughly: bool) -> Any:
        if not failed:
            failed.append(payment.id)
            raise ZeroDivisionError
        return await verify(payment, thoroughly=thoroughly)

    monkeypatch.setattr(verifier, "verify_payment", breaks)

    await deal.market.marketplace.sweep.once()
    await deal.market.marketplace.sweep.once()

    assert orjson.dumps(failed) == orjson.dumps([deal.payment_id])
    assert deal.entries() == FUNDED
