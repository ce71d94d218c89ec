"""The registries of chains and tokens: loaded, cross-checked, frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_camel

from addresses import parse as parse_address
from config.settings import NOT_AN_ENDPOINT, SOCKET_SUFFIX, UPSTREAM_URLS, Settings, is_http_url
from kernel.errors import ConfigError
from protocol.words import ChainType as ChainType

ENDPOINT_VARIABLE = re.compile(r"RPC_[A-Z0-9_]+")


class Finality(StrEnum):
    """What makes a block irreversible enough: its depth, the chain's own finalized tag, or both."""

    DEPTH = "depth"
    FINALIZED = "finalized"
    BOTH = "both"


class Proof(StrEnum):
    """How a payment is proven before it is confirmed: not at all, or by what hashes show of its block."""

    NONE = "none"
    RECEIPTS = "receipts"  # EVM
    LITESERVER = "liteserver"  # TON


# Chains whose receipts, as nodes tell them, do not hash to the root in the header.
UNPROVABLE = {
    **dict.fromkeys((137, 80002), "Polygon leaves the receipts of its state syncs out of the root"),
    **dict.fromkeys((42161, 42170, 421614), "Arbitrum has types of receipts of its own"),
    **dict.fromkeys((324, 300), "zkSync has another header and other receipts"),
    **dict.fromkeys((42220, 44787, 11142220), "Celo has a type of receipts of its own"),
}


def _url(value: str) -> str:
    if not is_http_url(value):
        raise ValueError("is not an http(s) URL")
    return value


def _endpoint_variable(value: str) -> str:
    if value not in UPSTREAM_URLS and (ENDPOINT_VARIABLE.fullmatch(value) is None or value == NOT_AN_ENDPOINT):
        raise ValueError(f"must be RPC_<NAME>, {' or '.join(UPSTREAM_URLS)}: no other variable is read")
    if value.endswith(SOCKET_SUFFIX):
        raise ValueError(f"must not end with {SOCKET_SUFFIX}: so ends the name of its sockets' variable")
    return value


