"""What the operator tells of hosted providers; none is used unless it is named here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints

from kernel.errors import ConfigError
from marketplace.catalog import Catalog
from marketplace.pricing.settings import OracleEnvironment, Url

MAX_CHAINS = 32
FAMILIES = frozenset({"evm", "tron"})  # whose transactions SHKeeper names as the scanner does


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as exc:
        raise ValueError("must be JSON: chain id to token to SHKeeper's name of it") from exc


def _listed(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _base(value: str) -> str:
    return value.rstrip("/")


Base = Annotated[Url, AfterValidator(_base)]
Secret = Annotated[SecretStr, Field(min_length=8, max_length=500)]
Crypto = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
Symbol = Annotated[str, Field(min_length=1, max_length=32)]
Cryptos = Annotated[
    dict[int, Annotated[dict[Symbol, Crypto], Field(min_length=1, max_length=100)]],
    BeforeValidator(_json),
    Field(max_length=MAX_CHAINS),
]
ChainIds = Annotated[tuple[int, ...], BeforeValidator(_listed), Field(max_length=MAX_CHAINS)]


class HostedEnvironment(OracleEnvironment):
    """The variables about hosted providers as they are named outside (docs/providers.md)."""

    SHKEEPER_URL: Base | None = None
    SHKEEPER_API_KEY: Secret | None = None
    SHKEEPER_CRYPTOS: Cryptos = Field(default_factory=dict)
    REQUEST_NETWORK_URL: Base = "https://api.request.network"
    REQUEST_NETWORK_API_KEY: Secret | None = None
    REQUEST_NETWORK_WEBHOOK_SECRET: Secret | None = None
    REQUEST_NETWORK_CHAINS: ChainIds = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShkeeperSettings:
    """A SHKeeper and the names it has for tokens, by chain and symbol."""

    url: str
    api_key: SecretStr
    cryptos: Mapping[int, Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestNetworkSettings:
    """An account of Request Network, and the chains on which it is used."""

    url: str
    api_key: SecretStr
    webhook_secret: SecretStr
    chain_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedSettings:
    """Which hosted providers are used."""

    shkeeper: ShkeeperSettings | None
    request_network: RequestNetworkSettings | None


def hosted_settings(env: HostedEnvironment, *, require_proof: bool, production: bool) -> HostedSettings:
    """
    Check what belongs together.

    Raises:
        ConfigError: names the variable.
    """
    found = HostedSettings(shkeeper=_shkeeper(env), request_network=_request_network(env))
    for name, used in (("SHKEEPER_URL", found.shkeeper), ("REQUEST_NETWORK_URL", found.request_network)):
        if used is None:
            continue
        if require_proof:
            # The scanner makes proofs of its own intents: everything paid elsewhere would be held for ever.
            raise ConfigError(f"{name}: there are no proofs of what is paid there: unset MARKETPLACE_REQUIRE_PROOF")
        if production and urlsplit(used.url).scheme != "https" and not _is_local(used.url):
            raise ConfigError(f"{name}: must be https in production: the key goes with each call")
    return found


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in {"127.0.0.1", "::1", "localhost"}


def _shkeeper(env: HostedEnvironment) -> ShkeeperSettings | None:
    url, key, cryptos = env.SHKEEPER_URL, env.SHKEEPER_API_KEY, env.SHKEEPER_CRYPTOS
    if url is None and key is None and not cryptos:
        return None
    if url is None or key is None or not cryptos:
        raise ConfigError("SHKEEPER_URL: give it together with SHKEEPER_API_KEY and SHKEEPER_CRYPTOS, or none of them")
    return ShkeeperSettings(url=url, api_key=key, cryptos=cryptos)


def _request_network(env: HostedEnvironment) -> RequestNetworkSettings | None:
    key, secret, chains = env.REQUEST_NETWORK_API_KEY, env.REQUEST_NETWORK_WEBHOOK_SECRET, env.REQUEST_NETWORK_CHAINS
    if key is None and secret is None and not chains:
        return None
    if key is None or secret is None or not chains:
        raise ConfigError(
            "REQUEST_NETWORK_API_KEY: give it together with REQUEST_NETWORK_WEBHOOK_SECRET and REQUEST_NETWORK_CHAINS,"
            " or none of them"
        )
    return RequestNetworkSettings(
        url=env.REQUEST_NETWORK_URL, api_key=key, webhook_secret=secret, chain_ids=tuple(dict.fromkeys(chains))
    )


def check_against(settings: HostedSettings, catalog: Catalog) -> None:
    """
    Check that what is named is in the registry, before anybody is shown it.

    Raises:
        ConfigError: names the variable.
    """
    cryptos = {} if settings.shkeeper is None else settings.shkeeper.cryptos
    for chain_id, tokens in cryptos.items():
        chain = catalog.chains.get(chain_id)
        if chain is None or chain.chain_type not in FAMILIES:
            raise ConfigError(f"SHKEEPER_CRYPTOS: chain {chain_id} is no EVM chain and no Tron of the registry")
        for symbol in tokens:
            known = catalog.token(chain_id, symbol)
            if known is None or known.symbol != symbol:
                raise ConfigError(f"SHKEEPER_CRYPTOS: {symbol} is not a token of {chain.name}")
    for chain_id in () if settings.request_network is None else settings.request_network.chain_ids:
        chain = catalog.chains.get(chain_id)
        if chain is None or chain.chain_type != "evm":
            raise ConfigError(f"REQUEST_NETWORK_CHAINS: chain {chain_id} is no EVM chain of the registry")
