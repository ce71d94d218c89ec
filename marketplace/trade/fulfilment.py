"""From the seller's word that it is on its way to the buyer's that it arrived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kernel.clock import HOUR_MS
from marketplace.errors import Refused, conflict, forbidden
from marketplace.model import Actor, DisputeOutcome, Payment, PurchaseRequest, RequestStatus
from marketplace.payments.checkout import found_payment
from marketplace.payments.payouts import make_releasable
from marketplace.store import delivery, locks, payments, requests
from marketplace.store.database import Tx
from marketplace.store.delivery import ATTEMPTS, DeliveryCode
from marketplace.trade import delivery_codes
from marketplace.trade.delivery_codes import Code
from marketplace.trade.offers import found_offer
from marketplace.trade.requests import found, found_of_buyer
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory

CODE_MS = 24 * HOUR_MS
UNDER_WAY = (RequestStatus.PROCESSING, RequestStatus.DELIVERY)


@dataclass(frozen=True, slots=True)
class CodeStatus:
    """What may be told of a code: all but the code."""

    active: bool
    used: bool
    attempts_left: int
    expires_at: int | None


class Fulfilment:
    """Use cases of deliveries."""

    def __init__(self, units: UnitOfWorkFactory, *, pepper: str) -> None:
        self._units = units
        self._pepper = pepper

    async def deliver(self, actor: Actor, request_id: str, proof: Mapping[str, Any]) -> PurchaseRequest:
        """Note the seller's word that it was delivered; the first one starts the grace period."""
        async with self._units.begin(locks.request(request_id)) as work:
            request = await self._of_seller(work.tx, actor, request_id)
            changes = {
                "status": RequestStatus.DELIVERY,
                "delivery_proof": {**(request.delivery_proof or {}), **proof},
                "delivered_at": request.delivered_at or work.now,
            }
            if not await requests.change(work.tx, request_id, work.now, expected=UNDER_WAY, **changes):
                raise _not_under_way(request)
            if request.status is RequestStatus.PROCESSING:
                _tell(work, [request.buyer_id], "delivered", f"On its way: {request.title}", request)
            return await found(work.tx, request_id)

    async def confirm(self, actor: Actor, request_id: str, proof: Mapping[str, Any]) -> PurchaseRequest:
        """Note that it arrived; confirming twice changes nothing."""
        async with self._units.begin(locks.request(request_id)) as work:
            request = await found(work.tx, request_id)
            if request.buyer_id != actor.user_id and not actor.is_admin:
                raise forbidden("only the buyer confirms a delivery")
            if not request.delivery_confirmed:
                await self._arrived(work, request, proof)
            return await found(work.tx, request_id)

    async def generate(self, actor: Actor, request_id: str) -> tuple[Code, int]:
        """Make the code the buyer hands over; it replaces the one before."""
        code, salt = delivery_codes.new_code(), delivery_codes.new_salt()
        async with self._units.begin(locks.request(request_id)) as work:
            request = await found_of_buyer(work.tx, actor, request_id)
            if request.status not in UNDER_WAY:
                raise _not_under_way(request)
            hashed = delivery_codes.hash_code(code, salt, pepper=self._pepper)
            until = work.now + CODE_MS
            await delivery.replace(work.tx, request_id, salt=salt, code_hash=hashed, expires_at=until, now=work.now)
        return code, until

    async def verify(self, actor: Actor, request_id: str, given: str) -> PurchaseRequest:
        """Take the code as the buyer's word that it arrived; a wrong attempt is counted, whatever is answered."""
        async with self._units.begin(locks.request(request_id)) as work:
            request = await self._of_seller(work.tx, actor, request_id)
            code = await delivery.latest(work.tx, request_id)
            refusal = await self._try(work, request, code, given)
            after = await found(work.tx, request_id)
        if refusal is not None:
            raise refusal
        return after

    async def status(self, actor: Actor, request_id: str) -> CodeStatus:
        """Say how the code is doing."""
        async with self._units.db.read() as tx:
            request = await found(tx, request_id)
            if request.buyer_id != actor.user_id:
                await self._of_seller(tx, actor, request_id)
            code = await delivery.latest(tx, request_id)
        if code is None:
            return CodeStatus(active=False, used=False, attempts_left=0, expires_at=None)
        live = code.used_at is None and code.expires_at > self._units.clock.now_ms() and code.attempts_left > 0
        return CodeStatus(live, code.used_at is not None, code.attempts_left, code.expires_at)

    async def _try(
        self, work: UnitOfWork, request: PurchaseRequest, code: DeliveryCode | None, given: str
    ) -> Refused | None:
        """Use the code up, or return why not."""
        refusal = _unusable(code, work.now)
        if code is None or refusal is not None:
            return refusal
        if not delivery_codes.matches(given, code.salt, code.code_hash, pepper=self._pepper):
            await delivery.count_attempt(work.tx, code.id)
            left = code.attempts_left - 1
            return Refused("wrong_code", "code is wrong", field="code", attemptsLeft=left)
        if not await delivery.use(work.tx, code.id, work.now):
            return conflict("the delivery code was used", state="used")
        await self._arrived(work, request, {"code": "verified"})
        return None

    async def _arrived(self, work: UnitOfWork, request: PurchaseRequest, proof: Mapping[str, Any]) -> None:
        payment = await _funded(work.tx, request)
        if payment.ordered is DisputeOutcome.REFUND:
            raise conflict("a dispute ordered a refund")
        changes = {
            "status": RequestStatus.DELIVERED,
            "delivery_confirmed": True,
            "delivered_at": request.delivered_at or work.now,
            "confirmed_at": work.now,
            "delivery_proof": {**(request.delivery_proof or {}), **proof},
        }
        expected = (*UNDER_WAY, RequestStatus.DELIVERED, RequestStatus.CONFIRMING)
        if not await requests.change(work.tx, request.id, work.now, expected=expected, **changes):
            raise _not_under_way(request)
        await make_releasable(work, payment)
        _tell(work, [payment.seller_id], "delivery_confirmed", f"Delivery confirmed: {request.title}", request)

    @staticmethod
    async def _of_seller(tx: Tx, actor: Actor, request_id: str) -> PurchaseRequest:
        """Return a request whose chosen seller the actor is, or an admin's."""
        request = await found(tx, request_id)
        if actor.is_admin:
            return request
        if request.selected_offer_id is None:
            raise forbidden("only the chosen seller delivers")
        if (await found_offer(tx, request.selected_offer_id)).seller_id != actor.user_id:
            raise forbidden("only the chosen seller delivers")
        return request


def _unusable(code: DeliveryCode | None, now: int) -> Refused | None:
    """Return why nobody needs to look at what was given."""
    if code is None:
        return conflict("there is no delivery code: the buyer makes one", state="none")
    if code.used_at is not None:
        return conflict("the delivery code was used", state="used")
    if code.expires_at <= now:
        return conflict("the delivery code has expired: the buyer makes a new one", state="expired")
    if code.attempts >= ATTEMPTS:
        return Refused("too_many_attempts", "too many wrong attempts: the buyer makes a new code")
    return None


async def _funded(tx: Tx, request: PurchaseRequest) -> Payment:
    payment = await payments.pay_in(tx, request.id)
    if payment is None or payment.escrow_state is None or payment.is_open:
        raise conflict(f"the request is {request.status} and not paid", status=request.status)
    return await found_payment(tx, payment.id)


def _not_under_way(request: PurchaseRequest) -> Refused:
    return conflict(f"the request is {request.status}", status=request.status)


def _tell(work: UnitOfWork, people: list[str], kind: str, title: str, request: PurchaseRequest) -> None:
    work.notify(people, "delivery", kind, title, about=request.id, url=f"/purchase-requests/{request.id}")
