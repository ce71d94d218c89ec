"""Money that comes otherwise than agreed: never credited when it should not be, never lost, always seen by an admin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness import USDC, FakeClock
from tests.marketplace.accepted_purchase import TEN, AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import SENDER, FakeScanner, balance_changed, confirmed, news, tx_hash
from tests.marketplace.harness import TRON_LIST, Running, notes
from tests.marketplace.test_gate import ELSEWHERE, FAIL_OPEN, OPT_IN, dealing, list_of

ONE = 10**18
FUNDED = [("payment_detected", TEN), ("hold", TEN)]
TRON = 728126428
LISTED_TRON = "TNPeeaaFB7K9cmo4uQpcU32zGK8G1NYqeL"


async def awaiting(purchase: AcceptedPurchase) -> list[tuple[str, str | None]]:
    """Return what an admin is shown as waiting: status and why it is held."""
    rows = (await purchase.market.admin.ok("GET", "/api/admin/payments/awaiting-confirmation"))["payments"]
    return [(row["status"], row["holdReason"]) for row in rows if row["id"] == purchase.payment_id]


async def told_admins(purchase: AcceptedPurchase) -> list[str]:
    return [kind for kind, about in await notes(purchase.market.admin) if about == purchase.payment_id]


def sent_by(body: dict[str, Any], sender: str) -> dict[str, Any]:
    return {**body, "sender": sender, "transfers": [{**each, "sender": sender} for each in body["transfers"]]}


def other_transfer(body: dict[str, Any]) -> dict[str, Any]:
    """Return an event about another transaction of the same amount."""
    found = tx_hash()
    return {
        **body,
        "eventId": f"evt_{found}",
        "txHash": found,
        "transfers": [{**body["transfers"][0], "txHash": found}],
    }


# -- who sent it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offer", "sender", "outcome", "why"),
    [
        (OPT_IN, LISTED_TRON, "held", "aml_sanctions"),
        (FAIL_OPEN, LISTED_TRON, "held", "aml_sanctions"),
        ({}, LISTED_TRON, "funded", "aml_not_required"),
        (OPT_IN, TRON_LIST[1], "funded", "clear"),
    ],
)
async def test_a_listed_tron_address_is_known_by_its_own_spelling(
    tmp_path: Path,
    fake_scanner: FakeScanner,
    clock: FakeClock,
    offer: dict[str, Any],
    sender: str,
    outcome: str,
    why: str,
) -> None:
    async with dealing(tmp_path, fake_scanner, clock, offer, OFAC_SDN_PATH=list_of(tmp_path, LISTED_TRON)) as purchase:
        await purchase.open("direct", chainId=TRON)

        _, answer = await purchase.hook(sent_by(fake_scanner.pay(purchase.payment_id), sender))

        payment = await purchase.payment()
        assert answer["data"]["outcome"] == outcome
        assert (payment["holdReason"] or payment["evidence"]["screening"]) == why
        assert await awaiting(purchase) == ([("processing", why)] if outcome == "held" else [])


# -- how much ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("received", [TEN + 1, TEN])
async def test_exactly_and_more_than_agreed_fund_and_the_surplus_is_nobodys(
    purchase: AcceptedPurchase, received: int
) -> None:
    await purchase.open()

    _, answer = await purchase.hook(purchase.scanner.pay(purchase.payment_id, received))

    assert answer["data"]["outcome"] == "funded"
    assert purchase.entries() == [("payment_detected", received), ("hold", TEN)]
    assert (await purchase.ledger())["availableBaseUnits"] == str(received - TEN)


@pytest.mark.parametrize("received", [TEN - 1, 0])
async def test_one_unit_short_and_nothing_at_all_are_held_and_shown(purchase: AcceptedPurchase, received: int) -> None:
    await purchase.open()

    status, answer = await purchase.hook(purchase.scanner.pay(purchase.payment_id, received))

    assert (status, answer["data"]["outcome"]) == (200, "held")
    assert await awaiting(purchase) == [("processing", "insufficient_amount")]
    assert await told_admins(purchase) == ["payment_held"]
    assert purchase.entries() == []


async def test_partial_sums_are_reported_to_the_buyer_shown_to_an_admin_and_funded_when_they_add_up(
    purchase: AcceptedPurchase,
) -> None:
    await purchase.open("direct")
    part = purchase.scanner.pay(purchase.payment_id, 4 * ONE)
    purchase.scanner.intents[purchase.payment_id]["status"] = "pending"

    intent = purchase.scanner.intents[purchase.payment_id]
    await purchase.hook(news(intent, "payment.partial", missing=str(6 * ONE), eventId="evt_part"))
    partial = await purchase.payment()
    shown = await awaiting(purchase)
    whole = [*part["transfers"], {**part["transfers"][0], "txHash": tx_hash(), "amount": str(6 * ONE)}]
    reported = {"amountReceived": str(TEN), "transfers": whole, "transferCount": 2}
    _, answer = await purchase.hook({**part, **reported})

    assert (partial["status"], partial["escrowState"]) == ("processing", "partial")
    assert ("payment-underpaid", purchase.payment_id) in await notes(purchase.buyer)
    assert shown == [("processing", None)]
    assert answer["data"]["outcome"] == "funded"
    assert purchase.entries() == FUNDED


async def test_a_partial_payment_that_expires_waits_for_a_person(purchase: AcceptedPurchase) -> None:
    address = (await purchase.open("direct_balance"))["instructions"]["address"]
    purchase.scanner.balances[address] = 4 * ONE
    await purchase.check()
    purchase.clock.advance(24 * 3600 + 1)

    await purchase.market.marketplace.sweep.once()

    renew(purchase)
    assert (await purchase.payment())["status"] == "cancelled"
    assert await purchase.recoveries() == [("partial_payment", str(4 * ONE))]
    assert purchase.entries() == []


def renew(purchase: AcceptedPurchase) -> None:
    """Give everybody a token of now."""
    issue = purchase.market.marketplace.services.tokens.issue
    for api, role in ((purchase.buyer, "buyer"), (purchase.seller, "seller"), (purchase.market.admin, "admin")):
        api.token = issue(api.user_id, role)


# -- of what, where and to whom ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("wrong_token", {"token": USDC}),
        ("wrong_asset", {"chainId": 56}),
        ("wrong_recipient", {"destination": SENDER}),
    ],
)
async def test_another_token_chain_or_recipient_is_held_and_the_right_money_still_counts(
    purchase: AcceptedPurchase, reason: str, fields: dict[str, Any]
) -> None:
    await purchase.open()
    body = purchase.scanner.pay(purchase.payment_id)
    await purchase.hook(other_transfer({**body, **fields}))
    shown = await awaiting(purchase)

    _, answer = await purchase.hook(body)

    assert shown == [("processing", reason)]
    assert answer["data"]["outcome"] == "funded"
    assert purchase.entries() == FUNDED
    assert await purchase.recoveries() == [(reason, str(TEN))]  # what was held is not forgotten


async def test_the_chains_own_coin_instead_of_the_token_is_reported_and_waits_for_a_person(
    purchase: AcceptedPurchase,
) -> None:
    await purchase.open("direct")
    purchase.scanner.pay(purchase.payment_id)
    intent = {**purchase.scanner.intents[purchase.payment_id], "status": "pending"}

    await purchase.hook(news(intent, "payment.anomaly", reason="wrong_asset", eventId="evt_coin"))

    assert await purchase.recoveries() == [("wrong_asset", str(TEN))]
    assert ("payment-wrong-token", purchase.payment_id) in await notes(purchase.buyer)
    assert "payment_recovery" in await told_admins(purchase)
    assert (purchase.entries(), (await purchase.payment())["status"]) == ([], "pending")


# -- when ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reported", [TEN, 2 * TEN])
async def test_a_payment_of_what_was_paid_is_not_credited_again_and_shown(
    purchase: AcceptedPurchase, reported: int
) -> None:
    """Whether the scanner tells the second transfer alone or the sum of both."""
    await purchase.fund()
    twice = {**confirmed(purchase.scanner.intents[purchase.payment_id]), "amountReceived": str(reported)}

    _, answer = await purchase.hook(other_transfer(twice))

    assert answer["data"]["outcome"] == "already_funded"
    assert purchase.entries() == FUNDED
    assert await purchase.recoveries() == [("duplicate_payment", str(TEN))]


async def test_the_same_surplus_seen_twice_is_recovered_once_and_more_of_it_as_what_is_new(
    purchase: AcceptedPurchase,
) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]
    for current in (TEN, TEN + 5, TEN + 5, TEN + 12):
        await purchase.hook(balance_changed(payment, current))

    assert purchase.entries() == FUNDED
    assert sorted(await purchase.recoveries()) == [("duplicate_payment", "5"), ("duplicate_payment", "7")]


async def test_money_after_cancelling_is_recovered_once_whoever_sees_it(purchase: AcceptedPurchase) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
    purchase.scanner.balances[payment["destination"]] = TEN

    await purchase.hook(balance_changed(payment, TEN))
    observed = await purchase.check()

    assert (observed["funded"], purchase.entries()) == (False, [])
    assert await purchase.recoveries() == [("late_payment", str(TEN))]
    assert await told_admins(purchase) == ["payment_recovery"]


async def test_what_was_noted_as_a_part_is_not_noted_again_with_the_rest(purchase: AcceptedPurchase) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]
    await purchase.hook(balance_changed(payment, 4 * ONE))
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")

    await purchase.hook(balance_changed(payment, TEN))

    assert sorted(await purchase.recoveries()) == [("late_payment", str(6 * ONE)), ("partial_payment", str(4 * ONE))]


def part(purchase: AcceptedPurchase, received: int) -> dict[str, Any]:
    """Return the event about a part of an intent: it tells a sum, and no transfers."""
    reported = {"amountReceived": str(received), "missing": str(TEN - received), "txHash": None, "transfers": None}
    return news(purchase.scanner.intents[purchase.payment_id], "payment.partial", **reported)


async def test_a_part_that_is_reported_after_the_end_is_recovered_once(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    first, both = part(purchase, 3 * ONE), part(purchase, 7 * ONE)
    await purchase.hook(first)
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")

    for event in (both, both, part(purchase, 3 * ONE)):
        await purchase.hook(event)

    assert (await purchase.payment())["status"] == "cancelled"
    assert sorted(await purchase.recoveries()) == [("late_payment", str(4 * ONE)), ("partial_payment", str(3 * ONE))]
    assert (await told_admins(purchase)).count("payment_recovery") == 1


async def test_a_part_of_an_intent_is_not_noted_again_with_the_transfers_that_made_it_whole(
    purchase: AcceptedPurchase,
) -> None:
    await purchase.open()
    await purchase.hook(part(purchase, 4 * ONE))
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
    whole = purchase.scanner.pay(purchase.payment_id)

    for event in (whole, whole | {"eventId": "evt_again"}):
        await purchase.hook(event)

    assert sorted(await purchase.recoveries()) == [("late_payment", str(6 * ONE)), ("partial_payment", str(4 * ONE))]


async def test_a_part_that_is_reported_after_the_whole_is_not_recovered_again(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    early = part(purchase, 4 * ONE)
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
    await purchase.hook(purchase.scanner.pay(purchase.payment_id))

    await purchase.hook(early)

    assert await purchase.recoveries() == [("late_payment", str(TEN))]


async def test_a_balance_that_was_held_and_is_credited_later_is_not_to_be_recovered(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    async with dealing(tmp_path, fake_scanner, clock, OPT_IN, OFAC_SDN_PATH=str(tmp_path / "sdn.xml")) as purchase:
        payment = (await purchase.open("direct_balance", mode="watch"))["payment"]
        await purchase.hook(balance_changed(payment, TEN))
        held = await awaiting(purchase)
        list_of(tmp_path, ELSEWHERE)
        assert purchase.market.marketplace.screener is not None
        await purchase.market.marketplace.screener.refresh()

        _, answer = await purchase.hook(balance_changed(payment, TEN))

        assert (held, answer["data"]["outcome"]) == ([("processing", "aml_sanctions")], "funded")
        assert await purchase.recoveries() == []


async def test_shallow_money_for_what_was_cancelled_is_not_written_down_before_it_is_there(
    purchase: AcceptedPurchase,
) -> None:
    address = (await purchase.open("direct_balance"))["instructions"]["address"]
    await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
    purchase.scanner.newest[address] = ONE
    await purchase.check()
    early = await purchase.recoveries()
    purchase.scanner.balances[address] = ONE

    await purchase.check()

    assert (early, await purchase.recoveries()) == ([], [("late_payment", str(ONE))])


async def test_money_after_expiry_is_not_credited_and_shown(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    purchase.clock.advance(24 * 3600 + 1)
    await purchase.market.marketplace.sweep.once()

    await purchase.hook(purchase.scanner.pay(purchase.payment_id))

    renew(purchase)
    assert (await purchase.payment())["stopReason"] == "expired"
    assert await purchase.recoveries() == [("late_payment", str(TEN))]
    assert purchase.entries() == []


async def test_the_money_of_a_refund_is_not_found_again_as_late(purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    _, answer = await purchase.refund()
    purchase.scanner.carries_out(answer["data"]["instruction"], tx="0x" + "ab" * 32)
    path = f"/api/admin/instructions/{answer['data']['instruction']['id']}/settle"
    await purchase.market.admin.ok("POST", path, {"txHash": "0x" + "ab" * 32})

    await purchase.check()
    await purchase.hook({**confirmed(purchase.scanner.intents[purchase.payment_id]), "eventId": "evt_again"})

    assert await purchase.recoveries() == []


async def test_what_is_paid_while_the_scanner_is_down_is_credited_when_it_is_back(purchase: AcceptedPurchase) -> None:
    address = (await purchase.open("direct_balance"))["instructions"]["address"]
    path = f"/api/payment/amn-scanner/direct-balance/check/{purchase.payment_id}"
    purchase.scanner.down = True
    purchase.scanner.balances[address] = TEN
    refused = await purchase.buyer.refused("POST", path)
    health = (await purchase.market.nobody.ok("GET", "/api/health"))["checks"]
    purchase.scanner.down = False

    found = await purchase.check()

    assert refused == (503, "scanner_unavailable")
    assert health["scanner"]["status"] == "degraded"  # what an admin sees meanwhile
    assert (found["funded"], purchase.entries()) == (True, FUNDED)


async def test_money_that_a_reorg_took_after_it_was_credited_is_shown(purchase: AcceptedPurchase) -> None:
    await purchase.fund()

    await purchase.hook(news(purchase.scanner.intents[purchase.payment_id], "payment.reorged", eventId="evt_gone"))

    assert await purchase.recoveries() == [("reorged", str(TEN))]
    assert "payment_recovery" in await told_admins(purchase)


async def test_what_moved_before_it_was_deep_is_not_to_be_given_back_however_late_that_is_reported(
    purchase: AcceptedPurchase,
) -> None:
    await purchase.fund()

    moved = news(purchase.scanner.intents[purchase.payment_id], "payment.reorged") | {"status": "confirming"}
    await purchase.hook(moved)

    assert await purchase.recoveries() == []


async def test_a_second_transfer_that_a_reorg_took_says_nothing_of_the_one_that_paid(
    purchase: AcceptedPurchase,
) -> None:
    await purchase.fund()

    await purchase.hook(news(purchase.scanner.intents[purchase.payment_id], "payment.reorged", txHash="0x" + "99" * 32))

    assert await purchase.recoveries() == []


def unapplied_event(purchase: AcceptedPurchase, block: str, key: str, **more: str) -> dict[str, Any]:
    """Return what the scanner tells of one transfer of another token, seen in a block."""
    observed = {"txHash": "0x" + "44" * 32, "eventKey": key, "blockNumber": 100, "blockHash": block, "sender": None}
    moved = observed | {"amount": str(ONE)} | more
    reported = {"txHash": observed["txHash"], "reason": "wrong_token", "transfers": [moved]}
    return news(purchase.scanner.intents[purchase.payment_id], "payment.anomaly", **reported)


async def test_an_unapplied_transfer_that_a_reorg_moved_is_listed_once_where_it_is_now(
    purchase: AcceptedPurchase,
) -> None:
    await purchase.open("direct")

    for block, key in (("0xa", "3"), ("0xb", "0"), ("0xb", "0")):
        await purchase.hook(unapplied_event(purchase, block, key))

    rows = (await purchase.market.admin.ok("GET", "/api/admin/recoveries"))["recoveries"]
    assert [row["evidence"]["transfers"][0]["blockHash"] for row in rows] == ["0xb"]
    assert (await told_admins(purchase)).count("payment_recovery") == 1


async def test_two_unapplied_transfers_alike_in_one_transaction_are_two_and_stay_two_when_they_move(
    purchase: AcceptedPurchase,
) -> None:
    await purchase.open("direct")

    for block, key in (("0xa", "3"), ("0xa", "4"), ("0xb", "0"), ("0xb", "1")):
        await purchase.hook(unapplied_event(purchase, block, key))

    assert await purchase.recoveries() == [("wrong_token", str(ONE))] * 2


async def test_as_many_units_of_two_tokens_in_one_transaction_are_two_and_stay_what_they_are(
    purchase: AcceptedPurchase,
) -> None:
    """What was told of the second, in another block, was taken for the first: it was listed nowhere."""
    await purchase.open("direct")
    one, other = "0x" + "01" * 20, "0x" + "02" * 20

    for block, token in (("0xa", one), ("0xb", other), ("0xb", one)):
        await purchase.hook(unapplied_event(purchase, block, f"of {token}", token=token))

    rows = (await purchase.market.admin.ok("GET", "/api/admin/recoveries"))["recoveries"]
    told = {row["tokenAddress"]: row["evidence"]["transfers"][0] for row in rows}
    assert {token: (each["eventKey"], each["blockHash"]) for token, each in told.items()} == {
        token: (f"of {token}", "0xb") for token in (one, other)
    }


async def test_native_coin_that_was_sent_instead_is_shown(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    coin = {"txHash": None, "eventKey": "coin:100", "blockNumber": 100, "sender": None, "amount": "7"}
    intent = purchase.scanner.intents[purchase.payment_id]
    reported = {"txHash": None, "sender": None, "reason": "wrong_asset", "transfers": [coin]}

    status, _ = await purchase.hook(news(intent, "payment.anomaly", **reported))

    assert (status, await purchase.recoveries()) == (200, [("wrong_asset", "7")])


# -- since when ----------------------------------------------------------------------------------------


async def forget_baseline(purchase: AcceptedPurchase) -> None:
    await purchase.market.write("UPDATE payments SET baseline_balance = NULL WHERE id = ?", [purchase.payment_id])


async def test_without_a_baseline_a_balance_is_held_and_shown(purchase: AcceptedPurchase) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]
    await forget_baseline(purchase)

    status, _ = await purchase.hook(balance_changed(payment, TEN))

    assert (status, purchase.entries()) == (202, [])
    assert await awaiting(purchase) == [("processing", "baseline-missing")]
    assert await told_admins(purchase) == ["payment_held"]


async def test_i_paid_without_a_baseline_credits_nothing_and_says_why(purchase: AcceptedPurchase) -> None:
    address = (await purchase.open("direct_balance"))["instructions"]["address"]
    await forget_baseline(purchase)
    purchase.scanner.balances[address] = TEN

    found = await purchase.check()

    assert (found["funded"], found["reason"], purchase.entries()) == (False, "baseline-missing", [])
    assert await awaiting(purchase) == [("processing", "baseline-missing")]


async def test_a_baseline_that_is_higher_than_what_lies_there_is_stale_and_held(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    purchase = await accept_purchase(market, fake_scanner, clock)
    addresses: dict[str, int] = fake_scanner.balances
    fake_scanner.balances = _Everywhere(50 * ONE)
    address = (await purchase.open("direct_balance"))["instructions"]["address"]
    fake_scanner.balances = addresses
    fake_scanner.balances[address] = TEN  # the old money went, the payment came

    found = await purchase.check()

    assert (found["funded"], purchase.entries()) == (False, [])
    assert await awaiting(purchase) == [("processing", "baseline-stale")]
    cancelled = await market.admin.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
    assert cancelled["payment"]["status"] == "cancelled"
    assert [reason for reason, _ in await purchase.recoveries()] == ["baseline-stale"]


class _Everywhere(dict[str, int]):
    """Every account holds the same."""

    def __init__(self, amount: int) -> None:
        super().__init__()
        self._amount = amount

    def get(self, _key: str, _default: Any = None) -> Any:
        return self._amount


async def test_only_the_stored_baseline_counts_whatever_an_event_says(purchase: AcceptedPurchase) -> None:
    payment = (await purchase.open("direct_balance", mode="watch"))["payment"]

    status, _ = await purchase.hook(
        balance_changed(payment, TEN - 1, previousBalance="0", delta=str(TEN), baselineBalance="0")
    )

    assert (status, purchase.entries()) == (202, [])
    assert (await purchase.payment())["escrowState"] == "partial"


async def test_what_was_on_its_way_and_vanished_leaves_the_payment_open(purchase: AcceptedPurchase) -> None:
    address = (await purchase.open("direct_balance"))["instructions"]["address"]
    purchase.scanner.newest[address] = TEN
    await purchase.check()
    coming = (await purchase.payment())["status"]
    purchase.scanner.newest[address] = 0

    await purchase.market.marketplace.sweep.once()

    assert (coming, (await purchase.payment())["status"]) == ("processing", "pending")
