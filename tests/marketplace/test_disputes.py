"""Disputes: what is written in them, until when they are to be decided, how they are found, and whose they are."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from protocol.wire import rfc3339
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import SELLERS_WALLET, TEN, AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import ADMIN, Api, Running, environment, login, notes, running

HOUR_MS = 3_600_000
FUNDED = [("payment_detected", TEN), ("hold", TEN), ("dispute_hold", TEN)]


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def market(
    tmp_path: Path, clock: FakeClock, fake_scanner: FakeScanner, place: Mapping[str, str]
) -> AsyncIterator[Running]:
    """A marketplace whose disputes are to be decided within a day."""
    env = environment(tmp_path, fake_scanner.url, DISPUTE_DEADLINE_HOURS="24", **place)
    async with running(env, clock=clock) as found:
        yield found


async def argue(purchase: AcceptedPurchase) -> str:
    await purchase.fund()
    body = {"purchaseRequestId": purchase.request_id, "reason": "It is broken.", "category": "quality"}
    return str((await purchase.buyer.ok("POST", "/api/disputes", body, 201))["dispute"]["id"])


async def resolve(purchase: AcceptedPurchase, dispute_id: str, **more: Any) -> None:
    body = {"outcome": "no_action", "note": "Nothing to see.", **more}
    await purchase.market.admin.ok("POST", f"/api/disputes/{dispute_id}/resolve", body)


async def found(who: Api, query: str) -> list[str]:
    return [each["id"] for each in (await who.ok("GET", f"/api/disputes{query}"))["disputes"]]


def heard(market: Running, who: Api) -> list[str]:
    """Return what somebody was told, whether they are still signed in or not."""
    with market.opened() as store:
        return [kind for (kind,) in store.execute("SELECT type FROM notifications WHERE user_id = ?", [who.user_id])]


# -- messages --------------------------------------------------------------------------------------------


async def test_the_three_write_to_each_other_and_nobody_else_reads_it(purchase: AcceptedPurchase) -> None:
    path = f"/api/disputes/{await argue(purchase)}/messages"
    resolver, stranger = await purchase.market.user("resolver"), await purchase.market.user("seller")
    writers = (purchase.buyer, purchase.seller, resolver)
    for number, who in enumerate(writers):
        await who.ok("POST", path, {"text": f"Line one\nand two of {number}"}, 201)

    for who in writers:
        told = (await who.ok("GET", path))["messages"]
        assert [each["by"] for each in told] == [each.user_id for each in writers]
        assert told[0]["text"] == "Line one\nand two of 0"
    page = await resolver.ok("GET", f"{path}?limit=2&page=2")
    assert ([each["by"] for each in page["messages"]], page["total"]) == ([resolver.user_id], 3)
    assert await stranger.refused("GET", path) == (403, "forbidden")
    assert await stranger.refused("POST", path, {"text": "Me too."}) == (403, "forbidden")
    heard = [[kind for kind, _ in await notes(who)].count("dispute_message") for who in writers]
    assert heard == [2, 2, 2]  # not what one wrote oneself


async def test_what_was_written_is_not_changed(purchase: AcceptedPurchase) -> None:
    path = f"/api/disputes/{await argue(purchase)}/messages"
    await purchase.buyer.ok("POST", path, {"text": "It is broken."}, 201)

    for statement in ("UPDATE dispute_messages SET text = 'x'", "DELETE FROM dispute_messages"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"), purchase.market.opened() as store:
            store.execute(statement)


async def test_one_person_writes_so_much_and_the_others_still_can(
    purchase: AcceptedPurchase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketplace.trade.dispute_messages.MAX_MESSAGES", 3)
    path = f"/api/disputes/{await argue(purchase)}/messages"

    answers = await asyncio.gather(*(purchase.buyer.call("POST", path, {"text": "And…"}) for _ in range(6)))

    assert sorted(status for status, _ in answers) == [201] * 3 + [409] * 3
    assert (await purchase.seller.call("POST", path, {"text": "No."}))[0] == 201


@pytest.mark.parametrize("text", ["", " ", "x" * 4001, "a\x00b", None, 7])
async def test_a_message_has_a_form(purchase: AcceptedPurchase, text: Any) -> None:
    path = f"/api/disputes/{await argue(purchase)}/messages"

    assert (await purchase.buyer.call("POST", path, {"text": text}))[0] in {400, 422}


async def test_nothing_is_written_after_the_end(purchase: AcceptedPurchase) -> None:
    dispute_id = await argue(purchase)
    await resolve(purchase, dispute_id)

    late = await purchase.buyer.refused("POST", f"/api/disputes/{dispute_id}/messages", {"text": "But!"})

    assert late == (409, "conflict")


# -- deadlines -------------------------------------------------------------------------------------------


async def test_everybody_is_told_once_that_a_deadline_is_over_and_no_money_moves(purchase: AcceptedPurchase) -> None:
    market, dispute_id = purchase.market, await argue(purchase)
    resolver = await market.user("resolver")
    sweep, path = market.marketplace.sweep, f"/api/disputes/{dispute_id}"
    shown = (await purchase.buyer.ok("GET", path))["dispute"]
    assert (shown["dueAt"], shown["overdue"]) == (rfc3339(purchase.clock.now_ms() + 24 * HOUR_MS), False)
    purchase.clock.advance(24 * 3600 - 1)
    await sweep.once()
    admin = await login(market.nobody, *ADMIN)
    assert await found(admin, "?overdue=true") == []
    purchase.clock.advance(1)
    for _ in range(2):
        await sweep.once()

    assert (await admin.ok("GET", path))["dispute"]["overdue"] is True
    assert await found(admin, "?overdue=true") == [dispute_id]
    people = (purchase.buyer, purchase.seller, resolver, admin)
    assert [heard(market, who).count("dispute_overdue") for who in people] == [1] * 4
    assert purchase.entries() == FUNDED
    for move in ("release", "refund"):
        body = {"toAddress": SELLERS_WALLET, "reason": "It is late."}
        assert await admin.refused("POST", f"/api/admin/payments/{purchase.payment_id}/{move}", body) == (
            409,
            "conflict",
        )


async def test_a_deadline_that_was_moved_is_told_of_again(purchase: AcceptedPurchase) -> None:
    market, dispute_id = purchase.market, await argue(purchase)
    sweep, path = market.marketplace.sweep, f"/api/disputes/{dispute_id}/deadline"
    purchase.clock.advance(25 * 3600)
    await sweep.once()
    due_at = rfc3339(purchase.clock.now_ms() // 1000 * 1000 + HOUR_MS)

    admin = await login(market.nobody, *ADMIN)
    moved = (await admin.ok("POST", path, {"dueAt": due_at}))["dispute"]
    await sweep.once()
    purchase.clock.advance(3600)
    await sweep.once()

    assert (moved["dueAt"], moved["overdue"]) == (due_at, False)
    kinds = heard(market, purchase.buyer)
    assert (kinds.count("dispute_overdue"), kinds.count("dispute_deadline")) == (2, 1)


async def test_a_deadline_is_ahead_and_within_a_year_and_of_an_open_dispute(purchase: AcceptedPurchase) -> None:
    dispute_id = await argue(purchase)
    path, admin = f"/api/disputes/{dispute_id}/deadline", purchase.market.admin
    for ms in (0, 367 * 24 * HOUR_MS):
        body = {"dueAt": rfc3339(purchase.clock.now_ms() + ms)}
        assert await admin.refused("POST", path, body) == (422, "invalid")
    assert await admin.refused("POST", path, {"dueAt": None}) == (422, "invalid")
    assert await admin.refused("POST", path, {}) == (422, "invalid")
    await resolve(purchase, dispute_id)
    body = {"dueAt": rfc3339(purchase.clock.now_ms() + HOUR_MS)}
    assert await admin.refused("POST", path, body) == (409, "conflict")


async def test_a_resolved_dispute_is_never_overdue(purchase: AcceptedPurchase) -> None:
    market, dispute_id = purchase.market, await argue(purchase)
    await resolve(purchase, dispute_id)
    purchase.clock.advance(25 * 3600)
    await market.marketplace.sweep.once()

    assert "dispute_overdue" not in heard(market, purchase.buyer)
    assert await found(await login(market.nobody, *ADMIN), "?overdue=true") == []


# -- found, and taken ------------------------------------------------------------------------------------


async def test_disputes_are_found_by_what_is_known_of_them(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    purchases = [await accept_purchase(market, fake_scanner, clock) for _ in range(3)]
    split, taken, waiting = [await argue(each) for each in purchases]
    resolver = await market.user("resolver")
    await resolve(purchases[0], split, outcome="split", buyerBps=5_000)
    await resolver.ok("POST", f"/api/disputes/{taken}/assign", {"userId": resolver.user_id})

    assert await found(resolver, "?outcome=split") == [split]
    assert await found(resolver, f"?purchaseRequestId={purchases[1].request_id}") == [taken]
    assert await found(resolver, "?status=open&unassigned=true") == [waiting]
    assert await found(resolver, "?unassigned=false") == [taken]
    assert await found(resolver, "?status=open&outcome=split") == []
    for wrong in ("?outcome=coin", "?unassigned=perhaps", "?overdue=x"):
        assert await resolver.refused("GET", f"/api/disputes{wrong}") == (422, "invalid")


@pytest.mark.parametrize("attempt", range(2))
async def test_of_two_resolvers_one_takes_a_dispute(purchase: AcceptedPurchase, attempt: int) -> None:
    path = f"/api/disputes/{await argue(purchase)}/assign"
    pair = [await purchase.market.user("resolver") for _ in range(2)]
    takes = [who.call("POST", path, {"userId": who.user_id}) for who in pair]

    answers = await asyncio.gather(*(takes if attempt else reversed(takes)))

    assert sorted(status for status, _ in answers) == [200, 409]
    [taken] = [answer["data"]["dispute"]["assignedTo"] for status, answer in answers if status == 200]
    holder, other = sorted(pair, key=lambda who: who.user_id != taken)
    assert await other.refused("POST", path, {"userId": None}) == (409, "conflict")  # not another's to leave either
    admin = purchase.market.admin
    assert (await admin.ok("POST", path, {"userId": other.user_id}))["dispute"]["assignedTo"] == other.user_id
    assert await holder.refused("POST", path, {"userId": holder.user_id}) == (409, "conflict")


async def test_buyers_and_sellers_list_their_own_disputes_and_nobody_elses(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    mine, others = [await accept_purchase(market, fake_scanner, clock) for _ in range(2)]
    opened = []
    for purchase in (mine, others):
        await purchase.fund()
        body = {"purchaseRequestId": purchase.request_id, "reason": "It is broken.", "category": "quality"}
        opened.append((await purchase.buyer.ok("POST", "/api/disputes", body, 201))["dispute"]["id"])

    async def listed(who: Api, query: str = "") -> list[str]:
        data = await who.ok("GET", f"/api/disputes{query}")
        assert data["total"] == len(data["disputes"])
        return [each["id"] for each in data["disputes"]]

    assert [await listed(who) for who in (mine.buyer, mine.seller)] == [opened[:1]] * 2
    assert await listed(mine.buyer, "?status=open") == opened[:1]
    assert await listed(mine.buyer, "?status=resolved") == []
    assert await listed(mine.seller, f"?purchaseRequestId={others.request_id}") == []
    assert await listed(await market.user("buyer")) == []
    assert set(await listed(market.admin)) == set(opened)
    assert set(await listed(await market.user("resolver"))) == set(opened)
