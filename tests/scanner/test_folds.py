"""Rows of nobody's transfers: what each block brought to them, and what is left when blocks go."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from chains.types import Cursor, Rail, Transfer
from kernel.store.database import Database
from scanner import ingest
from scanner.model import Reason
from scanner.reading import folding
from scanner.store import folds, intents, retention, tables
from tests.scanner.facts import CHAIN, LATE_MS, NOW, a_hash, a_transfer, an_intent

HOUR_MS = 3_600_000


def stray(block: int, number: int = 0, *, branch: str = "a", shop: int = 1, amount: int = 10) -> Transfer:
    """Return a stranger's payment through the proxy: the one of that number in a block of a branch."""
    return a_transfer(
        an_intent("nobody"),
        reference=a_hash("stranger", block, number, shop),
        tx_hash=a_hash("tx", block, number, shop),
        event_key=f"key-{number}",
        log_index=number,
        block_number=block,
        block_hash=a_hash("block", block, branch),
        destination=f"0x{shop:040x}",
        amount=amount,
    )


async def read(db: Database, found: Collection[Transfer], now: int = NOW) -> None:
    async with db.write() as tx:
        await ingest.record_page(tx, CHAIN, list(found), now=now, late_ms=LATE_MS)


async def rewind(db: Database, to: int, gone: Iterable[int], branch: str = "a") -> int:
    blocks = [Cursor(number, a_hash("block", number, branch)) for number in gone]
    async with db.write() as tx:
        return (await ingest.rewind(tx, CHAIN, Rail.PROXY, Cursor(to), gone=blocks, now=NOW)).reorged


async def listed(db: Database) -> list[tuple[int, int, str, str]]:
    """Return each row: how many, their sum, the first and the newest transaction."""
    row = tables.transfers.c
    asked = select(row.times, row.amount, row.tx_hash, row.last_tx_hash).where(row.fold.is_not(None)).order_by(row.id)
    async with db.read() as tx:
        return [tuple(each) for each in await tx.execute(asked)]


async def remembered(db: Database) -> tuple[int, int]:
    """Return how many transfers are remembered, and in how many blocks."""
    async with db.read() as tx:
        packed = [orjson.loads(parts) for parts in (await tx.execute(select(tables.fold_blocks.c.parts))).scalars()]
    return sum(part[5] for parts in packed for part in parts), len(packed)


async def test_a_block_is_one_row_however_many_strangers_pay_in_it(db: Database) -> None:
    found = [stray(block, number) for block in (100, 101) for number in range(300)]
    for _ in range(3):  # what is read again adds nothing
        await read(db, found)

    assert await listed(db) == [(600, 6000, stray(100).tx_hash, stray(101, 299).tx_hash)]
    assert await remembered(db) == (600, 2)


async def test_what_a_reorganisation_leaves_is_named_by_what_is_the_first_and_the_newest_now(db: Database) -> None:
    shown = [stray(block, number) for block in range(100, 106) for number in range(2)]
    await read(db, shown)

    assert await rewind(db, 103, gone=[104, 105]) == 4
    assert await listed(db) == [(8, 80, stray(100).tx_hash, stray(103, 1).tx_hash)]

    await read(db, [stray(104, 7, branch="b")])
    assert await listed(db) == [(9, 90, stray(100).tx_hash, stray(104, 7).tx_hash)]

    assert await rewind(db, 99, gone=[100, 101]) == 4
    assert await listed(db) == [(5, 50, stray(102).tx_hash, stray(104, 7).tx_hash)]

    assert await rewind(db, 99, gone=[102, 103]) == 4
    assert await rewind(db, 99, gone=[104], branch="b") == 1
    assert await listed(db) == []
    assert await remembered(db) == (0, 0)


