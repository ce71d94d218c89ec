"""Writing down a page: what is counted, what is logged, and what follows for intents."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import orjson
import pytest
from sqlalchemy import select
from sqlalchemy.dialects import sqlite

from chains.types import Cursor, Rail, Transfer, Verification, VerificationOutcome
from kernel.store.database import Database, Tx
from scanner import ingest, settlement, verdicts
from scanner.model import RETURNABLE, EventType, Intent, IntentStatus, Reason, StoredTransfer
from scanner.page_result import LOGGED, PageResult
from scanner.reading import folding
from scanner.reading.folding import Judged
from scanner.store import intents, tables, transfers
from tests.scanner.facts import CHAIN, ISSUER, LATE_MS, NOW, OTHER_TOKEN, SQLITE_ALONE, a_hash, a_transfer, an_intent

FIRST = an_intent("order-1")
HUNDRED = Cursor(100, a_hash("block", 100, "a"))
SECOND = an_intent("order-2")


async def store(db: Database, *new: Intent) -> None:
    async with db.write() as tx:
        await intents.add_many(tx, new)


async def read(db: Database, *found: Transfer, now: int = NOW) -> PageResult:
    async with db.write() as tx:
        return await ingest.record_page(tx, CHAIN, found, now=now, late_ms=LATE_MS)


async def look(
    db: Database, *looked: tuple[StoredTransfer, VerificationOutcome], before: dict[str, Any] | None = None
) -> PageResult:
    """Apply verdicts and settle, as the confirmer does; `before` is what happened to the intent meanwhile."""
    async with db.write() as tx:
        if before:
            await intents.change(tx, "order-1", list(IntentStatus), NOW, **before)
        seen = [(s, Verification(as_fact(s), outcome, s.amount)) for s, outcome in looked]
        recorded, passed = await verdicts.apply_verdicts(tx, CHAIN, seen, now=NOW, late_ms=LATE_MS)
        await settlement.settle(tx, {s.intent_id or "" for s, _ in looked}, {t.key for t in passed}, recorded, now=NOW)
        return recorded


def as_fact(stored: StoredTransfer) -> Transfer:
    fact = Transfer(**{name: getattr(stored, name) for name in Transfer._fields})
    return fact if fact.block_time is not None else fact._replace(block_time=NOW // 1000)


async def intent(db: Database, intent_id: str = "order-1") -> Intent:
    async with db.read() as tx:
        return (await intents.get_many(tx, [intent_id]))[intent_id]


async def held(db: Database, intent_id: str = "order-1") -> list[StoredTransfer]:
    async with db.read() as tx:
        return (await transfers.of_intents(tx, [intent_id]))[intent_id]


async def event_types(db: Database) -> list[str]:
    async with db.read() as tx:
        return sorted((await tx.execute(select(tables.events.c.event_type))).scalars())


def at(transfer: Transfer, block: int, index: int = 0, branch: str = "a") -> Transfer:
    return transfer._replace(
        block_number=block, block_hash=a_hash("block", block, branch), log_index=index, event_key=str(index)
    )


async def test_a_transaction_that_says_less_in_another_block_is_taken_back_where_it_fell_silent(db: Database) -> None:
    await store(db, FIRST, SECOND)
    await read(db, at(a_transfer(FIRST), 100), at(a_transfer(SECOND), 100, 1))
    assert (await intent(db, "order-2")).status is IntentStatus.CONFIRMING

    await read(db, at(a_transfer(FIRST), 101, branch="b"))

    assert (await intent(db, "order-1")).block_number == 101
    silent = await intent(db, "order-2")
    assert (silent.status, silent.amount_received, silent.tx_hash) == (IntentStatus.PENDING, 0, None)
    assert [t.reason for t in await held(db, "order-2")] == [Reason.REORGED]


async def test_what_was_taken_back_and_is_seen_in_the_same_block_again_counts_again(db: Database) -> None:
    await store(db, FIRST)
    await read(db, at(a_transfer(FIRST), 100))
    async with db.write() as tx:
        await ingest.rewind(tx, CHAIN, Rail.PROXY, Cursor(99), gone=[HUNDRED], now=NOW)
    assert (await intent(db)).status is IntentStatus.PENDING

    await read(db, at(a_transfer(FIRST), 100))

    assert (await intent(db)).status is IntentStatus.CONFIRMING
    assert [(t.reason, t.counted) for t in await held(db)] == [(None, True)]


def pile(order: str, block: int, branch: str = "a") -> list[Transfer]:
    """Return worthless transfers of one transaction that say the same, numbered in one order or another."""
    sent = [a_transfer(FIRST, amount=0, tx_hash=a_hash("tx-1"))] * len(order)
    return [
        at(each, block, place, branch)._replace(event_key=f"equal-{name}")
        for place, (each, name) in enumerate(zip(sent, order, strict=True))
    ]


@pytest.mark.parametrize("again", ["210", "120", "012", "3012"])
@pytest.mark.parametrize("before", ["012", "12", "1"])
async def test_a_pile_that_is_in_another_block_is_listed_once_whichever_of_it_is_the_first(
    db: Database, before: str, again: str
) -> None:
    await store(db, FIRST)
    await read(db, *pile(before, 100))
    (first,) = await held(db)
    async with db.write() as tx:
        await ingest.rewind(tx, CHAIN, Rail.PROXY, Cursor(99), gone=[HUNDRED], now=NOW)

    await read(db, *pile(again, 101, "b"))

    (listed,) = await held(db)
    assert (listed.reason, listed.times, listed.block_number) == (Reason.ZERO_AMOUNT, len(again), 101)
    assert listed.id == first.id  # with what an operator noted of it


async def test_a_pile_of_which_two_rows_are_gone_takes_neither_the_name_of_the_other(db: Database) -> None:
    await store(db, FIRST)
    for order, block, branch in (("012", 100, "a"), ("1", 101, "b")):
        await read(db, *pile(order, block, branch))
        gone = [Cursor(block, a_hash("block", block, branch))]
        async with db.write() as tx:
            await ingest.rewind(tx, CHAIN, Rail.PROXY, Cursor(99), gone=gone, now=NOW)

    await read(db, *pile("01", 102, "c"))

    assert [(each.reason, each.times) for each in await held(db)] == [(Reason.ZERO_AMOUNT, 2)]


async def test_a_pile_that_comes_back_as_a_part_is_listed_as_far_as_it_is_back(db: Database) -> None:
    await store(db, FIRST)
    await read(db, *pile("210", 100))
    async with db.write() as tx:
        await ingest.rewind(tx, CHAIN, Rail.PROXY, Cursor(99), gone=[HUNDRED], now=NOW)

    await read(db, *pile("01", 101, "b"))
    await read(db, *pile("012", 101, "b"))

    assert [(each.reason, each.times) for each in await held(db)] == [(Reason.ZERO_AMOUNT, 3)]


async def test_what_is_back_in_another_block_is_not_compared_with_all_that_is_gone(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3,000 transfers of one unit that a reorganisation moved once stopped the whole process for eight seconds."""
    count, looked = 300, 0

    def member(event_key: str) -> str:
        nonlocal looked
        looked += 1
        return event_key

    monkeypatch.setattr(folding, "member", member)
    await store(db, FIRST)
    dust = [a_transfer(FIRST, amount=1, tx_hash=a_hash("tx-1")) for _ in range(count)]
    for block, branch in ((100, "a"), (101, "b")):
        await read(db, *(at(each, block, place, branch) for place, each in enumerate(dust)))

    assert {(each.reason, each.block_number) for each in await held(db)} == {(Reason.UNDERPAID, 101)}
    assert count <= looked <= 10 * count


