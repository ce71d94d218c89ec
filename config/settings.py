"""Settings from the environment and `.env`, one frozen group a subsystem."""

from __future__ import annotations

import math
import os
import re
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from config.liteservers import Liteservers, read_liteservers
from config.registry_files import CHAINS, TOKENS, registry_file
from kernel.errors import ConfigError
from kernel.sealing.keys import GivenKeys, parse_key
from kernel.settings import given_settings, refuse_examples

REFUSE_OPEN = "[scanner] SCANNER_API_KEY must be set in production — refusing to start unauthenticated"
UPSTREAM_URLS = ("TRONGRID_URL", "TONCENTER_URL")
NOT_AN_ENDPOINT = "RPC_TIMEOUT_SEC"
SOCKET_SUFFIX = "_WS"  # after the name of a chain's endpoints
MAX_SOCKETS = 8  # of one chain
PREFIX = "SCANNER_"
_FRAMING = re.compile(r"'self'|https?://(?:\*\.)?[A-Za-z0-9.-]+(?::[0-9]{1,5})?")
# Set by backends of other designs beside us, and by container platforms for a service named scanner.
OTHERS = ("SCANNER_URL", "SCANNER_CALLBACK_SECRET", "SCANNER_PORT")


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The front door. `port` 0 takes any free port."""

    host: str
    port: int
    api_keys: tuple[SecretStr, ...]  # each opens the door; none: everybody may
    production: bool
    trusted_hops: int  # proxies of our own in front
    public_url: str | None = None  # where buyers reach it, without a slash at its end; None: they do not
    frame_ancestors: str = "'none'"  # who may show the payment page inside of a page of theirs
    console: bool = True  # whether there are pages for operators


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where the state lives."""

    path: Path
    url: str | None = field(default=None, repr=False)  # PostgreSQL in its place; it may hold a password
    node_id: str = ""  # of this process among those that share the database
    lease_s: float = 6.0


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """How chains are read."""

    poll_interval_s: float
    intent_ttl_h: float  # 0: never
    late_watch_h: float
    rpc_timeout_s: float
    sweep_interval_s: float  # between two readings of the last hours of addresses that wait or did


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """How backends are told."""

    retry_delays_s: tuple[float, ...]  # after the first attempt
    retry_hours: float  # sweep over what was given up; 0: off
    timeout_s: float
    allowed_hosts: frozenset[str]  # lower-cased; empty: any public host
    production: bool