@pytest.mark.parametrize("newest", [True, False])
async def test_the_end_of_a_row_is_found_behind_more_blocks_of_others_than_are_looked_at_in_one_go(
    db: Database, monkeypatch: pytest.MonkeyPatch, newest: bool
) -> None:
    mine = [100, 140] if newest else [160, 200]
    others = [stray(block, shop=2) for block in range(100, 201)]
    await read(db, [*others, *(stray(block) for block in mine), stray(200 if newest else 100, 1)])
    monkeypatch.setattr(folds, "_UPWARDS", folds.in_steps(upwards=True, step=7))
    monkeypatch.setattr(folds, "_DOWNWARDS", folds.in_steps(upwards=False, step=7))
    monkeypatch.setattr(folds, "STEP", 7)

    async with db.write() as tx:
        held = await folds.parts_at(tx, CHAIN, {a_hash("block", 200 if newest else 100, "a")})
        (gone,) = [part for part in held.values() if part.event_key == "key-1"]
        await folds.take_off(tx, CHAIN, held, [gone], now=NOW)

    first, last = (100, 140) if newest else (160, 200)
    mine_left = (2, 20, stray(first).tx_hash, stray(last).tx_hash)
    others_left = (101, 1010, stray(100, shop=2).tx_hash, stray(200, shop=2).tx_hash)
    assert sorted(await listed(db)) == sorted([mine_left, others_left])