def of_tokens(number: int, *, of: Intent = FIRST) -> list[Transfer]:
    """Return two transfers of each of so many wrong tokens in one transaction: of the first 1, of the next 2 units."""
    found = [
        a_transfer(of, tx_hash=a_hash("tx-1"), token=f"0x{place:040x}", amount=place + 1) for place in range(number)
    ]
    return [at(each, 100, place) for place, each in enumerate(found + found)]


@pytest.mark.parametrize("rail", [Rail.DIRECT, Rail.PROXY])
@pytest.mark.parametrize("number", [2, 40])
@pytest.mark.parametrize("start", [0, 1])
async def test_two_wrong_tokens_of_one_transaction_are_never_one_sum(
    db: Database, rail: Rail, number: int, start: int
) -> None:
    """Units of one token were added to those of another, under its name."""
    mine = an_intent("order-1", rail=rail)
    await store(db, mine)
    shown = of_tokens(number, of=mine)
    for page in (shown[start:2], shown, shown[::-1]):
        await read(db, *page)

    token = f"0x{start:040x}"  # of what was read first
    wanted = [(Reason.WRONG_TOKEN, token, 2 * number, 2 * (start + 1))]
    assert [(each.reason, each.token, each.times, each.amount) for each in await held(db)] == wanted


async def test_what_stands_for_all_beyond_twenty_is_the_sum_of_its_own_token(db: Database) -> None:
    await store(db, FIRST)
    for place in range(30):
        token = f"0x{place % 2:040x}"
        await read(db, at(a_transfer(FIRST, tx_hash=a_hash(f"tx-{place}"), token=token, amount=place + 1), 100 + place))

    async with db.read() as tx:
        *_, last = await transfers.unmatched(tx, chain_id=None, reason=None, after=0, limit=100)
    assert (last.times, last.token) == (10, f"0x{0:040x}")
    assert last.amount == sum(range(21, 31, 2))


