"""Building the hosted providers that are configured."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

import aiohttp

from clients.python.amn_scanner_client import ScannerClient
from marketplace.catalog import Catalog
from marketplace.model import Provider
from marketplace.payments.hosted import shkeeper
from marketplace.payments.hosted.hosted_provider import HostedProvider
from marketplace.payments.hosted.request_network import RequestNetwork
from marketplace.payments.hosted.settings import HostedSettings, check_against
from marketplace.payments.hosted.upstream import Upstream, UpstreamCalls
from marketplace.payments.scanner_provider import Callback
from marketplace.unit_of_work import UnitOfWorkFactory


def open_hosted(
    settings: HostedSettings,
    units: UnitOfWorkFactory,
    session: aiohttp.ClientSession,
    scanner: ScannerClient,
    catalog: Catalog,
    callback: Callback,
    escrow: Mapping[int, Collection[str]],
) -> dict[Provider, HostedProvider]:
    """
    Return the hosted providers by name; none unless they are configured.

    Raises:
        ConfigError: they name what the registry does not have.
    """
    check_against(settings, catalog)
    upstreams: list[Upstream] = []
    if settings.shkeeper is not None:
        key = settings.shkeeper.api_key
        headers = {shkeeper.API_KEY: key.get_secret_value()}
        calls = UpstreamCalls(Provider.SHKEEPER, session, settings.shkeeper.url, headers)
        url = partial(callback.at, shkeeper.HOOK_PATH)
        upstreams.append(shkeeper.Shkeeper(calls, key, settings.shkeeper.cryptos, url))
    if settings.request_network is not None:
        given = settings.request_network
        headers = {"x-api-key": given.api_key.get_secret_value()}
        calls = UpstreamCalls(Provider.REQUEST_NETWORK, session, given.url, headers)
        upstreams.append(RequestNetwork(calls, given.webhook_secret, given.chain_ids))
    return {each.name: HostedProvider(units, each, scanner, catalog, escrow) for each in upstreams}
