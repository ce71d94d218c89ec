"""A seller's shop: what it says, and the templates in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marketplace.errors import conflict, forbidden, invalid, not_found
from marketplace.goods.stock import own_pool
from marketplace.model import Actor, Page, ProductType, User
from marketplace.pricing.quoting import Quoting
from marketplace.store import locks, shops, stock, users
from marketplace.store.database import Tx
from marketplace.store.shops import Shop, Template
from marketplace.unit_of_work import UnitOfWorkFactory, new_id

MAX_TEMPLATES = 200  # of one seller


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateDraft:
    """A template as the seller wrote it, checked for form."""

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


@dataclass(frozen=True, slots=True)
class OnSale:
    """A template as anybody sees it: `left` goods are in its stock, None where it has none."""

    template: Template
    left: int | None


async def seller_at_work(tx: Tx, seller_id: str) -> User:
    """Return a seller who may sell; somebody suspended has no shop."""
    found = await users.by_id(tx, seller_id)
    if found is None or found.suspended_at is not None:
        raise not_found("shop")
    return found


class Shops:
    """Use cases of shops and templates."""

    def __init__(self, units: UnitOfWorkFactory, quoting: Quoting) -> None:
        self._units = units
        self._quoting = quoting

    async def put(self, actor: Actor, name: str, text: str) -> Shop:
        """Open a shop, or say something else in it."""
        async with self._units.begin(locks.shop_of(actor.user_id)) as work:
            given = Shop(seller_id=actor.user_id, name=name, text=text, created_at=work.now, updated_at=work.now)
            await shops.put_shop(work.tx, given)
            return await _found_shop(work.tx, actor.user_id)

    async def show(self, seller_id: str, page: Page) -> tuple[Shop, list[OnSale], int]:
        """Return a shop and what is in it, to anybody."""
        async with self._units.db.read() as tx:
            await seller_at_work(tx, seller_id)
            shop = await _found_shop(tx, seller_id)
            found, total = await shops.on_sale(tx, seller_id, page)
            return shop, await self._with_stock(tx, found), total

    async def create(self, actor: Actor, draft: TemplateDraft) -> Template:
        """Make a template, in a currency that can be paid."""
        self._quoting.check_currency(draft.price_currency)
        async with self._units.begin(locks.shop_of(actor.user_id)) as work:
            if await shops.count_templates(work.tx, actor.user_id) >= MAX_TEMPLATES:
                raise conflict(f"you have {MAX_TEMPLATES} templates, and there are no more", templates=MAX_TEMPLATES)
            await _check_pool(work.tx, actor, draft.product_type, draft.pool_id)
            made = Template(
                id=new_id(),
                seller_id=actor.user_id,
                share_id=new_id(),
                title=draft.title,
                description=draft.description,
                product_type=draft.product_type,
                price_amount=draft.price_amount,
                price_currency=draft.price_currency,
                delivery_amount=draft.delivery_amount,
                delivery_unit=draft.delivery_unit,
                pool_id=draft.pool_id,
                require_aml_check=draft.require_aml_check,
                aml_block_on_failure=draft.aml_block_on_failure,
                listed=draft.listed,
                max_uses=draft.max_uses,
                uses=0,
                closed_at=None,
                created_at=work.now,
                updated_at=work.now,
            )
            await shops.add_template(work.tx, made)
        return made

    async def listing(self, actor: Actor, page: Page) -> tuple[list[Template], int]:
        """Return a seller's templates, or everybody's to an admin."""
        async with self._units.db.read() as tx:
            return await shops.templates(tx, page, seller_id=None if actor.is_admin else actor.user_id)

    async def change(self, actor: Actor, template_id: str, changes: Mapping[str, Any]) -> Template:
        """Change a template for those who take it from now on."""
        if "price_currency" in changes:
            self._quoting.check_currency(changes["price_currency"])
        if not changes:
            raise invalid("body", "names nothing to change")
        async with self._units.begin(locks.template(template_id)) as work:
            found = await _own(work.tx, actor, template_id)
            if "pool_id" in changes:
                await _check_pool(work.tx, actor, found.product_type, changes["pool_id"])
            if not await shops.change_template(work.tx, template_id, work.now, **changes):
                raise conflict("it is closed, or was used more often than that", uses=found.uses)
            return await _own(work.tx, actor, template_id)

    async def share_anew(self, actor: Actor, template_id: str) -> Template:
        """Give a template another link; the one before leads nowhere."""
        return await self.change(actor, template_id, {"share_id": new_id()})

    async def close(self, actor: Actor, template_id: str) -> Template:
        """Sell it to nobody any more: its seller's word, or an admin's. Closing it again changes nothing."""
        async with self._units.begin(locks.template(template_id)) as work:
            found = await shops.template(work.tx, template_id)
            if found is None:
                raise not_found("template")
            if found.seller_id != actor.user_id and not actor.is_admin:
                raise forbidden("this template is somebody else's")
            await shops.change_template(work.tx, template_id, work.now, closed_at=work.now)
            return await shops.template(work.tx, template_id) or found

    async def shared(self, share_id: str) -> OnSale:
        """Return a template to whoever has its link."""
        async with self._units.db.read() as tx:
            found = (await shops.shared(tx, [share_id])).get(share_id)
            if found is None or found.closed_at is not None:
                raise not_found("template")
            await seller_at_work(tx, found.seller_id)
            return (await self._with_stock(tx, [found]))[0]

    async def _with_stock(self, tx: Tx, found: Sequence[Template]) -> list[OnSale]:
        pools = {each.pool_id for each in found if each.pool_id is not None}
        counts = await stock.counts(tx, pools, self._units.clock.now_ms()) if pools else {}
        return [OnSale(each, None if each.pool_id is None else counts[each.pool_id].free) for each in found]


async def _found_shop(tx: Tx, seller_id: str) -> Shop:
    found = await shops.shop(tx, seller_id)
    if found is None:
        raise not_found("shop")
    return found


async def _own(tx: Tx, actor: Actor, template_id: str) -> Template:
    found = await shops.template(tx, template_id)
    if found is None or found.seller_id != actor.user_id:
        raise not_found("template")
    return found


async def _check_pool(tx: Tx, actor: Actor, product_type: ProductType, pool_id: str | None) -> None:
    if pool_id is None:
        return
    if product_type is not ProductType.DIGITAL:
        raise invalid("poolId", f"hands over digital goods, and this is a {product_type}")
    await own_pool(tx, actor, pool_id)
