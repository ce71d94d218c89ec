"""Quotes, options and networks."""

from __future__ import annotations

from typing import Annotated

from marketplace import model
from marketplace.web.shapes.basics import Count, Money, Time, one_of
from protocol.wire import Wire


class QuoteSource(Wire):
    source: str
    asset: str
    price_usd: Money
    as_of: Time


class Quote(Wire):
    offer_amount: Money
    offer_currency: str
    fx_rate: Money
    token_price_usd: Money
    depeg_adjustment_bps: Count
    raw_settle_amount: Money
    settle_amount: Money
    chain_id: Count
    token_address: str
    at_par: bool
    note: str | None
    sources: tuple[QuoteSource, ...]
    quoted_at: Time
    expires_at: Time


class ProviderOption(Wire):
    name: Annotated[str, one_of((model.Provider.SCANNER, *model.HOSTED))]
    rails: tuple[Annotated[str, one_of(model.Rail)], ...]


class PaymentOption(Wire):
    chain_id: Count
    chain_name: str
    token: str
    token_address: str
    rails: tuple[Annotated[str, one_of(model.Rail)], ...]
    providers: tuple[ProviderOption, ...]
    confirmations: Count
    estimated_seconds: Count | None
    amount: Money


class PaymentOptions(Wire):
    options: tuple[PaymentOption, ...]


class NetworkToken(Wire):
    symbol: str
    address: str
    decimals: Count


class OurNetwork(Wire):
    name: str
    chain_type: str
    testnet: bool
    confirmations: Count
    rails: tuple[Annotated[str, one_of(model.Rail)], ...]
    tokens: tuple[NetworkToken, ...]


class ScannersNetwork(Wire):
    name: str
    chain_type: str
    state: str
    tokens: tuple[NetworkToken, ...]


class Network(Wire):
    chain_id: Count
    marketplace: OurNetwork | None
    scanner: ScannersNetwork | None
    differences: tuple[str, ...]


class Networks(Wire):
    networks: tuple[Network, ...]
    scanner_error: str | None
