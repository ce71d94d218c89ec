"""Looking at a payment because somebody says it was paid, or because it is time to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from clients.python.amn_scanner_client import (
    BrokenAnswer,
    FullIntent,
    NotFound,
    ScannerClient,
    ScannerRefused,
    ScannerUnavailable,
    Transfer,
)
from marketplace.catalog import Catalog
from marketplace.errors import Refused, conflict, forbidden
from marketplace.model import OPEN_PAYMENTS, Actor, Direction, Payment, PaymentStatus, Rail
from marketplace.payments.checkout import found_payment
from marketplace.payments.observation import BrokenList, PaymentObservation, from_balance, from_intent
from marketplace.payments.scanner_outbox import CommandDispatcher
from marketplace.payments.settlement import SettlementOutcome, Stale, believe, is_doubted, refuse, settle_payment
from marketplace.risk.gate import RiskDecision, RiskGate
from marketplace.risk.policy import BASELINE_MISSING, Approve, Reason
from marketplace.store import inbox, locks, payments
from marketplace.trade.offers import found_offer
from marketplace.unit_of_work import UnitOfWorkFactory

CONFIRMED = frozenset({"confirmed", "webhook_failed"})  # the second is the delivery's trouble, not the money's
AWAITING = "awaiting-confirmations"
MAX_PAGES = 400  # of a list of transfers, 500 each: more than anybody pays a price in
JUDGED_AGAIN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a look ended with; `delta` and `expected` in base units."""

    payment: Payment
    funded: bool
    reason: str | None
    delta: int
    expected: int