Url = Annotated[str, AfterValidator(_url)]
ChainId = Annotated[int, Field(strict=True, ge=1, le=2**53 - 1)]
Name = Annotated[str, Field(min_length=1, max_length=64)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Chain(_Entry):
    """One network."""

    chain_id: ChainId
    name: Name
    chain_type: ChainType = ChainType.EVM
    verified: StrictBool = False
    testnet: StrictBool = False
    proxy_address: Annotated[str, Field(min_length=1)]
    confirmation_threshold: Annotated[int, Field(strict=True, ge=1, le=100_000)]
    rpc_urls: tuple[Url, ...] = Field(default=(), repr=False)
    public_rpc_urls: tuple[Url, ...] = ()  # for wallets of buyers; never the endpoints this service reads by
    rpc_env: Annotated[str, AfterValidator(_endpoint_variable)] | None = None
    explorer: Url | None = None
    coin: Annotated[str, Field(min_length=1, max_length=16)] | None = None  # symbol of the native coin
    finality: Finality = Finality.DEPTH
    poll_interval_sec: Annotated[float, Field(strict=True, gt=0, le=86400)] | None = None
    block_time_sec: Annotated[float, Field(strict=True, gt=0, le=3600)] | None = None  # for estimates, nothing else
    max_log_range: Annotated[int, Field(strict=True, ge=1)] | None = None
    # Compare what endpoints show with what each block's filter says; None: where the chain has proofs.
    bloom_check: StrictBool | None = None
    rpc_quorum: Annotated[int, Field(strict=True, ge=1, le=16)] = 1  # endpoints that must agree before a payment counts

    @field_validator("proxy_address")
    @classmethod
    def _proxy_is_an_address(cls, value: str, info: ValidationInfo) -> str:
        kind = info.data.get("chain_type")
        if kind is not None:  # else the family itself is what is wrong
            parse_address(kind, value, testnet=info.data.get("testnet") is True)
        return value

    proof: Proof = Proof.NONE

    @field_validator("proof")
    @classmethod
    def _can_be_proven(cls, value: Proof, info: ValidationInfo) -> Proof:
        if value is Proof.NONE:
            return value
        kind = info.data.get("chain_type")
        if value is Proof.LITESERVER:
            if kind not in {ChainType.TON, None}:
                raise ValueError("only TON has liteservers that can prove")
            return value
        if kind in {ChainType.TRON, ChainType.TON}:
            raise ValueError("only EVM chains have receipts that can be proven")
        why = UNPROVABLE.get(info.data.get("chain_id", 0))
        if why is not None:
            raise ValueError(f"receipts cannot be proven on chain {info.data['chain_id']}: {why}")
        return value

    @field_validator("rpc_quorum", "bloom_check")
    @classmethod
    def _is_for_evm(cls, value: int, info: ValidationInfo) -> int:
        default = cls.model_fields[str(info.field_name)].default
        if value != default and info.data.get("chain_type") in {ChainType.TRON, ChainType.TON}:
            raise ValueError("only EVM chains have endpoints that can be compared")
        return value

    @property
    def poll_interval_s(self) -> float | None:
        """Seconds between polls, when the chain wants its own pace."""
        return self.poll_interval_sec


class Token(_Entry):
    """One token of one network."""

    chain_id: ChainId
    address: Annotated[str, Field(min_length=1)]
    symbol: Annotated[str, Field(min_length=1, max_length=32)]
    decimals: Annotated[int, Field(strict=True, ge=0, le=77)]
    name: Name
    on_chain_symbol: Annotated[str, Field(min_length=1)] | None = None  # where the contract says another than people


@dataclass(frozen=True, slots=True)
class Catalog:
    """Which chains and tokens there are, and which chains are watched."""

    chains: Mapping[int, Chain]
    enabled: tuple[int, ...]
    all_tokens: tuple[Token, ...]

    def chain(self, chain_id: int) -> Chain | None:
        return self.chains.get(chain_id)

    def is_enabled(self, chain_id: int) -> bool:
        return chain_id in self.enabled

    def tokens(self, chain_id: int) -> tuple[Token, ...]:
        return tuple(token for token in self.all_tokens if token.chain_id == chain_id)

    def token_by_symbol(self, chain_id: int, symbol: str) -> Token | None:
        wanted = symbol.lower()
        return next((token for token in self.tokens(chain_id) if token.symbol.lower() == wanted), None)


def load_catalog(settings: Settings) -> Catalog:
    """
    Load and cross-check both registries.

    Raises:
        ConfigError: names the file and the JSON path, in one line.
    """
    listed, tokens = read_registries(settings.chains_path, settings.tokens_path)
    chains = {chain_id: _with_override(chain, settings) for chain_id, chain in listed.items()}
    return Catalog(chains, _enabled(settings, chains), tokens)


def read_registries(chains_path: Path, tokens_path: Path) -> tuple[dict[int, Chain], tuple[Token, ...]]:
    """
    Read both registries as they are, for either service.

    Raises:
        ConfigError: names the file and the JSON path, in one line.
    """
    chains: dict[int, Chain] = {}
    for i, chain in enumerate(_load(chains_path, list[Chain])):
        if chain.chain_id in chains:  # the second would silently take the place of the first
            raise ConfigError(f"{chains_path.name}: $[{i}].chainId: {chain.chain_id} is listed twice")
        chains[chain.chain_id] = chain
    tokens = _load(tokens_path, list[Token])
    _check_tokens(tokens_path.name, tokens, chains)
    return chains, tuple(tokens)


def _with_override(chain: Chain, settings: Settings) -> Chain:
    urls = settings.rpc_urls.get(chain.rpc_env or "", chain.rpc_urls)
    # One endpoint named twice has one opinion, and a quorum would count two.
    return chain.model_copy(update={"rpc_urls": tuple(dict.fromkeys(urls))})


def endpoints_named_in(settings: Settings, chain: Chain) -> str:
    """Say where an operator corrects a chain's endpoints: in the setting that names them, or in the registry's file."""
    setting, registry = chain.rpc_env, settings.chains_path.name
    if setting is None:
        return registry
    return setting if setting in settings.rpc_urls else f"{registry} (or name others in {setting})"


def _enabled(settings: Settings, chains: Mapping[int, Chain]) -> tuple[int, ...]:
    chosen = settings.enabled_chains
    if chosen is None:
        chosen = tuple(chain_id for chain_id, chain in chains.items() if chain.verified)
    for chain_id in chosen:
        if chain_id not in chains:
            raise ConfigError(f"SCANNER_ENABLED_CHAINS: {chain_id} is not in {settings.chains_path.name}")
        if not chains[chain_id].rpc_urls:
            where = chains[chain_id].rpc_env or f"rpcUrls in {settings.chains_path.name}"
            raise ConfigError(f"{where}: chain {chain_id} is enabled and has no endpoint")
    return tuple(dict.fromkeys(chosen))


def _check_tokens(file: str, tokens: list[Token], chains: Mapping[int, Chain]) -> None:
    seen: set[tuple[int, str]] = set()
    symbols: set[tuple[int, str]] = set()
    for i, token in enumerate(tokens):
        chain = chains.get(token.chain_id)
        if chain is None:
            raise ConfigError(f"{file}: $[{i}].chainId: {token.chain_id} is not a chain of the registry")
        try:
            key = parse_address(chain.chain_type, token.address, testnet=chain.testnet)
        except ValueError as exc:
            raise ConfigError(f"{file}: $[{i}].address: {exc}") from exc
        symbol = token.symbol.lower()
        if (token.chain_id, key) in seen:
            raise ConfigError(f"{file}: $[{i}].address: is listed twice for chain {token.chain_id}")
        if (token.chain_id, symbol) in symbols:
            raise ConfigError(f"{file}: $[{i}].symbol: {token.symbol!r} is listed twice for chain {token.chain_id}")
        seen.add((token.chain_id, key))
        symbols.add((token.chain_id, symbol))


T = TypeVar("T")


def _load(path: Path, kind: type[T]) -> T:
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    try:
        data: Any = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise ConfigError(f"{path.name}: not valid JSON: {exc}") from exc
    try:
        return TypeAdapter(kind).validate_python(data, by_alias=True, by_name=False)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{path.name}: {where}: {message[:1].lower()}{message[1:]}") from None
