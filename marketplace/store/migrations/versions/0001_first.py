"""The first tables, and the triggers that keep history as it was."""

from __future__ import annotations

from alembic import op

from kernel.store.ddl import Spelling
from marketplace.store.migrations.first import (
    accounts,
    disputes,
    goods,
    messages,
    money,
    payments,
    refusals,
    sharing,
    trade,
)

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything, on either engine."""
    accounts.people()
    accounts.accounts()
    messages.messages()
    trade.trade()
    payments.payments()
    payments.told_transactions()
    payments.quotes()
    money.money()
    money.payout_settlements()
    payments.proofs()
    money.sweeps()
    money.payout_addresses()
    disputes.disputes()
    money.fees()
    goods.goods()
    goods.shops()
    sharing.sharing()
    for statement in refusals.refusals(Spelling(op.get_context().dialect.name)):
        op.execute(statement)
