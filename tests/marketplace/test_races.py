"""
What two processes on one PostgreSQL must never do to each other, however they meet.

Each is tried some times in a usual run, and 300 times by `make test-races` (`tests/rounds.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import postgres
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import BUYERS_WALLET, SELLERS_WALLET, TEN
from tests.marketplace.conftest import OwnClock
from tests.marketplace.fake_scanner import FakeScanner, deliver
from tests.marketplace.harness import (
    ADMIN,
    MARKET,
    PASSWORD,
    Api,
    Running,
    empty_database,
    environment,
    login,
    new_offer,
    new_request,
    on_postgresql,
    running,
    select,
)
from tests.rounds import rounds

pytestmark = postgres.needed
Answer = tuple[int, Any]


@dataclass(slots=True)
class Pair:
    """Two backends on one store, and people who talk to both."""

    one: Running
    other: Running
    scanner: FakeScanner
    clock: FakeClock
    buyer: Api
    seller: Api
    rival: Api

    def there(self, api: Api) -> Api:
        """Return the same person at the other backend."""
        return Api(self.other.nobody.url, api.session, api.token, api.user_id)

    async def accepted(self, currency: str = "USDT") -> str:
        """Return a request whose offer of 10 USDT, or as much of another dollar, was accepted."""
        request_id = await new_request(self.buyer)
        offer_id = await new_offer(self.seller, request_id, price={"amount": "10", "currency": currency})
        assert (await select(self.buyer, request_id, offer_id))[0] == 200
        return request_id

    async def opened(self, currency: str = "USDT") -> tuple[str, str]:
        """Return such a request, and its open payment."""
        request_id = await self.accepted(currency)
        data = await self.buyer.ok("POST", "/api/payment/intents", intent(request_id))
        return request_id, data["payment"]["id"]

    async def funded(self) -> tuple[str, str]:
        request_id, payment_id = await self.opened()
        assert (await self.hook(self.buyer, self.scanner.pay(payment_id)))[1]["data"]["outcome"] == "funded"
        return request_id, payment_id

    async def releasable(self) -> str:
        """Return a payment whose goods arrived."""
        request_id, payment_id = await self.funded()
        await self.buyer.ok("PATCH", f"{MARKET}/purchase-requests/{request_id}/confirm-delivery", {})
        return payment_id

    async def argued(self, request_id: str) -> str:
        """Return an open dispute about a purchase."""
        body = {"purchaseRequestId": request_id, "reason": "It broke.", "category": "quality"}
        return str((await self.buyer.ok("POST", "/api/disputes", body))["dispute"]["id"])

    async def findings(self) -> list[dict[str, Any]]:
        return list((await self.one.admin.ok("GET", "/api/admin/reconciliation"))["findings"])

    async def hook(self, api: Api, body: dict[str, Any]) -> Answer:
        return await deliver(api, body, now=self.clock.now_ms() // 1000)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.one.opened() as store:
            return list(store.execute(sql, values).fetchall())

    def ledger(self, payment_id: str) -> Counter[str]:
        found = self.rows("SELECT entry_type FROM funds_ledger_entries WHERE payment_id = ?", payment_id)
        return Counter(kind for (kind,) in found)


def intent(request_id: str, rail: str = "proxy") -> dict[str, Any]:
    return {"purchaseRequestId": request_id, "rail": rail, "chainId": 97, "token": "USDT"}


@pytest.fixture
async def pair(
    tmp_path: Path, fake_scanner: FakeScanner, postgresql: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Pair]:
    monkeypatch.setattr("marketplace.payments.scanner_outbox.LOOK_S", 0.05)
    clock = OwnClock()
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(empty_database(postgresql))
        env = environment(tmp_path, fake_scanner.url, **on_postgresql(url))
        one = await stack.enter_async_context(running(env, clock=clock))
        other = await stack.enter_async_context(running(env, clock=clock))
        people = [await one.user(role) for role in ("buyer", "seller", "seller")]
        yield Pair(one, other, fake_scanner, clock, *people)


async def at_once(*calls: Coroutine[Any, Any, Answer]) -> list[Answer]:
    """Answer calls that begin within a few milliseconds of each other."""

    async def soon(call: Coroutine[Any, Any, Answer]) -> Answer:
        await asyncio.sleep(random.uniform(0, 0.004))
        return await call

    return list(await asyncio.gather(*map(soon, calls)))


def statuses(answers: list[Answer]) -> list[int]:
    return sorted(status for status, _ in answers)


@pytest.fixture(params=rounds(short=20))
def races(request: pytest.FixtureRequest) -> int:
    return int(request.param)


async def test_of_two_offers_accepted_at_once_one_is(pair: Pair, races: int) -> None:
    winners: Counter[int] = Counter()
    for _ in range(races):
        request_id = await new_request(pair.buyer)
        offers = [await new_offer(pair.seller, request_id), await new_offer(pair.rival, request_id)]

        answers = await at_once(
            select(pair.buyer, request_id, offers[0]), select(pair.there(pair.buyer), request_id, offers[1])
        )

        assert statuses(answers) == [200, 409], answers
        found = dict(pair.rows("SELECT id, status FROM offers WHERE purchase_request_id = ?", request_id))
        assert sorted(found.values()) == ["accepted", "rejected"]
        [(chosen,)] = pair.rows("SELECT selected_offer_id FROM purchase_requests WHERE id = ?", request_id)
        assert found[chosen] == "accepted"
        winners[offers.index(chosen)] += 1
    assert sum(winners.values()) == races


async def test_an_offer_is_withdrawn_or_accepted_never_both(pair: Pair, races: int) -> None:
    for _ in range(races):
        request_id = await new_request(pair.buyer)
        offer_id = await new_offer(pair.seller, request_id)

        answers = await at_once(
            select(pair.buyer, request_id, offer_id),
            pair.there(pair.seller).call("POST", f"{MARKET}/offers/{offer_id}/withdraw"),
        )

        assert statuses(answers) == [200, 409], answers


async def test_what_is_bought_twice_at_once_is_bought_once(pair: Pair, races: int) -> None:
    for _ in range(races):
        request_id = await pair.accepted()
        path = "/api/payment/intents"

        answers = await at_once(
            pair.buyer.call("POST", path, intent(request_id, "proxy")),
            pair.there(pair.buyer).call("POST", path, intent(request_id, "direct")),
        )

        assert statuses(answers) in ([200, 409], [201, 409]), answers
        assert pair.rows("SELECT count(*) FROM payments WHERE purchase_request_id = ?", request_id) == [(1,)]


async def test_two_payments_opened_at_once_have_two_addresses(pair: Pair, races: int) -> None:
    for _ in range(races):
        first, second = await pair.accepted(), await pair.accepted()
        path = "/api/payment/intents"

        answers = await at_once(
            pair.buyer.call("POST", path, intent(first, "direct")),
            pair.there(pair.buyer).call("POST", path, intent(second, "direct")),
        )

        assert all(status in {200, 201} for status, _ in answers), answers
        assert len({answer["data"]["payment"]["destination"] for _, answer in answers}) == 2


async def test_one_webhook_has_one_effect_whichever_processes_take_it(pair: Pair, races: int) -> None:
    for _ in range(races):
        _, payment_id = await pair.opened()
        body = pair.scanner.pay(payment_id)
        told_again = {**body, "eventId": f"{body['eventId']}-again"}

        answers = await at_once(
            pair.hook(pair.buyer, body),
            pair.hook(pair.there(pair.buyer), body),
            pair.hook(pair.there(pair.buyer), told_again),
            pair.buyer.call("POST", f"/api/payment/amn-scanner/direct-balance/check/{payment_id}"),
        )

        assert statuses(answers) == [200] * 4, answers
        assert pair.ledger(payment_id) == {"payment_detected": 1, "hold": 1}
        noted = pair.rows("SELECT type FROM notifications WHERE related_id = ?", payment_id)
        assert noted.count(("payment_confirmed",)) == 2  # the buyer and the seller, once each


async def test_a_payment_is_cancelled_or_paid_and_its_money_is_never_lost(pair: Pair, races: int) -> None:
    ended: Counter[str] = Counter()
    for _ in range(races):
        _, payment_id = await pair.opened()
        body = pair.scanner.pay(payment_id)
        pair.scanner.intents[payment_id]["status"] = "pending"  # the scanner does not object

        _, hooked = await at_once(
            pair.buyer.call("POST", f"/api/payment/{payment_id}/cancel"), pair.hook(pair.there(pair.buyer), body)
        )

        assert hooked[0] == 200, hooked
        [(status,)] = pair.rows("SELECT status FROM payments WHERE id = ?", payment_id)
        listed = pair.rows("SELECT amount_base FROM recoveries WHERE payment_id = ?", payment_id)
        if status == "completed":
            assert pair.ledger(payment_id) == {"payment_detected": 1, "hold": 1}
            assert listed == []
        else:
            assert status == "cancelled"
            assert pair.ledger(payment_id) == {}
            assert listed == [(str(TEN),)]
        ended[status] += 1
    assert sum(ended.values()) == races


async def test_an_expired_quote_is_paid_or_drawn_again_never_both(pair: Pair, races: int) -> None:
    ended: Counter[str] = Counter()
    for _ in range(races):
        request_id, payment_id = await pair.opened("USD")
        await pair.one.write("UPDATE payments SET expires_at = ? WHERE id = ?", [pair.clock.now_ms(), payment_id])
        body = pair.scanner.pay(payment_id)
        pair.scanner.intents[payment_id]["status"] = "pending"  # the scanner does not object

        *drawn, hooked = await at_once(
            pair.buyer.call("POST", "/api/payment/intents", intent(request_id)),
            pair.there(pair.buyer).call("POST", "/api/payment/intents", intent(request_id)),
            pair.hook(pair.there(pair.buyer), body),
        )

        assert hooked[0] == 200, hooked
        rows = pair.rows(
            "SELECT id, status FROM payments WHERE purchase_request_id = ? ORDER BY created_at", request_id
        )
        quoted = pair.rows(
            "SELECT count(*) FROM payment_quotes q JOIN payments p ON p.id = q.payment_id"
            " WHERE p.purchase_request_id = ?",
            request_id,
        )
        listed = pair.rows("SELECT amount_base FROM recoveries WHERE payment_id = ?", payment_id)
        status = dict(rows)[payment_id]
        if status == "completed":
            assert (len(rows), quoted, listed) == (1, [(1,)], [])
            assert {answer[0] for answer in drawn} <= {200, 409}, drawn
        else:
            assert (status, len(rows), quoted) == ("cancelled", 2, [(2,)])
            assert {answer[0] for answer in drawn} <= {200, 201, 202}, drawn
            assert listed == [(str(TEN),)]
        ended[status] += 1
    assert sum(ended.values()) == races


async def test_an_escrow_is_released_or_refunded_never_both(pair: Pair, races: int) -> None:
    admin, there = pair.one.admin, pair.there(pair.one.admin)
    for _ in range(races):
        payment_id = await pair.releasable()

        answers = await at_once(
            admin.call("POST", f"/api/admin/payments/{payment_id}/release", {"toAddress": SELLERS_WALLET}),
            there.call("POST", f"/api/admin/payments/{payment_id}/release", {"toAddress": SELLERS_WALLET}),
            there.call(
                "POST", f"/api/admin/payments/{payment_id}/refund", {"toAddress": BUYERS_WALLET, "reason": "broken"}
            ),
        )

        assert statuses(answers) in ([200, 200, 409], [200, 409, 409]), answers
        lines = pair.ledger(payment_id)
        assert lines["release"] + lines["refund"] == 1
        given = pair.rows("SELECT count(*) FROM payments WHERE settles_payment_id = ?", payment_id)
        assert given == [(1,)]


async def test_money_is_released_or_disputed_never_both(pair: Pair, races: int) -> None:
    admin = pair.there(pair.one.admin)
    for _ in range(races):
        request_id, payment_id = await pair.funded()
        await pair.buyer.ok("PATCH", f"{MARKET}/purchase-requests/{request_id}/confirm-delivery", {})

        answers = await at_once(
            pair.buyer.call(
                "POST",
                "/api/disputes",
                {"purchaseRequestId": request_id, "reason": "It broke.", "category": "quality"},
            ),
            admin.call("POST", f"/api/admin/payments/{payment_id}/release", {"toAddress": SELLERS_WALLET}),
        )

        assert statuses(answers) in ([200, 409], [201, 409]), answers
        lines = pair.ledger(payment_id)
        assert lines["dispute_hold"] + lines["release"] == 1


async def test_of_two_rulings_on_one_dispute_one_holds(pair: Pair, races: int) -> None:
    admin, there = pair.one.admin, pair.there(pair.one.admin)
    held: Counter[str] = Counter()
    rulings = [{"outcome": "split", "buyerBps": 3_000}, {"outcome": "split", "buyerBps": 7_000}, {"outcome": "release"}]
    for number in range(races):
        request_id, payment_id = await pair.funded()
        path = f"/api/disputes/{await pair.argued(request_id)}/resolve"
        one, other = rulings[number % 3], rulings[(number + 1) % 3]

        answers = await at_once(
            admin.call("POST", path, {**one, "note": "I looked."}),
            there.call("POST", path, {**other, "note": "I too."}),
        )

        assert statuses(answers) == [200, 409], answers
        [ruled] = [answer["data"]["dispute"] for status, answer in answers if status == 200]
        lines = pair.ledger(payment_id)
        split = int(ruled["outcome"] == "split")
        assert (lines["adjustment"], lines["refund"], lines["release"]) == (1, split, split)
        held[ruled["outcome"]] += 1
    assert sum(held.values()) == races


async def test_a_split_against_a_release_divides_the_money_once(pair: Pair, races: int) -> None:
    admin, there = pair.one.admin, pair.there(pair.one.admin)
    for _ in range(races):
        request_id, payment_id = await pair.funded()
        await pair.buyer.ok("PATCH", f"{MARKET}/purchase-requests/{request_id}/confirm-delivery", {})
        dispute_id = await pair.argued(request_id)
        ruling = {"outcome": "split", "buyerBps": 3_000, "note": "Half broken."}

        split, release, refund = await at_once(
            admin.call("POST", f"/api/disputes/{dispute_id}/resolve", ruling),
            there.call("POST", f"/api/admin/payments/{payment_id}/release", {"toAddress": SELLERS_WALLET}),
            there.call(
                "POST", f"/api/admin/payments/{payment_id}/refund", {"toAddress": BUYERS_WALLET, "reason": "broken"}
            ),
        )

        assert split[0] == 200, split
        for (status, answer), part in ((release, 7 * TEN // 10), (refund, 3 * TEN // 10)):
            assert status in {200, 409}
            if status == 200:
                assert answer["data"]["instruction"]["amountBaseUnits"] == str(part)
        lines = pair.ledger(payment_id)
        assert (lines["release"], lines["refund"], lines["dispute_hold"], lines["adjustment"]) == (1, 1, 1, 1)
        assert await pair.findings() == []


async def test_a_fee_is_changed_before_or_after_an_offer_is_accepted(pair: Pair, races: int) -> None:
    there = pair.there(pair.one.admin)
    before = 0
    for number in range(races):
        request_id = await new_request(pair.buyer)
        offer_id = await new_offer(pair.seller, request_id)
        rate = 100 + number

        selected, changed = await at_once(
            select(pair.buyer, request_id, offer_id),
            there.call("PUT", "/api/admin/fees", {"sellerId": pair.seller.user_id, "bps": rate, "note": "Agreed."}),
        )

        assert (selected[0], changed[0]) == (200, 200)
        told = selected[1]["data"]["offer"]["platformFee"]["bps"]
        assert told in {before, rate}
        await there.ok("PUT", "/api/admin/fees", {"sellerId": pair.seller.user_id, "bps": 9_999, "note": "More."})
        assert pair.rows("SELECT platform_fee_bps FROM offers WHERE id = ?", offer_id) == [(told,)]
        before = 9_999


async def test_a_payout_is_executed_once(pair: Pair, races: int) -> None:
    admin, there = pair.one.admin, pair.there(pair.one.admin)
    for _ in range(races):
        payment_id = await pair.releasable()
        data = await admin.ok("POST", f"/api/admin/payments/{payment_id}/release", {"toAddress": SELLERS_WALLET})
        path = f"/api/admin/instructions/{data['instruction']['id']}/settle"
        one, other = (pair.scanner.carries_out(data["instruction"]) for _ in range(2))

        answers = await at_once(admin.call("POST", path, {"txHash": one}), there.call("POST", path, {"txHash": other}))

        assert statuses(answers) == [200, 409], answers
        told = pair.rows("SELECT type, user_id FROM notifications WHERE related_id = ?", payment_id)
        assert max(Counter(told).values()) == 1  # nobody hears twice that the money was sent


async def test_a_refresh_token_that_comes_twice_ends_its_family(pair: Pair, races: int) -> None:
    [(email,)] = pair.rows("SELECT email FROM users WHERE id = ?", pair.buyer.user_id)
    for _ in range(races):
        nobody, there = pair.one.nobody, pair.other.nobody
        tokens = (await nobody.ok("POST", "/api/auth/login", {"email": email, "password": PASSWORD}))["tokens"]
        first = {"refreshToken": tokens["refreshToken"]}
        second = {"refreshToken": (await nobody.ok("POST", "/api/auth/refresh-token", first))["tokens"]["refreshToken"]}

        # Somebody who stole the first one, while its owner goes on with the second.
        _, stolen = await at_once(
            nobody.call("POST", "/api/auth/refresh-token", second), there.call("POST", "/api/auth/refresh-token", first)
        )

        assert stolen[0] == 401
        alive = pair.rows(
            "SELECT count(*) FROM refresh_tokens WHERE user_id = ? AND used_at IS NULL AND revoked_at IS NULL",
            pair.buyer.user_id,
        )
        assert alive == [(1,)]  # the one the test's own login holds


async def test_a_refresh_token_that_two_processes_are_shown_works_once(pair: Pair, races: int) -> None:
    for _ in range(races):
        nobody, there = pair.one.nobody, pair.other.nobody
        credentials = {"email": ADMIN[0], "password": ADMIN[1]}
        tokens = (await nobody.ok("POST", "/api/auth/login", credentials))["tokens"]
        body = {"refreshToken": tokens["refreshToken"]}

        answers = await at_once(
            nobody.call("POST", "/api/auth/refresh-token", body), there.call("POST", "/api/auth/refresh-token", body)
        )

        assert statuses(answers) == [200, 401], answers


async def test_a_command_is_done_by_one_process(pair: Pair, races: int) -> None:
    done: Counter[str] = Counter()
    for _ in range(races):
        _, payment_id = await pair.opened()
        await pair.buyer.ok("POST", f"/api/payment/{payment_id}/cancel")  # asks once itself
        before = len(pair.scanner.calls)

        await asyncio.gather(*(each.marketplace.commands.run_due() for each in (pair.one, pair.other)))
        await pair.one.settled_down()

        cancelled = [path for method, path in pair.scanner.calls[before:] if method == "DELETE"]
        done[payment_id] = cancelled.count(f"/intents/{payment_id}")
        found = pair.rows(
            "SELECT status FROM scanner_outbox WHERE payment_id = ? AND kind = 'cancel_intent'", payment_id
        )
        assert found == [("done",)]
    assert max(done.values()) <= 1


async def test_wrong_codes_are_counted_however_many_try_at_once(pair: Pair, races: int) -> None:
    for _ in range(races):
        request_id, _ = await pair.funded()
        path = f"{MARKET}/purchase-requests/{request_id}/delivery-code"
        code = (await pair.buyer.ok("POST", f"{path}/generate"))["code"]
        wrong = {"code": f"{(int(code) + 1) % 10**6:06d}"}
        there = pair.there(pair.seller)

        answers = await at_once(
            *(each.call("POST", f"{path}/verify", wrong) for each in (pair.seller, there) for _ in range(4))
        )

        assert Counter(status for status, _ in answers) == {422: 5, 429: 3}, answers


async def test_of_two_users_of_one_address_one_is_made(pair: Pair, races: int) -> None:
    for number in range(races):
        body = {"email": f"twice-{number}@example.test", "password": PASSWORD, "role": "buyer", "name": "Twice"}

        answers = await at_once(
            pair.one.admin.call("POST", "/api/admin/users", body),
            pair.there(pair.one.admin).call("POST", "/api/admin/users", body),
        )

        assert statuses(answers) == [201, 409], answers
    assert await login(pair.other.nobody, "twice-0@example.test", PASSWORD)
