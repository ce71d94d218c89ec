"""
What a write block decides about, locked until its transaction ends.

Offers, payments, deliveries, disputes and the ledger's lines all belong to one purchase request, so whoever decides
about any of them locks its row first and reads afterwards. On SQLite the one writer is the lock already.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Select, Table, select

from kernel.store.database import Database
from kernel.store.dialects import is_postgresql
from marketplace.store.database import Tx
from marketplace.store.tables import (
    disputes,
    offers,
    payments,
    purchase_requests,
    refresh_tokens,
    request_templates,
    stock_items,
    stock_pools,
    users,
)

# A row to lock, or the name of a lock that is no row of anything; None: each statement of the block decides by itself.
Subject = Select[Any] | str | None


def request(request_id: str) -> Subject:
    return select(purchase_requests.c.id).where(purchase_requests.c.id == request_id)


def request_of_offer(offer_id: str) -> Subject:
    return _request_of(offers, offer_id)


def request_of_payment(payment_id: str) -> Subject:
    """Of a pay-in, or of an instruction that empties one."""
    return _request_of(payments, payment_id)


def request_of_dispute(dispute_id: str) -> Subject:
    return _request_of(disputes, dispute_id)


def user(user_id: str) -> Subject:
    """Somebody's account: their sessions, their password, whether they are suspended."""
    return select(users.c.id).where(users.c.id == user_id)


def holder_of_token(token_hash: str) -> Subject:
    """The user a refresh token is of: else a link added at the same time would outlive the end of its family."""
    t = refresh_tokens.c
    return _where(users.c.id, select(t.user_id).where(t.token_hash == token_hash))


def pool(pool_id: str) -> Subject:
    """A stock of digital goods; whoever locks a request as well locks the request first."""
    return select(stock_pools.c.id).where(stock_pools.c.id == pool_id)


def pool_of_item(item_id: str) -> Subject:
    return _where(stock_pools.c.id, select(stock_items.c.pool_id).where(stock_items.c.id == item_id))


def stocks_of(seller_id: str) -> Subject:
    """All stocks of a seller, by name: there may be none yet."""
    return f"stocks of {seller_id}"


def template(template_id: str) -> Subject:
    return select(request_templates.c.id).where(request_templates.c.id == template_id)


def shop_of(seller_id: str) -> Subject:
    """A seller's shop with its templates, by name: there may be none yet."""
    return f"shop of {seller_id}"


def checkouts_of(buyer_id: str) -> Subject:
    """What a buyer orders, under whatever name."""
    return f"checkouts of {buyer_id}"


def _request_of(table: Table, row_id: str) -> Subject:
    return _where(purchase_requests.c.id, select(table.c.purchase_request_id).where(table.c.id == row_id))


def _where(column: Column[Any], owner: Select[Any]) -> Subject:
    return select(column).where(column == owner.scalar_subquery())


async def hold(db: Database, tx: Tx, subject: Subject) -> None:
    """Take a lock; what is read after this is what was committed last."""
    if subject is None or not is_postgresql(tx):
        return
    if isinstance(subject, str):
        await db.lock(tx, subject)
    else:  # no FOR UPDATE: rows that refer to this one are added beside us
        await tx.execute(subject.with_for_update(key_share=True))