class PaymentVerifier:
    """Looks at payments through the scanner and settles what it sees."""

    def __init__(
        self,
        units: UnitOfWorkFactory,
        scanner: ScannerClient,
        catalog: Catalog,
        gate: RiskGate,
        commands: CommandDispatcher,
    ) -> None:
        self._units = units
        self._scanner = scanner
        self._catalog = catalog
        self._gate = gate
        self._commands = commands

    async def check(self, actor: Actor, payment_id: str) -> CheckResult:
        """
        Look now, for a buyer who paid.

        Raises:
            Refused: it is somebody else's, or nobody can look now.
        """
        async with self._units.db.read() as tx:
            payment = await found_payment(tx, payment_id)
        if payment.buyer_id != actor.user_id and not actor.is_admin:
            raise forbidden("this payment is somebody else's")
        if payment.direction is not Direction.IN:
            raise conflict("this payment goes out: only incoming ones are checked")
        try:
            return await self.verify_payment(payment, thoroughly=True)
        except (ScannerUnavailable, ScannerRefused) as exc:
            raise Refused("scanner_unavailable", "the chain cannot be read now: try again", retryAfter=5) from exc

    async def verify_payment(self, payment: Payment, *, thoroughly: bool) -> CheckResult:
        """
        Read the payment's state at the scanner and settle it; `thoroughly` lets the scanner read the chain.

        Raises:
            ScannerUnavailable, ScannerRefused: nothing was learned.
        """
        if payment.status is PaymentStatus.COMPLETED:
            return await self._result(payment.id, None, self._counted(payment))
        if payment.registered_at is None and payment.status in OPEN_PAYMENTS:
            await self._commands.register_now(payment.id)
            async with self._units.db.read() as tx:
                payment = await found_payment(tx, payment.id)
        try:
            result = await self._read(payment, thoroughly=thoroughly)
        except (BrokenAnswer, BrokenList) as exc:
            return await self._broken(payment, str(exc))
        if not is_doubted(result.payment):
            return result
        async with self._units.begin(locks.request_of_payment(payment.id)) as work:
            await believe(work, result.payment)
        return await self._result(payment.id, result.reason, result.delta)

    async def _read(self, payment: Payment, *, thoroughly: bool) -> CheckResult:
        for _ in range(JUDGED_AGAIN):
            try:
                if payment.rail is Rail.DIRECT_BALANCE:
                    return await self._look_at_balance(payment)
                return await self._look_at_intent(payment, thoroughly=thoroughly)
            except Stale:
                continue  # another event told more of its transfers: they are judged together
        raise ScannerUnavailable("the payment keeps changing: try again")

    async def _broken(self, payment: Payment, why: str) -> CheckResult:
        """Keep what cannot be as evidence; it is no balance and no payment, and nothing is done by it."""
        async with self._units.begin(locks.request_of_payment(payment.id)) as work:
            await refuse(work, payment.id, Reason.BROKEN_ANSWER, why, may_change=True)
        return await self._result(payment.id, Reason.BROKEN_ANSWER, 0)

    async def is_paid_on_chain(self, payment: Payment) -> bool:
        """Say whether the scanner sees the whole sum at the payment's address, deep enough."""
        try:
            observed = await self._balance(payment, confirmed=True)
        except (ScannerUnavailable, ScannerRefused):
            return False
        return observed.balance is not None and observed.balance.paid

    async def whole(self, payment: Payment) -> PaymentObservation | None:
        """
        Read a payment at the scanner with every transfer of it; None while it is not confirmed there.

        Raises:
            ScannerUnavailable, ScannerRefused: not all of it could be read.
            BrokenList: what was read contradicts itself.
        """
        intent = await self._scanner.intent(payment.id)
        return await self._whole(payment, intent) if intent.status in CONFIRMED else None

    async def _whole(self, payment: Payment, intent: FullIntent) -> PaymentObservation:
        listed = tuple(each for each in intent.transfers if each.counted)
        if not listed or sum(each.amount for each in listed) != intent.amount_received:
            listed = await self.every_transfer(payment)
        return from_intent(payment, intent, listed, self._catalog.chains[payment.chain_id])

    async def every_transfer(self, payment: Payment) -> tuple[Transfer, ...]:
        """
        Read all that concerns the intent of a payment, oldest first, what was rejected included.

        Raises:
            ScannerUnavailable, ScannerRefused: not all of it could be read.
            BrokenList: there is more than is ever read.
        """
        found: list[Transfer] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await self._scanner.transfers(payment.id, cursor=cursor)
            found += page.transfers
            if page.next_cursor is None:
                return tuple(found)
            cursor = page.next_cursor
        raise BrokenList(f"more than {len(found)} transfers: they are not read to the end")

    async def _look_at_balance(self, payment: Payment) -> CheckResult:
        """Credit what is there at a safe depth; what is only at the newest block is on its way."""
        if payment.baseline_balance is None and payment.registered_at is None:
            return await self._result(payment.id, BASELINE_MISSING, 0)
        deep = await self._balance(payment, confirmed=True)
        paid = deep.balance is not None and deep.balance.paid
        if paid or payment.status not in OPEN_PAYMENTS:
            return await self.settled(payment, deep)
        newest = await self._balance(payment, confirmed=False)
        if newest.balance is None or not newest.balance.paid:
            return await self.settled(payment, newest)
        async with self._units.begin(locks.request_of_payment(payment.id)) as work:
            now = await found_payment(work.tx, payment.id)
            begun = (now.evidence or {}).get("paidAtBlock") is not None  # and is not deep any more: it starts again
            if now.status is PaymentStatus.PENDING or (begun and now.hold_reason is None):
                values = {"status": PaymentStatus.PROCESSING, "evidence": {**newest.document, "reason": AWAITING}}
                await payments.change(work.tx, payment.id, work.now, expected=OPEN_PAYMENTS, **values)
        return await self._result(payment.id, AWAITING, newest.balance.delta)

    async def _balance(self, payment: Payment, *, confirmed: bool) -> PaymentObservation:
        found = await self._scanner.check_balance(
            chain_id=payment.chain_id, address=payment.destination, token=payment.token_address, confirmed=confirmed
        )
        async with self._units.db.read() as tx:
            known = await inbox.kept_transfers(tx, payment.id)
        return from_balance(payment, found, self._catalog.chains[payment.chain_id], known, deep=confirmed)

    async def _look_at_intent(self, payment: Payment, *, thoroughly: bool) -> CheckResult:
        try:
            intent = await self._intent(payment, thoroughly=thoroughly)
        except NotFound:
            return await self._result(payment.id, Reason.TRANSFER_NOT_FOUND, 0)
        if intent.status in CONFIRMED:
            return await self.settled(payment, await self._whole(payment, intent))
        if intent.status == "confirming":
            reason: str = AWAITING
        elif intent.amount_received > 0:
            reason = f"underpaid:delta={intent.amount_received},expected={payment.amount_base}"
        else:
            reason = Reason.TRANSFER_NOT_FOUND
        return await self._result(payment.id, reason, intent.amount_received)

    async def _intent(self, payment: Payment, *, thoroughly: bool) -> FullIntent:
        if thoroughly:
            return (await self._scanner.recheck_intent(payment.id)).intent
        return await self._scanner.intent(payment.id)

    async def settled(self, payment: Payment, observed: PaymentObservation) -> CheckResult:
        """Judge an observation, settle it, and return what came of it."""
        risk = await self.judge(payment, observed)
        async with self._units.begin(locks.request_of_payment(payment.id)) as work:
            outcome, reason = await settle_payment(work, payment.id, observed, risk)
        funded = outcome in {SettlementOutcome.FUNDED, SettlementOutcome.ALREADY_FUNDED}
        delta = observed.balance.delta if observed.balance is not None else observed.received
        return await self._result(payment.id, None if funded else reason, delta)

    async def judge(self, payment: Payment, observed: PaymentObservation) -> RiskDecision:
        """Ask the safety gate, unless there is nothing to credit anyhow."""
        if payment.status not in OPEN_PAYMENTS or (observed.balance is not None and not observed.balance.paid):
            return RiskDecision(Approve())
        async with self._units.db.read() as tx:
            offer = await found_offer(tx, payment.seller_offer_id)
        risk = await self._gate.judge(payment, offer, observed)
        # Whom a balance is from is known from all its events: one more of them in between, and it is judged again.
        return risk if observed.balance is None else replace(risk, judged=len(observed.credits))

    async def _result(self, payment_id: str, reason: str | None, delta: int) -> CheckResult:
        async with self._units.db.read() as tx:
            payment = await found_payment(tx, payment_id)
        funded = payment.status is PaymentStatus.COMPLETED
        return CheckResult(
            payment=payment,
            funded=funded,
            reason=None if funded else reason,
            delta=delta,
            expected=payment.amount_base,
        )

    @staticmethod
    def _counted(payment: Payment) -> int:
        return int((payment.evidence or {}).get("amountReceivedBaseUnits", payment.amount_base))
