"""What the operator tells the marketplace, read once from the environment and frozen."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from clients.python.amn_scanner_client import check_secret
from config.registry_files import CHAINS, TOKENS, registry_file
from kernel.sealing.keys import GivenKeys, parse_key
from kernel.settings import given_settings, refuse_examples
from marketplace.errors import ConfigError
from marketplace.identity.spelling import IS_EMAIL, MAX_EMAIL, MAX_PASSWORD, MIN_PASSWORD
from marketplace.model import Role
from marketplace.notifications.mail import MailServer, mail_server
from marketplace.payments.fees import MAX_FEE_BPS
from marketplace.payments.hosted.settings import HostedEnvironment, HostedSettings, hosted_settings
from marketplace.pricing.settings import OracleSettings, oracle_settings
from marketplace.retention import Keeping

PREFIX = "MARKETPLACE_"
OTHER_NODES = ("TRONGRID_URL", "TONCENTER_URL")
LATE_DAYS = 7  # the scanner's LATE_WATCH_HOURS
MIN_SECRET = 32
MAX_ORIGINS = 50
DEFAULT_PORTS = {"http": {80}, "https": {443}}  # which browsers leave out


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not value.isprintable() or " " in value:
        raise ValueError("must be an http(s) URL")
    return value.rstrip("/")


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _addresses(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as exc:
        raise ValueError("must be JSON: chain id to addresses") from exc


def _sealing_key(value: SecretStr) -> SecretStr:
    parse_key(value.get_secret_value())
    return value


def _listed(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _bot_token(value: SecretStr) -> SecretStr:
    if re.fullmatch(r"[0-9]{1,20}:[A-Za-z0-9_-]{1,100}", value.get_secret_value()) is None:
        raise ValueError("must be the token of a bot: digits, a colon, and what follows")
    return value


def _mail_url(value: SecretStr) -> SecretStr:
    mail_server(value.get_secret_value())
    return value


def _database_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("must be a URL that begins with postgresql://")
    return value


def _leaves_something(value: int) -> int:
    if value > MAX_FEE_BPS:
        raise ValueError(f"must be at most {MAX_FEE_BPS}: 10000 basis points would leave the seller nothing to be paid")
    return value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _origin(value: str) -> str:
    """Return an origin as browsers spell it: another spelling would never be met, and a star is everybody."""
    parts = urlsplit(_http_url(value))
    if (
        value != f"{parts.scheme}://{parts.netloc}".lower()
        or {"@", "*"} & {*value}
        or parts.port in DEFAULT_PORTS[parts.scheme]
    ):
        raise ValueError("each must be an exact origin such as https://shop.example, without a path")
    return value


Origin = Annotated[str, AfterValidator(_origin)]
Origins = Annotated[tuple[Origin, ...], BeforeValidator(_listed), Field(max_length=MAX_ORIGINS)]
SealingKey = Annotated[SecretStr, AfterValidator(_sealing_key)]
Url = Annotated[str, AfterValidator(_http_url)]
Hours = Annotated[float, AfterValidator(_finite), Field(ge=0, le=100 * 366 * 24)]
Seconds = Annotated[float, AfterValidator(_finite), Field(gt=0, le=86_400)]
Days = Annotated[float, AfterValidator(_finite), Field(ge=0, le=36_600)]
Address = Annotated[str, Field(min_length=1, max_length=128)]
TreasuryAddresses = Annotated[dict[int, Address], BeforeValidator(_addresses)]
EscrowAddresses = Annotated[dict[int, Annotated[list[Address], Field(min_length=1)]], BeforeValidator(_addresses)]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """The front door. `port` 0 takes any free port."""

    host: str
    port: int
    public_url: str | None  # where the scanner reaches us; None: the address we listen on
    rate_limits: str | None
    trusted_hops: int
    metrics_key: SecretStr | None = None  # of whoever reads metrics without an account
    cors_origins: tuple[str, ...] = ()  # pages of which other sites may read what is answered


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannerSettings:
    """How the scanner is reached, and how its webhooks are known."""

    url: str
    api_key: SecretStr | None
    webhook_secret: SecretStr | None
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneySettings:
    """Where money goes and what has to hold before it counts."""

    xpub: SecretStr | None  # watch-only, and still nobody else's business
    escrow_addresses: Mapping[int, tuple[str, ...]]
    treasury_addresses: Mapping[int, str]  # where releasable money may be moved to; nobody names another in a request
    release_grace_h: float
    payment_ttl_h: float
    require_eoa_sender: bool
    platform_fee_bps: int  # of what a seller is paid
    dispute_deadline_h: float
    require_proof: bool
    ofac_path: Path | None
    ofac_url: str | None
    rpc_urls: Mapping[str, str] = field(repr=False)  # URLs carry keys


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """Where people are told besides."""

    telegram_token: SecretStr | None
    telegram_url: str
    mail_server: MailServer | None
    mail_from: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the operator told us."""

    http: HttpSettings
    scanner: ScannerSettings
    money: MoneySettings
    channels: ChannelSettings
    oracle: OracleSettings
    hosted: HostedSettings
    db_path: Path
    database_url: str | None = field(repr=False)  # PostgreSQL in its place; it may hold a password
    jwt_secret: SecretStr
    sealing: GivenKeys  # of what is sealed at rest
    second_factor: frozenset[Role]  # whose accounts have to have one
    registration: bool  # whether buyers and sellers make their accounts by themselves
    goods: GivenKeys  # of digital goods, which have keys of their own
    admin_email: str | None
    admin_password: SecretStr | None
    chains_path: Path
    tokens_path: Path
    sweep_s: float
    keeping: Keeping
    log_level: str
    log_format: Literal["console", "json"]


