"""What an operator may say of sources of prices, and what ends the start."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from devnet.price_publisher import PUBLIC_KEY
from marketplace.errors import ConfigError
from marketplace.settings import Settings, load_settings
from tests.marketplace.harness import environment, running
from tests.marketplace.pricing.stand_ins import SEQUENCER, USDT_FEED

PRICES = {"ORACLE_PRICE_URL": "https://prices.example/key-123", "ORACLE_PRICE_PUBLIC_KEY": PUBLIC_KEY}


def feeds(chain_id: int = 97) -> dict[str, str]:
    return {"ORACLE_CHAINLINK_FEEDS": orjson.dumps({chain_id: {"USDT": USDT_FEED}}, option=4).decode()}


def load(tmp_path: Path, **more: str) -> Settings:
    return load_settings(environment(tmp_path, **more))


def test_without_a_source_there_is_no_quoting(tmp_path: Path) -> None:
    oracle = load(tmp_path).oracle

    assert not oracle.enabled
    assert (oracle.limits.max_staleness_s, oracle.limits.max_spread_bps, oracle.limits.depeg_max_bps) == (
        3600,
        100,
        200,
    )


@pytest.mark.parametrize("more", [PRICES, {"ORACLE_FX_URL": "https://fx.example"}, feeds()])
def test_a_source_switches_quoting_on_and_off_is_off(tmp_path: Path, more: dict[str, str]) -> None:
    assert load(tmp_path, **more).oracle.enabled
    assert not load(tmp_path, **more, ORACLE_QUOTING_ENABLED="false").oracle.enabled


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("ORACLE_QUOTING_ENABLED", {"ORACLE_QUOTING_ENABLED": "true"}),
        ("ORACLE_QUOTING_ENABLED", {"ORACLE_QUOTING_ENABLED": "perhaps"}),
        ("ORACLE_PRICE_PUBLIC_KEY", {"ORACLE_PRICE_URL": "https://prices.example"}),
        ("ORACLE_PRICE_PUBLIC_KEY", {"ORACLE_PRICE_PUBLIC_KEY": PUBLIC_KEY}),
        ("ORACLE_PRICE_PUBLIC_KEY", {**PRICES, "ORACLE_PRICE_PUBLIC_KEY": "AAAA"}),
        ("ORACLE_PRICE_PUBLIC_KEY", {**PRICES, "ORACLE_PRICE_PUBLIC_KEY": "!"}),
        ("ORACLE_PRICE_URL", {**PRICES, "ORACLE_PRICE_URL": "file:///etc/passwd"}),
        ("ORACLE_PRICE_URL", {**PRICES, "ORACLE_PRICE_URL": "https://me:secret@prices.example"}),
        ("ORACLE_PRICE_ASSETS", {**PRICES, "ORACLE_PRICE_ASSETS": "USDT,BTC"}),
        ("ORACLE_FX_CURRENCIES", {"ORACLE_FX_URL": "https://fx.example", "ORACLE_FX_CURRENCIES": "EUR,USDT"}),
        ("ORACLE_FX_URL", {"ORACLE_FX_URL": "fx.example"}),
        ("ORACLE_FX_URL", {"ORACLE_FX_URL": "http://fx.example", "APP_ENV": "production"}),
        ("ORACLE_CHAINLINK_FEEDS", {"ORACLE_CHAINLINK_FEEDS": "{"}),
        ("ORACLE_CHAINLINK_FEEDS", {"ORACLE_CHAINLINK_FEEDS": '{"1": {}}'}),
        ("ORACLE_CHAINLINK_FEEDS", {"ORACLE_CHAINLINK_FEEDS": '{"1": {"USDT": "0x12"}}'}),
        ("ORACLE_CHAINLINK_FEEDS", {"ORACLE_CHAINLINK_FEEDS": f'{{"1": {{"BTC": "{USDT_FEED}"}}}}'}),
        ("ORACLE_SEQUENCER_FEEDS", feeds(42161)),
        ("ORACLE_SEQUENCER_FEEDS", feeds(8453)),
        ("ORACLE_SEQUENCER_GRACE_S", {"ORACLE_SEQUENCER_GRACE_S": "-1"}),
        ("ORACLE_MAX_STALENESS_S", {"ORACLE_MAX_STALENESS_S": "0"}),
        ("ORACLE_MAX_SPREAD_BPS", {"ORACLE_MAX_SPREAD_BPS": "2001"}),
        ("DEPEG_MAX_BPS", {"DEPEG_MAX_BPS": "2001"}),
        ("ORACLE_QUOTE_TTL_S", {"ORACLE_QUOTE_TTL_S": "59"}),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, name: str, more: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: "):
        load(tmp_path, **more)


def test_a_sequencer_that_is_watched_is_accepted(tmp_path: Path) -> None:
    watched = {"ORACLE_SEQUENCER_FEEDS": f'{{"42161": "{SEQUENCER}"}}'}

    assert load(tmp_path, **feeds(42161), **watched).oracle.enabled


@pytest.mark.parametrize("chain_id", [12345, 728126428])
async def test_feeds_of_a_chain_we_cannot_ask_end_the_start(tmp_path: Path, chain_id: int) -> None:
    with pytest.raises(ConfigError, match=r"^ORACLE_CHAINLINK_FEEDS: "):
        async with running(environment(tmp_path, **feeds(chain_id))):
            pass


def test_addresses_of_sources_are_in_no_repr(tmp_path: Path) -> None:
    assert "key-123" not in repr(load(tmp_path, **PRICES))
