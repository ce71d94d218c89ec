"""
The books against a model of them: whatever people, webhooks and time do, money is held, released or refunded once.

`MODEL_EXAMPLES` sets how many runs.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from marketplace.app import open_marketplace
from marketplace.errors import Refused
from marketplace.model import Actor, DisputeOutcome, Mode, ProductType, Rail, Role, User
from marketplace.payments.checkout import IntentDraft
from marketplace.payments.money import to_decimal
from marketplace.settings import load_settings
from marketplace.store import users
from marketplace.store.disputes import Ruling
from marketplace.trade.offers import OfferDraft
from marketplace.trade.requests import RequestDraft
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import BUYERS_WALLET, SELLERS_WALLET
from tests.marketplace.fake_scanner import (
    SENDER,
    FakeScanner,
    balance_changed,
    confirmed,
    news,
    run_fake_scanner,
    tx_hash,
)
from tests.marketplace.harness import HOOK_SECRET, environment, migrated
from tests.marketplace.ledger_model import FINE, HOUR_MS, OPEN, PAID, ModelPurchase, Pay
from webhooks.signing import headers_for

NOW = 1_790_000_000_000
PRICE, UNIT = 10, 10**18 - 3  # a price that no rate divides evenly
PLATFORM_BPS = 125
RATES = (None, 0, 1, 250, 3_333, 9_999)
BUYERS_SHARES = (3_333, 5_000, 1, 9_999, 0, 10_000)
PRODUCTS = (ProductType.PHYSICAL, ProductType.DIGITAL)
RAILS = ("proxy", "direct", "direct_balance")
PEOPLE = {role: Actor(str(role), role) for role in Role}
ADMIN, BUYER, SELLER = PEOPLE[Role.ADMIN], PEOPLE[Role.BUYER], PEOPLE[Role.SELLER]
NONSENSE = ("token", "chain", "amount", "short", "elsewhere")
TAMPERING = ("UPDATE funds_ledger_entries SET amount_base = '1'", "DELETE FROM funds_ledger_entries")
STARTS = ("opened", "partly", "paid", "delivered", "confirmed")
PAID_STARTS = STARTS[2:]
PAUSES_H = [0, 0.1, 1, 23, 24, 25, 48]
OUT = ("release", "refund", "platform_fee")
DIRECTIONS = {"release": "out", "refund": "refund"}
SHARES = [1, 3, 10, 10, 10, 12]  # of a price of ten
purchases = st.integers(0, len(PRODUCTS) - 1)
any_number = st.integers(0, 99)


class LedgerMachine(RuleBasedStateMachine):
    """Two purchases, everybody in them, and a scanner that tells once, twice, late or wrongly."""

    @initialize(starts=st.tuples(*[st.sampled_from(STARTS)] * len(PRODUCTS)), rail=st.sampled_from(RAILS))
    def begin(self, starts: tuple[str, ...], rail: str) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock(NOW)
        self.standing = run_fake_scanner()
        self.scanner: FakeScanner = self.runner.run(self.standing.__aenter__())
        self.env = environment(
            Path(self.folder.name),
            self.scanner.url,
            MARKETPLACE_PUBLIC_URL="http://127.0.0.1:9",
            MARKETPLACE_ADMIN_EMAIL="",
            MARKETPLACE_ADMIN_PASSWORD="",
            PLATFORM_FEE_BPS=str(PLATFORM_BPS),
        )
        self.path = Path(self.env["MARKETPLACE_DB_PATH"])
        self.path.write_bytes(migrated())
        self.letters: list[tuple[ModelPurchase, Pay, dict[str, Any]]] = []
        self.had: set[str] = set()
        self.came: Counter[str] = Counter()  # on chain, by payment
        self.lied_about: set[str] = set()
        self.before: list[Any] = []
        self.hashes = itertools.count(1)
        self.rate = PLATFORM_BPS  # of the seller, for what is agreed on from now on
        self.open()
        self.runner.run(self._people())
        self.purchases: list[ModelPurchase] = []
        for product in PRODUCTS:
            self.purchases.append(self._agree(product))
        self.all = [*self.purchases]
        for number, start in enumerate(starts):
            self._begins(number, start, rail)

    def agree_on_more(self, number: int, start: str, rail: str) -> None:
        """Another purchase; what becomes of the one before is only the scanner's to say."""
        self.purchases[number] = self._agree(PRODUCTS[number])
        self.all.append(self.purchases[number])
        self.scanner.down = False
        self._begins(number, start, rail)

    def in_escrow(self, number: int, which: int, rail: str) -> None:
        """Let there be money to move, two times out of three."""
        live = self.purchases[number].live
        if which % 3 and (live is None or live.escrow not in PAID):
            self.agree_on_more(number, PAID_STARTS[which // 3 % len(PAID_STARTS)], rail)

    def waits_for_money(self, number: int, which: int, rail: str) -> None:
        """Let there be something to pay, two times out of three."""
        live = self.purchases[number].live
        if which % 3 and (live is None or live.status not in OPEN):
            self.agree_on_more(number, STARTS[which % 2], rail)

    def _begins(self, number: int, start: str, rail: str) -> None:
        """Spare the rules the way to where money lies in escrow."""
        steps = STARTS.index(start)
        self.opens(number, rail)
        if steps > 0:
            self.pays(number, 1, 3, told=True)
        if steps > 1:
            self.pays(number, 1, PRICE, told=True)
        if steps > 2:
            self.delivers(number)
        if steps > 3:
            self.confirms(number)

    def open(self) -> None:
        """Start the process: nothing of it is left but the file."""
        self.opened = open_marketplace(load_settings(self.env), clock=self.clock)
        self.market = self.runner.run(self.opened.__aenter__())
        self.services = self.market.services

    def close(self) -> None:
        self.runner.run(self.opened.__aexit__(None, None, None))

    def teardown(self) -> None:
        self.close()
        self.runner.run(self.standing.__aexit__(None, None, None))
        self.runner.close()
        self.folder.cleanup()

    async def _people(self) -> None:
        async with self.services.units.begin(None) as work:
            for actor in PEOPLE.values():
                name = actor.user_id
                user = User(id=name, email=name, name=name, role=actor.role, password_hash="-", created_at=0)
                await users.add(work.tx, user)

    def _agree(self, product: ProductType) -> ModelPurchase:
        """Bring buyer and seller together."""

        async def agree() -> str:
            request = await self.services.requests.create(BUYER, _wish(product))
            offer = await self.services.offers.create(SELLER, request.id, _bid())
            await self.services.offers.select(BUYER, request.id, offer.id)
            return request.id

        return ModelPurchase(self.runner.run(agree()), product, self.rate)

    def tried(self, work: Coroutine[Any, Any, Any]) -> str:
        """Do something and return the code of its refusal, if it was refused."""
        try:
            self.runner.run(work)
        except Refused as exc:
            return exc.code
        return FINE

    def row(self, pay: Pay) -> Any:
        return self.runner.run(self.services.payments.show(ADMIN, pay.id)).payment

    def pay_of(self, number: int, which: int) -> Pay | None:
        """Return one of a deal's payments, the last as often as all others."""
        pays = self.purchases[number].pays
        return pays[-1 if which % 2 else which // 2 % len(pays)] if pays else None

    # -- who does what

    @rule(
        number=purchases,
        who=st.sampled_from(["pays", "cancels", "cancels", "opens", "delivers", "confirms", "argues"]),
        which=any_number,
        rail=st.sampled_from(RAILS),
        by=st.sampled_from([BUYER, ADMIN]),
    )
    def somebody(self, number: int, who: str, which: int, rail: str, by: Actor) -> None:
        """What buyers and sellers do."""
        if who in {"pays", "cancels", "opens"}:
            self.waits_for_money(number, which, rail)
        else:
            self.in_escrow(number, which, rail)
        match who:
            case "pays":
                self.i_paid(number, which)
            case "cancels":
                self.cancels(number, which, by)
            case "opens":
                self.opens(number, rail)
            case "delivers":
                self.delivers(number)
            case "confirms":
                self.confirms(number)
            case _:
                self.argues(number, SELLER if which % 2 else BUYER)

    @rule(
        number=purchases,
        what=st.sampled_from(["decides", "holds", "releases", "refunds", "settles", "settles", "clears"]),
        which=any_number,
        outcome=st.sampled_from(list(DisputeOutcome)),
        rail=st.sampled_from(RAILS),
    )
    def an_operator(self, number: int, what: str, which: int, outcome: DisputeOutcome, rail: str) -> None:
        """What admins and resolvers do."""
        if what != "settles":
            self.in_escrow(number, which, rail)
        match what:
            case "decides":
                self.decides(number, which, outcome)
            case "holds":
                self.holds(number, which, (0, 1, 50)[which % 3])
            case "releases":
                self.releases(number, which)
            case "refunds":
                self.refunds(number, which)
            case "clears":
                self.clears(number, which)
            case _:
                self.settles(number, which, which % 3 == 0)
        if what in {"releases", "refunds"} and which % 2:
            self.settles(number, 1, again=False)

    @rule(
        number=purchases,
        what=st.sampled_from(["scanner down", "scanner up", "errands", "restart", "tampering", "all is told"]),
        which=any_number,
    )
    def sometimes(self, number: int, what: str, which: int) -> None:
        """What is nobody's doing."""
        match what:
            case "scanner down" | "scanner up":
                self.scanner.down = what == "scanner down"
            case "errands":
                self.runner.run(self.market.commands.run_due())
            case "restart":
                self.close()
                self.open()
            case "tampering":
                self.is_tampered_with(TAMPERING[which % len(TAMPERING)])
            case _:
                self.all_is_told(number)

    # -- opening, paying, telling

    def opens(self, number: int, rail: str) -> None:
        purchase, draft = self.purchases[number], _draft(self.purchases[number].request_id, rail)
        if not self._ends_late(purchase):
            assert self.tried(self.services.checkout.open_payment(BUYER, draft)) == "scanner_unavailable"
            return
        expected, known = purchase.opening(rail), purchase.live
        if expected:
            assert self.tried(self.services.checkout.open_payment(BUYER, draft)) == expected
            return
        payment, new = self.runner.run(self.services.checkout.open_payment(BUYER, draft))
        assert new is (known is None)
        assert payment.amount_base == PRICE * UNIT
        if known is None:
            purchase.pays.append(Pay(payment.id, rail, payment.amount_base, self.clock.now_ms() + 24 * HOUR_MS))

    def _ends_late(self, purchase: ModelPurchase) -> bool:
        """Whoever opens a payment ends the one before, if its time is up and nobody paid it; False: nobody can tell."""
        live, now = purchase.live, self.clock.now_ms()
        if live is None or live.status not in OPEN or live.expires_at > now:
            return True
        if live.is_over(now) and self.row(live).registered_at is None:
            purchase.close(live)
        elif self.scanner.down:
            return False
        else:
            self._looked(purchase, live)
            if live.is_over(now):
                purchase.close(live)
        return True

    @rule(number=purchases, which=any_number, share=st.sampled_from(SHARES), told=st.booleans())
    def pays(self, number: int, which: int, share: int, told: bool) -> None:
        """Money arrives on chain; whatever the scanner has to say of it is reported now, or later, or again."""
        pay = self.pay_of(number, which)
        if pay is None:
            return
        arrives = self._grows if pay.rail == "direct_balance" else self._arrives
        webhook = arrives(pay, share * UNIT)
        if webhook is not None:
            self.came[pay.id] += share * UNIT
            self.letters.append((self.purchases[number], pay, webhook))
            if told:
                self.take(self.purchases[number], pay, webhook)

    @rule(
        number=purchases,
        rail=st.sampled_from(RAILS),
        told=st.booleans(),
        away=st.booleans(),
        ends=st.sampled_from(["cancelled", "expired"]),
        share=st.sampled_from([3, PRICE]),
    )
    def comes_in_parts(self, number: int, rail: str, told: bool, away: bool, ends: str, share: int) -> None:
        """A part comes, the payment ends, and then the rest comes: a person has to hear of each unit once."""
        self.agree_on_more(number, "opened", rail)
        self.pays(number, 1, 3, told)
        self.scanner.down = away
        if ends == "cancelled":
            self.cancels(number, 1, BUYER)
        else:
            self.time_passes(25, sweeps=True)
        self.scanner.down = False
        self.pays(number, 1, share, told)
        self.all_is_told(number)

    def _grows(self, pay: Pay, amount: int) -> dict[str, Any] | None:
        row = self.row(pay)
        if row.registered_at is None or row.baseline_balance is None:
            return None  # nobody was shown where to pay
        balances = self.scanner.balances
        balances[row.destination] = balances.get(row.destination, 0) + amount
        shown = {
            "providerPaymentId": row.provider_payment_id,
            "chainId": row.chain_id,
            "destination": row.destination,
            "tokenAddress": row.token_address,
            "tokenSymbol": row.token_symbol,
            "decimals": row.decimals,
        }
        return balance_changed(shown, balances[row.destination])

    def _arrives(self, pay: Pay, amount: int) -> dict[str, Any] | None:
        """One more transfer of an intent, as the scanner adds them up."""
        intent = self.scanner.intents.get(pay.id)
        if intent is None:
            return None
        found = tx_hash()
        mine = {"txHash": found, "eventKey": "0", "blockNumber": 100, "sender": SENDER, "amount": str(amount)}
        if intent["status"] != "pending":
            over = intent["status"] == "confirmed"
            kind, reason = ("payment.anomaly", "duplicate") if over else ("payment.late", "late")
            return news(intent, kind, reason=reason, txHash=found, transfers=[mine], transferCount=1)
        intent["transfers"].append(
            mine
            | {
                "blockHash": None,
                "count": 1,
                "token": intent["tokenAddress"],
                "destination": intent["destination"],
                "counted": True,
                "settled": True,
                "reason": None,
                "seenAt": intent["createdAt"],
            }
        )
        received = int(intent["amountReceived"]) + amount
        intent["amountReceived"] = str(received)
        if received < pay.amount:
            return news(intent, "payment.partial", missing=str(pay.amount - received), txHash=None, transfers=None)
        intent |= {"status": "confirmed", "txHash": found, "blockNumber": 100, "sender": SENDER}
        intent["confirmations"] = intent["confirmationsRequired"]
        return confirmed(intent)

    @precondition(lambda self: self.letters)
    @rule(which=any_number)
    def tells(self, which: int) -> None:
        """Any event there ever was: for the first time, or again, and in any order."""
        self.take(*self.letters[which % len(self.letters)])

    @precondition(lambda self: self.letters)
    @rule(which=any_number, how=st.sampled_from(["forged", "stale"]))
    def is_told_by_somebody_else(self, which: int, how: str) -> None:
        purchase, pay, webhook = self.letters[which % len(self.letters)]
        webhook = webhook | {"eventId": "evt_forged"}
        secret = "another secret" if how == "forged" else HOOK_SECRET
        assert self.take(purchase, pay, webhook, secret=secret, age_s=301 if how == "stale" else 0) == "bad_signature"

    @rule(number=purchases, which=any_number, wrong=st.sampled_from(NONSENSE))
    def is_told_nonsense(self, number: int, which: int, wrong: str) -> None:
        """The scanner confirms what was not agreed: money that is nobody's to credit."""
        self.waits_for_money(number, which, "proxy")
        pay = self.pay_of(number, which)
        if pay is None or pay.id not in self.scanner.intents:
            return
        intent = self.scanner.intents[pay.id] | {"txHash": tx_hash(), "transfers": [], "confirmations": 99}
        webhook = confirmed(intent | {"amountReceived": str(pay.amount), "status": "confirmed"})
        webhook |= _nonsense(wrong, pay.amount)
        self.lied_about.add(pay.id)
        self.letters.append((self.purchases[number], pay, webhook))
        self.take(self.purchases[number], pay, webhook)

    def take(
        self,
        purchase: ModelPurchase,
        pay: Pay,
        webhook: dict[str, Any],
        *,
        secret: str = HOOK_SECRET,
        age_s: int = 0,
    ) -> str:
        """Hand in a webhook; the first time, the model hears of it too."""
        raw = orjson.dumps(webhook)
        headers = headers_for(
            event_id=webhook["eventId"],
            event_type=webhook["eventType"],
            delivery_id="x",
            body=raw,
            secret=secret,
            timestamp=self.clock.now_ms() // 1000 - age_s,
        )
        answer = self.tried(self.services.webhook_receiver.receive(raw, headers))
        if not answer and webhook["eventId"] not in self.had:
            self.had.add(webhook["eventId"])
            self._heard(purchase, pay, webhook)
        return answer

    @staticmethod
    def _heard(purchase: ModelPurchase, pay: Pay, webhook: dict[str, Any]) -> None:
        match webhook["eventType"]:
            case "balance_changed":
                purchase.balance(pay, int(webhook["currentBalance"]))
            case "payment.partial":
                purchase.partly(pay)
            case "payment.reorged":
                pay.gone = pay.gone or pay.status in {"completed", "refunded"}
            case "payment.confirmed":
                purchase.observed(pay, int(webhook["amountReceived"]), fits=not webhook.get("nonsense"))

    # -- looking

    def i_paid(self, number: int, which: int) -> None:
        pay = self.pay_of(number, which)
        if pay is None:
            return
        answer = self.tried(self.services.verifier.check(BUYER, pay.id))
        if self.scanner.down:
            assert answer in {FINE, "scanner_unavailable"}
            return
        assert answer == FINE
        self._looked(self.purchases[number], pay)

    def _looked(self, purchase: ModelPurchase, pay: Pay) -> None:
        """What the scanner answers to whoever asks."""
        if pay.rail == "direct_balance":
            purchase.balance(pay, self.scanner.balances.get(self.row(pay).destination, 0))
        elif self.scanner.intents.get(pay.id, {}).get("status") == "confirmed":
            purchase.observed(pay, int(self.scanner.intents[pay.id]["amountReceived"]))

    def cancels(self, number: int, which: int, by: Actor) -> None:
        pay = self.pay_of(number, which)
        if pay is None:
            return
        asked = pay.rail != "direct_balance" and not self.scanner.down
        has_it = asked and self.scanner.intents.get(pay.id, {}).get("status") == "confirmed"
        expected = self.purchases[number].cancel(pay, admin=by.is_admin, scanner_has_it=has_it)
        assert self.tried(self.services.payments.cancel(by, pay.id)) == expected

    # -- delivering and arguing

    def delivers(self, number: int) -> None:
        expected = self.purchases[number].deliver(self.clock.now_ms())
        assert self.tried(self.services.fulfilment.deliver(SELLER, self.purchases[number].request_id, {})) == expected

    def confirms(self, number: int) -> None:
        expected = self.purchases[number].confirm(self.clock.now_ms())
        assert self.tried(self.services.fulfilment.confirm(BUYER, self.purchases[number].request_id, {})) == expected

    def argues(self, number: int, by: Actor) -> None:
        purchase = self.purchases[number]
        opening = self.services.disputes.open(
            by, self.purchases[number].request_id, "It is not what I wanted.", "quality"
        )
        nobodys = by is SELLER and purchase.live is None  # a seller nobody pays is no party
        expected = "forbidden" if nobodys else purchase.dispute("open")
        assert self.tried(opening) == expected
        if expected == FINE and purchase.live is not None:
            [purchase.live.dispute] = [
                row["id"]
                for row in self.read("disputes")[0]
                if row["status"] == "open" and row["payment_id"] == purchase.live.id
            ]

    def decides(self, number: int, which: int, outcome: DisputeOutcome) -> None:
        """The open dispute, or one that was decided before."""
        purchase = self.purchases[number]
        known = [
            (pay, each) for pay in purchase.pays for each in [*pay.resolved, *([pay.dispute] if pay.dispute else [])]
        ]
        if not known:
            return
        pay, dispute_id = known[-1 if which % 2 else which // 2 % len(known)]
        share = BUYERS_SHARES[which // 2 % len(BUYERS_SHARES)] if outcome is DisputeOutcome.SPLIT else None
        ruling = Ruling(outcome=outcome, note="I looked at it.", buyer_bps=share)
        expected = purchase.resolve(pay, dispute_id, str(outcome), share)
        judge = PEOPLE[Role.RESOLVER]
        assert self.tried(self.services.disputes.resolve(judge, dispute_id, ruling)) == expected

    # -- money out

    def holds(self, number: int, which: int, hours: int) -> None:
        pay = self.pay_of(number, which)
        if pay is None:
            return
        until = self.clock.now_ms() + hours * HOUR_MS
        expected = self.purchases[number].hold(pay, until if hours else 0)
        assert self.tried(self.services.payouts.hold(pay.id, until if hours else None)) == expected

    @rule(
        number=purchases,
        way=st.sampled_from(["argue", "hold", "wait", "wait", "argue and decide", "argue and decide"]),
        outcome=st.sampled_from(list(DisputeOutcome)),
        hours=st.sampled_from([0, 25, 51]),
        then=st.sampled_from(["release", "refund", "sweep"]),
        which=any_number,
    )
    def is_in_the_way(self, number: int, way: str, outcome: DisputeOutcome, hours: int, then: str, which: int) -> None:
        """Something stands between the escrow and whom it is for, and somebody reaches for it all the same."""
        if way == "wait":
            self.agree_on_more(number, "delivered", "proxy")
        self.in_escrow(number, which, "proxy")
        if "argue" in way:
            self.argues(number, BUYER)
        if "hold" in way:
            self.holds(number, 1, 50)
        if "decide" in way:
            self.decides(number, 1, outcome)
        self.time_passes(hours, sweeps=then == "sweep")
        if then == "release":
            self.releases(number, 1)
        elif then == "refund":
            self.refunds(number, 1)

    @rule(bps=st.sampled_from(RATES))
    def has_a_rate(self, bps: int | None) -> None:
        """An admin sets what the platform takes of the seller: of what is agreed on afterwards."""
        assert self.tried(self.services.fees.change(ADMIN, SELLER.user_id, bps, "Agreed by mail.")) == FINE
        self.rate = PLATFORM_BPS if bps is None else bps

    @rule(number=purchases, which=any_number)
    def is_told_as_gone(self, number: int, which: int) -> None:
        """The scanner says that what paid left the chain."""
        pay = self.pay_of(number, which)
        if pay is None or self.scanner.intents.get(pay.id, {}).get("status") != "confirmed":
            return
        webhook = news(self.scanner.intents[pay.id], "payment.reorged", status="reorged")
        self.letters.append((self.purchases[number], pay, webhook))
        self.take(self.purchases[number], pay, webhook)

    def clears(self, number: int, which: int) -> None:
        """An admin looked, and lets the money move again."""
        pay = self.pay_of(number, which)
        if pay is None:
            return
        expected = FINE if pay.gone else "conflict"
        pay.gone = False
        assert self.tried(self.services.payouts.clear_reorg(ADMIN, pay.id, "It is there.")) == expected

    def releases(self, number: int, which: int) -> None:
        pay = self.pay_of(number, which)
        if pay is None:
            return
        expected = self.purchases[number].release(pay, self.clock.now_ms())
        assert self.tried(self.services.payouts.release(pay.id, SELLERS_WALLET)) == expected

    def refunds(self, number: int, which: int) -> None:
        pay = self.pay_of(number, which)
        if pay is None:
            return
        expected = self.purchases[number].refund(pay)
        assert self.tried(self.services.payouts.refund(pay.id, BUYERS_WALLET, "did not arrive")) == expected

    def settles(self, number: int, which: int, again: bool) -> None:
        pay = self.pay_of(number, which)
        if pay is None or not pay.orders:
            return
        kind = [*pay.orders][which // 3 % len(pay.orders)]
        before = pay.orders[kind]
        sent_in = before if again and before else f"0x{next(self.hashes):064x}"
        rows = [row for row in self.read("payments")[0] if row["settles_payment_id"] == pay.id]
        [order] = [row for row in rows if row["direction"] == DIRECTIONS[kind]]
        paid = {"chainId": order["chain_id"], "tokenAddress": order["token_address"], "to": order["destination"]}
        if before is None:
            self.scanner.carries_out({**paid, "from": SENDER, "amountBaseUnits": order["amount_base"]}, tx=sent_in)
        unread = before is None and self.scanner.down
        expected = "scanner_unavailable" if unread else self.purchases[number].settle(pay, kind, sent_in)
        assert self.tried(self.services.payout_settlements.settle(ADMIN, order["id"], sent_in)) == expected

    # -- time and machines

    @rule(hours=st.sampled_from(PAUSES_H), sweeps=st.booleans())
    def time_passes(self, hours: float, sweeps: bool) -> None:
        self.clock.advance(hours * 3600)
        if sweeps:
            self._sweep()

    def _sweep(self) -> None:
        now = self.clock.now_ms()
        unknown = {row["id"] for row in self.read("payments")[0] if row["registered_at"] is None}
        self.runner.run(self.market.sweep.once())
        for purchase in self.all:
            for pay in purchase.pays:
                self._swept(purchase, pay, now, shown=pay.id not in unknown)
        for purchase in self.all:
            purchase.pass_grace(now)

    def _swept(self, purchase: ModelPurchase, pay: Pay, now: int, *, shown: bool) -> None:
        """An open payment that is late, or on its way, is looked at again; what stays unpaid ends."""
        if pay.status not in OPEN or pay.held_for_review or not (pay.expires_at <= now or pay.status == "processing"):
            return
        if not shown and pay.is_over(now):
            purchase.close(pay)
        elif not self.scanner.down:
            self._looked(purchase, pay)
            if pay.is_over(now):
                purchase.close(pay)

    def is_tampered_with(self, statement: str) -> None:
        if not self.before:
            return
        with closing(sqlite3.connect(self.path)) as store, pytest.raises(sqlite3.IntegrityError, match="append-only"):
            store.execute(statement)

    def all_is_told(self, number: int) -> None:
        """Once everything was reported, each unit that came is in the books, or written down for a person."""
        for webhook in self.letters:
            if webhook[0] is self.purchases[number]:
                self.take(*webhook)
        [noted] = self.read("recoveries")
        for pay in self.purchases[number].pays:
            if pay.status not in OPEN and pay.id not in self.lied_about:
                assert pay.sum("payment_detected") + _noted(pay, noted) == self.came[pay.id]

    # -- what holds

    def read(self, *tables: str) -> list[list[Any]]:
        """Return all rows, as they lie on disk, in one snapshot."""
        with closing(sqlite3.connect(self.path)) as store:
            store.row_factory = sqlite3.Row
            store.execute("BEGIN")
            return [store.execute(f"SELECT * FROM {name} ORDER BY rowid").fetchall() for name in tables]  # noqa: S608

    @invariant()
    def the_books_are_right(self) -> None:
        """What the model says, and what may never be otherwise whatever the model says."""
        names = ("funds_ledger_entries", "payments", "purchase_requests", "recoveries")
        lines, rows, requests, noted = self.read(*names)
        self._only_grows([tuple(line) for line in lines])
        pays = {pay.id: pay for purchase in self.all for pay in purchase.pays}
        now = [pay for purchase in self.purchases for pay in purchase.pays]
        assert {line["payment_id"] for line in lines} <= pays.keys()
        for pay in pays.values():
            mine = [(line["entry_type"], int(line["amount_base"])) for line in lines if line["payment_id"] == pay.id]
            _adds_up(mine)
            if pay in now:
                self._is_told(pay, mine)
            _stands(pay, mine, rows)
            if pay.id not in self.lied_about:
                assert pay.sum("payment_detected") + _noted(pay, noted) <= self.came[pay.id]
        for purchase in self.all:
            _agrees(purchase, [row for row in requests if row["id"] == purchase.request_id], rows)
        report = self.runner.run(self.services.reconciliation.report())
        assert report.ok, report.findings

    def _only_grows(self, lines: list[Any]) -> None:
        assert lines[: len(self.before)] == self.before
        self.before = lines

    def _is_told(self, pay: Pay, lines: list[tuple[str, int]]) -> None:
        """The balances people are shown are the sums of the lines, and the model's."""
        shown = self.runner.run(self.services.payments.show(BUYER, pay.id))
        told = shown.balances
        held = sum(amount * {"hold": 1, **dict.fromkeys(OUT, -1)}.get(kind, 0) for kind, amount in lines)
        assert (told.released, told.refunded, told.fees) == tuple(pay.sum(kind) for kind in OUT)
        assert (told.held, told.disputed, told.available) == (held, pay.locked, pay.available)
        assert (held, told.releasable(shown.payment.escrow_state)) == (pay.held, pay.releasable)
        assert (shown.payment.reorged_at is not None) == pay.gone


def _noted(pay: Pay, recoveries: list[Any]) -> int:
    """Return how much of a payment's money waits for a person."""
    rows = [row for row in recoveries if row["payment_id"] == pay.id and row["reason"] != "reorged"]
    return sum(int(row["amount_base"] or 0) for row in rows)


def _adds_up(lines: list[tuple[str, int]]) -> None:
    kinds = [kind for kind, _ in lines]
    sums = {kind: sum(amount for each, amount in lines if each == kind) for kind in kinds}
    out = sum(sums.get(kind, 0) for kind in OUT)
    assert all(kinds.count(kind) <= 1 for kind in ("payment_detected", "hold", *OUT))
    assert out in {0, sums.get("hold", 0)}  # all of it at once, whoever gets which part
    assert sums.get("hold", 0) <= sums.get("payment_detected", 0)
    assert 0 <= sums.get("dispute_hold", 0) - sums.get("adjustment", 0) <= sums.get("hold", 0) - out


def _stands(pay: Pay, lines: list[tuple[str, int]], rows: list[Any]) -> None:
    """The payment and what was ordered stand where the model has them."""
    [row] = [row for row in rows if row["id"] == pay.id]
    assert lines == pay.entries
    assert (row["status"], row["escrow_state"]) == (pay.status, pay.escrow)
    assert (row["hold_reason"] is not None) == pay.held_for_review
    orders = {
        row["direction"]: (row["tx_hash"], int(row["amount_base"]))
        for row in rows
        if row["settles_payment_id"] == pay.id
    }
    assert orders == {DIRECTIONS[kind]: (sent_in, pay.sum(kind)) for kind, sent_in in pay.orders.items()}


def _agrees(purchase: ModelPurchase, requests: list[Any], rows: list[Any]) -> None:
    """The request says what its payments say, of which one at most is open or paid."""
    [row] = requests
    told = (row["status"], row["delivered_at"], bool(row["delivery_confirmed"]))
    assert told == (purchase.status, purchase.delivered_at, purchase.confirmed)
    live = [each for each in rows if each["purchase_request_id"] == row["id"] and each["direction"] == "in"]
    assert sum(each["status"] in {*OPEN, "completed"} for each in live) <= 1


def _draft(request_id: str, rail: str) -> IntentDraft:
    mode = Mode.WATCH if rail == "direct_balance" else None
    return IntentDraft(purchase_request_id=request_id, rail=Rail(rail), mode=mode, chain_id=97, token="USDT")


def _wish(product: ProductType) -> RequestDraft:
    return RequestDraft(
        title="A used bicycle",
        description="Any colour.",
        product_type=product,
        product_link=None,
        quantity=1,
        budget_min="5",
        budget_max="100",
        budget_currency="USDT",
        urgency="medium",
        delivery_type="physical",
        delivery_email=None,
    )


def _bid() -> OfferDraft:
    return OfferDraft(
        title="My bicycle",
        description="Blue.",
        price_amount=to_decimal(PRICE * UNIT, 18),
        price_currency="USDT",
        delivery_amount=2,
        delivery_unit="days",
        notes=None,
        valid_until=None,
        require_aml_check=False,
        aml_block_on_failure=True,
    )


def _nonsense(wrong: str, amount: int) -> dict[str, Any]:
    """Return in what a confirmation differs from what was agreed."""
    return {
        "nonsense": wrong,
        **{
            "token": {"token": "0x" + "ab" * 20},
            "chain": {"chainId": 56},
            "amount": {"amount": str(amount + 1)},
            "short": {"amountReceived": str(amount - 1)},
            "elsewhere": {"destination": SENDER},
        }[wrong],
    }


def stories() -> Iterator[Callable[[LedgerMachine], None]]:
    """Tell what must be among the things that happen, whatever the rules come upon."""
    confirmed_one, both = 7, ("release", "refund")
    for way, outcome, then in [
        *itertools.product(("argue", "hold"), [DisputeOutcome.RELEASE], both),
        *itertools.product(["argue and decide"], DisputeOutcome, both),
    ]:
        yield lambda m, w=way, o=outcome, t=then: _emptied(m, w, o, t, confirmed_one)
    for number, hours, then in itertools.product((0, 1), (25, 51), ("release", "sweep")):
        yield lambda m, n=number, h=hours, t=then: m.is_in_the_way(n, "wait", DisputeOutcome.RELEASE, h, t, 1)
    for wrong in NONSENSE:
        yield lambda m, w=wrong: _held(m, w)
    for then in both:
        yield lambda m, t=then: _gone(m, t)
    for begins, again in itertools.product(("proxy", "direct_balance"), RAILS):
        yield lambda m, b=begins, a=again: _opened_late(m, b, a)
    for bps, (share, _) in itertools.product(RATES, enumerate(BUYERS_SHARES)):
        yield lambda m, b=bps, s=share: _split(m, b, s)
    for rail, told, ends in itertools.product(("proxy", "direct_balance"), (True, False), ("cancelled", "expired")):
        yield lambda m, r=rail, t=told, e=ends: m.comes_in_parts(0, r, t, t, e, PRICE)


def _emptied(machine: LedgerMachine, way: str, outcome: DisputeOutcome, then: str, which: int) -> None:
    machine.agree_on_more(0, "confirmed", "proxy")
    machine.is_in_the_way(0, way, outcome, 0, then, which)
    for again in (machine.releases, machine.refunds):
        again(0, 1)
    machine.settles(0, 1, again=False)
    machine.settles(0, 1, again=True)


def _split(machine: LedgerMachine, bps: int | None, share: int) -> None:
    """Both parts leave one after the other, whatever the rate has become meanwhile."""
    machine.has_a_rate(bps)
    machine.agree_on_more(0, "confirmed", "proxy")
    machine.has_a_rate(RATES[-1])
    machine.argues(0, BUYER)
    machine.is_told_as_gone(0, 1)
    machine.decides(0, 2 * share + 1, DisputeOutcome.SPLIT)
    machine.clears(0, 1)
    machine.decides(0, 2 * share + 1, DisputeOutcome.SPLIT)
    machine.decides(0, 2 * share + 3, DisputeOutcome.SPLIT)
    for move in (machine.holds, machine.releases, machine.refunds):
        move(0, 1, 50) if move == machine.holds else move(0, 1)
    machine.the_books_are_right()
    machine.holds(0, 1, 0)
    machine.releases(0, 1)
    for which in (1, 1 + 6, 3):
        machine.settles(0, which, again=which == 7)


def _opened_late(machine: LedgerMachine, begins: str, again: str) -> None:
    """Nobody paid in time, no sweep came by, and the buyer tries once more."""
    machine.agree_on_more(0, "opened", begins)
    machine.time_passes(25, sweeps=False)
    machine.scanner.down = True
    machine.opens(0, again)
    machine.scanner.down = False
    machine.opens(0, again)


def _gone(machine: LedgerMachine, then: str) -> None:
    machine.agree_on_more(0, "confirmed", "proxy")
    moves = machine.releases if then == "release" else machine.refunds
    machine.is_told_as_gone(0, 1)
    moves(0, 1)
    machine.clears(0, 1)
    moves(0, 1)


def _held(machine: LedgerMachine, wrong: str) -> None:
    machine.agree_on_more(0, "opened", "proxy")
    machine.is_told_nonsense(0, 1, wrong)
    machine.the_books_are_right()
    machine.cancels(0, 1, BUYER)
    machine.cancels(0, 1, ADMIN)


@pytest.mark.long
def test_each_story_once() -> None:
    machine = LedgerMachine()
    machine.begin(("opened", "opened"), "proxy")
    try:
        for tell in stories():
            tell(machine)
            machine.the_books_are_right()
    finally:
        machine.teardown()


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(
    max_examples=int(os.environ.get("MODEL_EXAMPLES", "4")),
    stateful_step_count=30,
    deadline=None,
    derandomize="MODEL_EXAMPLES" not in os.environ,  # the same for everybody, unless somebody goes looking
    suppress_health_check=[HealthCheck.too_slow],
)
