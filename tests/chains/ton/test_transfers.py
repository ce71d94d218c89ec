"""Pages in any order end in the same transfers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.ton import transfers as paging
from chains.types import Cursor, Rail
from tests.chains.ton_world import OWNER, START, Targets, TonWorld

PAYMENTS = st.lists(
    st.tuples(st.integers(0, 120), st.integers(0, 6), st.integers(0, 59)),  # second, lt within it, seconds unindexed
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payments=PAYMENTS, page=st.integers(1, 4), step=st.integers(5, 40), restart=st.booleans())
def test_any_order_of_pages_repetitions_restarts_and_late_rows_ends_in_the_same_transfers(
    monkeypatch, payments, page, step, restart
):
    monkeypatch.setattr(paging, "PAGE", page)
    asyncio.run(asyncio.wait_for(_story(payments, step, restart=restart), 60))


async def _story(payments, step, *, restart):
    async with AsyncExitStack() as stack:
        ton = TonWorld(stack)
        center, adapter = await ton.both()
        waiting = [(START + second, lt, START + second + late) for second, lt, late in payments]
        cursor, found, end = Cursor(START - 1), set(), START + 240
        while cursor.position < end:
            for at, lt, known in [payment for payment in waiting if payment[2] <= ton.ledger.now]:
                waiting.remove((at, lt, known))
                ton.ledger.pay(OWNER, at=at, lt=3_000_000 + (at - START) * 1_000_000 + lt)
            head = await adapter.head()
            page = await adapter.scan(Rail.DIRECT, Targets(frozenset({OWNER})), cursor, head, reread_s=60)
            found |= {(transfer.tx_hash, transfer.event_key) for transfer in page.transfers}
            cursor = page.cursor
            if restart:
                adapter = await ton.adapter(center)
            ton.ledger.now += step
            ton.ledger.blocks.append((ton.ledger.now, 3_000_000 + (ton.ledger.now - START) * 1_000_000))
        assert found == {(payment.tx_hash, payment.row["transaction_lt"]) for payment in ton.ledger.payments}
        assert len(found) == len(payments)
