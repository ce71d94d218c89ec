"""The registry of chains and tokens, as far as a backend needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from addresses import InvalidAddress, parse, same
from marketplace.errors import ConfigError

ChainId = Annotated[int, Field(strict=True, ge=1, le=2**53 - 1)]
T = TypeVar("T")


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Chain(_Entry):
    """One network."""

    chain_id: ChainId
    name: str
    chain_type: Literal["evm", "tron", "ton"] = "evm"
    testnet: bool = False
    proxy_address: str | None = None
    confirmation_threshold: Annotated[int, Field(strict=True, ge=1)]
    rpc_urls: tuple[str, ...] = Field(default=(), repr=False)
    rpc_env: str | None = None


class Token(_Entry):
    """One token of one network."""

    chain_id: ChainId
    address: Annotated[str, Field(min_length=1)]
    symbol: Annotated[str, Field(min_length=1, max_length=32)]
    decimals: Annotated[int, Field(strict=True, ge=0, le=77)]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Which chains and tokens money may come on."""

    chains: Mapping[int, Chain]
    tokens: tuple[Token, ...]

    def token(self, chain_id: int, name: str) -> Token | None:
        """Find a token by symbol or address, in any spelling of its family."""
        family = self.chains[chain_id].chain_type
        for token in self.tokens:
            if token.chain_id == chain_id and (
                token.symbol.lower() == name.lower() or same(family, token.address, name)
            ):
                return token
        return None

    def payee(self, chain_id: int, text: str) -> str:
        """
        Return the canonical form of an address that money may be sent to.

        Raises:
            InvalidAddress: nobody could take it from there again: mistyped, or a contract of ours.
        """
        chain = self.chains[chain_id]
        form = parse(chain.chain_type, text, testnet=chain.testnet)
        contracts = [token.address for token in self.tokens if token.chain_id == chain_id]
        if any(same(chain.chain_type, form, contract) for contract in (*contracts, chain.proxy_address or "")):
            raise InvalidAddress("the address is a contract of the registry, which cannot give back what it is sent")
        return form

    def same_address(self, chain_id: int, one: str | None, other: str | None) -> bool:
        """Compare two addresses of a chain in one canonical form."""
        if one is None or other is None:
            return one is other
        return one == other or same(self.chains[chain_id].chain_type, one, other)


def load_catalog(chains_path: Path, tokens_path: Path) -> Catalog:
    """
    Load both registries.

    Raises:
        ConfigError: names the file and the JSON path.
    """
    chains = {chain.chain_id: chain for chain in _load(chains_path, list[Chain])}
    tokens = tuple(_load(tokens_path, list[Token]))
    for token in tokens:
        if token.chain_id not in chains:
            raise ConfigError(f"{tokens_path.name}: chain {token.chain_id} is not in {chains_path.name}")
    return Catalog(chains, tokens)


def _load(path: Path, kind: type[T]) -> T:
    try:
        return TypeAdapter(kind).validate_python(orjson.loads(path.read_bytes()))
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except orjson.JSONDecodeError as exc:
        raise ConfigError(f"{path.name}: not valid JSON: {exc}") from exc
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise ConfigError(f"{path.name}: {where}: {first['msg']}") from None