class _Environment(HostedEnvironment):
    """The variables as they are named outside (docs/marketplace.md)."""

    model_config = ConfigDict(extra="ignore")

    MARKETPLACE_HOST: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    MARKETPLACE_PORT: Annotated[int, Field(ge=0, le=65535)] = 5001
    MARKETPLACE_DB_PATH: Path = Path("./marketplace.db")
    MARKETPLACE_DATABASE_URL: Annotated[SecretStr, AfterValidator(_database_url)] | None = None
    MARKETPLACE_PUBLIC_URL: Url | None = None
    MARKETPLACE_JWT_SECRET: SecretStr | None = None
    MARKETPLACE_SECRET_KEY: SealingKey | None = None
    MARKETPLACE_SECRET_KEY_FORMER: Annotated[tuple[SealingKey, ...], BeforeValidator(_listed)] = ()
    MARKETPLACE_GOODS_KEY: SealingKey | None = None
    MARKETPLACE_GOODS_KEY_FORMER: Annotated[tuple[SealingKey, ...], BeforeValidator(_listed)] = ()
    MARKETPLACE_XPUB: SecretStr | None = None
    MARKETPLACE_ESCROW_ADDRESSES: EscrowAddresses = Field(default_factory=dict)
    MARKETPLACE_TREASURY_ADDRESSES: TreasuryAddresses = Field(default_factory=dict)
    MARKETPLACE_RATE_LIMITS: str | None = None
    MARKETPLACE_TRUSTED_HOPS: Annotated[int, Field(ge=0, le=8)] = 0
    MARKETPLACE_CORS_ORIGINS: Origins = ()
    MARKETPLACE_SWEEP_SEC: Seconds = 30
    MARKETPLACE_EVENT_RETENTION_DAYS: Days = 30
    MARKETPLACE_UNMATCHED_RETENTION_DAYS: Days = 90
    MARKETPLACE_INTENT_RETENTION_DAYS: Days = 0
    MARKETPLACE_NOTIFICATION_RETENTION_DAYS: Days = 90
    MARKETPLACE_METRICS_KEY: Annotated[SecretStr, Field(min_length=MIN_SECRET)] | None = None
    MARKETPLACE_REGISTRATION: bool = False
    MARKETPLACE_SECOND_FACTOR: Annotated[tuple[Literal[Role.ADMIN, Role.RESOLVER], ...], BeforeValidator(_listed)] = ()
    # As the API asks of everybody: who is made otherwise could not sign in, or too easily.
    MARKETPLACE_ADMIN_EMAIL: Annotated[str, Field(max_length=MAX_EMAIL), IS_EMAIL] | None = None
    MARKETPLACE_ADMIN_PASSWORD: Annotated[SecretStr, Field(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)] | None = (
        None
    )
    AMN_SCANNER_URL: Url = "http://127.0.0.1:8080"
    AMN_SCANNER_API_KEY: SecretStr | None = None
    AMN_SCANNER_WEBHOOK_SECRET: SecretStr | None = None
    AMN_SCANNER_TIMEOUT_SEC: Seconds = 10
    TELEGRAM_BOT_TOKEN: Annotated[SecretStr, AfterValidator(_bot_token)] | None = None
    TELEGRAM_API_URL: Url = "https://api.telegram.org"
    SMTP_URL: Annotated[SecretStr, AfterValidator(_mail_url)] | None = None
    SMTP_FROM: Annotated[str, IS_EMAIL] | None = None
    RELEASE_GRACE_HOURS: Hours = 48
    PAYMENT_TTL_HOURS: Annotated[Hours, Field(gt=0)] = 24
    TRANSACTION_SAFETY_REQUIRE_EOA_SENDER: bool = False
    DISPUTE_DEADLINE_HOURS: Annotated[Hours, Field(gt=0)] = 168
    PLATFORM_FEE_BPS: Annotated[int, Field(ge=0), AfterValidator(_leaves_something)] = 0
    MARKETPLACE_REQUIRE_PROOF: bool = False
    OFAC_SDN_PATH: Path | None = None
    OFAC_SDN_URL: Url | None = None
    CHAINS_JSON_PATH: Path | None = None
    TOKENS_JSON_PATH: Path | None = None
    APP_ENV: Literal["development", "test", "staging", "production"] = "development"
    LOG_LEVEL: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    LOG_FORMAT: Literal["console", "json"] = "console"


