"""Haggling over an offer: rounds that are only ever added, each answered within two days or void."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kernel.clock import HOUR_MS
from marketplace.errors import Refused, conflict, forbidden
from marketplace.model import OPEN_FOR_OFFERS, OPEN_OFFERS, Actor, Offer, OfferStatus, PurchaseRequest, RequestStatus
from marketplace.payments.fees import Fees
from marketplace.pricing.quoting import Quoting
from marketplace.store import locks, negotiation, offers, requests
from marketplace.store.database import Tx
from marketplace.store.negotiation import Round
from marketplace.trade.offers import found_offer, refuse_stale
from marketplace.trade.requests import found
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory, new_id

ROUNDS = 5
ANSWER_MS = 48 * HOUR_MS


class Answer(StrEnum):
    ACCEPTED = "accepted"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Other terms, checked for form."""

    price_amount: str
    price_currency: str
    note: str | None


class Negotiations:
    """Use cases of negotiation: the two sides take turns, the buyer begins."""

    def __init__(self, units: UnitOfWorkFactory, fees: Fees, quoting: Quoting) -> None:
        self._units = units
        self._fees = fees
        self._quoting = quoting

    async def rounds(self, actor: Actor, offer_id: str) -> list[Round]:
        """Return what was proposed so far to the two sides."""
        async with self._units.db.read() as tx:
            await self._between(tx, actor, offer_id)
            return await negotiation.rounds(tx, offer_id)

    async def propose(self, actor: Actor, offer_id: str, proposal: Proposal) -> Round:
        """Counter: the buyer first, then whoever was asked; a proposal also turns down the one before it."""
        self._quoting.check_currency(proposal.price_currency)
        async with self._units.begin(locks.request_of_offer(offer_id)) as work:
            offer, request = await self._open(work.tx, actor, offer_id)
            before = await negotiation.rounds(work.tx, offer_id)
            waiting = await negotiation.pending(work.tx, offer_id, work.now)
            self._refuse_turn(actor, request, before, waiting)
            if waiting is not None:
                await negotiation.add_answer(work.tx, waiting.id, actor.user_id, "countered", work.now)
            made = Round(
                id=new_id(),
                offer_id=offer_id,
                round=len(before) + 1,
                by_user_id=actor.user_id,
                price_amount=proposal.price_amount,
                price_currency=proposal.price_currency,
                note=proposal.note,
                expires_at=work.now + ANSWER_MS,
                created_at=work.now,
            )
            await negotiation.add_round(work.tx, made)
            await offers.change(work.tx, offer_id, work.now, expected=OPEN_OFFERS, status=OfferStatus.ACTIVE)
            negotiating = RequestStatus.IN_NEGOTIATION
            await requests.change(work.tx, request.id, work.now, expected=OPEN_FOR_OFFERS, status=negotiating)
            other = offer.seller_id if actor.user_id == request.buyer_id else request.buyer_id
            _tell(work, other, "offer_countered", f"Counter-offer: {offer.title}", offer)
            return made

    async def answer(self, actor: Actor, offer_id: str, answer: Answer) -> Offer:
        """Accept or decline what the other side proposed; accepted terms become the offer's."""
        async with self._units.begin(locks.request_of_offer(offer_id)) as work:
            offer, request = await self._open(work.tx, actor, offer_id)
            waiting = await negotiation.pending(work.tx, offer_id, work.now)
            if waiting is None:
                raise conflict("no counter-offer waits for an answer")
            if waiting.by_user_id == actor.user_id:
                raise conflict("it is the other side's turn")
            await negotiation.add_answer(work.tx, waiting.id, actor.user_id, answer, work.now)
            if answer is Answer.ACCEPTED:
                terms = {"price_amount": waiting.price_amount, "price_currency": waiting.price_currency}
                await offers.change(work.tx, offer_id, work.now, expected=OPEN_OFFERS, **terms)
            if not await negotiation.any_pending(work.tx, request.id, work.now):
                back = RequestStatus.RECEIVED_OFFERS
                expected = (RequestStatus.IN_NEGOTIATION,)
                await requests.change(work.tx, request.id, work.now, expected=expected, status=back)
            _tell(work, waiting.by_user_id, f"counter_{answer}", f"Counter-offer {answer}: {offer.title}", offer)
            return await self._fees.with_rate(work.tx, await found_offer(work.tx, offer_id))

    @staticmethod
    def _refuse_turn(actor: Actor, request: PurchaseRequest, before: list[Round], waiting: Round | None) -> None:
        if waiting is not None and waiting.by_user_id == actor.user_id:
            raise conflict("your counter-offer waits for an answer")
        if waiting is None and actor.user_id != request.buyer_id:
            raise conflict("there is no counter-offer to counter: edit your offer")
        if len(before) >= ROUNDS:
            raise conflict(f"there were {ROUNDS} rounds: accept or decline", rounds=ROUNDS)

    async def _open(self, tx: Tx, actor: Actor, offer_id: str) -> tuple[Offer, PurchaseRequest]:
        """Return an offer that may still change, to one of its two sides."""
        offer, request = await self._between(tx, actor, offer_id)
        if offer.status not in OPEN_OFFERS or request.status not in OPEN_FOR_OFFERS:
            refusal: Refused = await refuse_stale(tx, offer_id)
            raise refusal
        return offer, request

    @staticmethod
    async def _between(tx: Tx, actor: Actor, offer_id: str) -> tuple[Offer, PurchaseRequest]:
        offer = await found_offer(tx, offer_id)
        request = await found(tx, offer.purchase_request_id)
        if actor.user_id not in {offer.seller_id, request.buyer_id}:
            raise forbidden("this negotiation is between others")
        return offer, request


def _tell(work: UnitOfWork, user_id: str, kind: str, title: str, offer: Offer) -> None:
    url = f"/purchase-requests/{offer.purchase_request_id}"
    work.notify([user_id], "offer", kind, title, about=offer.id, url=url)
