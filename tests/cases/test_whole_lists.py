"""Money is judged by all its transfers: dust neither hides who paid nor freezes who did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import TEN, AcceptedPurchase
from tests.marketplace.fake_scanner import SENDER, FakeScanner, balance_changed, confirmed, tx_hash
from tests.marketplace.test_gate import ELSEWHERE, FAIL_OPEN, OPT_IN, dealing, list_of, node

ONE = 10**18
CRUMB = 10**15
LISTED, CLEAN = SENDER, "0x2000000000000000000000000000000000000002"
FUNDED = [("payment_detected", TEN), ("hold", TEN)]
Paid = Sequence[tuple[str | None, int]]


def rows_of(intent: dict[str, Any], paid: Paid) -> list[dict[str, Any]]:
    return [
        {
            "txHash": tx_hash(),
            "eventKey": "0",
            "blockNumber": 100 + number,
            "blockHash": None,
            "token": intent["tokenAddress"],
            "sender": sender,
            "destination": intent["destination"],
            "amount": str(amount),
            "counted": True,
            "settled": True,
            "reason": None,
            "count": 1,
            "seenAt": intent["createdAt"],
        }
        for number, (sender, amount) in enumerate(paid)
    ]


def pay_with(purchase: AcceptedPurchase, paid: Paid, *, shown: int = 20) -> dict[str, Any]:
    """Let an intent be paid by these transfers; its webhook lists the newest, as the scanner's does."""
    intent = purchase.scanner.intents[purchase.payment_id]
    purchase.scanner.pay(purchase.payment_id, sum(amount for _, amount in paid))
    rows = rows_of(intent, paid)
    purchase.scanner.all_transfers[purchase.payment_id] = rows
    intent |= {"transfers": list(reversed(rows))[:shown], "txHash": rows[-1]["txHash"], "sender": rows[-1]["sender"]}
    return {**confirmed(intent), "sender": rows[-1]["sender"], "transferCount": len(rows)}


@pytest.fixture
async def screened(tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock) -> Any:
    async with dealing(tmp_path, fake_scanner, clock, OPT_IN, OFAC_SDN_PATH=list_of(tmp_path, LISTED)) as purchase:
        yield purchase


LISTED_PAYS = [
    [(LISTED, TEN - 20 * CRUMB), *[(CLEAN, CRUMB)] * 20],  # more than a webhook lists
    [(LISTED, TEN - 600 * CRUMB), *[(CLEAN, CRUMB)] * 600],  # more than a page has
    [(LISTED, TEN), *[(CLEAN, CRUMB)] * 25],
    [*[(CLEAN, CRUMB)] * 25, (LISTED, TEN - 25 * CRUMB)],
    [(LISTED.lower(), TEN - 1), (CLEAN, 1)],
    [(CLEAN, TEN - 1), (LISTED, 1)],  # a unit short without it
    [(LISTED, 1), (CLEAN, TEN - 1)],
]


@pytest.mark.parametrize("rail", ["direct", "proxy"])
@pytest.mark.parametrize("paid", LISTED_PAYS)
async def test_crumbs_from_clean_senders_never_clear_what_a_listed_one_paid(
    screened: AcceptedPurchase, paid: Paid, rail: str
) -> None:
    await screened.open(rail)

    status, answer = await screened.hook(pay_with(screened, paid))

    assert (status, answer["data"]["outcome"]) == (200, "held")
    assert (await screened.payment())["holdReason"] == "aml_sanctions"
    assert screened.entries() == []


@pytest.mark.parametrize(("paid", "named"), [(LISTED_PAYS[0], False), (LISTED_PAYS[4], False), ([(LISTED, TEN)], True)])
async def test_the_sum_of_several_that_an_admin_gives_up_names_none_of_them(
    screened: AcceptedPurchase, paid: Paid, named: bool
) -> None:
    await screened.open("direct")
    hook = pay_with(screened, paid)
    await screened.hook(hook)

    await screened.market.admin.ok("POST", f"/api/payment/{screened.payment_id}/cancel")

    (found,) = (await screened.market.admin.ok("GET", "/api/admin/recoveries"))["recoveries"]
    assert (found["reason"], found["amountBaseUnits"]) == ("aml_sanctions", str(sum(amount for _, amount in paid)))
    assert (found["count"], found["txHash"]) == (len(paid), hook["txHash"] if named else None)