VARIABLES = tuple(_Environment.model_fields)


def load_settings(environ: Mapping[str, str], *, env_file: Path | None = None, both_stores: bool = False) -> Settings:
    """
    Read the settings; the environment goes before the file, an empty value counts as unset.

    With `both_stores` the file and the database may be named together: one is copied to the other.

    Raises:
        ConfigError: names the variable, in one line, without any secret.
    """
    given = given_settings(environ, env_file, prefix=PREFIX, known=VARIABLES)
    try:
        env = _Environment.model_validate({name: given[name] for name in VARIABLES if name in given})
    except ValidationError as exc:
        raise ConfigError(_sentence(exc)) from None
    refuse_examples({name: given[name] for name in VARIABLES if name in given}, env.APP_ENV)
    if not both_stores:
        _check_store(env, given)
    return Settings(
        http=HttpSettings(
            host=env.MARKETPLACE_HOST,
            port=env.MARKETPLACE_PORT,
            public_url=env.MARKETPLACE_PUBLIC_URL,
            rate_limits=env.MARKETPLACE_RATE_LIMITS,
            trusted_hops=env.MARKETPLACE_TRUSTED_HOPS,
            metrics_key=env.MARKETPLACE_METRICS_KEY,
            cors_origins=env.MARKETPLACE_CORS_ORIGINS,
        ),
        scanner=ScannerSettings(
            url=env.AMN_SCANNER_URL,
            api_key=env.AMN_SCANNER_API_KEY,
            webhook_secret=_webhook_secret(env),
            timeout_s=env.AMN_SCANNER_TIMEOUT_SEC,
        ),
        money=_money(env, given),
        channels=_channels(env),
        oracle=oracle_settings(env, production=env.APP_ENV == "production"),
        hosted=hosted_settings(
            env, require_proof=env.MARKETPLACE_REQUIRE_PROOF, production=env.APP_ENV == "production"
        ),
        db_path=env.MARKETPLACE_DB_PATH,
        database_url=_revealed(env.MARKETPLACE_DATABASE_URL),
        jwt_secret=_jwt_secret(env),
        second_factor=frozenset(env.MARKETPLACE_SECOND_FACTOR),
        registration=env.MARKETPLACE_REGISTRATION,
        sealing=_keys(env.MARKETPLACE_SECRET_KEY, env.MARKETPLACE_SECRET_KEY_FORMER),
        goods=_keys(env.MARKETPLACE_GOODS_KEY, env.MARKETPLACE_GOODS_KEY_FORMER),
        admin_email=env.MARKETPLACE_ADMIN_EMAIL,
        admin_password=env.MARKETPLACE_ADMIN_PASSWORD,
        chains_path=env.CHAINS_JSON_PATH or registry_file(CHAINS),
        tokens_path=env.TOKENS_JSON_PATH or registry_file(TOKENS),
        sweep_s=env.MARKETPLACE_SWEEP_SEC,
        keeping=_keeping(env),
        log_level=env.LOG_LEVEL,
        log_format=env.LOG_FORMAT,
    )


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _keys(current: SecretStr | None, former: tuple[SecretStr, ...]) -> GivenKeys:
    return GivenKeys(_revealed(current), tuple(key.get_secret_value() for key in former))


