"""One transfer is one credit, whatever its spelling and whoever tells of it."""

from __future__ import annotations

import base64
import sqlite3
from typing import Any

import pytest

from marketplace.payments.spelling import normal_event_key, normal_tx_hash
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import TEN, AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import SENDER, FakeScanner, balance_changed, confirmed, tx_hash
from tests.marketplace.harness import Running

FUNDED = [("payment_detected", TEN), ("hold", TEN)]
TRON = 728126428


@pytest.fixture
async def two(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> tuple[AcceptedPurchase, AcceptedPurchase]:
    """Two deals; the first one is paid by a direct transfer."""
    first, second = (
        await accept_purchase(market, fake_scanner, clock),
        await accept_purchase(market, fake_scanner, clock),
    )
    await first.open("direct")
    fake_scanner.pay(first.payment_id)
    row = fake_scanner.intents[first.payment_id]["transfers"][0] | {"txHash": "0x" + "ab" * 32, "eventKey": "7f"}
    fake_scanner.intents[first.payment_id] |= {"txHash": row["txHash"], "transfers": [row]}
    _, answer = await first.hook(confirmed(fake_scanner.intents[first.payment_id]))
    assert answer["data"]["outcome"] == "funded"
    return first, second


def stolen(first: AcceptedPurchase, second: AcceptedPurchase, tx: str, key: str | None) -> dict[str, Any]:
    """Return a confirmation of the second payment that names the transfer of the first."""
    reported = confirmed(first.scanner.intents[first.payment_id])
    mine = confirmed(second.scanner.intents[second.payment_id])
    transfers = [{**reported["transfers"][0], "txHash": tx, "eventKey": key}]
    return {**mine, "amountReceived": str(TEN), "txHash": tx, "transfers": transfers, "transferCount": 1}


@pytest.mark.parametrize("tx", ["0x" + "ab" * 32, "0x" + "AB" * 32, "0X" + "ab" * 32, "ab" * 32, "Ab" * 32])
@pytest.mark.parametrize("key", ["7f", "7F", " 7f"])
async def test_the_transfer_of_one_payment_in_another_spelling_funds_no_second_one(
    two: tuple[AcceptedPurchase, AcceptedPurchase], tx: str, key: str
) -> None:
    first, second = two
    await second.open("direct")

    status, answer = await second.hook(stolen(first, second, tx, key))

    assert (status, answer["data"]["outcome"], second.entries()) == (200, "held", [])
    assert (await second.payment())["holdReason"] == "transfer_credited_elsewhere"
    assert first.entries() == FUNDED


LISTS = [{"transfers": None}, {"transfers": []}, {"transfers": None, "transferCount": None}, {"transferCount": 2}]


@pytest.mark.parametrize("cut", LISTS)
@pytest.mark.parametrize("tx", ["0x" + "ab" * 32, "0x" + "AB" * 32])
async def test_a_confirmation_that_names_no_transfer_is_compared_with_the_scanner(
    two: tuple[AcceptedPurchase, AcceptedPurchase], cut: dict[str, Any], tx: str
) -> None:
    first, second = two
    await second.open("direct")
    second.scanner.pay(second.payment_id)  # by another transaction
    real = second.scanner.intents[second.payment_id]["txHash"]

    _, answer = await second.hook(stolen(first, second, tx, "7f") | cut)
    held = (answer["data"]["outcome"], (await second.payment())["holdReason"], second.entries())
    _, right = await second.hook({**confirmed(second.scanner.intents[second.payment_id]), "eventId": "evt_right"})

    assert held == ("held", "transfer_not_found", [])
    assert (right["data"]["outcome"], (await second.payment())["txHash"]) == ("funded", real)


async def test_a_confirmation_without_a_transfer_is_funded_by_what_the_scanner_lists(
    purchase: AcceptedPurchase,
) -> None:
    await purchase.open("direct")
    body = purchase.scanner.pay(purchase.payment_id)

    _, answer = await purchase.hook({**body, "txHash": None, "transfers": []})

    assert (answer["data"]["outcome"], purchase.entries()) == ("funded", FUNDED)
    assert (await purchase.payment())["txHash"] == body["txHash"]


@pytest.mark.parametrize("status", ["pending", "confirming", "expired"])
async def test_a_confirmation_the_scanner_knows_nothing_of_funds_nothing(
    purchase: AcceptedPurchase, status: str
) -> None:
    await purchase.open("direct")
    body = purchase.scanner.pay(purchase.payment_id)
    purchase.scanner.intents[purchase.payment_id]["status"] = status

    _, answer = await purchase.hook({**body, "transfers": []})

    assert (answer["data"]["outcome"], purchase.entries()) == ("held", [])


async def test_one_transfer_reported_twice_in_a_list_is_no_list(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    body = purchase.scanner.pay(purchase.payment_id)
    half = {**body["transfers"][0], "amount": str(TEN // 2)}

    _, answer = await purchase.hook(
        {**body, "transfers": [half, {**half, "txHash": half["txHash"].upper()}], "transferCount": 2}
    )

    assert (answer["data"]["outcome"], (await purchase.payment())["holdReason"]) == ("held", "broken_answer")
    assert purchase.entries() == []


@pytest.mark.parametrize("is_paid_on_chain", [True, False])
async def test_a_balance_reported_with_the_transaction_of_another_payment_counts_where_the_chain_shows_it(
    two: tuple[AcceptedPurchase, AcceptedPurchase], is_paid_on_chain: bool
) -> None:
    """One transaction may pay two addresses; that it did is not taken from a webhook."""
    _, second = two
    payment = (await second.open("direct_balance", mode="watch"))["payment"]
    if is_paid_on_chain:
        second.scanner.balances[payment["destination"]] = TEN
    row = {"txHash": "0x" + "AB" * 32, "blockNumber": 100, "sender": SENDER, "amount": str(TEN)}

    _, answer = await second.hook(balance_changed(payment, TEN, transfers=[row]))

    assert answer["data"]["outcome"] == ("funded" if is_paid_on_chain else "held")
    assert second.entries() == (FUNDED if is_paid_on_chain else [])


async def test_the_database_keeps_one_spelling(purchase: AcceptedPurchase) -> None:
    await purchase.open("direct")
    body = purchase.scanner.pay(purchase.payment_id)
    loud = {**body["transfers"][0], "txHash": "0x" + body["txHash"][2:].upper(), "eventKey": "00"}

    await purchase.hook({**body, "transfers": [loud]})

    with purchase.market.opened() as store:
        found = store.execute("SELECT tx_hash, event_key FROM credited_transfers").fetchall()
    assert found == [(body["txHash"], "0")]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE credited_transfers SET payment_id = ?",
        "DELETE FROM credited_transfers WHERE payment_id <> ?",
        "INSERT OR REPLACE INTO credited_transfers SELECT chain_id, tx_hash, event_key, ?, '1', NULL, NULL, 1 FROM credited_transfers",
    ],
)
async def test_the_database_keeps_whose_a_transfer_is(
    two: tuple[AcceptedPurchase, AcceptedPurchase], statement: str
) -> None:
    first, second = two
    await second.open("direct")

    with first.market.opened() as store:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            store.execute(statement, [second.payment_id])
        assert store.execute("SELECT payment_id FROM credited_transfers").fetchall() == [(first.payment_id,)]


HEX = "5e" * 31 + "fb"
RAW = bytes.fromhex(HEX)
SPELLINGS = {
    "evm": [f"0x{HEX}", f"0x{HEX.upper()}", f"0X{HEX}", HEX, HEX.upper()],
    "tron": [HEX, HEX.upper(), f"0x{HEX}", f"0X{HEX.upper()}"],
    "ton": [
        HEX,
        HEX.upper(),
        f"0x{HEX}",
        base64.b64encode(RAW).decode(),
        base64.urlsafe_b64encode(RAW).decode(),
        base64.urlsafe_b64encode(RAW).decode().rstrip("="),
    ],
}


@pytest.mark.parametrize("family", SPELLINGS)
def test_every_spelling_of_a_hash_is_one(family: str) -> None:
    found = {normal_tx_hash(text, family) for text in SPELLINGS[family]}

    assert found == {f"0x{HEX}" if family == "evm" else HEX}


@pytest.mark.parametrize("family", SPELLINGS)
@pytest.mark.parametrize("text", ["", "0x", "0x" + HEX[:-1], HEX + "0", "z" * 64, f" {HEX}", f"{HEX}\n", "0x0x" + HEX])
def test_what_is_no_hash_is_none(family: str, text: str) -> None:
    assert normal_tx_hash(text, family) is None


@pytest.mark.parametrize(
    ("one", "other"), [("7", "07"), ("7", " 7 "), ("ab:0", "AB:0"), ("0", "000"), ("12:3", "12:3\t")]
)
def test_a_place_in_a_transaction_has_one_spelling(one: str, other: str) -> None:
    assert normal_event_key(one) == normal_event_key(other)


async def test_another_tron_spelling_pays_once_too(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    first, second = (
        await accept_purchase(market, fake_scanner, clock),
        await accept_purchase(market, fake_scanner, clock),
    )
    for purchase in (first, second):
        await purchase.open("direct", chainId=TRON)
    found = tx_hash().removeprefix("0x")
    for purchase, spelt in ((first, found), (second, "0X" + found.upper())):
        fake_scanner.pay(purchase.payment_id)
        row = fake_scanner.intents[purchase.payment_id]["transfers"][0] | {"txHash": spelt}
        fake_scanner.intents[purchase.payment_id] |= {"txHash": spelt, "transfers": [row]}
        await purchase.hook(confirmed(fake_scanner.intents[purchase.payment_id]))

    assert (len(first.entries()), second.entries()) == (2, [])
    assert (await second.payment())["holdReason"] == "transfer_credited_elsewhere"
