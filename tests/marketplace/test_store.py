"""The last line of defence: what the store refuses, whatever the code above it believes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select

from kernel.store.dialects import is_postgresql
from marketplace.catalog import load_catalog
from marketplace.model import (
    HOSTED,
    OPEN_FOR_OFFERS,
    OPEN_OFFERS,
    Direction,
    EscrowState,
    LedgerEntryType,
    Payment,
    PaymentStatus,
    Rail,
)
from marketplace.payments.deposit_addresses import open_destinations
from marketplace.settings import load_settings
from marketplace.store import (
    addresses,
    delivery,
    figures,
    inbox,
    ledger,
    offers,
    payments,
    requests,
    retention,
    told_transactions,
)
from marketplace.store.database import Database, Tx, open_database, open_shared
from marketplace.store.errors import Taken
from marketplace.store.inbox import Credit
from marketplace.store.migrate import postgres_settings
from tests.harness import ROOT
from tests.marketplace.accepted_purchase import AcceptedPurchase
from tests.marketplace.harness import TRON_LIST, environment, migrated

TRON = 728126428
EVIDENCE = {"amountReceivedBaseUnits": "1"}


pytestmark = pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
async def db(tmp_path: Path, place: Mapping[str, str]) -> AsyncIterator[Database]:
    if "MARKETPLACE_DATABASE_URL" in place:
        async with open_shared(postgres_settings(place["MARKETPLACE_DATABASE_URL"], "tests")) as shared:
            yield shared
        return
    path = tmp_path / "marketplace.db"
    path.write_bytes(migrated())
    async with open_database(path) as found:
        yield found


def store_of(purchase: AcceptedPurchase) -> Database:
    return purchase.market.marketplace.services.units.db


async def opened(purchase: AcceptedPurchase) -> Payment:
    await purchase.open()
    async with store_of(purchase).read() as tx:
        payment = await payments.get(tx, purchase.payment_id)
    assert payment is not None
    return payment


@pytest.mark.parametrize("status", ["completed", "cancelled", "refunded", "failed"])
async def test_a_payment_that_is_over_cannot_be_funded(purchase: AcceptedPurchase, status: str) -> None:
    payment = await opened(purchase)
    escrow = {"completed": "funded", "refunded": "refunded"}.get(status, "cancelled")
    async with store_of(purchase).write() as tx:
        await payments.set_observed(tx, payment.id, 1, status=status, escrow_state=escrow, evidence=EVIDENCE)

    async with store_of(purchase).write() as tx:
        assert await payments.complete(tx, payment.id, 2, evidence=EVIDENCE) is False


async def test_an_instruction_to_pay_out_cannot_be_funded(purchase: AcceptedPurchase) -> None:
    payment = await opened(purchase)
    async with store_of(purchase).write() as tx:
        await payments.add(tx, replace(payment, id="out", direction=Direction.OUT, provider_payment_id=None))

        assert await payments.complete(tx, "out", 2, evidence=EVIDENCE) is False


async def test_a_request_has_one_pay_in_that_is_open_or_paid(purchase: AcceptedPurchase) -> None:
    payment = await opened(purchase)

    with pytest.raises(Taken):
        async with store_of(purchase).write() as tx:
            await payments.add(tx, replace(payment, id="second", provider_payment_id="second"))


async def test_a_request_may_have_another_once_the_first_is_over(purchase: AcceptedPurchase) -> None:
    payment = await opened(purchase)
    await purchase.buyer.ok("POST", f"/api/payment/{payment.id}/cancel")

    async with store_of(purchase).write() as tx:
        await payments.add(tx, replace(payment, id="second", provider_payment_id="second"))


async def test_the_scanners_name_of_a_payment_is_nobody_elses(purchase: AcceptedPurchase) -> None:
    payment = await opened(purchase)

    with pytest.raises(Taken):
        async with store_of(purchase).write() as tx:
            await payments.add(tx, replace(payment, id="second", status=PaymentStatus.CANCELLED))


async def test_a_webhook_of_another_provider_is_not_found(purchase: AcceptedPurchase) -> None:
    payment = await opened(purchase)
    async with store_of(purchase).write() as tx:
        await payments.set_observed(tx, payment.id, 1, provider="shkeeper")

        assert await payments.of_scanner(tx, payment.id) is None


async def test_an_address_has_one_live_payment(purchase: AcceptedPurchase) -> None:
    payment = await opened(purchase)
    place: dict[str, Any] = {"chain_id": 97, "token": "t", "destination": "d", "payment_id": payment.id, "now": 1}
    async with store_of(purchase).write() as tx:
        await addresses.reserve(tx, source="a", index=1, **place)

    with pytest.raises(Taken):
        async with store_of(purchase).write() as tx:
            await addresses.reserve(tx, source="a", index=2, **place)
    async with store_of(purchase).write() as tx:
        await addresses.release(tx, payment.id, 2)
        await addresses.reserve(tx, source="a", index=3, **place)


async def test_an_index_is_reserved_once_even_after_its_payment_is_over(purchase: AcceptedPurchase) -> None:
    payment = await opened(purchase)
    place: dict[str, Any] = {
        "chain_id": 97,
        "token": "t",
        "source": "a",
        "index": 1,
        "payment_id": payment.id,
        "now": 1,
    }
    async with store_of(purchase).write() as tx:
        await addresses.reserve(tx, destination="d", **place)
        await addresses.release(tx, payment.id, 2)

    with pytest.raises(Taken):
        async with store_of(purchase).write() as tx:
            await addresses.reserve(tx, destination="e", **place)


async def test_a_transfer_is_credited_once(purchase: AcceptedPurchase) -> None:
    payment = await opened(purchase)
    credit = [Credit("0x01", "0", 1, None)]
    async with store_of(purchase).write() as tx:
        await inbox.add_credits(tx, 97, credit, payment.id, 1)

    with pytest.raises(Taken):
        async with store_of(purchase).write() as tx:
            await inbox.add_credits(tx, 97, credit, payment.id, 2)


async def test_an_event_is_kept_once(purchase: AcceptedPurchase) -> None:
    payment = await opened(purchase)
    event: dict[str, Any] = {"event_id": "evt", "event_type": "x", "payment_id": payment.id, "body": "{}", "now": 1}
    async with store_of(purchase).write() as tx:
        assert await inbox.add(tx, **event) is True
        assert await inbox.add(tx, **event) is False


async def test_a_line_of_the_ledger_is_written_once(purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    async with store_of(purchase).read() as tx:
        payment = await payments.get(tx, purchase.payment_id)
    assert payment is not None

    with pytest.raises(Exception, match="append-only"):
        async with store_of(purchase).write() as tx:
            await ledger.add(tx, payment, LedgerEntryType.HOLD, 1, 1)


async def test_what_is_no_longer_as_expected_is_not_changed(purchase: AcceptedPurchase) -> None:
    await purchase.open()
    async with store_of(purchase).write() as tx:
        cancelled = await requests.change(tx, purchase.request_id, 1, expected=OPEN_FOR_OFFERS, status="cancelled")
        withdrawn = await offers.change(tx, purchase.offer_id, 1, expected=OPEN_OFFERS, status="withdrawn")
        failed = await payments.change(
            tx, purchase.payment_id, 1, expected=(PaymentStatus.PROCESSING,), status="failed"
        )
        released = await payments.move_escrow(
            tx, purchase.payment_id, 1, expected=(EscrowState.FUNDED,), status="refunded"
        )

    assert (cancelled, withdrawn, failed, released) == (False, False, False, False)
    assert ((await purchase.request())["status"], (await purchase.payment())["status"]) == ("payment", "pending")


async def test_a_request_has_one_accepted_offer(purchase: AcceptedPurchase) -> None:
    async with store_of(purchase).read() as tx:
        accepted = await offers.get(tx, purchase.offer_id)
    assert accepted is not None

    with pytest.raises(Taken):
        async with store_of(purchase).write() as tx:
            await offers.add(tx, replace(accepted, id="second", seller_id=purchase.market.admin.user_id))


async def test_a_delivery_code_is_used_once_in_time_and_while_it_is_the_newest(purchase: AcceptedPurchase) -> None:
    async def made(expires_at: int) -> str:
        await delivery.replace(tx, purchase.request_id, salt="s", code_hash="h", expires_at=expires_at, now=1)
        code = await delivery.latest(tx, purchase.request_id)
        assert code is not None
        return code.id

    async with store_of(purchase).write() as tx:
        replaced, expired = await made(100), await made(100)
        assert await delivery.use(tx, expired, 100) is False
        spent = await made(100)
        for _ in range(7):
            await delivery.count_attempt(tx, spent)
        assert await delivery.use(tx, spent, 1) is False
        good = await made(100)
        assert await delivery.use(tx, replaced, 1) is False
        assert [await delivery.use(tx, good, 1) for _ in range(2)] == [True, False]


async def test_an_index_is_handed_out_once(db: Database) -> None:
    async with db.write() as tx:
        taken = [await addresses.take_index(tx, "xpub") for _ in range(3)]
        other = await addresses.take_index(tx, "list:1")

    assert (taken, other) == ([0, 1, 2], 0)


async def test_an_address_that_moved_in_its_list_is_not_handed_out_again(
    purchase: AcceptedPurchase, tmp_path: Path
) -> None:
    settings = load_settings(environment(tmp_path))
    catalog = load_catalog(ROOT / "supported-chains.json", ROOT / "tokens.json")
    chain = catalog.chains[TRON]
    payment = await opened(purchase)
    async with store_of(purchase).write() as tx:
        first, source, index = await open_destinations(catalog, settings.money).take(tx, chain, Rail.DIRECT)
        place: dict[str, Any] = {
            "chain_id": TRON,
            "token": "t",
            "destination": first,
            "payment_id": payment.id,
            "now": 1,
        }
        await addresses.reserve(tx, source=str(source), index=index, **place)
        swapped = replace(
            settings.money, escrow_addresses={TRON: (TRON_LIST[1], TRON_LIST[0], "TNPeeaaFB7K9cmo4uQpcU32zGK8G1NYqeL")}
        )
        again, _, _ = await open_destinations(catalog, swapped).take(tx, chain, Rail.DIRECT)

    assert first == TRON_LIST[0]
    assert again != first


async def test_the_first_baseline_is_the_one_that_counts(purchase: AcceptedPurchase) -> None:
    payment = await opened(purchase)

    async with store_of(purchase).write() as tx:
        for baseline in (5, 0):
            await payments.set_baseline(tx, payment.id, baseline)
        found = await payments.get(tx, payment.id)

    assert found is not None
    assert found.baseline_balance == 5


class Planned:
    """A transaction that notes how each question about one table would be answered."""

    def __init__(self, tx: Tx, table: str) -> None:
        self._tx = tx
        self._table = table
        self.plans: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def execute(self, asked: Any, *rows: Any) -> Any:
        sql = str(asked.compile(dialect=self._tx.dialect, compile_kwargs={"literal_binds": True}))
        if self._table in sql and (isinstance(asked, Select) or sql.startswith("DELETE")):
            how = "EXPLAIN" if is_postgresql(self._tx) else "EXPLAIN QUERY PLAN"
            self.plans.append(" ".join(str(row) for row in await self._tx.exec_driver_sql(f"{how} {sql}")))
        return await self._tx.execute(asked, *rows)


@pytest.mark.parametrize(
    ("table", "asked", "index"),
    [
        ("webhook_inbox", lambda tx: inbox.unread(tx, ["payment.late"], 100), "inbox_unread"),
        ("webhook_inbox", lambda tx: inbox.waiting_for_hosted(tx, list(HOSTED), 100), "inbox_unread"),
        ("webhook_inbox", figures.count, "inbox_unread"),
        ("webhook_inbox", inbox.latest_received_at, "inbox_received"),
        ("webhook_inbox", lambda tx: retention.prune_events(tx, 1, 100), "inbox_received"),
        ("webhook_inbox", lambda tx: inbox.number_of(tx, "one"), "inbox_payment"),
        ("payments", lambda tx: told_transactions.of_ended(tx, list(HOSTED), 10**12, 100), "payments_hosted"),
        ("told_transactions", lambda tx: told_transactions.of_ended(tx, list(HOSTED), 10**12, 100), "told_undone"),
    ],
)
async def test_what_each_sweep_asks_is_found_through_an_index(
    db: Database, table: str, asked: Callable[[Any], Awaitable[Any]], index: str
) -> None:
    """Every webhook of a month is kept: a walk through all of them, twice a minute, holds everything up."""
    async with db.write() as tx:
        if is_postgresql(tx):  # its planner walks through a table of no rows whatever there is
            await tx.exec_driver_sql("SET LOCAL enable_seqscan = off")
        planned = Planned(tx, table)
        await asked(planned)

    assert planned.plans
    assert any(index in plan for plan in planned.plans), planned.plans
    assert not any(f"SCAN {table}'" in plan or f"Seq Scan on {table} " in plan for plan in planned.plans)
