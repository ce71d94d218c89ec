"""Money that comes otherwise than agreed: never credited when it should not be, never lost, always seen by an admin."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.harness import USDC, FakeClock
from tests.marketplace.deals import TEN, Deal, make_deal
from tests.marketplace.harness import TRON_LIST, Running, notes
from tests.marketplace.stand_in import SENDER, StandIn, balance_changed, confirmed, news, tx_hash
from tests.marketplace.test_gate import ELSEWHERE, FAIL_OPEN, OPT_IN, dealing, list_of

ONE = 10**18
FUNDED = [("payment_detected", TEN), ("hold", TEN)]
TRON = 728126428
LISTED_TRON = "TNPeeaaFB7K9cmo4uQpcU32zGK8G1NYqeL"


async def awaiting(deal: Deal) -> list[tuple[str, str | None]]:
    """Return what an admin is shown as waiting: status and why it is held."""
    rows = (await deal.market.admin.ok("GET", "/api/admin/payments/awaiting-confirmation"))["payments"]
    return [(row["status"], row["holdReason"]) for row in rows if row["id"] == deal.payment_id]


async def told_admins(deal: Deal) -> list[str]:
    return [kind for kind, about in await notes(deal.market.admin) if about == deal.payment_id]


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
    tmp_path: Path, chain_side: StandIn, clock: FakeClock, offer: dict[str, Any], sender: str, outcome: str, why: str
) -> None:
    async with dealing(tmp_path, chain_side, clock, offer, OFAC_SDN_PATH=list_of(tmp_path, LISTED_TRON)) as deal:
        await deal.open("direct", chainId=TRON)

        _, answer = await deal.hook(sent_by(chain_side.pay(deal.payment_id), sender))

        payment = await deal.payment()
        assert answer["data"]["outcome"] == outcome
        assert (payment["holdReason"] or payment["evidence"]["screening"]) == why
        assert await awaiting(deal) == ([("processing", why)] if outcome == "held" else [])


# -- how much ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("received", [TEN + 1, TEN])
async def test_exactly_and_more_than_agreed_fund_and_the_surplus_is_nobodys(deal: Deal, received: int) -> None:
    await deal.open()

    _, answer = await deal.hook(deal.scanner.pay(deal.payment_id, received))

    assert answer["data"]["outcome"] == "funded"
    assert deal.entries() == [("payment_detected", received), ("hold", TEN)]
    assert (await deal.ledger())["availableBaseUnits"] == str(received - TEN)


@pytest.mark.parametrize("received", [TEN - 1, 0])
async def test_one_unit_short_and_nothing_at_all_are_held_and_shown(deal: Deal, received: int) -> None:
    await deal.open()

    status, answer = await deal.hook(deal.scanner.pay(deal.payment_id, received))

    assert (status, answer["data"]["outcome"]) == (200, "held")
    assert await awaiting(deal) == [("processing", "insufficient_amount")]
    assert await told_admins(deal) == ["payment_held"]
    assert deal.entries() == []


async def test_partial_sums_are_told_to_the_buyer_shown_to_an_admin_and_funded_when_they_add_up(deal: Deal) -> None:
    await deal.open("direct")
    part = deal.scanner.pay(deal.payment_id, 4 * ONE)
    deal.scanner.intents[deal.payment_id]["status"] = "pending"

    intent = deal.scanner.intents[deal.payment_id]
    await deal.hook(news(intent, "payment.partial", missing=str(6 * ONE), eventId="evt_part"))
    partial = await deal.payment()
    shown = await awaiting(deal)
    whole = [*part["transfers"], {**part["transfers"][0], "txHash": tx_hash(), "amount": str(6 * ONE)}]
    told = {"amountReceived": str(TEN), "transfers": whole, "transferCount": 2}
    _, answer = await deal.hook({**part, **told})

    assert (partial["status"], partial["escrowState"]) == ("processing", "partial")
    assert ("payment-underpaid", deal.payment_id) in await notes(deal.buyer)
    assert shown == [("processing", None)]
    assert answer["data"]["outcome"] == "funded"
    assert deal.entries() == FUNDED


async def test_a_partial_payment_that_expires_waits_for_a_person(deal: Deal) -> None:
    address = (await deal.open("direct_balance"))["instructions"]["address"]
    deal.scanner.balances[address] = 4 * ONE
    await deal.check()
    deal.clock.advance(24 * 3600 + 1)

    await deal.market.marketplace.sweep.once()

    renew(deal)
    assert (await deal.payment())["status"] == "cancelled"
    assert await deal.recoveries() == [("partial_payment", str(4 * ONE))]
    assert deal.entries() == []


def renew(deal: Deal) -> None:
    """Give everybody a token of now."""
    issue = deal.market.marketplace.services.tokens.issue
    for api, role in ((deal.buyer, "buyer"), (deal.seller, "seller"), (deal.market.admin, "admin")):
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
    deal: Deal, reason: str, fields: dict[str, Any]
) -> None:
    await deal.open()
    body = deal.scanner.pay(deal.payment_id)
    await deal.hook(other_transfer({**body, **fields}))
    shown = await awaiting(deal)

    _, answer = await deal.hook(body)

    assert shown == [("processing", reason)]
    assert answer["data"]["outcome"] == "funded"
    assert deal.entries() == FUNDED
    assert await deal.recoveries() == [(reason, str(TEN))]  # what was held is not forgotten


async def test_the_chains_own_coin_instead_of_the_token_is_told_and_waits_for_a_person(deal: Deal) -> None:
    await deal.open("direct")
    deal.scanner.pay(deal.payment_id)
    intent = {**deal.scanner.intents[deal.payment_id], "status": "pending"}

    await deal.hook(news(intent, "payment.anomaly", reason="wrong_asset", eventId="evt_coin"))

    assert await deal.recoveries() == [("wrong_asset", str(TEN))]
    assert ("payment-wrong-token", deal.payment_id) in await notes(deal.buyer)
    assert "payment_recovery" in await told_admins(deal)
    assert (deal.entries(), (await deal.payment())["status"]) == ([], "pending")


# -- when ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [TEN, 2 * TEN])
async def test_a_payment_of_what_was_paid_is_not_credited_again_and_shown(deal: Deal, told: int) -> None:
    """Whether the scanner tells the second transfer alone or the sum of both."""
    await deal.fund()
    twice = {**confirmed(deal.scanner.intents[deal.payment_id]), "amountReceived": str(told)}

    _, answer = await deal.hook(other_transfer(twice))

    assert answer["data"]["outcome"] == "already_funded"
    assert deal.entries() == FUNDED
    assert await deal.recoveries() == [("duplicate_payment", str(TEN))]


async def test_the_same_surplus_seen_twice_is_recovered_once_and_more_of_it_as_what_is_new(deal: Deal) -> None:
    payment = (await deal.open("direct_balance", mode="watch"))["payment"]
    for current in (TEN, TEN + 5, TEN + 5, TEN + 12):
        await deal.hook(balance_changed(payment, current))

    assert deal.entries() == FUNDED
    assert sorted(await deal.recoveries()) == [("duplicate_payment", "5"), ("duplicate_payment", "7")]


async def test_money_after_cancelling_is_recovered_once_whoever_sees_it(deal: Deal) -> None:
    payment = (await deal.open("direct_balance", mode="watch"))["payment"]
    await deal.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    deal.scanner.balances[payment["destination"]] = TEN

    await deal.hook(balance_changed(payment, TEN))
    observed = await deal.check()

    assert (observed["funded"], deal.entries()) == (False, [])
    assert await deal.recoveries() == [("late_payment", str(TEN))]
    assert await told_admins(deal) == ["payment_recovery"]


async def test_what_was_noted_as_a_part_is_not_noted_again_with_the_rest(deal: Deal) -> None:
    payment = (await deal.open("direct_balance", mode="watch"))["payment"]
    await deal.hook(balance_changed(payment, 4 * ONE))
    await deal.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")

    await deal.hook(balance_changed(payment, TEN))

    assert sorted(await deal.recoveries()) == [("late_payment", str(6 * ONE)), ("partial_payment", str(4 * ONE))]


def part(deal: Deal, received: int) -> dict[str, Any]:
    """Return the event about a part of an intent: it tells a sum, and no transfers."""
    told = {"amountReceived": str(received), "missing": str(TEN - received), "txHash": None, "transfers": None}
    return news(deal.scanner.intents[deal.payment_id], "payment.partial", **told)


async def test_a_part_that_is_told_of_after_the_end_is_recovered_once(deal: Deal) -> None:
    await deal.open()
    first, both = part(deal, 3 * ONE), part(deal, 7 * ONE)
    await deal.hook(first)
    await deal.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")

    for event in (both, both, part(deal, 3 * ONE)):
        await deal.hook(event)

    assert (await deal.payment())["status"] == "cancelled"
    assert sorted(await deal.recoveries()) == [("late_payment", str(4 * ONE)), ("partial_payment", str(3 * ONE))]
    assert (await told_admins(deal)).count("payment_recovery") == 1


async def test_a_part_of_an_intent_is_not_noted_again_with_the_transfers_that_made_it_whole(deal: Deal) -> None:
    await deal.open()
    await deal.hook(part(deal, 4 * ONE))
    await deal.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    whole = deal.scanner.pay(deal.payment_id)

    for event in (whole, whole | {"eventId": "evt_again"}):
        await deal.hook(event)

    assert sorted(await deal.recoveries()) == [("late_payment", str(6 * ONE)), ("partial_payment", str(4 * ONE))]


async def test_a_part_that_is_told_of_after_the_whole_is_not_recovered_again(deal: Deal) -> None:
    await deal.open()
    early = part(deal, 4 * ONE)
    await deal.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    await deal.hook(deal.scanner.pay(deal.payment_id))

    await deal.hook(early)

    assert await deal.recoveries() == [("late_payment", str(TEN))]


async def test_a_balance_that_was_held_and_is_credited_later_is_not_to_be_recovered(
    tmp_path: Path, chain_side: StandIn, clock: FakeClock
) -> None:
    async with dealing(tmp_path, chain_side, clock, OPT_IN, OFAC_SDN_PATH=str(tmp_path / "sdn.xml")) as deal:
        payment = (await deal.open("direct_balance", mode="watch"))["payment"]
        await deal.hook(balance_changed(payment, TEN))
        held = await awaiting(deal)
        list_of(tmp_path, ELSEWHERE)
        assert deal.market.marketplace.screener is not None
        await deal.market.marketplace.screener.refresh()

        _, answer = await deal.hook(balance_changed(payment, TEN))

        assert (held, answer["data"]["outcome"]) == ([("processing", "aml_sanctions")], "funded")
        assert await deal.recoveries() == []


async def test_shallow_money_for_what_was_cancelled_is_not_written_down_before_it_is_there(deal: Deal) -> None:
    address = (await deal.open("direct_balance"))["instructions"]["address"]
    await deal.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    deal.scanner.newest[address] = ONE
    await deal.check()
    early = await deal.recoveries()
    deal.scanner.balances[address] = ONE

    await deal.check()

    assert (early, await deal.recoveries()) == ([], [("late_payment", str(ONE))])


async def test_money_after_expiry_is_not_credited_and_shown(deal: Deal) -> None:
    await deal.open()
    deal.clock.advance(24 * 3600 + 1)
    await deal.market.marketplace.sweep.once()

    await deal.hook(deal.scanner.pay(deal.payment_id))

    renew(deal)
    assert (await deal.payment())["stopReason"] == "expired"
    assert await deal.recoveries() == [("late_payment", str(TEN))]
    assert deal.entries() == []


async def test_the_money_of_a_refund_is_not_found_again_as_late(deal: Deal) -> None:
    await deal.fund()
    _, answer = await deal.refund()
    path = f"/api/admin/instructions/{answer['data']['instruction']['id']}/settle"
    await deal.market.admin.ok("POST", path, {"txHash": "0x" + "ab" * 32})

    await deal.check()
    await deal.hook({**confirmed(deal.scanner.intents[deal.payment_id]), "eventId": "evt_again"})

    assert await deal.recoveries() == []


async def test_what_is_paid_while_the_scanner_is_down_is_credited_when_it_is_back(deal: Deal) -> None:
    address = (await deal.open("direct_balance"))["instructions"]["address"]
    path = f"/api/payment/amn-scanner/direct-balance/check/{deal.payment_id}"
    deal.scanner.down = True
    deal.scanner.balances[address] = TEN
    refused = await deal.buyer.refused("POST", path)
    health = (await deal.market.nobody.ok("GET", "/api/health"))["checks"]
    deal.scanner.down = False

    found = await deal.check()

    assert refused == (503, "scanner_unavailable")
    assert health["scanner"]["status"] == "degraded"  # what an admin sees meanwhile
    assert (found["funded"], deal.entries()) == (True, FUNDED)


async def test_money_that_a_reorg_took_after_it_was_credited_is_shown(deal: Deal) -> None:
    await deal.fund()

    await deal.hook(news(deal.scanner.intents[deal.payment_id], "payment.reorged", eventId="evt_gone"))

    assert await deal.recoveries() == [("reorged", str(TEN))]
    assert "payment_recovery" in await told_admins(deal)


async def test_what_moved_before_it_was_deep_is_not_to_be_given_back_however_late_that_is_told(deal: Deal) -> None:
    await deal.fund()

    moved = news(deal.scanner.intents[deal.payment_id], "payment.reorged") | {"status": "confirming"}
    await deal.hook(moved)

    assert await deal.recoveries() == []


async def test_a_second_transfer_that_a_reorg_took_says_nothing_of_the_one_that_paid(deal: Deal) -> None:
    await deal.fund()

    await deal.hook(news(deal.scanner.intents[deal.payment_id], "payment.reorged", txHash="0x" + "99" * 32))

    assert await deal.recoveries() == []


def stray(deal: Deal, block: str, key: str) -> dict[str, Any]:
    """Return what the scanner tells of one transfer of another token, seen in a block."""
    observed = {"txHash": "0x" + "44" * 32, "eventKey": key, "blockNumber": 100, "blockHash": block, "sender": None}
    told = {"txHash": observed["txHash"], "reason": "wrong_token", "transfers": [observed | {"amount": str(ONE)}]}
    return news(deal.scanner.intents[deal.payment_id], "payment.anomaly", **told)


async def test_a_stray_transfer_that_a_reorg_moved_is_listed_once_where_it_is_now(deal: Deal) -> None:
    await deal.open("direct")

    for block, key in (("0xa", "3"), ("0xb", "0"), ("0xb", "0")):
        await deal.hook(stray(deal, block, key))

    rows = (await deal.market.admin.ok("GET", "/api/admin/recoveries"))["recoveries"]
    assert [row["evidence"]["transfers"][0]["blockHash"] for row in rows] == ["0xb"]
    assert (await told_admins(deal)).count("payment_recovery") == 1


async def test_two_stray_transfers_alike_in_one_transaction_are_two_and_stay_two_when_they_move(deal: Deal) -> None:
    await deal.open("direct")

    for block, key in (("0xa", "3"), ("0xa", "4"), ("0xb", "0"), ("0xb", "1")):
        await deal.hook(stray(deal, block, key))

    assert await deal.recoveries() == [("wrong_token", str(ONE))] * 2


async def test_native_coin_that_was_sent_instead_is_shown(deal: Deal) -> None:
    await deal.open("direct")
    coin = {"txHash": None, "eventKey": "coin:100", "blockNumber": 100, "sender": None, "amount": "7"}
    intent = deal.scanner.intents[deal.payment_id]
    told = {"txHash": None, "sender": None, "reason": "wrong_asset", "transfers": [coin]}

    status, _ = await deal.hook(news(intent, "payment.anomaly", **told))

    assert (status, await deal.recoveries()) == (200, [("wrong_asset", "7")])


# -- since when ----------------------------------------------------------------------------------------


def forget_baseline(deal: Deal) -> None:
    with sqlite3.connect(deal.market.db_path) as store:
        store.execute("UPDATE payments SET baseline_balance = NULL WHERE id = ?", [deal.payment_id])


async def test_without_a_baseline_a_balance_is_held_and_shown(deal: Deal) -> None:
    payment = (await deal.open("direct_balance", mode="watch"))["payment"]
    forget_baseline(deal)

    status, _ = await deal.hook(balance_changed(payment, TEN))

    assert (status, deal.entries()) == (202, [])
    assert await awaiting(deal) == [("processing", "baseline-missing")]
    assert await told_admins(deal) == ["payment_held"]


async def test_i_paid_without_a_baseline_credits_nothing_and_says_why(deal: Deal) -> None:
    address = (await deal.open("direct_balance"))["instructions"]["address"]
    forget_baseline(deal)
    deal.scanner.balances[address] = TEN

    found = await deal.check()

    assert (found["funded"], found["reason"], deal.entries()) == (False, "baseline-missing", [])
    assert await awaiting(deal) == [("processing", "baseline-missing")]


async def test_a_baseline_that_is_higher_than_what_lies_there_is_stale_and_held(
    market: Running, chain_side: StandIn, clock: FakeClock
) -> None:
    deal = await make_deal(market, chain_side, clock)
    addresses: dict[str, int] = chain_side.balances
    chain_side.balances = _Everywhere(50 * ONE)
    address = (await deal.open("direct_balance"))["instructions"]["address"]
    chain_side.balances = addresses
    chain_side.balances[address] = TEN  # the old money went, the payment came

    found = await deal.check()

    assert (found["funded"], deal.entries()) == (False, [])
    assert await awaiting(deal) == [("processing", "baseline-stale")]
    cancelled = await market.admin.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    assert cancelled["payment"]["status"] == "cancelled"
    assert [reason for reason, _ in await deal.recoveries()] == ["baseline-stale"]


class _Everywhere(dict[str, int]):
    """Every account holds the same."""

    def __init__(self, amount: int) -> None:
        super().__init__()
        self._amount = amount

    def get(self, _key: str, _default: Any = None) -> Any:
        return self._amount


async def test_only_the_stored_baseline_counts_whatever_an_event_says(deal: Deal) -> None:
    payment = (await deal.open("direct_balance", mode="watch"))["payment"]

    status, _ = await deal.hook(
        balance_changed(payment, TEN - 1, previousBalance="0", delta=str(TEN), baselineBalance="0")
    )

    assert (status, deal.entries()) == (202, [])
    assert (await deal.payment())["escrowState"] == "partial"


async def test_what_was_on_its_way_and_vanished_leaves_the_payment_open(deal: Deal) -> None:
    address = (await deal.open("direct_balance"))["instructions"]["address"]
    deal.scanner.newest[address] = TEN
    await deal.check()
    coming = (await deal.payment())["status"]
    deal.scanner.newest[address] = 0

    await deal.market.marketplace.sweep.once()

    assert (coming, (await deal.payment())["status"]) == ("processing", "pending")
