"""The books: they cannot be changed, they add up exactly, and what does not is found."""

from __future__ import annotations

import sqlite3

import pytest

from marketplace.store.errors import StoreError
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import TEN, AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import Running

REPLACING = (
    "INSERT OR REPLACE INTO funds_ledger_entries SELECT id, entry_type, payment_id, purchase_request_id,"
    " chain_id, token_address, '1', idempotency_key, created_at FROM funds_ledger_entries"
)
INSTEAD = (
    "INSERT INTO funds_ledger_entries SELECT * FROM funds_ledger_entries WHERE true"
    " ON CONFLICT (id) DO UPDATE SET amount_base = '1'"
)
EXACT = "99999.999999999999999999"


pytestmark = pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)


def run(purchase: AcceptedPurchase, statement: str, *values: object) -> None:
    with purchase.market.opened() as store:
        if purchase.market.database_url is None:
            store.execute("PRAGMA foreign_keys = OFF")
        store.execute(statement, values)


def allow_deleting(purchase: AcceptedPurchase) -> None:
    where = "" if purchase.market.database_url is None else " ON funds_ledger_entries"
    run(purchase, f"DROP TRIGGER funds_ledger_entries_no_delete{where}")


def inject(purchase: AcceptedPurchase, entry: str, key: str, *, payment_id: str | None = None) -> None:
    run(
        purchase,
        "INSERT INTO funds_ledger_entries (entry_type, payment_id, purchase_request_id, chain_id, token_address,"
        " amount_base, idempotency_key, created_at)"
        " SELECT ?, ?, purchase_request_id, chain_id, token_address, amount_base, ?, 1 FROM payments WHERE id = ?",
        entry,
        payment_id or purchase.payment_id,
        key,
        purchase.payment_id,
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE funds_ledger_entries SET amount_base = '1'",
        "DELETE FROM funds_ledger_entries",
        "TRUNCATE funds_ledger_entries",
        REPLACING,
        INSTEAD,
    ],
)
async def test_the_database_refuses_to_change_a_line(purchase: AcceptedPurchase, engine: str, statement: str) -> None:
    if statement in {"sqlite": ("TRUNCATE funds_ledger_entries",), "postgresql": (REPLACING,)}[engine]:
        pytest.skip("it has no such statement")
    await purchase.fund()

    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        run(purchase, statement)

    assert purchase.entries() == [("payment_detected", TEN), ("hold", TEN)]


@pytest.mark.parametrize("amount", ["0", "-1", "1.5", "1e3", ""])
async def test_the_database_refuses_lines_that_are_no_amounts(purchase: AcceptedPurchase, amount: str) -> None:
    await purchase.fund()

    with pytest.raises(sqlite3.IntegrityError, match="ledger_amount_positive"):
        run(
            purchase,
            "INSERT INTO funds_ledger_entries (entry_type, payment_id, purchase_request_id, chain_id,"
            " token_address, amount_base, idempotency_key, created_at) VALUES ('hold', ?, ?, 97, 'x', ?, 'k', 1)",
            purchase.payment_id,
            purchase.request_id,
            amount,
        )


async def test_sums_of_eighteen_decimals_are_exact(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    purchase = await accept_purchase(market, fake_scanner, clock, price=EXACT)

    await purchase.fund()

    assert (await purchase.ledger())["held"] == EXACT
    assert purchase.entries()[1] == ("hold", 99999999999999999999999)


async def test_the_same_release_twice_is_refused_by_the_database(purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))
    await purchase.release()

    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        inject(purchase, "release", f"release:{purchase.payment_id}")


async def test_an_injected_double_refund_is_found(purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    await purchase.refund()
    assert await purchase.findings() == []

    inject(purchase, "refund", "by hand")

    assert set(await purchase.findings()) >= {"double_refund", "paid_out_more_than_funded"}


async def test_a_missing_hold_is_found(purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    allow_deleting(purchase)
    run(purchase, "DELETE FROM funds_ledger_entries WHERE entry_type = 'hold'")

    assert "missing_hold" in await purchase.findings()


async def test_a_funded_payment_without_entries_is_found(purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    allow_deleting(purchase)
    run(purchase, "DELETE FROM funds_ledger_entries")

    assert await purchase.findings() == ["funded_without_entries"]


async def test_an_injected_orphan_is_found(purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    if purchase.market.database_url is not None:  # which looks for what a row belongs to whoever writes it
        run(purchase, "ALTER TABLE funds_ledger_entries DROP CONSTRAINT funds_ledger_entries_payment_id_fkey")

    inject(purchase, "hold", "by hand", payment_id="nobody")

    assert await purchase.findings() == ["orphan_entries"]


async def test_a_status_changed_by_hand_is_found(purchase: AcceptedPurchase) -> None:
    await purchase.fund()

    run(purchase, "UPDATE payments SET escrow_state = 'released'")

    assert set(await purchase.findings()) == {"escrow_ledger_mismatch", "settled_without_transaction"}


async def test_the_database_refuses_a_payment_that_is_funded_and_not_completed(purchase: AcceptedPurchase) -> None:
    await purchase.open()

    with pytest.raises(sqlite3.IntegrityError, match="payments_funded_is_completed"):
        run(purchase, "UPDATE payments SET escrow_state = 'funded'")
    with pytest.raises(sqlite3.IntegrityError, match="payments_completed_has_evidence"):
        run(purchase, "UPDATE payments SET status = 'completed', escrow_state = 'funded'")


async def test_a_read_error_is_an_error_and_never_all_fine(purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    run(purchase, "ALTER TABLE funds_ledger_entries RENAME TO gone")

    refused = await purchase.market.admin.refused("GET", "/api/admin/reconciliation")

    assert refused == (503, "store_unavailable")
    with pytest.raises(StoreError):
        await purchase.market.marketplace.services.reconciliation.report()


async def test_a_release_beyond_the_balance_is_refused(purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))
    inject(purchase, "refund", "by hand")

    status, answer = await purchase.release()

    assert (status, answer["error"]["message"]) == (409, "the ledger holds less than this payment")
