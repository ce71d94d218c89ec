"""Buying out of a shop: a cart becomes a request, an accepted offer and a payment, once however often it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from marketplace.errors import Refused, conflict, forbidden
from marketplace.goods.handover import refuse_too_few
from marketplace.model import Actor, Offer, Payment, PurchaseRequest
from marketplace.payments.checkout import Checkout, IntentDraft
from marketplace.shops import cart
from marketplace.shops.cart import CartLine, ChosenLine
from marketplace.shops.shops import seller_at_work
from marketplace.store import locks, offers, payments, requests, shops, stock
from marketplace.store.shops import CheckoutLine, PlacedCheckout
from marketplace.trade.offers import Offers, found_offer, new_offer
from marketplace.trade.requests import delivers_or_receives, found, new_request
from marketplace.unit_of_work import UnitOfWork, UnitOfWorkFactory

MAX_UNPAID = 3  # orders of one template by one buyer


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderDraft:
    """A cart and how it is to be paid. `checkout_id` is the buyer's name for it."""

    checkout_id: str
    lines: Sequence[CartLine]
    email: str | None
    payment: IntentDraft  # its request is the one that is made


@dataclass(frozen=True, slots=True)
class Ordered:
    """What became of a cart; `new` says whether the payment is."""

    request: PurchaseRequest
    offer: Offer
    payment: Payment
    lines: Sequence[CheckoutLine]
    new: bool


class Orders:
    """Use cases of carts."""

    def __init__(self, units: UnitOfWorkFactory, offers_: Offers, checkout: Checkout) -> None:
        self._units = units
        self._offers = offers_
        self._checkout = checkout

    async def order(self, actor: Actor, draft: OrderDraft) -> Ordered:
        """
        Order a cart and open its payment.

        Under one name the same is asked for any number of times, and ordered once: what failed after the order goes
        on from there, in another way to pay too.
        """
        cart.check_cart(draft.lines)
        await self._check(actor, draft)
        request_id = await self._place(actor, draft)
        intent = IntentDraft(
            purchase_request_id=request_id,
            rail=draft.payment.rail,
            mode=draft.payment.mode,
            chain_id=draft.payment.chain_id,
            token=draft.payment.token,
        )
        payment, new = await self._paid(request_id), False
        if payment is None:
            payment, new = await self._checkout.open_payment(actor, intent)
        async with self._units.db.read() as tx:
            request = await found(tx, request_id)
            offer = await found_offer(tx, payment.seller_offer_id)
            return Ordered(request, offer, payment, await shops.lines_of(tx, request_id), new)

    async def _paid(self, request_id: str) -> Payment | None:
        """Return the payment of an order that was paid: whoever asks again is told of it."""
        async with self._units.db.read() as tx:
            payment = await payments.pay_in(tx, request_id)
        return None if payment is None or payment.is_open else payment

    async def lines(self, actor: Actor, request_id: str) -> list[CheckoutLine]:
        """Return what was ordered with a request, to its two sides and those who decide."""
        async with self._units.db.read() as tx:
            request = await found(tx, request_id)
            if not await delivers_or_receives(tx, actor, request):
                raise forbidden("this purchase request is somebody else's")
            return await shops.lines_of(tx, request_id)

    async def _check(self, actor: Actor, draft: OrderDraft) -> None:
        """Refuse what could not be paid before anything is ordered, or a use of a template counted."""
        async with self._units.db.read() as tx:
            if await shops.checkout(tx, actor.user_id, draft.checkout_id) is not None:
                return
            chosen = cart.choose(draft.lines, await shops.shared(tx, [line.share_id for line in draft.lines]))
        amount, currency = cart.total_of(chosen), chosen[0].template.price_currency
        await self._checkout.check_payable(draft.payment, amount, currency)

    async def _place(self, actor: Actor, draft: OrderDraft) -> str:
        """Return the request of a cart; made, with its accepted offer, unless it was before."""
        digest = cart.digest_of(draft.lines)
        async with self._units.begin(locks.checkouts_of(actor.user_id)) as work:
            before = await shops.checkout(work.tx, actor.user_id, draft.checkout_id)
            if before is not None:
                if before.digest != digest:
                    said = "this checkoutId stands for another cart: take a new one"
                    raise conflict(said, purchaseRequestId=before.purchase_request_id)
                return before.purchase_request_id
            found_ = await shops.shared(work.tx, [line.share_id for line in draft.lines])
            chosen = cart.choose(draft.lines, found_)
            await seller_at_work(work.tx, chosen[0].template.seller_id)
            await self._refuse_idle(work, actor, chosen)
            await self._use(work, chosen)
            request = new_request(cart.request_of(chosen, draft.email), actor.user_id, work.now)
            await requests.add(work.tx, request)
            await self._accepted_offer(work, request, chosen)
            placed = PlacedCheckout(
                buyer_id=actor.user_id,
                checkout_id=draft.checkout_id,
                digest=digest,
                purchase_request_id=request.id,
                created_at=work.now,
            )
            await shops.add_checkout(work.tx, placed, _lines(request.id, chosen))
        return request.id

    async def _accepted_offer(self, work: UnitOfWork, request: PurchaseRequest, chosen: Sequence[ChosenLine]) -> None:
        """Make the offer and accept it, as a buyer does: with the fee of now, and the seller told."""
        offer = new_offer(cart.offer_of(chosen), request, chosen[0].template.seller_id, work.now)
        await offers.add(work.tx, offer)
        units = cart.units_of(chosen)
        for pool_id, wanted in units.items():
            await refuse_too_few(work.tx, pool_id, wanted, work.now)
        await stock.offer(work.tx, offer.id, units)
        await self._offers.accept(work, request, offer)

    @staticmethod
    async def _refuse_idle(work: UnitOfWork, actor: Actor, chosen: Sequence[ChosenLine]) -> None:
        """Refuse to order more of what is ordered and not paid: one account could use a template up for nothing."""
        unpaid = await shops.count_unpaid(work.tx, actor.user_id, [line.template.id for line in chosen])
        for line in chosen:
            if unpaid.get(line.template.id, 0) >= MAX_UNPAID:
                said = f"you have {MAX_UNPAID} orders of {line.template.title} to pay for: pay one of them first"
                raise conflict(said, shareId=line.template.share_id, unpaid=MAX_UNPAID)

    @staticmethod
    async def _use(work: UnitOfWork, chosen: Sequence[ChosenLine]) -> None:
        """Count a use of each template, in one order, so that no two wait for each other."""
        for line in sorted(chosen, key=lambda each: each.template.id):
            if not await shops.use_template(work.tx, line.template.id, work.now):
                raise Refused(
                    "sold_out", f"{line.template.title} is not for sale any more", shareId=line.template.share_id
                )


def _lines(request_id: str, chosen: Sequence[ChosenLine]) -> list[CheckoutLine]:
    return [
        CheckoutLine(
            purchase_request_id=request_id,
            line=number,
            template_id=line.template.id,
            title=line.template.title,
            quantity=line.quantity,
            price_amount=line.template.price_amount,
            price_currency=line.template.price_currency,
        )
        for number, line in enumerate(chosen, 1)
    ]
