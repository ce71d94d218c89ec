"""The books: they cannot be changed, they add up exactly, and what does not is found."""

from __future__ import annotations

import sqlite3

import pytest

from marketplace.store.errors import StoreError
from tests.harness import FakeClock
from tests.marketplace.deals import TEN, Deal, make_deal
from tests.marketplace.harness import Running
from tests.marketplace.stand_in import StandIn

REPLACING = (
    "INSERT OR REPLACE INTO funds_ledger_entries SELECT id, entry_type, payment_id, purchase_request_id,"
    " chain_id, token_address, '1', idempotency_key, created_at FROM funds_ledger_entries"
)
EXACT = "99999.999999999999999999"


def run(deal: Deal, statement: str, *values: object) -> None:
    with sqlite3.connect(deal.market.db_path) as store:
        store.execute("PRAGMA foreign_keys = OFF")
        store.execute(statement, values)


def inject(deal: Deal, entry: str, key: str, *, payment_id: str | None = None) -> None:
    run(
        deal,
        "INSERT INTO funds_ledger_entries (entry_type, payment_id, purchase_request_id, chain_id, token_address,"
        " amount_base, idempotency_key, created_at)"
        " SELECT ?, ?, purchase_request_id, chain_id, token_address, amount_base, ?, 1 FROM payments WHERE id = ?",
        entry,
        payment_id or deal.payment_id,
        key,
        deal.payment_id,
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE funds_ledger_entries SET amount_base = '1'",
        "DELETE FROM funds_ledger_entries",
        REPLACING,
    ],
)
async def test_the_database_refuses_to_change_a_line(deal: Deal, statement: str) -> None:
    await deal.fund()

    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        run(deal, statement)

    assert deal.entries() == [("payment_detected", TEN), ("hold", TEN)]


@pytest.mark.parametrize("amount", ["0", "-1", "1.5", "1e3", ""])
async def test_the_database_refuses_lines_that_are_no_amounts(deal: Deal, amount: str) -> None:
    await deal.fund()

    with pytest.raises(sqlite3.IntegrityError, match="ledger_amount_positive"):
        run(
            deal,
            "INSERT INTO funds_ledger_entries (entry_type, payment_id, purchase_request_id, chain_id,"
            " token_address, amount_base, idempotency_key, created_at) VALUES ('hold', ?, ?, 97, 'x', ?, 'k', 1)",
            deal.payment_id,
            deal.request_id,
            amount,
        )


async def test_sums_of_eighteen_decimals_are_exact(market: Running, chain_side: StandIn, clock: FakeClock) -> None:
    deal = await make_deal(market, chain_side, clock, price=EXACT)

    await deal.fund()

    assert (await deal.ledger())["held"] == EXACT
    assert deal.entries()[1] == ("hold", 99999999999999999999999)


async def test_the_same_release_twice_is_refused_by_the_database(deal: Deal) -> None:
    await deal.fund()
    await deal.buyer.ok("PATCH", deal.path("confirm-delivery"))
    await deal.release()

    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        inject(deal, "release", f"release:{deal.payment_id}")


async def test_an_injected_double_refund_is_found(deal: Deal) -> None:
    await deal.fund()
    await deal.refund()
    assert await deal.findings() == []

    inject(deal, "refund", "by hand")

    assert set(await deal.findings()) >= {"double_refund", "paid_out_more_than_funded"}


async def test_a_missing_hold_is_found(deal: Deal) -> None:
    await deal.fund()
    run(deal, "DROP TRIGGER funds_ledger_entries_no_delete")
    run(deal, "DELETE FROM funds_ledger_entries WHERE entry_type = 'hold'")

    assert "missing_hold" in await deal.findings()


async def test_a_funded_payment_without_entries_is_found(deal: Deal) -> None:
    await deal.fund()
    run(deal, "DROP TRIGGER funds_ledger_entries_no_delete")
    run(deal, "DELETE FROM funds_ledger_entries")

    assert await deal.findings() == ["funded_without_entries"]


async def test_an_injected_orphan_is_found(deal: Deal) -> None:
    await deal.fund()

    inject(deal, "hold", "by hand", payment_id="nobody")

    assert await deal.findings() == ["orphan_entries"]


async def test_a_status_changed_by_hand_is_found(deal: Deal) -> None:
    await deal.fund()

    run(deal, "UPDATE payments SET escrow_state = 'released'")

    assert set(await deal.findings()) == {"escrow_ledger_mismatch", "settled_without_transaction"}


async def test_the_database_refuses_a_payment_that_is_funded_and_not_completed(deal: Deal) -> None:
    await deal.open()

    with pytest.raises(sqlite3.IntegrityError, match="payments_funded_is_completed"):
        run(deal, "UPDATE payments SET escrow_state = 'funded'")
    with pytest.raises(sqlite3.IntegrityError, match="payments_completed_has_evidence"):
        run(deal, "UPDATE payments SET status = 'completed', escrow_state = 'funded'")


async def test_a_read_error_is_an_error_and_never_all_fine(deal: Deal) -> None:
    await deal.fund()
    run(deal, "ALTER TABLE funds_ledger_entries RENAME TO gone")

    refused = await deal.market.admin.refused("GET", "/api/admin/reconciliation")

    assert refused == (503, "store_unavailable")
    with pytest.raises(StoreError):
        await deal.market.marketplace.services.reconciliation.report()


async def test_a_release_beyond_the_balance_is_refused(deal: Deal) -> None:
    await deal.fund()
    await deal.buyer.ok("PATCH", deal.path("confirm-delivery"))
    inject(deal, "refund", "by hand")

    status, answer = await deal.release()

    assert (status, answer["error"]["message"]) == (409, "the ledger holds less than this payment")