CLEAN_PAYS = [
    ([(LISTED, 1), (CLEAN, TEN)], 1),
    ([(CLEAN, TEN), (LISTED, CRUMB)], CRUMB),
    ([*[(LISTED, CRUMB)] * 30, (CLEAN, TEN)], 30 * CRUMB),
    ([(CLEAN, 4 * ONE), (LISTED, 9 * ONE), (ELSEWHERE, 6 * ONE)], 9 * ONE),
]


@pytest.mark.parametrize(("paid", "rest"), CLEAN_PAYS)
async def test_dust_from_a_listed_sender_freezes_nobody_and_waits_for_a_person(
    screened: AcceptedPurchase, paid: Paid, rest: int
) -> None:
    await screened.open("direct")

    _, answer = await screened.hook(pay_with(screened, paid))

    payment = await screened.payment()
    assert answer["data"]["outcome"] == "funded"
    assert (payment["evidence"]["screening"], screened.entries()) == ("clear", FUNDED)
    assert await screened.recoveries() == [("aml_sanctions", str(rest))]
    again = {**pay_with(screened, paid), "eventId": "evt_again"} | {"transfers": []}
    await screened.hook(again)
    assert await screened.recoveries() == [("aml_sanctions", str(rest))]
    assert await screened.findings() == []