async def test_going_back_leaves_alone_what_is_still_in_its_block(db: Database) -> None:
    await store(db, FIRST)
    await read(db, at(a_transfer(FIRST), 100))

    async with db.write() as tx:
        other = Cursor(100, a_hash("block", 100, "b"))
        recorded = await ingest.rewind(tx, CHAIN, Rail.PROXY, Cursor(99), gone=[other], now=NOW)

    assert (recorded.reorged, (await intent(db)).status) == (0, IntentStatus.CONFIRMING)


async def test_a_log_that_pays_somebody_else_in_another_block_is_theirs(db: Database) -> None:
    await store(db, FIRST, SECOND)
    await read(db, at(a_transfer(FIRST), 100))

    await read(db, at(a_transfer(SECOND), 101, branch="b"))

    assert (await intent(db, "order-1")).status is IntentStatus.PENDING
    assert (await intent(db, "order-2")).status is IntentStatus.CONFIRMING
    assert (len(await held(db, "order-1")), len(await held(db, "order-2"))) == (0, 1)


async def test_what_is_seen_again_is_counted_once(db: Database) -> None:
    await store(db, FIRST)
    good, bad = at(a_transfer(FIRST), 100), at(a_transfer(FIRST, token=OTHER_TOKEN), 100, 1)

    first, again = await read(db, good, bad), await read(db, good, bad)

    assert (first.matched, first.rejected[Reason.WRONG_TOKEN]) == (1, 1)
    assert (again.matched, again.rejected.total(), again.queued) == (0, 0, 0)


async def test_what_moved_is_no_second_match(db: Database) -> None:
    await store(db, FIRST)
    await read(db, at(a_transfer(FIRST), 100))

    assert (await read(db, at(a_transfer(FIRST), 101, branch="b"))).matched == 0


async def test_a_forgotten_intents_payment_belongs_to_nobody(db: Database) -> None:
    await store(db, FIRST._replace(status=IntentStatus.EXPIRED, expired_at=NOW - LATE_MS - 1))

    recorded = await read(db, a_transfer(FIRST))

    assert recorded.rejected == {Reason.UNKNOWN_REFERENCE: 1}
    assert await held(db) == []


async def test_another_chains_intent_is_not_found_by_the_same_reference(db: Database) -> None:
    await store(db, FIRST._replace(chain_id=CHAIN + 1))

    assert (await read(db, a_transfer(FIRST))).rejected == {Reason.UNKNOWN_REFERENCE: 1}


