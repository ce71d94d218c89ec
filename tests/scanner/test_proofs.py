"""Proofs of payments at rest: a receipt once, and no stranger's dust that keeps a payment from being proven."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import func, select, update

from chains.types import Rail, Transfer, TransferProof, Verification, VerificationOutcome
from kernel.store.database import Database
from marketplace.risk import payment_proofs
from scanner import ingest, services, verdicts
from scanner.store import intents, proofs, retention, tables, transfers
from tests.scanner.facts import CHAIN, LATE_MS, NOW, a_hash, a_transfer, an_intent
from tests.scanner.test_ingest import as_fact

SHOP = an_intent("order-1", rail=Rail.DIRECT)


def a_proof(block: int, log_position: int, *, receipt: bytes = b"\x02receipt") -> TransferProof:
    return TransferProof(block, a_hash("block", block), b"header", 3, receipt, (b"root", b"leaf"), log_position)


async def paid(db: Database, parts: Sequence[tuple[int, int]]) -> list[int]:
    """Let an intent be paid by amounts in blocks; return the rows."""
    async with db.write() as tx:
        await intents.add_many(tx, [SHOP])
        found = [
            a_transfer(
                SHOP,
                amount=amount,
                event_key=str(place),
                block_number=block,
                block_hash=a_hash("block", block),
                tx_hash=a_hash("tx", block),
                block_time=NOW // 1000,
            )
            for place, (amount, block) in enumerate(parts)
        ]
        await ingest.record_page(tx, CHAIN, found, now=NOW, late_ms=LATE_MS)
        rows = {each.event_key: each.id for each in (await transfers.of_intents(tx, ["order-1"]))["order-1"]}
        return [rows[str(place)] for place in range(len(parts))]


async def kept(db: Database) -> tuple[int, int]:
    async with db.read() as tx:
        counts = [
            (await tx.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (tables.transfer_proofs, tables.receipt_proofs)
        ]
    return counts[0], counts[1]


async def told(db: Database, most: int = 1_000) -> list[tuple[int, int]]:
    """Return block and log position of what one proof tells."""
    async with db.read() as tx:
        wanted = services._provable(await proofs.largest(tx, "order-1", most))
        return [(each.block_number, each.log_position) for each in await proofs.told(tx, wanted)]


async def test_a_receipt_is_kept_once_however_many_transfers_it_holds(db: Database) -> None:
    rows = await paid(db, [(1, 100)] * 30 + [(970, 101)])
    async with db.write() as tx:
        await proofs.keep(tx, {row: a_proof(100, place) for place, row in enumerate(rows[:30])})
        await proofs.keep(tx, {rows[30]: a_proof(101, 7)})

    assert await kept(db) == (31, 2)
    assert await told(db) == [*((100, place) for place in range(30)), (101, 7)]


async def test_a_receipt_goes_with_the_last_transfer_that_needs_it(db: Database) -> None:
    first, second, third = await paid(db, [(300, 100), (300, 100), (400, 100)])
    async with db.write() as tx:
        await proofs.keep(tx, {row: a_proof(100, row) for row in (first, second, third)})
    async with db.write() as tx:
        await proofs.keep(tx, {third: a_proof(103, 1)})  # it is in another block now
    assert await kept(db) == (3, 2)

    async with db.write() as tx:
        await proofs.keep(tx, {first: a_proof(103, 2), second: a_proof(103, 3)})
    assert await kept(db) == (3, 1)

    async with db.write() as tx:
        over = {"status": "confirmed", "confirmed_at": NOW, "webhook_delivered_at": NOW}
        await tx.execute(update(tables.intents).values(**over))
        await retention.forget_intents(tx, ["order-1"], before=2**53)
    assert await kept(db) == (0, 0)


async def test_of_a_proof_that_is_too_large_its_place_alone_is_kept(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = await paid(db, [(1000, 100)])
    monkeypatch.setattr(proofs, "MAX_PROOF_BYTES", 100)
    large = a_proof(100, 4, receipt=bytes(100))
    async with db.write() as tx:
        await proofs.keep(tx, {row: large})

    assert (await kept(db), await told(db)) == ((1, 0), [])
    async with db.read() as tx:
        assert await proofs.whose(tx, {proofs.place_of(large)}) == {proofs.place_of(large): row}


async def test_of_more_than_one_proof_tells_what_pays_most_is_told(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = await paid(db, [(1, 100), (10, 101), (1, 102), (995, 103)])
    async with db.write() as tx:
        places = {row: a_proof(100 + place, place) for place, row in enumerate(rows)}
        await proofs.keep(tx, {**places, rows[1]: a_proof(101, 1, receipt=bytes(4_000))})

    assert await told(db, 2) == [(101, 1), (103, 3)]
    monkeypatch.setattr(services, "MAX_PROOF_CHARACTERS", 2_000)
    assert await told(db) == [(100, 0), (102, 2), (103, 3)]
    monkeypatch.setattr(services, "MAX_PROVEN_BLOCKS", 2)
    assert await told(db) == [(100, 0), (103, 3)]


async def test_dust_without_a_proof_hides_no_payment_that_has_one(db: Database) -> None:
    dust, payment = await paid(db, [(1, 100), (1000, 101)])
    async with db.write() as tx:
        await proofs.keep(tx, {payment: a_proof(101, 1)})

    assert await told(db) == [(101, 1)]
    assert dust < payment


def test_a_proof_lies_in_no_more_blocks_than_the_marketplace_asks_about() -> None:
    assert services.MAX_PROVEN_BLOCKS <= payment_proofs.MAX_BLOCKS


async def look(db: Database, **places: TransferProof) -> list[tuple[str, bool, str | None]]:
    """Prove transfers, by their event keys, as the confirmer does; return what became of all of them."""
    async with db.write() as tx:
        held = (await transfers.of_intents(tx, ["order-1"]))["order-1"]
        looked = [
            (each, Verification(as_fact(each), VerificationOutcome.CREDITED, each.amount, proof=places[each.event_key]))
            for each in held
            if each.event_key in places
        ]
        await verdicts.apply_verdicts(tx, CHAIN, looked, now=NOW, late_ms=LATE_MS)
        held = (await transfers.of_intents(tx, ["order-1"]))["order-1"]
        return [(each.tx_hash, each.counted, each.reason) for each in held]


def renamed(event_key: str, *, block: int = 100, name: str = "other") -> Transfer:
    return a_transfer(
        SHOP,
        amount=500,
        event_key=event_key,
        tx_hash=a_hash("tx", name),
        block_number=block,
        block_hash=a_hash("block", block),
        block_time=NOW // 1000,
    )


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_log_counts_once_whatever_a_node_calls_its_transaction(db: Database, at_once: bool) -> None:
    """No tree proves the hash of a transaction: half a price under two names once was the whole of it."""
    await paid(db, [(500, 100)])
    if not at_once:
        await look(db, **{"0": a_proof(100, 0)})
    async with db.write() as tx:
        await ingest.record_page(tx, CHAIN, [renamed("again")], now=NOW, late_ms=LATE_MS)

    places = {"again": a_proof(100, 0)} | ({"0": a_proof(100, 0)} if at_once else {})
    first, second = await look(db, **places)

    assert (first[1], second[1:]) == (True, (False, "no_transfer_log"))
    async with db.read() as tx:
        assert (await intents.get_many(tx, ["order-1"]))["order-1"].amount_received == 500


async def test_logs_at_other_places_are_others_and_one_that_is_gone_leaves_its_place(db: Database) -> None:
    await paid(db, [(1, 100)])
    await look(db, **{"0": a_proof(100, 0)})
    async with db.write() as tx:
        found = [renamed("beside"), renamed("above", block=101)]
        await ingest.record_page(tx, CHAIN, found, now=NOW, late_ms=LATE_MS)
    seen = await look(db, beside=a_proof(100, 1), above=a_proof(101, 0))
    assert [counted for _, counted, _ in seen] == [True, True, True]

    async with db.write() as tx:
        await tx.execute(update(tables.transfers).values(counted=False, reason="reorged"))
        assert await proofs.whose(tx, {("nothing", 3, 0), proofs.place_of(a_proof(100, 0))}) == {}
