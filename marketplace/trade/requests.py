"""What buyers ask for, and who may see it."""

from __future__ import annotations

from dataclasses import dataclass

from marketplace.errors import forbidden, not_found
from marketplace.model import OPEN_FOR_OFFERS, Actor, Page, ProductType, PurchaseRequest, RequestStatus, Role
from marketplace.store import offers, requests
from marketplace.store.database import Tx
from marketplace.unit_of_work import UnitOfWorkFactory, new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDraft:
    """A request as the buyer wrote it, checked for form."""

    title: str
    description: str
    product_type: ProductType
    product_link: str | None
    quantity: int
    budget_min: str
    budget_max: str
    budget_currency: str
    urgency: str
    delivery_type: str
    delivery_email: str | None


async def found(tx: Tx, request_id: str) -> PurchaseRequest:
    """Return a request that has to be there."""
    request = await requests.get(tx, request_id)
    if request is None:
        raise not_found("purchase request")
    return request


async def found_of_buyer(tx: Tx, actor: Actor, request_id: str) -> PurchaseRequest:
    """Return a request that has to be the actor's own."""
    request = await found(tx, request_id)
    if request.buyer_id != actor.user_id:
        raise forbidden("this purchase request is somebody else's")
    return request


class Requests:
    """Use cases of purchase requests."""

    def __init__(self, units: UnitOfWorkFactory) -> None:
        self._units = units

    async def create(self, actor: Actor, draft: RequestDraft) -> PurchaseRequest:
        """Publish a request and tell the sellers."""
        async with self._units.begin(None) as work:
            request = new_request(draft, actor.user_id, work.now)
            await requests.add(work.tx, request)
            url, title = f"/purchase-requests/{request.id}", f"New request: {draft.title}"
            await work.announce(Role.SELLER, "request", "request_created", title, about=request.id, url=url)
        return request

    async def mine(self, actor: Actor, page: Page) -> tuple[list[PurchaseRequest], int]:
        async with self._units.db.read() as tx:
            return await requests.of_buyer(tx, actor.user_id, page)

    async def feed(self, page: Page) -> tuple[list[PurchaseRequest], int]:
        async with self._units.db.read() as tx:
            return await requests.feed(tx, page)

    async def show(self, actor: Actor, request_id: str) -> tuple[PurchaseRequest, bool]:
        """
        Return a request, and whether its delivery is the actor's business.

        Anybody's while it takes offers, afterwards only to those it concerns.
        """
        async with self._units.db.read() as tx:
            request = await found(tx, request_id)
            if await may_see(tx, actor, request):
                return request, await delivers_or_receives(tx, actor, request)
        raise forbidden("this purchase request is somebody else's")


def new_request(draft: RequestDraft, buyer_id: str, now: int) -> PurchaseRequest:
    """Return a request as it begins."""
    return PurchaseRequest(
        id=new_id(),
        buyer_id=buyer_id,
        title=draft.title,
        description=draft.description,
        product_type=draft.product_type,
        product_link=draft.product_link,
        quantity=draft.quantity,
        budget_min=draft.budget_min,
        budget_max=draft.budget_max,
        budget_currency=draft.budget_currency,
        urgency=draft.urgency,
        delivery_type=draft.delivery_type,
        delivery_email=draft.delivery_email,
        status=RequestStatus.PENDING,
        selected_offer_id=None,
        delivery_confirmed=False,
        delivery_proof=None,
        delivered_at=None,
        confirmed_at=None,
        created_at=now,
        updated_at=now,
    )


async def delivers_or_receives(tx: Tx, actor: Actor, request: PurchaseRequest) -> bool:
    """Say whether the actor has to know where it is delivered, and how it was: losing bidders do not."""
    if actor.role in {Role.ADMIN, Role.RESOLVER} or request.buyer_id == actor.user_id:
        return True
    chosen = None if request.selected_offer_id is None else await offers.get(tx, request.selected_offer_id)
    return chosen is not None and chosen.seller_id == actor.user_id


async def may_see(tx: Tx, actor: Actor, request: PurchaseRequest) -> bool:
    """Say whether a request is any business of the actor's."""
    if actor.role in {Role.ADMIN, Role.RESOLVER} or request.buyer_id == actor.user_id:
        return True
    return request.status in OPEN_FOR_OFFERS or await offers.has_offered(tx, request.id, actor.user_id)
