"""Opens the sources of prices that the operator named."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from kernel.clock import Clock
from marketplace.catalog import Catalog
from marketplace.errors import ConfigError
from marketplace.pricing.board import PriceBoard
from marketplace.pricing.chainlink import ChainlinkFeeds, Node
from marketplace.pricing.http_sources import ExchangeRates, SignedPrices, fetch_from, host_of
from marketplace.pricing.quoting import Quoting
from marketplace.pricing.settings import OracleSettings
from marketplace.pricing.sources import PriceSource


def open_quoting(
    catalog: Catalog,
    settings: OracleSettings,
    rpc_urls: Mapping[str, str],
    session: aiohttp.ClientSession,
    clock: Clock,
) -> Quoting:
    """
    Build what draws quotes; it asks nobody anything yet.

    Raises:
        ConfigError: a chain of feeds has no endpoint.
    """
    board = None
    if settings.enabled:
        sources = _feeds(catalog, settings, rpc_urls, session, clock) + _over_http(settings, session, clock)
        board = PriceBoard(sources, settings.limits, clock)
    return Quoting(catalog, board, settings.limits, clock.now_ms, ttl_s=settings.quote_ttl_s)


def _feeds(
    catalog: Catalog,
    settings: OracleSettings,
    rpc_urls: Mapping[str, str],
    session: aiohttp.ClientSession,
    clock: Clock,
) -> list[PriceSource]:
    found: list[PriceSource] = []
    for chain_id, feeds in settings.feeds.items():
        chain = catalog.chains.get(chain_id)
        if chain is None or chain.chain_type != "evm":
            raise ConfigError(f"ORACLE_CHAINLINK_FEEDS: {chain_id} is no EVM chain of the registry")
        url = rpc_urls.get(chain.rpc_env or "") or next(iter(chain.rpc_urls), None)
        if url is None:
            raise ConfigError(f"{chain.rpc_env or 'rpcUrls'}: feeds of {chain.name} are configured, and no endpoint")
        found.append(
            ChainlinkFeeds(
                Node(session, url),
                chain_id,
                feeds,
                clock.wall_ms,
                sequencer=settings.sequencers.get(chain_id),
                grace_s=settings.sequencer_grace_s,
            )
        )
    return found


def _over_http(settings: OracleSettings, session: aiohttp.ClientSession, clock: Clock) -> list[PriceSource]:
    found: list[PriceSource] = []
    if settings.price_url is not None and settings.price_key is not None:
        url = settings.price_url
        fetch = fetch_from(session, url)
        found.append(SignedPrices(fetch, settings.price_key, settings.price_assets, clock.wall_ms, host=host_of(url)))
    if settings.fx_url is not None:
        url = settings.fx_url
        fetch = fetch_from(session, url)
        found.append(ExchangeRates(fetch, settings.fx_currencies, clock.wall_ms, host=host_of(url)))
    return found
