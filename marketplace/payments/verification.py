"""Looking at a payment because somebody says it was paid, or because it is time to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from clients.python.amn_scanner_client import BrokenAnswer, ScannerRefused, ScannerUnavailable
from marketplace.errors import Refused, conflict, forbidden
from marketplace.model import OPEN_PAYMENTS, Actor, Direction, Payment, PaymentStatus
from marketplace.payments.checkout import found_payment
from marketplace.payments.observation import BrokenList, PaymentObservation
from marketplace.payments.providers import Contradicted, InPart, NothingSeen, OnItsWay, Providers, ProviderStatus, Seen
from marketplace.payments.scanner_outbox import CommandDispatcher
from marketplace.payments.scanner_provider import AWAITING
from marketplace.payments.settlement import (
    SettlementOutcome,
    Stale,
    believe,
    is_doubted,
    keep_part,
    refuse,
    settle_payment,
)
from marketplace.risk.gate import RiskDecision, RiskGate
from marketplace.risk.policy import Approve, Reason
from marketplace.store import locks, payments
from marketplace.trade.offers import found_offer
from marketplace.unit_of_work import UnitOfWorkFactory

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
    """Looks at payments through their providers and settles what is seen."""

    def __init__(
        self,
        units: UnitOfWorkFactory,
        providers: Providers,
        gate: RiskGate,
        commands: CommandDispatcher,
    ) -> None:
        self._units = units
        self._providers = providers
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
        Read the payment's state at its provider and settle it; `thoroughly` lets the chain be read.

        Raises:
            ScannerUnavailable, ScannerRefused: nothing was learned.
        """
        if payment.status is PaymentStatus.COMPLETED:
            return await self._result(payment.id, None, self._counted(payment))
        return await self.look(payment, thoroughly=thoroughly)

    async def look(self, payment: Payment, *, thoroughly: bool) -> CheckResult:
        """
        Read a payment's state whatever it is: what comes to one that is over is listed as money for a person.

        Raises:
            ScannerUnavailable, ScannerRefused: nothing was learned.
        """
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
                status = await self._providers.of(payment).status(payment, thoroughly=thoroughly)
                return await self._follow(payment, status)
            except Stale:
                continue  # another event told more of its transfers: they are judged together
        raise ScannerUnavailable("the payment keeps changing: try again")

    async def _follow(self, payment: Payment, status: ProviderStatus) -> CheckResult:
        """Do what follows from what a provider shows."""
        match status:
            case Seen():
                return await self.settled(payment, status.observed)
            case OnItsWay():
                return await self._on_its_way(payment, status.observed)
            case InPart():
                return await self._in_part(payment, status.observed)
            case NothingSeen():
                if status.expected:
                    await self._expect(payment, status.reason)
                return await self._result(payment.id, status.reason, status.amount)
            case Contradicted():
                async with self._units.begin(locks.request_of_payment(payment.id)) as work:
                    await refuse(work, payment.id, status.reason, status.detail, may_change=True)
                return await self._result(payment.id, status.reason, 0)
            case _:
                assert_never(status)

    async def _broken(self, payment: Payment, why: str) -> CheckResult:
        """Keep what cannot be as evidence; it is no balance and no payment, and nothing is done by it."""
        async with self._units.begin(locks.request_of_payment(payment.id)) as work:
            await refuse(work, payment.id, Reason.BROKEN_ANSWER, why, may_change=True)
        return await self._result(payment.id, Reason.BROKEN_ANSWER, 0)

    async def _on_its_way(self, payment: Payment, newest: PaymentObservation) -> CheckResult:
        """Note that the whole sum is there, and not deep."""
        async with self._units.begin(locks.request_of_payment(payment.id)) as work:
            now = await found_payment(work.tx, payment.id)
            begun = (now.evidence or {}).get("paidAtBlock") is not None  # and is not deep any more: it starts again
            if now.status is PaymentStatus.PENDING or (begun and now.hold_reason is None):
                values = {"status": PaymentStatus.PROCESSING, "evidence": {**newest.document, "reason": AWAITING}}
                await payments.change(work.tx, payment.id, work.now, expected=OPEN_PAYMENTS, **values)
        return await self._result(payment.id, AWAITING, _delta(newest))

    async def _in_part(self, payment: Payment, observed: PaymentObservation) -> CheckResult:
        """Keep what is there, and tell the buyer how much is missing; of a payment that is over it is late money."""
        if payment.status not in OPEN_PAYMENTS:
            return await self.settled(payment, observed)
        async with self._units.begin(locks.request_of_payment(payment.id)) as work:
            await keep_part(work, payment.id, observed)
        reason = f"underpaid:delta={observed.received},expected={payment.amount_base}"
        return await self._result(payment.id, reason, observed.received)

    async def _expect(self, payment: Payment, reason: str) -> None:
        """Note that somebody says it was paid, and that nothing of it is to be seen yet."""
        async with self._units.begin(locks.request_of_payment(payment.id)) as work:
            values = {"status": PaymentStatus.PROCESSING, "evidence": {"reason": reason}}
            await payments.change(work.tx, payment.id, work.now, expected=(PaymentStatus.PENDING,), **values)

    async def settled(self, payment: Payment, observed: PaymentObservation) -> CheckResult:
        """Judge an observation, settle it, and return what came of it."""
        risk = await self.judge(payment, observed)
        async with self._units.begin(locks.request_of_payment(payment.id)) as work:
            outcome, reason = await settle_payment(work, payment.id, observed, risk)
        funded = outcome in {SettlementOutcome.FUNDED, SettlementOutcome.ALREADY_FUNDED}
        return await self._result(payment.id, None if funded else reason, _delta(observed))

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


def _delta(observed: PaymentObservation) -> int:
    return observed.received if observed.balance is None else observed.balance.delta
