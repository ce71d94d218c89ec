"""What the operator tells of sources of prices."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlsplit

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from addresses import parse
from kernel.errors import ConfigError
from marketplace.pricing.chainlink import SEQUENCED
from marketplace.pricing.currencies import CONVERTED, PRICED
from marketplace.pricing.decision import Limits

KEY_BYTES = 32
MAX_CHAINS = 8


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as exc:
        raise ValueError("must be JSON") from exc


def _contract(value: str) -> str:
    try:
        return parse("evm", value, testnet=False)
    except ValueError as exc:
        raise ValueError(f"{value[:64]}: {exc}") from exc


def _priced(value: str) -> str:
    if value not in PRICED:
        raise ValueError(f"{value[:16]} is none of {', '.join(sorted(PRICED))}")
    return value


def _converted(value: str) -> str:
    if value not in CONVERTED:
        raise ValueError(f"{value[:16]} is none of {', '.join(sorted(CONVERTED))}")
    return value


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        usable = False
    if not usable or not value.isprintable() or " " in value:
        raise ValueError("must be an http(s) URL without a user name")
    return value


def _key(value: str) -> bytes:
    try:
        key = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ValueError("must be an Ed25519 public key, 32 bytes in base64") from exc
    if len(key) != KEY_BYTES:
        raise ValueError("must be an Ed25519 public key, 32 bytes in base64")
    return key


Asset = Annotated[str, AfterValidator(_priced)]
Contract = Annotated[str, AfterValidator(_contract)]
Feeds = Annotated[
    dict[int, Annotated[dict[Asset, Contract], Field(min_length=1)]],
    BeforeValidator(_json),
    Field(max_length=MAX_CHAINS),
]
Sequencers = Annotated[dict[int, Contract], BeforeValidator(_json), Field(max_length=MAX_CHAINS)]
Assets = Annotated[frozenset[Asset], BeforeValidator(_split), Field(min_length=1)]
Currencies = Annotated[
    frozenset[Annotated[str, AfterValidator(_converted)]], BeforeValidator(_split), Field(min_length=1)
]
Url = Annotated[str, AfterValidator(_url)]


class OracleEnvironment(BaseModel):
    """The variables about prices as they are named outside (docs/quotes.md)."""

    ORACLE_QUOTING_ENABLED: bool | None = None
    ORACLE_CHAINLINK_FEEDS: Feeds = Field(default_factory=dict)
    ORACLE_SEQUENCER_FEEDS: Sequencers = Field(default_factory=dict)
    ORACLE_SEQUENCER_GRACE_S: Annotated[int, Field(ge=0, le=86_400)] = 3600
    ORACLE_PRICE_URL: Url | None = None
    ORACLE_PRICE_PUBLIC_KEY: Annotated[str, AfterValidator(_key)] | None = None
    ORACLE_PRICE_ASSETS: Assets = frozenset({"USDT", "USDC"})
    ORACLE_FX_URL: Url | None = None
    ORACLE_FX_CURRENCIES: Currencies = CONVERTED
    ORACLE_MAX_STALENESS_S: Annotated[int, Field(ge=1, le=7 * 86_400)] = 3600
    ORACLE_MAX_SPREAD_BPS: Annotated[int, Field(ge=0, le=2000)] = 100
    DEPEG_MAX_BPS: Annotated[int, Field(ge=0, le=2000)] = 200
    ORACLE_QUOTE_TTL_S: Annotated[int, Field(ge=60, le=86_400)] = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleSettings:
    """Where prices come from, and when they count."""

    enabled: bool
    feeds: Mapping[int, Mapping[str, str]]
    sequencers: Mapping[int, str]
    sequencer_grace_s: int
    price_url: str | None = field(repr=False)  # URLs carry keys
    price_key: bytes | None
    price_assets: frozenset[str]
    fx_url: str | None = field(repr=False)
    fx_currencies: frozenset[str]
    limits: Limits
    quote_ttl_s: int


def oracle_settings(env: OracleEnvironment, *, production: bool) -> OracleSettings:
    """
    Check what belongs together.

    Raises:
        ConfigError: names the variable.
    """
    configured = bool(env.ORACLE_CHAINLINK_FEEDS) or env.ORACLE_PRICE_URL is not None or env.ORACLE_FX_URL is not None
    if env.ORACLE_QUOTING_ENABLED and not configured:
        raise ConfigError("ORACLE_QUOTING_ENABLED: is on, and no source of prices is configured")
    if (env.ORACLE_PRICE_URL is None) != (env.ORACLE_PRICE_PUBLIC_KEY is None):
        raise ConfigError("ORACLE_PRICE_PUBLIC_KEY: give it together with ORACLE_PRICE_URL, or neither")
    if production and env.ORACLE_FX_URL is not None and urlsplit(env.ORACLE_FX_URL).scheme != "https":
        # Nothing signs these: on the way they could be any number.
        raise ConfigError("ORACLE_FX_URL: must be https in production")
    for chain_id in env.ORACLE_CHAINLINK_FEEDS:
        if chain_id in SEQUENCED and chain_id not in env.ORACLE_SEQUENCER_FEEDS:
            raise ConfigError(
                f"ORACLE_SEQUENCER_FEEDS: chain {chain_id} has a sequencer: name the feed that watches it"
            )
    return OracleSettings(
        enabled=configured if env.ORACLE_QUOTING_ENABLED is None else env.ORACLE_QUOTING_ENABLED,
        feeds=env.ORACLE_CHAINLINK_FEEDS,
        sequencers=env.ORACLE_SEQUENCER_FEEDS,
        sequencer_grace_s=env.ORACLE_SEQUENCER_GRACE_S,
        price_url=env.ORACLE_PRICE_URL,
        price_key=env.ORACLE_PRICE_PUBLIC_KEY,  # type: ignore[arg-type]  # bytes behind its validator
        price_assets=env.ORACLE_PRICE_ASSETS,
        fx_url=env.ORACLE_FX_URL,
        fx_currencies=env.ORACLE_FX_CURRENCIES,
        limits=Limits(
            max_staleness_s=env.ORACLE_MAX_STALENESS_S,
            max_spread_bps=env.ORACLE_MAX_SPREAD_BPS,
            depeg_max_bps=env.DEPEG_MAX_BPS,
        ),
        quote_ttl_s=env.ORACLE_QUOTE_TTL_S,
    )
