"""The triggers that keep history as it was."""

from __future__ import annotations

from kernel.store.ddl import Spelling

APPEND_ONLY = (
    "funds_ledger_entries",
    "credited_transfers",
    "proven_transfers",
    "negotiation_rounds",
    "negotiation_answers",
    "threshold_history",
    "fee_history",
    "dispute_messages",
    "reorg_clearances",
    "payout_addresses",
    "account_events",
    "payment_quotes",
    "goods_reveals",
    "goods_readings",
    "checkouts",
    "checkout_lines",
)


def refusals(sql: Spelling) -> list[str]:
    """What was written down as it was stays so: the store itself refuses a change."""
    found = []
    for table in APPEND_ONLY:
        for change in ("UPDATE", "DELETE"):
            name, when = f"{table}_no_{change.lower()}", f"BEFORE {change} ON {table}"
            found += sql.refusal(name, when, f"{table} is append-only")
        found += sql.no_truncate(table, f"{table} is append-only")
    found += sql.refusal(
        "offers_fee_frozen",
        "BEFORE UPDATE OF platform_fee_bps ON offers",
        "the fee of an accepted offer is frozen",
        condition=f"OLD.platform_fee_bps IS NOT NULL AND {sql.differs('NEW.platform_fee_bps', 'OLD.platform_fee_bps')}",
    )
    found += _refusals_of_settlements(sql)
    found += _refused_of_goods(sql)
    # SQLite's `INSERT OR REPLACE` deletes without firing the triggers above.
    found += sql.refusal(
        "funds_ledger_entries_no_replace",
        "BEFORE INSERT ON funds_ledger_entries",
        "funds_ledger_entries is append-only",
        condition="EXISTS (SELECT 1 FROM funds_ledger_entries"
        " WHERE id = NEW.id OR idempotency_key = NEW.idempotency_key)",
        unique=True,
    )
    found += sql.refusal(
        "payment_quotes_no_replace",
        "BEFORE INSERT ON payment_quotes",
        "UNIQUE: payment_quotes is append-only",
        condition="EXISTS (SELECT 1 FROM payment_quotes WHERE payment_id = NEW.payment_id)",
        unique=True,
    )
    # It comes before the constraint's own refusal, and is read as the same.
    found += sql.refusal(
        "credited_transfers_no_replace",
        "BEFORE INSERT ON credited_transfers",
        "UNIQUE: credited_transfers is append-only",
        condition="EXISTS (SELECT 1 FROM credited_transfers"
        " WHERE chain_id = NEW.chain_id AND tx_hash = NEW.tx_hash AND event_key = NEW.event_key)",
        unique=True,
    )
    found += sql.refusal(
        "proven_transfers_no_replace",
        "BEFORE INSERT ON proven_transfers",
        "UNIQUE: proven_transfers is append-only",
        condition="EXISTS (SELECT 1 FROM proven_transfers WHERE chain_id = NEW.chain_id"
        " AND block_hash = NEW.block_hash AND transaction_index = NEW.transaction_index"
        " AND log_position = NEW.log_position)",
        unique=True,
    )
    return found


def _refused_of_goods(sql: Spelling) -> list[str]:
    """A good that somebody saw is nobody else's, whatever the code above believes."""
    other = sql.differs("NEW.payment_id", "OLD.payment_id")
    seen = "EXISTS (SELECT 1 FROM goods_reveals r WHERE r.item_id = OLD.id)"
    return [
        *sql.refusal(
            "stock_items_seen_stay",
            "BEFORE UPDATE OF payment_id ON stock_items",
            "a good that was shown to somebody stays theirs",
            condition=f"{other} AND {seen}",
        ),
        *sql.refusal(
            "goods_reveals_to_its_payer",
            "BEFORE INSERT ON goods_reveals",
            "a good is shown to whoever pays for it",
            condition="NOT EXISTS (SELECT 1 FROM stock_items i"
            " WHERE i.id = NEW.item_id AND i.payment_id = NEW.payment_id)",
        ),
    ]


def _refusals_of_settlements(sql: Spelling) -> list[str]:
    """What was seen to pay an instruction stays so: else the same transfer could pay another one."""
    found = []
    for change in ("UPDATE", "DELETE"):
        found += sql.refusal(
            f"payout_settlements_done_no_{change.lower()}",
            f"BEFORE {change} ON payout_settlements",
            "a payout that was proved is append-only",
            condition="OLD.done_at IS NOT NULL",
        )
    found += sql.refusal(
        "payout_settlements_no_replace",
        "BEFORE INSERT ON payout_settlements",
        "a payout that was proved is append-only",
        condition="EXISTS (SELECT 1 FROM payout_settlements WHERE done_at IS NOT NULL AND (instruction_id ="
        " NEW.instruction_id OR (chain_id = NEW.chain_id AND tx_hash = NEW.tx_hash AND event_key = NEW.event_key)))",
        unique=True,
    )
    return found