def _check_store(env: _Environment, given: Mapping[str, str]) -> None:
    if env.MARKETPLACE_DATABASE_URL is None:
        return
    if "MARKETPLACE_DB_PATH" in given:
        raise ConfigError(
            "MARKETPLACE_DB_PATH: is set beside MARKETPLACE_DATABASE_URL, and one store is enough: unset one of them"
        )
    for name in ("MARKETPLACE_SECRET_KEY", "MARKETPLACE_JWT_SECRET"):
        if getattr(env, name) is None:
            # What one process signs or seals another one reads.
            raise ConfigError(f"{name}: must be set with MARKETPLACE_DATABASE_URL, the same in every process")


def _keeping(env: _Environment) -> Keeping:
    if 0 < env.MARKETPLACE_INTENT_RETENTION_DAYS < LATE_DAYS:
        raise ConfigError(
            f"MARKETPLACE_INTENT_RETENTION_DAYS: must be 0 or at least {LATE_DAYS}, as long as late payments are seen"
        )
    return Keeping(
        events=env.MARKETPLACE_EVENT_RETENTION_DAYS,
        unmatched=env.MARKETPLACE_UNMATCHED_RETENTION_DAYS,
        payments=env.MARKETPLACE_INTENT_RETENTION_DAYS,
        notifications=env.MARKETPLACE_NOTIFICATION_RETENTION_DAYS,
    )


def _channels(env: _Environment) -> ChannelSettings:
    if (env.SMTP_URL is None) is not (env.SMTP_FROM is None):
        raise ConfigError("SMTP_FROM: give it together with SMTP_URL, or neither")
    return ChannelSettings(
        telegram_token=env.TELEGRAM_BOT_TOKEN,
        telegram_url=env.TELEGRAM_API_URL,
        mail_server=None if env.SMTP_URL is None else mail_server(env.SMTP_URL.get_secret_value()),
        mail_from=env.SMTP_FROM,
    )


def _money(env: _Environment, given: Mapping[str, str]) -> MoneySettings:
    if env.OFAC_SDN_PATH is not None and env.OFAC_SDN_URL is not None:
        raise ConfigError("OFAC_SDN_PATH: give it or OFAC_SDN_URL, not both")
    return MoneySettings(
        xpub=env.MARKETPLACE_XPUB,
        treasury_addresses=env.MARKETPLACE_TREASURY_ADDRESSES,
        escrow_addresses={chain: tuple(each) for chain, each in env.MARKETPLACE_ESCROW_ADDRESSES.items()},
        release_grace_h=env.RELEASE_GRACE_HOURS,
        payment_ttl_h=env.PAYMENT_TTL_HOURS,
        require_eoa_sender=env.TRANSACTION_SAFETY_REQUIRE_EOA_SENDER,
        platform_fee_bps=env.PLATFORM_FEE_BPS,
        dispute_deadline_h=env.DISPUTE_DEADLINE_HOURS,
        require_proof=env.MARKETPLACE_REQUIRE_PROOF,
        ofac_path=env.OFAC_SDN_PATH,
        ofac_url=env.OFAC_SDN_URL,
        rpc_urls={
            name: value.split(",")[0].strip()
            for name, value in given.items()
            if name.startswith("RPC_") or name in OTHER_NODES
        },
    )


def _webhook_secret(env: _Environment) -> SecretStr | None:
    given = env.AMN_SCANNER_WEBHOOK_SECRET
    if given is not None:
        try:
            check_secret(given.get_secret_value())
        except ValueError as exc:
            raise ConfigError(f"AMN_SCANNER_WEBHOOK_SECRET: {exc}") from None
    return given


def _jwt_secret(env: _Environment) -> SecretStr:
    given = env.MARKETPLACE_JWT_SECRET
    if given is None and env.APP_ENV == "production":
        raise ConfigError("MARKETPLACE_JWT_SECRET: must be set in production")
    if given is not None and len(given.get_secret_value()) < MIN_SECRET:
        raise ConfigError(f"MARKETPLACE_JWT_SECRET: must have at least {MIN_SECRET} characters")
    return given or SecretStr(secrets.token_hex(32))  # sessions end with the process


def _sentence(exc: ValidationError) -> str:
    first = exc.errors(include_url=False, include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    return f"{first['loc'][0]}: {message[:1].lower()}{message[1:]}"
