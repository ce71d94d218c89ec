"""Shops and templates: what sellers offer to everybody, used at most so often by a conditional update."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, insert, select, update

from kernel.store.dialects import upsert
from marketplace.model import Page, ProductType, RequestStatus
from marketplace.store.database import Tx
from marketplace.store.rows import changed, many, one, paged
from marketplace.store.tables import checkout_lines, checkouts, purchase_requests, request_templates, shops

_s, _t, _c, _l = shops.c, request_templates.c, checkouts.c, checkout_lines.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What a seller says of themselves."""

    seller_id: str
    name: str
    text: str
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """An offer that anybody may take who has its link."""

    id: str
    seller_id: str
    share_id: str
    title: str
    description: str
    product_type: ProductType
    price_amount: str
    price_currency: str
    delivery_amount: int
    delivery_unit: str
    pool_id: str | None
    require_aml_check: bool
    aml_block_on_failure: bool
    listed: bool
    max_uses: int
    uses: int
    closed_at: int | None
    created_at: int
    updated_at: int

    @property
    def uses_left(self) -> int | None:
        """How often it may be taken yet; None is any number."""
        return None if self.max_uses == 0 else self.max_uses - self.uses

    @property
    def is_open(self) -> bool:
        return self.closed_at is None and self.uses_left != 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutLine:
    """What was ordered, as it was offered then."""

    purchase_request_id: str
    line: int
    template_id: str
    title: str
    quantity: int
    price_amount: str
    price_currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedCheckout:
    """What a buyer asked for under a name of theirs."""

    buyer_id: str
    checkout_id: str
    digest: str
    purchase_request_id: str
    created_at: int


async def put_shop(tx: Tx, shop: Shop) -> None:
    """Store what a seller says, in the place of what they said before."""
    row = asdict(shop)
    told = upsert(shops).values(**row)
    new = {name: row[name] for name in ("name", "text", "updated_at")}
    await tx.execute(told.on_conflict_do_update(index_elements=[_s.seller_id], set_=new))


async def shop(tx: Tx, seller_id: str) -> Shop | None:
    return await one(tx, select(shops).where(_s.seller_id == seller_id), Shop)


async def add_template(tx: Tx, template: Template) -> None:
    await tx.execute(insert(request_templates).values(**asdict(template)))


async def count_templates(tx: Tx, seller_id: str) -> int:
    counted = select(func.count()).select_from(request_templates).where(_t.seller_id == seller_id)
    return int((await tx.execute(counted)).scalar_one())


async def template(tx: Tx, template_id: str) -> Template | None:
    return await one(tx, select(request_templates).where(_t.id == template_id), Template)


async def shared(tx: Tx, share_ids: Collection[str]) -> dict[str, Template]:
    """Return templates by the ids in their links."""
    found = await many(tx, select(request_templates).where(_t.share_id.in_(share_ids)), Template)
    return {each.share_id: each for each in found}


async def templates(tx: Tx, page: Page, *, seller_id: str | None = None) -> tuple[list[Template], int]:
    """Return templates, newest first: a seller's, or everybody's."""
    found = select(request_templates).order_by(_t.created_at.desc(), _t.id)
    return await paged(tx, found if seller_id is None else found.where(_t.seller_id == seller_id), Template, page)


async def on_sale(tx: Tx, seller_id: str, page: Page) -> tuple[list[Template], int]:
    """Return what stands in a seller's shop, newest first."""
    left = (_t.max_uses == 0) | (_t.uses < _t.max_uses)
    shown = (_t.seller_id == seller_id) & _t.listed.is_(True) & _t.closed_at.is_(None) & left
    found = select(request_templates).where(shown).order_by(_t.created_at.desc(), _t.id)
    return await paged(tx, found, Template, page)


async def change_template(tx: Tx, template_id: str, now: int, **values: Any) -> bool:
    """Change a template that is open; False when it is closed, or was used more often than it may be."""
    most = values.get("max_uses", 0)
    fits = (_t.uses <= most) if most else _t.uses >= 0
    guarded = update(request_templates).where(_t.id == template_id, _t.closed_at.is_(None), fits)
    return await changed(tx, guarded.values(**values, updated_at=now))


async def use_template(tx: Tx, template_id: str, now: int) -> bool:
    """Count a use of a template; False when it is closed or was used as often as it may be."""
    left = (_t.max_uses == 0) | (_t.uses < _t.max_uses)
    open_ = update(request_templates).where(_t.id == template_id, _t.closed_at.is_(None), left)
    return await changed(tx, open_.values(uses=_t.uses + 1, updated_at=now))


async def checkout(tx: Tx, buyer_id: str, checkout_id: str) -> PlacedCheckout | None:
    same = (_c.buyer_id == buyer_id) & (_c.checkout_id == checkout_id)
    return await one(tx, select(checkouts).where(same), PlacedCheckout)


async def add_checkout(tx: Tx, placed: PlacedCheckout, lines: Sequence[CheckoutLine]) -> None:
    await tx.execute(insert(checkouts).values(**asdict(placed)))
    await tx.execute(insert(checkout_lines), [asdict(each) for each in lines])


async def count_unpaid(tx: Tx, buyer_id: str, template_ids: Collection[str]) -> dict[str, int]:
    """Count a buyer's orders of templates that nobody paid for yet."""
    r = purchase_requests.c
    open_ = select(_l.template_id, func.count().label("n")).where(_l.template_id.in_(template_ids))
    theirs = open_.join(purchase_requests, r.id == _l.purchase_request_id).where(
        r.buyer_id == buyer_id, r.status == RequestStatus.PAYMENT
    )
    return {row.template_id: int(row.n) for row in await tx.execute(theirs.group_by(_l.template_id))}


async def lines_of(tx: Tx, request_id: str) -> list[CheckoutLine]:
    """Return what was ordered with a request; nothing for one that a buyer wrote themselves."""
    return await many(
        tx, select(checkout_lines).where(_l.purchase_request_id == request_id).order_by(_l.line), CheckoutLine
    )
