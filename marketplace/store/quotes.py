"""What a payment's amount was quoted by: one quote a payment, written with it and never changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import insert, select

from marketplace.store.database import Tx
from marketplace.store.rows import many, one
from marketplace.store.tables import payment_quotes

_q = payment_quotes.c


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentQuote:
    """Decimals are text; `sources` names who said what, and is empty where dollars were at par."""

    payment_id: str
    offer_amount: str
    offer_currency: str
    fx_rate: str
    token_price_usd: str
    depeg_adjustment_bps: int
    raw_settle_amount: str
    settle_amount: str
    chain_id: int
    token_address: str
    sources: list[dict[str, Any]]
    quoted_at: int
    expires_at: int

    @property
    def at_par(self) -> bool:
        """Say whether a dollar was taken for a dollar, since there is no source to ask."""
        return not self.sources


async def add(tx: Tx, quote: PaymentQuote) -> None:
    await tx.execute(insert(payment_quotes).values(**asdict(quote)))


async def every(tx: Tx) -> dict[str, PaymentQuote]:
    """Return every quote there is, by its payment: reconciliation leaves none out."""
    return {quote.payment_id: quote for quote in await many(tx, select(payment_quotes), PaymentQuote)}


async def of_payment(tx: Tx, payment_id: str) -> PaymentQuote | None:
    """Return the quote of a payment; None where its price was in the token itself."""
    return await one(tx, select(payment_quotes).where(_q.payment_id == payment_id), PaymentQuote)