async def test_a_row_whose_end_is_too_far_below_names_none_that_is_gone(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walk has a bound: the row once went on naming a transaction that had left the chain."""
    others = [stray(block, shop=2) for block in range(110, 200)]
    await read(db, [stray(100), stray(104), *others, stray(200)])
    monkeypatch.setattr(folds, "_DOWNWARDS", folds.in_steps(upwards=False, step=7))
    monkeypatch.setattr(folds, "STEP", 7)
    monkeypatch.setattr(folds, "MOST_STEPS", 3)

    assert await rewind(db, 199, gone=[200]) == 1

    first = stray(100).tx_hash
    assert (2, 20, first, first) in await listed(db)
    monkeypatch.setattr(folds, "MOST_STEPS", 20)
    await read(db, [stray(201, 5)])
    assert await rewind(db, 200, gone=[201]) == 1
    assert (2, 20, first, stray(104).tx_hash) in await listed(db)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_goes_and_comes_rows_say_what_the_blocks_that_are_left_hold(db: Database, seed: int) -> None:
    """Against a plain model: the set of transfers that stand on the chain."""
    chance = random.Random(seed)
    standing: dict[int, list[Transfer]] = {}
    branch_of: dict[int, str] = {}
    for step in range(25):
        if standing and chance.random() < 0.35:
            lowest = chance.choice(sorted(standing))
            gone = [number for number in standing if number >= lowest]
            for number in gone:
                assert await rewind(db, lowest - 1, [number], branch_of[number]) == len(standing.pop(number))
        block = max(standing, default=99) + chance.randint(1, 3)
        branch_of[block] = f"{step}"
        paid = {(chance.randrange(4), chance.choice([1, 2, 3])) for _ in range(chance.randint(1, 5))}
        standing[block] = [
            stray(block, number, shop=shop, branch=f"{step}", amount=chance.randint(1, 99)) for number, shop in paid
        ]
        again = chance.sample(sorted(standing), k=min(len(standing), 3))
        await read(db, [transfer for number in {*again, block} for transfer in standing[number]])

        model: dict[str, list[Transfer]] = {}
        for number in sorted(standing):
            for transfer in sorted(standing[number], key=lambda t: (t.log_index or 0, t.event_key)):
                model.setdefault(transfer.destination, []).append(transfer)
        rows = sorted((len(each), sum(t.amount for t in each), each[0].tx_hash) for each in model.values())
        assert sorted(row[:3] for row in await listed(db)) == rows
        newest = {max(t.block_number for t in each) for each in model.values()}
        named = {stray.tx_hash: stray.block_number for each in model.values() for stray in each}
        assert {named[row[3]] for row in await listed(db)} == newest
        assert await remembered(db) == (sum(map(len, standing.values())), len(standing))


async def test_what_a_block_brought_to_a_row_that_was_forgotten_is_no_other_rows(db: Database) -> None:
    """A row goes by its first transfer; those of the same day that came later are still remembered by their blocks."""
    await read(db, [stray(100)], now=NOW)
    await read(db, [stray(101)], now=NOW + HOUR_MS)
    async with db.write() as tx:
        ids = await retention.old_strays(tx, before=NOW + 1, limit=10)
        assert await retention.forget_strays(tx, ids) == 1
        assert await retention.forget_stray_blocks(tx, before=NOW + 1, limit=10) == 1
    assert await remembered(db) == (1, 1)
    await read(db, [stray(300, shop=2, amount=7)])
    (other,) = await listed(db)

    assert await rewind(db, 100, gone=[101]) == 0
    assert await listed(db) == [other]
    await read(db, [stray(101)])
    assert sorted(row[:2] for row in await listed(db)) == [(1, 7), (1, 10)]


async def test_a_transaction_that_stood_in_two_blocks_which_go_together_leaves_nothing(db: Database) -> None:
    """Two endpoints on two branches showed it before either was seen to have left the chain."""
    await read(db, [stray(99), stray(100)])
    await read(db, [stray(100, branch="b"), stray(100, 1, branch="b")])
    assert await remembered(db) == (4, 3)

    blocks = [Cursor(100, a_hash("block", 100, branch)) for branch in ("a", "b")]
    async with db.write() as tx:
        gone = (await ingest.rewind(tx, CHAIN, Rail.PROXY, Cursor(99), gone=blocks, now=NOW)).reorged

    assert gone == 3
    assert await listed(db) == [(1, 10, stray(99).tx_hash, stray(99).tx_hash)]
    assert await remembered(db) == (1, 1)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)), max_size=8))
def test_transfers_that_are_added_up_in_one_go_are_what_each_would_be_alone(facts: list[tuple[int, int, int]]) -> None:
    strays = [stray(block, number, shop=shop, amount=block) for block, number, shop in facts]
    strays += [t._replace(event_key=f"{t.event_key}-again") for t in strays[::3]]
    found = folding.grouped(strays)
    assert found.keys() == {(t.tx_hash, folding.kind_of(t)) for t in strays}
    for key, group in found.items():
        mine = {t.event_key: t for t in strays if (t.tx_hash, folding.kind_of(t)) == key}
        assert (group.times, group.amount) == (len(mine), sum(t.amount for t in mine.values()))
        assert (set(group.keys), group.first) == (mine.keys(), min(mine.values(), key=folding.order))


@pytest.mark.parametrize("reference", ["an intent's", "nobody's"])
async def test_what_moves_behind_a_payment_is_neither_counted_nor_written_when_its_block_is_read_again(
    sqlite: Database, reference: str
) -> None:
    intent = an_intent()
    paid = a_transfer(intent) if reference == "an intent's" else a_transfer(reference="0x" + "5a" * 32)
    plain = paid._replace(event_key="1", log_index=1, reference=None)
    found = []
    for page in ([paid], [plain], [plain], [paid, plain]):
        async with sqlite.write() as tx:
            if not found:
                await intents.add_many(tx, [intent])
            before = (await tx.exec_driver_sql("SELECT total_changes()")).scalar_one()
            recorded = await ingest.record_page(tx, CHAIN, page, now=NOW, late_ms=LATE_MS)
            changed = (await tx.exec_driver_sql("SELECT total_changes()")).scalar_one() - before
            found.append((dict(recorded.rejected), changed))

    assert found[1:] == [({}, 0)] * 3


async def test_what_moves_behind_a_payment_and_was_read_before_it_is_taken_off(db: Database) -> None:
    paid = a_transfer(an_intent())
    plain = paid._replace(event_key="1", log_index=1, reference=None)
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent()])
        before = await ingest.record_page(tx, CHAIN, [plain], now=NOW, late_ms=LATE_MS)
        behind = await ingest.record_page(tx, CHAIN, [paid], now=NOW, late_ms=LATE_MS)
        again = await ingest.record_page(tx, CHAIN, [plain], now=NOW, late_ms=LATE_MS)
        kinds = (await tx.execute(select(tables.transfers.c.fold))).scalars().all()
        held = await folds.parts_of(tx, CHAIN, [paid])

    assert [dict(each.rejected) for each in (before, behind, again)] == [{Reason.UNKNOWN_REFERENCE: 1}, {}, {}]
    assert (kinds, held) == ([None], {})


@pytest.mark.parametrize("reference", ["an intent's", "nobody's"])
@pytest.mark.parametrize("order", ["paid, plain", "plain, paid, plain", "both", "both, plain"])
async def test_what_else_a_payments_transaction_sends_is_listed_alone(db: Database, reference: str, order: str) -> None:
    """For a unit sent beside it the whole payment was listed as unapplied: money to be asked back that was counted."""
    intent = an_intent()
    paid = a_transfer(intent) if reference == "an intent's" else a_transfer(reference="0x" + "5a" * 32)
    behind = paid._replace(event_key="1", log_index=1, reference=None)
    more = behind._replace(event_key="2", log_index=2, amount=1)
    pages = {"paid": [paid], "plain": [behind, more], "both": [paid, behind, more]}
    async with db.write() as tx:
        await intents.add_many(tx, [intent])
    counted = []
    for page in [*order.split(", "), "paid", "plain", "both", "paid"]:
        async with db.write() as tx:
            recorded = await ingest.record_page(tx, CHAIN, pages[page], now=NOW, late_ms=LATE_MS)
            counted.append(sum(recorded.rejected.values()))

    async with db.read() as tx:
        rows = await tx.execute(
            select(tables.transfers.c.times, tables.transfers.c.amount).where(tables.transfers.c.reference.is_(None))
        )
        assert [(row.times, int(row.amount)) for row in rows] == [(1, 1)]
    assert counted[-4:] == [0, 0, 0, 0]


async def test_what_a_token_with_a_fee_moves_behind_a_payment_is_not_listed_however_it_is_read(db: Database) -> None:
    paid = a_transfer(an_intent())
    behind = paid._replace(event_key="1", log_index=1, reference=None, amount=990)
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent()])
        for page in ([behind], [paid], [behind], [paid, behind]):
            await ingest.record_page(tx, CHAIN, page, now=NOW, late_ms=LATE_MS)
        assert (await tx.execute(select(tables.transfers.c.fold))).scalars().all() == [None]


async def test_a_transaction_read_by_itself_takes_off_nothing_that_is_listed(db: Database) -> None:
    """It tells of an address of a proxy intent only what is behind no payment."""
    paid = a_transfer(an_intent())
    behind = paid._replace(event_key="1", log_index=1, reference=None)
    more = behind._replace(event_key="2", log_index=2, amount=700)
    async with db.write() as tx:
        await intents.add_many(tx, [an_intent()])
        for page in ([paid], [behind, more], [paid, more]):
            await ingest.record_page(tx, CHAIN, page, now=NOW, late_ms=LATE_MS)
        held = await folds.parts_of(tx, CHAIN, [paid])
    assert [(part.times, part.amount) for part in held.values()] == [(1, 700)]


async def test_however_it_is_read_what_is_listed_is_what_moved_behind_no_payment(sqlite: Database) -> None:
    async with sqlite.write() as tx:
        await intents.add_many(tx, [an_intent()])
    for seed in range(60):
        choice = random.Random(seed)
        one = a_transfer(an_intent(), tx_hash=a_hash("tx", seed), block_number=seed, block_hash=a_hash("b", seed))
        logs = [
            one._replace(event_key=str(number), log_index=number, amount=choice.choice([1, 5, 1000]), reference=None)
            for number in range(choice.randint(1, 5))
        ]
        behind = logs[: choice.randint(0, 3)]
        events = [log._replace(event_key=f"{log.event_key}-paid", reference=one.reference) for log in behind]
        pages = [choice.choice([events, logs, events + logs]) for _ in range(choice.randint(0, 4))]
        counted = []
        for page in [*pages, events, logs, events, logs]:
            async with sqlite.write() as tx:
                shown = choice.sample(page, len(page))
                recorded = await ingest.record_page(tx, CHAIN, shown, now=NOW, late_ms=LATE_MS)
                counted.append(recorded.rejected[Reason.UNKNOWN_REFERENCE])
        async with sqlite.read() as tx:
            listed = [(part.times, part.amount) for part in (await folds.parts_of(tx, CHAIN, [one])).values()]
        rest = [log.amount for log in logs[len(behind) :]]
        assert (listed, counted[-2:]) == ([(len(rest), sum(rest))] if rest else [], [0, 0]), seed
