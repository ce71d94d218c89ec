"""Whether payments and their quotes are the same story. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from marketplace.model import Direction, Payment
from marketplace.payments.money import to_decimal
from marketplace.pricing.decision import plain, raw_amount, settle_units
from marketplace.store.quotes import PaymentQuote


def contradictions(
    payments: Sequence[Payment], quotes: Mapping[str, PaymentQuote], currencies: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Say of each pay-in that was not asked for by its quote what is wrong; `currencies` are those of the offers."""
    for payment in payments:
        if payment.direction is not Direction.IN:
            continue
        quote = quotes.get(payment.id)
        why = _wrong(payment, quote) if quote is not None else _missing(payment, currencies)
        if why is not None:
            yield payment.id, why


def _missing(payment: Payment, currencies: Mapping[str, str]) -> str | None:
    currency = currencies.get(payment.seller_offer_id, payment.token_symbol.upper())
    if currency == payment.token_symbol.upper():
        return None
    return f"a price in {currency} is paid in {payment.token_symbol} without a quote"


def _wrong(payment: Payment, quote: PaymentQuote) -> str | None:
    if (quote.chain_id, quote.token_address) != (payment.chain_id, payment.token_address):
        return "the quote is of another chain or token"
    if quote.settle_amount != to_decimal(payment.amount_base, payment.decimals):
        return f"{payment.amount} was asked for, the quote says {quote.settle_amount}"
    raw = raw_amount(Decimal(quote.offer_amount), Decimal(quote.fx_rate))
    units = settle_units(raw, quote.depeg_adjustment_bps, payment.decimals)
    if (plain(raw), units) != (quote.raw_settle_amount, payment.amount_base):
        return f"the quote's own numbers come to {to_decimal(units, payment.decimals)}"
    return None