async def test_lines_of_the_log_have_a_limit_whoever_sends(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await store(db, FIRST)
    hashes = [a_hash("tx", number) for number in range(LOGGED + 30)]
    strangers = [at(a_transfer(SECOND, destination=f"0x{number:040x}"), 100, number) for number, _ in enumerate(hashes)]
    ours = [at(a_transfer(FIRST, amount=0, tx_hash=tx_hash), 101) for tx_hash in hashes]

    recorded = await read(db, *strangers, *ours)

    lines = [(r.levelname, r.getMessage()) for r in caplog.records]
    for level, reason in (("INFO", Reason.UNKNOWN_REFERENCE), ("WARNING", Reason.ZERO_AMOUNT)):
        assert lines.count((level, f"REJECT {reason}")) == LOGGED
        assert lines.count((level, f"REJECT {reason} and more of them")) == 1
        assert recorded.rejected[reason] == LOGGED + 30


@pytest.mark.parametrize(
    ("amounts", "events"),
    [
        ((1000,), [EventType.CONFIRMING, EventType.DETECTED]),
        ((300,), [EventType.DETECTED, EventType.PARTIAL]),
        ((300, 700), [EventType.CONFIRMING, EventType.DETECTED, EventType.DETECTED, EventType.PARTIAL]),
        ((300, 300), [EventType.DETECTED, EventType.DETECTED, EventType.PARTIAL, EventType.PARTIAL]),
        ((1000, 5), [EventType.ANOMALY, EventType.CONFIRMING, EventType.DETECTED]),
        ((0,), [EventType.ANOMALY]),
    ],
)
async def test_each_step_is_reported_once_to_whoever_asked(
    db: Database, amounts: tuple[int, ...], events: list[EventType]
) -> None:
    wanted = (EventType.DETECTED, EventType.CONFIRMING, EventType.PARTIAL, EventType.ANOMALY)
    await store(db, FIRST._replace(events=wanted))

    for number, amount in enumerate(amounts):
        sent = at(a_transfer(FIRST, amount=amount, tx_hash=a_hash("tx", number)), 100 + number)
        await read(db, sent)
        await read(db, sent)

    assert await event_types(db) == events


async def test_a_payment_is_reported_as_confirming_once_although_an_earlier_one_turns_up(db: Database) -> None:
    await store(db, FIRST._replace(events=(EventType.CONFIRMING,)))
    await read(db, at(a_transfer(FIRST), 101))

    recorded = await read(db, at(a_transfer(FIRST, tx_hash=a_hash("tx", 2)), 100))

    assert (await intent(db)).block_number == 100
    assert (recorded.queued, await event_types(db)) == (0, [EventType.CONFIRMING])


async def test_a_partial_sum_that_did_not_change_is_not_reported_again(db: Database) -> None:
    await store(db, FIRST._replace(events=(EventType.PARTIAL,)))
    await read(db, at(a_transfer(FIRST, amount=300), 100))

    recorded = await read(db, at(a_transfer(FIRST, amount=0, tx_hash=a_hash("tx", 2)), 101))

    assert (recorded.queued, await event_types(db)) == (0, [EventType.PARTIAL])


async def test_a_part_that_was_gone_and_is_there_again_is_reported_again(db: Database) -> None:
    """Whoever took it off when it was gone waits for as much as before."""
    await store(db, FIRST._replace(events=(EventType.PARTIAL, EventType.REORGED)))
    part = a_transfer(FIRST, amount=300)
    await read(db, at(part, 100))
    async with db.write() as tx:
        await ingest.rewind(tx, CHAIN, Rail.PROXY, Cursor(99), gone=[HUNDRED], now=NOW)

    await read(db, at(part, 101, branch="b"))

    assert await event_types(db) == [EventType.PARTIAL, EventType.PARTIAL, EventType.REORGED]


async def test_nobody_is_notified_who_did_not_ask(db: Database) -> None:
    await store(db, FIRST, SECOND)

    recorded = await read(db, at(a_transfer(FIRST), 100), at(a_transfer(SECOND, amount=0), 100, 1))

    assert (await event_types(db), recorded.queued) == ([], 0)


async def test_a_fee_below_the_one_issued_adds_nothing(db: Database) -> None:
    await store(db, FIRST._replace(fee_amount=7, fee_address=ISSUER))

    await read(db, at(a_transfer(FIRST, fee_amount=6, fee_address=ISSUER), 100))
    assert (await intent(db)).amount_received == 0
    await read(db, at(a_transfer(FIRST, fee_amount=7, fee_address=ISSUER, tx_hash=a_hash("tx", 2)), 101))

    assert (await intent(db)).status is IntentStatus.CONFIRMING
    assert [t.reason for t in await held(db)] == [Reason.UNDERPAID, None]


async def test_a_verdict_about_a_transfer_that_moved_meanwhile_settles_nothing(db: Database) -> None:
    await store(db, FIRST)
    await read(db, at(a_transfer(FIRST), 100))
    (before,) = await held(db)
    await read(db, at(a_transfer(FIRST), 101, branch="b"))

    recorded = await look(db, (before, VerificationOutcome.CREDITED))

    assert recorded.confirmed == []
    (after,) = await held(db)
    assert (after.verified, (await intent(db)).status) == (False, IntentStatus.CONFIRMING)
    assert (await look(db, (after, VerificationOutcome.CREDITED))).confirmed != []


async def test_a_refusal_of_a_transfer_that_moved_meanwhile_takes_nothing_away(db: Database) -> None:
    await store(db, FIRST)
    await read(db, at(a_transfer(FIRST), 100))
    (before,) = await held(db)
    await read(db, at(a_transfer(FIRST), 101, branch="b"))

    await look(db, (before, VerificationOutcome.SHORT))

    assert (await intent(db)).status is IntentStatus.CONFIRMING
    assert [t.reason for t in await held(db)] == [None]


@pytest.mark.parametrize("outcome", [VerificationOutcome.CREDITED, VerificationOutcome.SHORT])
async def test_a_verdict_about_a_transfer_that_was_taken_back_meanwhile_changes_nothing(
    db: Database, outcome: VerificationOutcome
) -> None:
    await store(db, FIRST)
    await read(db, at(a_transfer(FIRST), 100))
    (before,) = await held(db)
    async with db.write() as tx:
        await ingest.rewind(tx, CHAIN, Rail.PROXY, Cursor(99), gone=[HUNDRED], now=NOW)

    assert (await look(db, (before, outcome))).confirmed == []

    (after,) = await held(db)
    assert (after.reason, after.verified, after.counted) == (Reason.REORGED, False, False)


REFUSALS = [
    (VerificationOutcome.SHORT, Reason.FEE_ON_TRANSFER),
    (VerificationOutcome.NO_TRANSFER_LOG, Reason.NO_TRANSFER_LOG),
    (VerificationOutcome.REVERTED, Reason.REVERTED),
    (VerificationOutcome.GONE, Reason.REORGED),
]


@pytest.mark.parametrize(("outcome", "reason"), REFUSALS)
async def test_a_duplicate_that_never_came_is_no_duplicate(
    db: Database, outcome: VerificationOutcome, reason: Reason
) -> None:
    await store(db, FIRST)
    await read(db, at(a_transfer(FIRST), 100), at(a_transfer(FIRST), 100, 1))
    _, again = await held(db)
    assert again.reason is Reason.DUPLICATE

    recorded = await look(db, (again, outcome))

    assert [t.reason for t in await held(db)] == [None, reason]
    assert recorded.rejected == {reason: 1}
    assert (await intent(db)).status is IntentStatus.CONFIRMING


async def test_what_is_gone_at_the_second_look_is_reported_as_gone_alone(db: Database) -> None:
    """As an anomaly it would be money that lies there, beside where it comes back."""
    await store(db, FIRST._replace(events=(EventType.ANOMALY, EventType.REORGED)))
    await read(db, at(a_transfer(FIRST), 100), at(a_transfer(FIRST), 100, 1))
    _, again = await held(db)

    await look(db, (again, VerificationOutcome.GONE))

    assert await event_types(db) == [EventType.ANOMALY, EventType.REORGED]


async def test_a_duplicate_that_came_stays_one_and_is_not_looked_at_for_ever(db: Database) -> None:
    await store(db, FIRST)
    await read(db, at(a_transfer(FIRST), 100), at(a_transfer(FIRST), 100, 1))
    paid, again = await held(db)

    recorded = await look(db, (paid, VerificationOutcome.CREDITED), (again, VerificationOutcome.CREDITED))

    assert [done.amount_received for done in recorded.confirmed] == [1000]
    assert [(t.reason, t.verified, t.settled) for t in await held(db)] == [
        (None, True, True),
        (Reason.DUPLICATE, True, False),
    ]
    assert await unseen(db) == set()


async def test_a_duplicate_that_came_takes_the_place_of_a_first_payment_that_did_not(db: Database) -> None:
    await store(db, FIRST)
    await read(db, at(a_transfer(FIRST), 100), at(a_transfer(FIRST), 100, 1))
    paid, again = await held(db)

    first_look = await look(db, (paid, VerificationOutcome.REVERTED), (again, VerificationOutcome.CREDITED))
    assert first_look.confirmed == []
    _, next_one = await held(db)
    (done,) = (await look(db, (next_one, VerificationOutcome.CREDITED))).confirmed

    assert done.log_index == 1
    assert [t.reason for t in await held(db)] == [Reason.REVERTED, None]


@pytest.mark.parametrize("why", [Reason.LATE, Reason.CANCELLED])
async def test_what_came_after_the_end_keeps_its_reason_unless_it_never_came(db: Database, why: Reason) -> None:
    ended = NOW if why is Reason.CANCELLED else None
    await store(db, FIRST._replace(status=IntentStatus.EXPIRED, expired_at=NOW, cancelled_at=ended))
    late = (FIRST.expires_at or 0) // 1000 + 61
    await read(db, *(at(a_transfer(FIRST)._replace(block_time=late), 100, place) for place in range(2)))
    one, two = await held(db)
    assert [one.reason, two.reason] == [why, why]

    await look(db, (one, VerificationOutcome.CREDITED), (two, VerificationOutcome.REVERTED))

    assert [(t.reason, t.verified) for t in await held(db)] == [(why, True), (Reason.REVERTED, True)]
    assert (await intent(db)).status is IntentStatus.EXPIRED


async def test_what_was_wrong_with_a_transfer_stays_wrong_with_it_whenever_it_happened(db: Database) -> None:
    await store(db, FIRST._replace(status=IntentStatus.EXPIRED, expired_at=NOW, cancelled_at=NOW, expires_at=NOW))
    late = NOW // 1000 + 3600
    await read(db, at(a_transfer(FIRST)._replace(block_time=late), 100))
    (cancelled,) = await held(db)

    await look(db, (cancelled, VerificationOutcome.CREDITED))

    assert [(t.reason, t.verified) for t in await held(db)] == [(Reason.CANCELLED, True)]


async def test_whoever_was_notified_of_money_that_never_came_is_notified_of_that(db: Database) -> None:
    await store(db, FIRST._replace(status=IntentStatus.EXPIRED, expired_at=NOW, events=tuple(EventType)))
    await read(db, at(a_transfer(FIRST), 100)._replace(block_time=(FIRST.expires_at or 0) // 1000 + 61))
    (late,) = await held(db)

    await look(db, (late, VerificationOutcome.REVERTED))

    assert await event_types(db) == [EventType.ANOMALY, EventType.LATE]


@pytest.mark.parametrize("reason", list(Reason))
async def test_whoever_has_anything_that_could_be_sent_back_is_found_once_it_is_deep(
    db: Database, reason: Reason
) -> None:
    await store(db, FIRST)
    async with db.write() as tx:
        await transfers.add_many(tx, [Judged(at(a_transfer(FIRST), 100), "order-1", reason)], now=NOW)
    found = {"order-1"} if reason in RETURNABLE else set()

    deep = 100 + FIRST.confirmations_required - 1
    assert await unseen(db, tip=deep) == found
    assert await unseen(db, tip=deep - 1) == set()
    assert await unseen(db, tip=deep, final=99) == set()


async def unseen(db: Database, *, tip: int = 10_000, final: int = 10_000) -> set[str]:
    async with db.read() as tx:
        return await transfers.unseen(tx, CHAIN, tip=tip, final=final)


@SQLITE_ALONE
async def test_the_intents_of_a_page_are_found_by_each_of_its_references(db: Database) -> None:
    query = str(intents._BY_REFERENCE.compile(dialect=sqlite.dialect()))
    async with db.read() as tx:
        plan = [row.detail for row in await tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", ("[]", 1))]
    assert [step.partition(" (")[0] for step in plan] == [
        "SCAN asked VIRTUAL TABLE INDEX 1:",
        "SEARCH intents USING INDEX intents_topic_ref",
    ]


@SQLITE_ALONE
async def test_what_nobody_looked_at_again_is_found_without_walking_through_all_there_is(db: Database) -> None:
    query = str(transfers._UNSEEN.compile(dialect=sqlite.dialect()))
    async with db.read() as tx:
        plan = [row.detail for row in await tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", (1,) * query.count("?"))]
    assert any("USING INDEX transfers_unseen (chain_id=?" in step for step in plan), plan


async def test_a_sum_is_confirmed_only_when_all_of_it_was_looked_at_in_one_go(db: Database) -> None:
    await store(db, FIRST)
    await read(db, at(a_transfer(FIRST, amount=600), 100), at(a_transfer(FIRST, amount=400), 100, 1))
    one, two = await held(db)

    assert (await look(db, (one, VerificationOutcome.CREDITED))).confirmed == []
    assert (await look(db, (two, VerificationOutcome.CREDITED))).confirmed == []
    (done,) = (await look(db, (one, VerificationOutcome.CREDITED), (two, VerificationOutcome.CREDITED))).confirmed

    assert (done.intent_id, done.amount_received, done.log_index) == ("order-1", 1000, 1)
    assert [t.settled for t in await held(db)] == [True, True]


async def test_an_intent_is_settled_once(db: Database) -> None:
    await store(db, FIRST)
    await read(db, at(a_transfer(FIRST), 100))
    (paid,) = await held(db)
    await look(db, (paid, VerificationOutcome.CREDITED))

    again = await look(db, (paid, VerificationOutcome.CREDITED))

    assert again.confirmed == []
    assert await event_types(db) == [EventType.CONFIRMED]


@pytest.mark.parametrize("status", [IntentStatus.PENDING, IntentStatus.EXPIRED])
async def test_only_a_confirming_intent_is_confirmed(db: Database, status: IntentStatus) -> None:
    await store(db, FIRST)
    await read(db, at(a_transfer(FIRST), 100))
    (paid,) = await held(db)

    async with db.write() as tx:
        await transfers.set_verdict(tx, paid.id, verified=True)
        await intents.change(tx, "order-1", list(IntentStatus), NOW, status=status, expired_at=NOW)
        recorded = PageResult()
        await settlement.settle(tx, {"order-1"}, {paid.key}, recorded, now=NOW)

    assert recorded.confirmed == []
    assert (await intent(db)).status is status


async def test_what_settled_an_intent_keeps_settling_it_whatever_turns_up_below(db: Database) -> None:
    await store(db, FIRST)
    await read(db, at(a_transfer(FIRST), 100))
    await look(db, ((await held(db))[0], VerificationOutcome.CREDITED))
    before = await intent(db)

    await read(db, at(a_transfer(FIRST, tx_hash=a_hash("tx", 9)), 90))

    assert await intent(db) == before
    assert [(t.block_number, t.settled, t.reason) for t in await held(db)] == [
        (90, False, Reason.DUPLICATE),
        (100, True, None),
    ]


@pytest.mark.parametrize(
    ("amount", "events", "surplus"),
    [(1000, [EventType.CONFIRMED], None), (1001, [EventType.CONFIRMED, EventType.OVERPAID], 1)],
)
async def test_the_surplus_is_reported_with_the_confirmation_to_whoever_asked(
    db: Database, amount: int, events: list[EventType], surplus: int | None
) -> None:
    await store(db, FIRST._replace(events=(EventType.OVERPAID,)))
    await read(db, at(a_transfer(FIRST, amount=amount), 100))

    await look(db, ((await held(db))[0], VerificationOutcome.CREDITED))

    assert await event_types(db) == events
    assert (await held(db))[0].surplus == surplus


@pytest.mark.parametrize(("ahead_s", "latency"), [(0, 0.0), (-30, 30.0), (30, 0.0)])
async def test_how_long_it_took_is_never_less_than_nothing(db: Database, ahead_s: int, latency: float) -> None:
    await store(db, FIRST)
    await read(db, at(a_transfer(FIRST), 100)._replace(block_time=NOW // 1000 + ahead_s))

    recorded = await look(db, ((await held(db))[0], VerificationOutcome.CREDITED))

    assert recorded.latencies == [latency]


AHEAD_MS = 20 * 60 * 1000


@pytest.mark.parametrize("rail", list(Rail))
@pytest.mark.parametrize("parts", [(1000,), (400, 600)])
async def test_what_only_a_clock_that_was_ahead_made_look_too_early_counts_once_the_chain_has_shown_its_time(
    db: Database, rail: Rail, parts: tuple[int, ...]
) -> None:
    registered = {"created_at": NOW + AHEAD_MS, "chain_created_at": NOW + AHEAD_MS, "chain_position": None}
    await store(db, an_intent("order-1", rail=rail, **registered))
    order = await intent(db)
    paid = [
        at(a_transfer(order, amount=amount, block_time=NOW // 1000 + 30), 100, index)
        for index, amount in enumerate(parts)
    ]
    await read(db, *paid)
    assert {stored.reason for stored in await held(db)} == {Reason.BEFORE_INTENT}

    async with db.write() as tx:
        await ingest.measure_creations(tx, CHAIN, by=AHEAD_MS, latest=NOW + 60_000, now=NOW)

    assert (await intent(db)).status is IntentStatus.CONFIRMING
    assert [(stored.counted, stored.reason) for stored in await held(db)] == [(True, None)] * len(parts)


async def test_what_came_long_before_its_intent_stays_so_once_the_chain_has_shown_its_time(db: Database) -> None:
    registered = {"created_at": NOW + AHEAD_MS, "chain_created_at": NOW + AHEAD_MS, "chain_position": None}
    await store(db, an_intent("order-1", **registered))
    await read(db, at(a_transfer(await intent(db), block_time=NOW // 1000 - 601), 100))

    async with db.write() as tx:
        await ingest.measure_creations(tx, CHAIN, by=AHEAD_MS, latest=NOW + 60_000, now=NOW)

    assert (await intent(db)).status is IntentStatus.PENDING
    assert [stored.reason for stored in await held(db)] == [Reason.BEFORE_INTENT]


async def test_of_all_that_was_registered_by_a_clock_ahead_only_what_was_paid_early_is_loaded(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred thousand of them, loaded in one go, held up everybody for a second."""
    registered = {"created_at": NOW + AHEAD_MS, "chain_created_at": NOW + AHEAD_MS, "chain_position": None}
    await store(db, *(an_intent(f"order-{i}", **registered) for i in range(1, 4)))
    for order, block, after_s in (("order-1", 100, 30), ("order-2", 101, AHEAD_MS // 1000)):
        paid = a_transfer(await intent(db, order), block_time=NOW // 1000 + after_s, tx_hash=a_hash("tx", block))
        await read(db, at(paid, block))
    loaded: list[set[str]] = []
    get_many = intents.get_many

    async def spy(tx: Tx, ids: Collection[str]) -> dict[str, Intent]:
        loaded.append(set(ids))
        return await get_many(tx, ids)

    monkeypatch.setattr(intents, "get_many", spy)
    async with db.write() as tx:
        await ingest.measure_creations(tx, CHAIN, by=AHEAD_MS, latest=NOW + 60_000, now=NOW)

    assert set().union(*loaded) == {"order-1"}
    assert {(await intent(db, f"order-{i}")).chain_created_at for i in range(1, 4)} == {NOW}


def of_strangers(*numbers: int) -> dict[int, Transfer]:
    """Return proxy payments of one transaction to the same address as ours, each with a reference of nobody's."""
    return {
        n: at(a_transfer(FIRST, reference=a_hash("stranger", n), tx_hash=a_hash("tx-1"), amount=7 + n), 100, n)
        for n in numbers
    }


async def nobodys(db: Database) -> list[tuple[int, int]]:
    """Return how many transfers each row of nobody's stands for, and their sum; the parts say the same."""
    async with db.read() as tx:
        rows = [(row.times, row.amount) for row in await tx.execute(select(tables.transfers)) if row.fold]
        packed = [orjson.loads(parts) for parts in (await tx.execute(select(tables.fold_blocks.c.parts))).scalars()]
    parts = [(part[5], int(part[7])) for block in packed for part in block]
    assert [sum(column) for column in zip(*rows, strict=True)] == [sum(column) for column in zip(*parts, strict=True)]
    return rows


async def test_strangers_in_our_transaction_stay_listed_when_our_part_of_it_is_read_alone(db: Database) -> None:
    await store(db, FIRST)
    await read(db, *of_strangers(1, 2).values())
    assert await nobodys(db) == [(2, 17)]
    ours = at(a_transfer(FIRST, tx_hash=a_hash("tx-1")), 100)
    for _ in range(2):
        await read(db, ours)
        assert await nobodys(db) == [(2, 17)]


@pytest.mark.parametrize("order", [(1, 2, 3), (2, 1, 3), (3, 2, 1)])
async def test_what_turns_out_to_be_somebodys_is_taken_off_by_itself(db: Database, order: tuple[int, ...]) -> None:
    sent = of_strangers(1, 2, 3)
    await read(db, *sent.values())
    assert await nobodys(db) == [(3, 27)]
    left = {1: 8, 2: 9, 3: 10}
    for number in order:
        reference = {"topic_ref": a_hash("stranger", number), "payment_reference": f"0x{number:016x}"}
        await store(db, an_intent(f"late-{number}", **reference))
        left.pop(number)
        for _ in range(2):  # nor is it taken off twice
            await read(db, sent[number])
            assert await nobodys(db) == ([(len(left), sum(left.values()))] if left else [])
    await read(db, *sent.values())
    assert await nobodys(db) == []
