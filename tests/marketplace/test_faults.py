"""Each way in which the books can be wrong about fees and splits, put there by hand, and found by its name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import DONE_IN, AcceptedPurchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import Running, environment, running

BPS = 250
NO_DELETE = "DROP TRIGGER funds_ledger_entries_no_delete"
NO_UPDATE = "DROP TRIGGER funds_ledger_entries_no_update"
NOT_FROZEN = "DROP TRIGGER offers_fee_frozen"
ADD = (
    "INSERT INTO funds_ledger_entries (entry_type, payment_id, purchase_request_id, chain_id, token_address,"
    " amount_base, idempotency_key, created_at)"
    " SELECT '{entry}', id, purchase_request_id, chain_id, token_address, '{amount}', 'by hand', 1"
    " FROM payments WHERE direction = 'in'"
)


def gone(entry: str) -> tuple[str, ...]:
    return NO_DELETE, f"DELETE FROM funds_ledger_entries WHERE entry_type = '{entry}'"  # noqa: S608 - of this table


def changed(entry: str, amount: str = "1") -> tuple[str, ...]:
    statement = f"UPDATE funds_ledger_entries SET amount_base = '{amount}' WHERE entry_type = '{entry}'"  # noqa: S608
    return NO_UPDATE, statement


def added(entry: str, amount: str = "1") -> tuple[str, ...]:
    return (ADD.format(entry=entry, amount=amount),)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done by hand to a purchase that stands somewhere, and what has to be said of it."""

    stands: str
    by_hand: tuple[str, ...]
    found: str


FAULTS = {
    "a fee that is missing": Fault("released", gone("platform_fee"), "wrong_platform_fee"),
    "a fee of another amount": Fault("released", changed("platform_fee"), "wrong_platform_fee"),
    "a fee that was taken twice": Fault("released", added("platform_fee"), "double_platform_fee"),
    "a fee before the release": Fault("funded", added("platform_fee"), "wrong_platform_fee"),
    "a fee on a refund": Fault("refunded", added("platform_fee"), "wrong_platform_fee"),
    "a fee that makes more go out than came in": Fault("refunded", added("platform_fee"), "paid_out_more_than_funded"),
    "another rate than the one agreed": Fault(
        "released", (NOT_FROZEN, "UPDATE offers SET platform_fee_bps = 0"), "wrong_platform_fee"
    ),
    "no rate agreed at all": Fault(
        "released", (NOT_FROZEN, "UPDATE offers SET platform_fee_bps = NULL, status = 'rejected'"), "no_agreed_fee"
    ),
    "a release of the whole price besides the fee": Fault(
        "released", changed("release", "10000000000000000000"), "wrong_release"
    ),
    "an instruction of the whole price": Fault(
        "released",
        ("UPDATE payments SET amount_base = '10000000000000000000' WHERE direction = 'out'",),
        "wrong_instruction",
    ),
    "a split of which the refund is missing": Fault("split", gone("refund"), "wrong_refund"),
    "a split of which the release is missing": Fault("split", gone("release"), "wrong_release"),
    "a split of which the fee is missing": Fault("split", gone("platform_fee"), "wrong_platform_fee"),
    "a split with another share": Fault("split", ("UPDATE disputes SET buyer_bps = 3001",), "wrong_refund"),
    "a split nobody decided": Fault(
        "split", ("UPDATE disputes SET outcome = 'refund', buyer_bps = NULL",), "partial_without_split"
    ),
    "a split the payment does not know of": Fault(
        "split", ("UPDATE payments SET ordered = NULL",), "split_without_dispute"
    ),
    "a split that was not booked": Fault(
        "funded and argued",
        ("UPDATE disputes SET status = 'resolved', outcome = 'split', buyer_bps = 5000",),
        "wrong_release",
    ),
    "a partial escrow nobody split": Fault(
        "funded", ("UPDATE payments SET escrow_state = 'partial'",), "partial_without_split"
    ),
    "a refund booked twice in a split": Fault("split", added("refund"), "double_refund"),
    "a part that was ordered in another amount": Fault(
        "split and ordered", ("UPDATE payments SET amount_base = '1' WHERE direction = 'refund'",), "wrong_instruction"
    ),
    "an order for a part that was not booked": Fault("split and ordered", gone("refund"), "refund_without_pair"),
    "a split that is over before every part was sent": Fault(
        "split and half sent",
        ("UPDATE payments SET escrow_state = 'released' WHERE direction = 'in'",),
        "settled_without_transaction",
    ),
    "a split that is not over though every part was sent": Fault(
        "split and sent",
        ("UPDATE payments SET escrow_state = 'partial' WHERE direction = 'in'",),
        "sent_and_not_over",
    ),
}


@pytest.fixture
async def market(tmp_path: Path, clock: FakeClock, fake_scanner: FakeScanner) -> AsyncIterator[Running]:
    env = environment(tmp_path, fake_scanner.url, PLATFORM_FEE_BPS=str(BPS))
    async with running(env, clock=clock) as found:
        yield found


async def bring(purchase: AcceptedPurchase, stands: str) -> None:
    """Bring a purchase to where a fault is put into its books."""
    await purchase.fund()
    if stands == "released":
        await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))
        assert (await purchase.release())[0] == 200
    elif stands == "refunded":
        assert (await purchase.refund())[0] == 200
    elif stands.startswith(("split", "funded and argued")):
        body = {"purchaseRequestId": purchase.request_id, "reason": "It is broken.", "category": "quality"}
        opened = (await purchase.buyer.ok("POST", "/api/disputes", body))["dispute"]
        if stands.startswith("split"):
            ruling = {"outcome": "split", "buyerBps": 3_000, "note": "Half broken."}
            await purchase.market.admin.ok("POST", f"/api/disputes/{opened['id']}/resolve", ruling)
    if stands.startswith("split and"):
        for number, (_, answer) in enumerate([await purchase.refund(), await purchase.release()]):
            if stands == "split and ordered" or (stands == "split and half sent" and number == 1):
                continue
            instruction = answer["data"]["instruction"]
            tx_hash = DONE_IN if number == 0 else "0x" + "cd" * 32
            purchase.scanner.carries_out(instruction, tx=tx_hash)
            path = f"/api/admin/instructions/{instruction['id']}/settle"
            await purchase.market.admin.ok("POST", path, {"txHash": tx_hash})


@pytest.mark.parametrize("name", FAULTS)
async def test_what_is_wrong_with_fees_and_splits_is_found(purchase: AcceptedPurchase, name: str) -> None:
    fault = FAULTS[name]
    await bring(purchase, fault.stands)
    assert await purchase.findings() == []

    with purchase.market.opened() as store:
        store.execute("PRAGMA foreign_keys = OFF")
        for statement in fault.by_hand:
            store.execute(statement)

    assert fault.found in await purchase.findings()