async def test_dust_from_a_contract_freezes_nobody_either(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    async with node("0x6001") as url:
        env = {"TRANSACTION_SAFETY_REQUIRE_EOA_SENDER": "true", "RPC_BSC_TESTNET": url}
        async with dealing(tmp_path, fake_scanner, clock, {}, **env) as purchase:
            await purchase.open("direct")
            purchase.market.marketplace.services.verifier._gate._senders = Plain({CLEAN})

            _, answer = await purchase.hook(pay_with(purchase, [(LISTED, CRUMB), (CLEAN, TEN)]))

            assert (answer["data"]["outcome"], purchase.entries()) == ("funded", FUNDED)
            assert await purchase.recoveries() == [("contract_sender", str(CRUMB))]


class Plain:
    """Knows who is no contract, and counts how often it is asked."""

    def __init__(self, plain: set[str]) -> None:
        self.plain = plain
        self.asked = 0

    async def is_contract(self, _chain: Any, address: str) -> bool:
        self.asked += 1
        return address not in self.plain


async def test_a_node_is_asked_about_a_bounded_number_of_senders(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    async with dealing(tmp_path, fake_scanner, clock, {}, TRANSACTION_SAFETY_REQUIRE_EOA_SENDER="true") as purchase:
        await purchase.open("direct")
        senders = purchase.market.marketplace.services.verifier._gate._senders = Plain({CLEAN})
        dust = [(f"0x{number:040x}", 1) for number in range(1, 301)]

        _, answer = await purchase.hook(pay_with(purchase, [*dust, (CLEAN, TEN)]))

        assert (answer["data"]["outcome"], purchase.entries()) == ("funded", FUNDED)
        assert senders.asked <= 64


CUT = [
    {"transferCount": 3},
    {"transfers": None},
    {"transfers": []},
    {"amountReceived": str(TEN + 1)},
]


@pytest.mark.parametrize("cut", CUT)
async def test_a_list_that_is_not_whole_is_not_judged_before_the_rest_was_read(
    purchase: AcceptedPurchase, cut: dict[str, Any]
) -> None:
    await purchase.open("direct")
    body = {**purchase.scanner.pay(purchase.payment_id), **cut}
    purchase.scanner.down = True
    status, answer = await purchase.hook(body)
    early = (status, answer["data"]["funded"], purchase.entries(), (await purchase.payment())["status"])
    purchase.scanner.down = False

    await purchase.market.marketplace.sweep.once()

    assert early == (200, False, [], "processing")
    assert purchase.entries() == FUNDED


async def test_an_event_whose_list_could_not_be_read_is_judged_when_it_is_delivered_again(
    purchase: AcceptedPurchase,
) -> None:
    await purchase.open("direct")
    body = {**purchase.scanner.pay(purchase.payment_id), "transfers": None}
    purchase.scanner.down = True
    await purchase.hook(body)
    purchase.scanner.down = False

    answers = [(await purchase.hook(body))[1]["data"]["outcome"] for _ in range(2)]

    assert answers == ["funded", "duplicate"]
    assert purchase.entries() == FUNDED


# -- balances ------------------------------------------------------------------------------------------


def grown(payment: dict[str, Any], current: int, paid: Paid, **more: Any) -> dict[str, Any]:
    rows = [{"txHash": tx_hash(), "blockNumber": 100, "sender": who, "amount": str(amount)} for who, amount in paid]
    return balance_changed(payment, current, transfers=rows, transferCount=len(rows), **more)


BY_EVENTS: list[list[Paid]] = [
    [[(LISTED, TEN - 1)], [(CLEAN, 1)]],
    [[(CLEAN, 1)], [(LISTED, TEN - 2)], [(CLEAN, 1)]],
    [[(LISTED, TEN - 2 * CRUMB)], [(CLEAN, CRUMB)], [(CLEAN, CRUMB)]],
    [[(LISTED, TEN)], [(CLEAN, CRUMB)]],
]


@pytest.mark.parametrize("events", BY_EVENTS)
async def test_a_watched_balance_is_judged_by_the_transfers_of_all_its_events(
    screened: AcceptedPurchase, events: list[Paid]
) -> None:
    payment = (await screened.open("direct_balance", mode="watch"))["payment"]

    current = 0
    for paid in events:
        current += sum(amount for _, amount in paid)
        await screened.hook(grown(payment, current, paid))

    assert (await screened.payment())["holdReason"] == "aml_sanctions"
    assert screened.entries() == []


async def test_a_watched_balance_is_funded_once_clean_money_reaches_the_price_alone(screened: AcceptedPurchase) -> None:
    payment = (await screened.open("direct_balance", mode="watch"))["payment"]
    await screened.hook(grown(payment, 3 * ONE, [(LISTED, 3 * ONE)]))
    held = [await screened.hook(grown(payment, TEN, [(CLEAN, 7 * ONE)])), await screened.payment()]

    _, answer = await screened.hook(grown(payment, 13 * ONE, [(CLEAN, 3 * ONE)]))

    assert (held[0][1]["data"]["outcome"], held[1]["holdReason"]) == ("held", "aml_sanctions")
    assert (answer["data"]["outcome"], screened.entries()) == ("funded", FUNDED)
    assert await screened.recoveries() == [("aml_sanctions", str(3 * ONE))]
    await screened.hook(grown(payment, 13 * ONE, []))
    assert await screened.recoveries() == [("aml_sanctions", str(3 * ONE))]
    assert await screened.findings() == []


async def test_a_cut_list_of_a_balance_leaves_the_rest_unscreened(screened: AcceptedPurchase) -> None:
    payment = (await screened.open("direct_balance", mode="watch"))["payment"]

    _, answer = await screened.hook(grown(payment, TEN, [(CLEAN, CRUMB)] * 20) | {"transferCount": 21})

    assert (answer["data"]["outcome"], screened.entries()) == ("held", [])
    assert (await screened.payment())["holdReason"] == "no_buyer_address_to_screen"


async def test_i_paid_judges_what_the_watch_reported_too(screened: AcceptedPurchase) -> None:
    payment = (await screened.open("direct_balance", mode="watch"))["payment"]
    await screened.hook(grown(payment, TEN - 1, [(LISTED, TEN - 1)]))
    screened.scanner.balances[payment["destination"]] = TEN

    found = await screened.check()

    assert (found["funded"], found["reason"]) == (False, "aml_sanctions")


async def test_one_transfer_reported_by_two_events_is_counted_once(screened: AcceptedPurchase) -> None:
    payment = (await screened.open("direct_balance", mode="watch"))["payment"]
    first = grown(payment, 5 * ONE, [(CLEAN, 5 * ONE)])
    await screened.hook(first)
    again = grown(payment, TEN, [(LISTED, 5 * ONE)])
    again["transfers"] += [{**first["transfers"][0], "txHash": first["transfers"][0]["txHash"].upper()}]

    _, answer = await screened.hook(again | {"transferCount": 2})

    assert (answer["data"]["outcome"], screened.entries()) == ("held", [])


async def test_an_offer_that_lets_the_unknown_pass_still_refuses_the_listed(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    async with dealing(tmp_path, fake_scanner, clock, FAIL_OPEN, OFAC_SDN_PATH=list_of(tmp_path, LISTED)) as purchase:
        await purchase.open("direct")

        _, answer = await purchase.hook(pay_with(purchase, [(None, TEN - 1), (LISTED, 1)]))
        held = (answer["data"]["outcome"], (await purchase.payment())["holdReason"])

        assert held == ("held", "aml_sanctions")