@dataclass(frozen=True, slots=True)
class BalanceSettings:
    """How balance watches are read."""

    tick_s: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How many days what is old is kept; 0: for ever."""

    events_days: float
    unmatched_days: float
    intents_days: float


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, and how."""

    level: str
    format: Literal["console", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the operator told us."""

    http: HttpSettings
    store: StoreSettings
    scan: ScanSettings
    webhooks: WebhookSettings
    balances: BalanceSettings
    retention: RetentionSettings
    log: LogSettings
    chains_path: Path
    tokens_path: Path
    enabled_chains: tuple[int, ...] | None
    rpc_urls: Mapping[str, tuple[str, ...]] = field(repr=False)  # URLs carry keys
    sockets: Mapping[str, tuple[str, ...]] = field(repr=False)  # for new heads, by the name of the chain's endpoints
    tron_api_key: SecretStr | None
    ton_api_key: SecretStr | None
    tron_solidity_urls: tuple[str, ...] = field(repr=False)  # of nodes that have to say the same as the first
    ton_liteservers: Liteservers | None  # that have to show the same transactions as the index
    tron_rps: float | None
    ton_rps: float | None
    sealing: GivenKeys  # of callback secrets at rest


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _database_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("must be a URL that begins with postgresql://")
    return value


def _key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be printable ASCII without spaces")
    return value


def _sealing_key(value: SecretStr) -> SecretStr:
    parse_key(value.get_secret_value())
    return value


def _secret_keys(value: Any) -> Any:
    return _parts(value) if isinstance(value, str) else value


def _delays(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _parts(value: str) -> tuple[str, ...]:
    """Split a list; one that holds nothing is a mistake, not a choice."""
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    if not parts:
        raise ValueError("must name at least one, or be left out")
    return parts


def _chain_ids(value: Any) -> Any:
    return _parts(value) if isinstance(value, str) else value


def _hosts(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    hosts = frozenset(host.lower().rstrip(".") for host in _parts(value))
    if not all(map(_is_host, hosts)):
        raise ValueError("must be host names separated by commas, without scheme, port, path or wildcard")
    return hosts


def _is_host(text: str) -> bool:
    with_port = text.count(":") == 1  # an IPv6 address has more
    return bool(text) and not with_port and not any(c in "/@*" or c.isspace() for c in text)


def _public_url(value: str) -> str:
    if not is_http_url(value):
        raise ValueError("must be an http(s) URL")
    parts = urlsplit(value)
    if "@" in parts.netloc or "?" in value or "#" in value:
        raise ValueError("must have no user, query or fragment")
    return value.rstrip("/")


def _node_url(value: str) -> str:
    if not is_http_url(value):
        raise ValueError("must be http(s) URLs separated by commas")
    return value


def _frame_ancestors(value: str) -> str:
    """Return a source list of a Content-Security-Policy; what is none would open the page to everybody or nobody."""
    sources = _parts(value.replace(" ", ","))
    if sources != ("'none'",) and not all(map(_FRAMING.fullmatch, sources)):
        raise ValueError("must be 'none', or 'self' and origins such as https://shop.example, separated by commas")
    return " ".join(sources)


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


# The upper bounds keep times within what a date and a 64-bit integer can hold.
Seconds = Annotated[float, AfterValidator(_finite), Field(gt=0, le=366 * 86_400)]
Hours = Annotated[float, AfterValidator(_finite), Field(ge=0, le=100 * 366 * 24)]
Days = Annotated[float, AfterValidator(_finite), Field(ge=0, le=100 * 366)]
Pauses = Annotated[
    tuple[Annotated[float, AfterValidator(_finite), Field(ge=0, le=366 * 86_400)], ...], BeforeValidator(_delays)
]
NodeUrls = Annotated[
    tuple[Annotated[str, AfterValidator(_node_url)], ...], BeforeValidator(_secret_keys), Field(max_length=MAX_SOCKETS)
]
Rate = Annotated[float, AfterValidator(_finite), Field(gt=0)]
Key = Annotated[SecretStr, AfterValidator(_key)]
SealingKey = Annotated[SecretStr, AfterValidator(_key), AfterValidator(_sealing_key)]


class _Environment(BaseSettings):
    """The variables as they are named outside (docs/settings.md)."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=True)

    PORT: Annotated[int, Field(ge=0, le=65535)] = 8080
    HOST: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    DB_PATH: Path = Path("./scanner.db")
    DATABASE_URL: Annotated[SecretStr, AfterValidator(_database_url)] | None = None
    SCANNER_NODE_ID: Annotated[str, Field(pattern=r"\A[\x21-\x7e]{1,100}$")] | None = None
    SCANNER_LEASE_SEC: Annotated[float, AfterValidator(_finite), Field(ge=4, le=20)] = 6
    CHAINS_JSON_PATH: Path | None = None
    TOKENS_JSON_PATH: Path | None = None
    SCANNER_API_KEY: Key | None = None
    SCANNER_API_KEY_NEXT: Key | None = None
    SCANNER_SECRET_KEY: SealingKey | None = None
    SCANNER_SECRET_KEY_FORMER: Annotated[tuple[SealingKey, ...], BeforeValidator(_secret_keys)] = ()
    SCANNER_TRUSTED_HOPS: Annotated[int, Field(ge=0, le=8)] = 0
    SCANNER_PUBLIC_URL: Annotated[str, Field(max_length=500), AfterValidator(_public_url)] | None = None
    SCANNER_CONSOLE: Annotated[Literal["on", "off"], BeforeValidator(_lower)] = "on"
    SCANNER_CHECKOUT_FRAME_ANCESTORS: Annotated[str, Field(max_length=1000), AfterValidator(_frame_ancestors)] = (
        "'none'"
    )
    APP_ENV: Literal["development", "test", "staging", "production"] = "development"
    SCANNER_REQUIRE_AUTH: bool = False
    POLL_INTERVAL_SEC: Seconds = 15
    INTENT_TTL_HOURS: Hours = 24
    LATE_WATCH_HOURS: Hours = 168
    SWEEP_INTERVAL_SEC: Seconds = 3600
    RPC_TIMEOUT_SEC: Seconds = 10
    WEBHOOK_RETRY_HOURS: Hours = 6
    WEBHOOK_RETRY_DELAYS_SEC: Pauses = (5, 30, 120, 600, 3600)
    WEBHOOK_TIMEOUT_SEC: Seconds = 15
    EVENT_RETENTION_DAYS: Days = 30
    UNMATCHED_RETENTION_DAYS: Days = 90
    INTENT_RETENTION_DAYS: Days = 0
    BALANCE_WATCH_TICK_SEC: Seconds = 60
    BALANCE_WATCH_BATCH_SIZE: Annotated[int, Field(ge=1, le=1000)] = 50
    SCANNER_ENABLED_CHAINS: Annotated[tuple[int, ...], BeforeValidator(_chain_ids)] | None = None
    SCANNER_CALLBACK_ALLOWED_HOSTS: Annotated[frozenset[str], BeforeValidator(_hosts)] = frozenset()
    TRONGRID_API_KEY: Key | None = None
    TONCENTER_API_KEY: Key | None = None
    TRON_SOLIDITY_URLS: NodeUrls = ()
    TON_LITESERVERS: Annotated[Liteservers, BeforeValidator(read_liteservers)] | None = None
    TRONGRID_RPS: Rate | None = None
    TONCENTER_RPS: Rate | None = None
    LOG_LEVEL: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    LOG_FORMAT: Literal["console", "json"] = "console"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is theirs
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what `load_settings` hands in: nothing here reads the process environment by itself."""
        return (init_settings,)


VARIABLES = (*_Environment.model_fields, *UPSTREAM_URLS)


def load_settings(environ: Mapping[str, str], *, env_file: Path | None = None, both_stores: bool = False) -> Settings:
    """
    Read the settings; the environment goes before the file, an empty value counts as unset.

    With `both_stores` the file and the database may be named together: one is copied to the other.

    Raises:
        ConfigError: names the variable, in one line, without any secret.
    """
    given = given_settings(environ, env_file, prefix=PREFIX, known=VARIABLES, ignored=OTHERS)
    try:
        variables: Any = {name: given[name] for name in _Environment.model_fields if name in given}
        env = _Environment(**variables)
    except ValidationError as exc:
        raise ConfigError(_sentence(exc)) from None
    if not both_stores:
        _check_store(env, given)
    refuse_examples({name: given[name] for name in variables}, env.APP_ENV)
    production = env.APP_ENV == "production"
    api_keys = tuple(key for key in (env.SCANNER_API_KEY, env.SCANNER_API_KEY_NEXT) if key is not None)
    if not api_keys and (production or env.SCANNER_REQUIRE_AUTH):
        raise ConfigError(REFUSE_OPEN)
    return Settings(
        http=HttpSettings(
            env.HOST,
            env.PORT,
            api_keys,
            production,
            env.SCANNER_TRUSTED_HOPS,
            env.SCANNER_PUBLIC_URL,
            env.SCANNER_CHECKOUT_FRAME_ANCESTORS,
            env.SCANNER_CONSOLE == "on",
        ),
        store=StoreSettings(
            env.DB_PATH,
            None if env.DATABASE_URL is None else env.DATABASE_URL.get_secret_value(),
            env.SCANNER_NODE_ID or f"{socket.gethostname()}:{os.getpid()}",
            env.SCANNER_LEASE_SEC,
        ),
        scan=ScanSettings(
            env.POLL_INTERVAL_SEC,
            env.INTENT_TTL_HOURS,
            env.LATE_WATCH_HOURS,
            env.RPC_TIMEOUT_SEC,
            env.SWEEP_INTERVAL_SEC,
        ),
        webhooks=WebhookSettings(
            env.WEBHOOK_RETRY_DELAYS_SEC,
            env.WEBHOOK_RETRY_HOURS,
            env.WEBHOOK_TIMEOUT_SEC,
            env.SCANNER_CALLBACK_ALLOWED_HOSTS,
            production,
        ),
        balances=BalanceSettings(env.BALANCE_WATCH_TICK_SEC, env.BALANCE_WATCH_BATCH_SIZE),
        retention=_retention(env),
        log=LogSettings(env.LOG_LEVEL, env.LOG_FORMAT),
        chains_path=env.CHAINS_JSON_PATH or registry_file(CHAINS),
        tokens_path=env.TOKENS_JSON_PATH or registry_file(TOKENS),
        enabled_chains=env.SCANNER_ENABLED_CHAINS,
        rpc_urls=_endpoints(given),
        sockets=_sockets(given),
        tron_api_key=env.TRONGRID_API_KEY,
        ton_api_key=env.TONCENTER_API_KEY,
        tron_solidity_urls=env.TRON_SOLIDITY_URLS,
        ton_liteservers=env.TON_LITESERVERS,
        tron_rps=env.TRONGRID_RPS,
        ton_rps=env.TONCENTER_RPS,
        sealing=GivenKeys(
            None if env.SCANNER_SECRET_KEY is None else env.SCANNER_SECRET_KEY.get_secret_value(),
            tuple(key.get_secret_value() for key in env.SCANNER_SECRET_KEY_FORMER),
        ),
    )


def _check_store(env: _Environment, given: Mapping[str, str]) -> None:
    if env.DATABASE_URL is None:
        return
    if "DB_PATH" in given:
        raise ConfigError("DB_PATH: is set beside DATABASE_URL, and one store is enough: unset one of them")
    if env.SCANNER_SECRET_KEY is None:
        # A key beside a file is of no use where there is no file, and every process needs the same.
        raise ConfigError("SCANNER_SECRET_KEY: must be set with DATABASE_URL, the same in every process")


def _retention(env: _Environment) -> RetentionSettings:
    late_days = env.LATE_WATCH_HOURS / 24
    if 0 < env.INTENT_RETENTION_DAYS < late_days:
        # What comes late could not be told of, and a reused address would take it for the next payment.
        raise ConfigError(
            f"INTENT_RETENTION_DAYS: must be 0 (for ever) or at least LATE_WATCH_HOURS, which is {late_days:g} days"
        )
    return RetentionSettings(env.EVENT_RETENTION_DAYS, env.UNMATCHED_RETENTION_DAYS, env.INTENT_RETENTION_DAYS)


def _sentence(exc: ValidationError) -> str:
    first = exc.errors(include_url=False)[0]
    name = str(first["loc"][0])
    message = first["msg"].removeprefix("Value error, ")
    value = str(first["input"])
    secret = "_KEY" in name or "://" in value or "@" in value  # URLs carry keys wherever they are pasted
    shown = "" if secret else f" (got {value[:60]!r})"
    return f"{name}: {message[:1].lower()}{message[1:]}{shown}"


def _endpoints(given: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, value in given.items():
        if name.endswith(SOCKET_SUFFIX):
            continue
        if (name.startswith("RPC_") and name != NOT_AN_ENDPOINT) or name in UPSTREAM_URLS:
            found[name] = tuple(part.strip() for part in value.split(",") if part.strip())
            if not found[name] or not all(is_http_url(url) for url in found[name]):
                raise ConfigError(f"{name}: must be http(s) URLs separated by commas")
    return found


def _sockets(given: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, value in given.items():
        if not (name.startswith("RPC_") and name.endswith(SOCKET_SUFFIX)):
            continue
        urls = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
        if not urls or not all(_is_url(url, {"ws", "wss"}) for url in urls):
            raise ConfigError(f"{name}: must be ws(s) URLs separated by commas")
        if len(urls) > MAX_SOCKETS:
            raise ConfigError(f"{name}: must name at most {MAX_SOCKETS}")
        found[name.removesuffix(SOCKET_SUFFIX)] = urls
    return found


def is_http_url(text: str) -> bool:
    """Say whether a text is a usable http(s) URL."""
    return _is_url(text, {"http", "https"})


def _is_url(text: str, schemes: Collection[str]) -> bool:
    try:
        parts = urlsplit(text)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        return False
    clean = text.isprintable() and " " not in text
    return parts.scheme in schemes and bool(parts.hostname) and port_is_fine and clean
