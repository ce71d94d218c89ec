"""Proofs of payments at rest: a receipt once, and no stranger's dust that keeps a payment from being proven."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import func, select, update

from chains.types import Rail, TransferProof
from kernel.store.database import Database
from marketplace.risk import payment_proofs
from scanner import ingest, services
from scanner.store import intents, proofs, retention, tables, transfers
from tests.scanner.facts import CHAIN, LATE_MS, NOW, a_hash, a_transfer, an_intent

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
