"""A seller's stock: filled from a file, counted, and taken back while nobody bought it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from marketplace.errors import Refused, conflict, invalid, not_found
from marketplace.goods import handover
from marketplace.goods.cipher import digest
from marketplace.goods.keys import GoodsKeys, GoodsSeal
from marketplace.goods.stock_file import BadStockFile, FileItem, Problem, read_stock
from marketplace.model import Actor, Page, ProductType, PurchaseRequest, User
from marketplace.store import locks, stock, users
from marketplace.store.database import Tx
from marketplace.store.stock import Counts, NewItem, Pool, StockItem
from marketplace.unit_of_work import UnitOfWorkFactory, new_id

MAX_POOLS = 100  # of one seller
MAX_FREE = 10_000  # goods of one pool that nobody bought


@dataclass(frozen=True, slots=True)
class CountedPool:
    """A pool, and how many goods of it are in which state."""

    pool: Pool
    counts: Counts
    seller: User | None = None


async def own_pool(tx: Tx, actor: Actor, pool_id: str) -> Pool:
    """Return a pool of the actor's: whose others are is nobody's business."""
    found = await stock.pool(tx, pool_id)
    if found is None or found.seller_id != actor.user_id:
        raise not_found("stock")
    return found


async def offer_goods(tx: Tx, actor: Actor, request: PurchaseRequest, offer_id: str, pool_id: str) -> None:
    """Let an offer hand over goods of a pool, as many as are asked for."""
    if request.product_type is not ProductType.DIGITAL:
        raise invalid("poolId", f"hands over digital goods, and this request is for a {request.product_type}")
    await own_pool(tx, actor, pool_id)
    await stock.offer(tx, offer_id, {pool_id: request.quantity})


class Stock:
    """Use cases of sellers, and what an admin sees of them."""

    def __init__(self, units: UnitOfWorkFactory, seal: GoodsSeal) -> None:
        self._units = units
        self._seal = seal

    async def create(self, actor: Actor, name: str, low_at: int) -> CountedPool:
        """Begin a stock."""
        _ = self._seal.keys  # without them nothing could be put into it
        async with self._units.begin(locks.stocks_of(actor.user_id)) as work:
            if await stock.count_pools(work.tx, actor.user_id) >= MAX_POOLS:
                raise conflict(f"you have {MAX_POOLS} stocks, and there are no more", stocks=MAX_POOLS)
            pool = Pool(
                id=new_id(),
                seller_id=actor.user_id,
                name=name,
                low_at=low_at,
                told_left=None,
                created_at=work.now,
                updated_at=work.now,
            )
            await stock.add_pool(work.tx, pool)
        return CountedPool(pool, Counts())

    async def listing(self, actor: Actor, page: Page) -> tuple[list[CountedPool], int]:
        """Return a seller's stocks, or everybody's to an admin."""
        async with self._units.db.read() as tx:
            mine = None if actor.is_admin else actor.user_id
            found, total = await stock.pools(tx, page, seller_id=mine)
            counts = await stock.counts(tx, [pool.id for pool in found], self._units.clock.now_ms())
            sellers = await users.by_ids(tx, {pool.seller_id for pool in found}) if actor.is_admin else {}
        return [CountedPool(pool, counts[pool.id], sellers.get(pool.seller_id)) for pool in found], total

    async def show(self, actor: Actor, pool_id: str) -> CountedPool:
        async with self._units.db.read() as tx:
            return await self._counted(tx, await own_pool(tx, actor, pool_id))

    async def change(self, actor: Actor, pool_id: str, changes: dict[str, Any]) -> CountedPool:
        """Rename a stock, or say when it is low."""
        async with self._units.begin(locks.pool(pool_id)) as work:
            await own_pool(work.tx, actor, pool_id)
            if not changes:
                raise invalid("body", "names nothing to change")
            await stock.change_pool(work.tx, pool_id, work.now, **changes)
            await handover.has_more(work, pool_id)
            return await self._counted(work.tx, await own_pool(work.tx, actor, pool_id))

    async def items(self, actor: Actor, pool_id: str, page: Page, state: str | None) -> tuple[list[StockItem], int]:
        """Return what is in a stock, without what it is."""
        async with self._units.db.read() as tx:
            await own_pool(tx, actor, pool_id)
            return await stock.items(tx, page, pool_id, self._units.clock.now_ms(), state=state)

    async def upload(self, actor: Actor, pool_id: str, raw: bytes) -> tuple[CountedPool, int]:
        """Put every good of a file into a stock, or none; return how many."""
        keys = self._seal.keys
        try:
            given = read_stock(raw, self._units.clock.now_ms())
            new = _sealed(keys, actor.user_id, given)  # before the transaction: others wait for it
            async with self._units.begin(locks.pool(pool_id)) as work:
                pool = await own_pool(work.tx, actor, pool_id)
                left = await stock.count_free(work.tx, pool_id, work.now)
                if left + len(given) > MAX_FREE:
                    raise conflict(f"a stock has at most {MAX_FREE} goods", left=left, added=len(given))
                await _refuse_known(work.tx, actor.user_id, new)
                await stock.add_items(work.tx, pool, new, work.now)
                await handover.has_more(work, pool_id)
                counted = await self._counted(work.tx, await own_pool(work.tx, actor, pool_id))
        except BadStockFile as exc:
            raise _bad(exc) from None
        return counted, len(given)

    async def withdraw(self, actor: Actor, item_id: str) -> CountedPool:
        """Take a good that nobody bought out of its stock."""
        async with self._units.begin(locks.pool_of_item(item_id)) as work:
            pool_id = await stock.item_of(work.tx, actor.user_id, item_id)
            if pool_id is None:
                raise not_found("good")
            if not await stock.withdraw(work.tx, item_id, work.now):
                raise conflict("it is sold, or taken out already")
            await handover.tell_low(work, pool_id)
            return await self._counted(work.tx, await own_pool(work.tx, actor, pool_id))

    async def _counted(self, tx: Tx, pool: Pool) -> CountedPool:
        counts = await stock.counts(tx, [pool.id], self._units.clock.now_ms())
        return CountedPool(pool, counts[pool.id])


def _sealed(keys: GoodsKeys, seller_id: str, given: Sequence[FileItem]) -> list[NewItem]:
    found = []
    for each in given:
        item_id = new_id()
        found.append(
            NewItem(
                id=item_id,
                sealed=keys.cipher.seal(each.content, item_id),
                key_id=keys.cipher.key_id,
                digest=digest(keys.digest_key, seller_id, each.content),
                line=each.line,
                expires_at=each.expires_at,
            )
        )
    return found


async def _refuse_known(tx: Tx, seller_id: str, new: Sequence[NewItem]) -> None:
    known = await stock.known_digests(tx, seller_id, [each.digest for each in new])
    if known:
        raise BadStockFile(
            [Problem(each.line, "is in your stock already, or was") for each in new if each.digest in known]
        )


def _bad(exc: BadStockFile) -> Refused:
    lines = [{"line": each.line, "message": each.message} for each in exc.problems]
    more = {} if exc.count == 1 else {"problems": exc.count}
    return Refused("invalid", f"nothing was taken: {exc}", field="file", lines=lines, **more)
