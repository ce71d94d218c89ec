"""What an accepted offer costs in a token: as it stands, at par, or by a quote that sources agree on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from marketplace.catalog import Catalog, Token
from marketplace.errors import Refused, invalid
from marketplace.payments.money import MAX_BASE, NotAnAmount, TooPrecise, to_base_units, to_decimal
from marketplace.pricing.board import PriceBoard
from marketplace.pricing.currencies import AT_PAR, CONVERTED, STABLECOINS
from marketplace.pricing.decision import (
    Limits,
    NoPrice,
    Observation,
    adjustment_bps,
    plain,
    raw_amount,
    settle_units,
)
from marketplace.store.quotes import PaymentQuote

RETRY_AFTER_S: Final = 10
ONE: Final = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a price in one currency is in a token, and why; `expires_at` None where nothing was asked of a source."""

    offer_amount: str
    offer_currency: str
    fx_rate: str
    token_price_usd: str
    depeg_adjustment_bps: int
    raw_settle_amount: str
    settle_amount: str
    sources: tuple[Observation, ...]
    quoted_at: int
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class Priced:
    """What has to be paid, in the token's unit; a quote where the price is in another currency."""

    amount_base: int
    quote: Quote | None


class Quoting:
    """Prices in any currency that can be paid with a token here."""

    def __init__(
        self,
        catalog: Catalog,
        board: PriceBoard | None,
        limits: Limits,
        now_ms: Callable[[], int],
        *,
        ttl_s: int,
    ) -> None:
        """`board` None where no source is configured, or quoting is off: dollars are at par then."""
        self._board = board
        self._limits = limits
        self._now_ms = now_ms
        self._ttl_ms = ttl_s * 1000
        self._symbols = frozenset(token.symbol.upper() for token in catalog.tokens)

    def check_currency(self, currency: str) -> None:
        """
        Let an offer be made in a currency that can be paid.

        Raises:
            Refused: nothing could ever be paid for it.
        """
        if currency not in self.currencies():
            known = ", ".join(sorted(self.currencies()))
            raise invalid("price.currency", f"{currency} cannot be paid here: offer in one of {known}")

    def currencies(self) -> Collection[str]:
        """Return the currencies an offer may be made in."""
        found = self._symbols | AT_PAR
        if self._board is not None and self._board.assets & STABLECOINS:
            found |= self._board.assets & CONVERTED
        return found

    @property
    def has_sources(self) -> bool:
        """Say whether anybody is asked for prices."""
        return self._board is not None

    async def troubles(self) -> list[str]:
        """Say why no quote could be drawn now, of each price one sentence."""
        found = await asyncio.gather(*map(self._trouble, sorted(self._board.assets if self._board else ())))
        return [why for why in found if why is not None]

    async def _trouble(self, asset: str) -> str | None:
        try:
            if asset in STABLECOINS:
                adjustment_bps(asset, (await self._token_price(asset))[0], self._limits)
            else:
                await self._dollars(asset)
        except NoPrice as exc:
            return str(exc)
        return None

    async def price(self, amount: str, currency: str, token: Token) -> Priced:
        """
        Return what a price is in a token. Asks sources, so it stands outside of every transaction.

        Raises:
            Refused: it cannot be paid with this token, or nobody can say what it is now.
        """
        symbol = token.symbol.upper()
        if currency == symbol:
            return Priced(_as_it_stands(amount, token), None)
        self._check_pair(currency, symbol)
        try:
            fx_rate, told_fx = await self._dollars(currency)
            price, told = await self._token_price(symbol)
            adjustment = adjustment_bps(symbol, price, self._limits)
        except NoPrice as exc:
            details = {"reason": exc.reason, "retryAfter": RETRY_AFTER_S}
            raise Refused("quote_unavailable", f"{exc}: try again later, or pay in another token", **details) from exc
        raw = raw_amount(_number(amount), fx_rate)
        units = settle_units(raw, adjustment, token.decimals)
        if units > MAX_BASE:
            raise invalid("token", f"{token.symbol} cannot express {amount} {currency}")
        now = self._now_ms()
        quote = Quote(
            offer_amount=amount,
            offer_currency=currency,
            fx_rate=plain(fx_rate),
            token_price_usd=plain(price),
            depeg_adjustment_bps=adjustment,
            raw_settle_amount=plain(raw),
            settle_amount=to_decimal(units, token.decimals),
            sources=(*told_fx, *told),
            quoted_at=now,
            expires_at=now + self._ttl_ms if self._board is not None else None,
        )
        return Priced(units, quote)

    def _check_pair(self, currency: str, symbol: str) -> None:
        assets = frozenset() if self._board is None else self._board.assets
        if symbol not in STABLECOINS or (currency not in AT_PAR and currency not in assets):
            raise invalid("token", f"cannot pay a price in {currency} with {symbol}")
        if self._board is not None and symbol not in assets:
            raise invalid("token", f"no source of the price of {symbol} is configured: pay in another token")

    async def _dollars(self, currency: str) -> tuple[Decimal, tuple[Observation, ...]]:
        if self._board is None or currency in AT_PAR:
            return ONE, ()
        return await self._board.price(currency)

    async def _token_price(self, symbol: str) -> tuple[Decimal, tuple[Observation, ...]]:
        return (ONE, ()) if self._board is None else await self._board.price(symbol)


def kept(quote: Quote, payment_id: str, token: Token, expires_at: int) -> PaymentQuote:
    """Return a quote as it is kept beside its payment."""
    return PaymentQuote(
        payment_id=payment_id,
        offer_amount=quote.offer_amount,
        offer_currency=quote.offer_currency,
        fx_rate=quote.fx_rate,
        token_price_usd=quote.token_price_usd,
        depeg_adjustment_bps=quote.depeg_adjustment_bps,
        raw_settle_amount=quote.raw_settle_amount,
        settle_amount=quote.settle_amount,
        chain_id=token.chain_id,
        token_address=token.address,
        sources=[
            {"source": each.source, "asset": each.asset, "priceUsd": plain(each.price), "asOf": each.as_of_s}
            for each in quote.sources
        ],
        quoted_at=quote.quoted_at,
        expires_at=expires_at,
    )


def _as_it_stands(amount: str, token: Token) -> int:
    """Convert the agreed price once."""
    try:
        return to_base_units(amount, token.decimals)
    except (TooPrecise, NotAnAmount) as exc:
        raise invalid("token", f"{token.symbol} cannot express {amount}: it {exc}") from exc


def _number(amount: str) -> Decimal:
    """Return an agreed price as an exact number; it was checked digit by digit when it was agreed on."""
    number = Decimal(amount)
    if not number.is_finite() or number <= 0:
        raise ValueError("a price is a positive number")
    return number
