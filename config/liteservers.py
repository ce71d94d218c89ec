"""A network's global config, the JSON file that TON's own tools take: its liteservers, and where its chain begins."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

MAX_FILE_BYTES = 1 << 20
MAX_LISTED = 256
MAX_SERVERS = 8  # asked of those listed: the first ones
HASH_BYTES = 32

# The hashes of the first state of either public network, as the file gives them.
MAINNET_ZERO_STATE = "F6OpKZKqvqeFp6CQmFomXNMfMj2EnaUSOXN+Mh+wVWk="
TESTNET_ZERO_STATE = "gj+B8wb/AmlPk1z1AhVI484rhrUpgSr2oSFIh56VoSg="


@dataclass(frozen=True, slots=True)
class Liteserver:
    """Where a liteserver is, and the key it proves to have."""

    host: str
    port: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class BlockId:
    """A block of the masterchain."""

    seqno: int
    root_hash: bytes
    file_hash: bytes


@dataclass(frozen=True, slots=True)
class Liteservers:
    """The liteservers of one network, in the order they are asked in."""

    servers: tuple[Liteserver, ...]
    zero_state: bytes  # hash of the first state: which network it is
    init_block: BlockId | None  # a key block that proofs begin at

    def serves(self, *, testnet: bool) -> bool:
        """Say whether this is the public network that is meant."""
        return self.zero_state == base64.b64decode(TESTNET_ZERO_STATE if testnet else MAINNET_ZERO_STATE)


def _hash(value: Any) -> bytes:
    try:
        raw = base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raw = b""
    if len(raw) != HASH_BYTES:
        raise ValueError("is not 32 bytes in base64")
    return raw


Hash = Annotated[bytes, BeforeValidator(_hash)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Key(_Model):
    type: Annotated[str, Field(alias="@type", pattern=r"^pub\.ed25519$")]
    key: Hash


class _Server(_Model):
    ip: Annotated[int, Field(strict=True, ge=-(2**31), lt=2**32)]  # signed, as the file has it
    port: Annotated[int, Field(strict=True, ge=1, le=65535)]
    id: _Key


class _ZeroState(_Model):
    root_hash: Hash


class _InitBlock(_Model):
    seqno: Annotated[int, Field(strict=True, ge=0, lt=2**31)]
    root_hash: Hash
    file_hash: Hash


class _Validator(_Model):
    zero_state: _ZeroState
    init_block: _InitBlock | None = None


class _GlobalConfig(_Model):
    liteservers: Annotated[tuple[_Server, ...], Field(min_length=1, max_length=MAX_LISTED)]
    validator: _Validator


def read_liteservers(path: str) -> Liteservers:
    """
    Read a global config.

    Raises:
        ValueError: in one sentence, what is wrong with the file.
    """
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise ValueError(f"must name a global config that can be read ({reason})") from exc
    if len(raw) > MAX_FILE_BYTES:
        raise ValueError(f"must name a global config of at most {MAX_FILE_BYTES} bytes")
    return parse_liteservers(raw)


def parse_liteservers(raw: bytes) -> Liteservers:
    """Read the content of a global config; raises what `read_liteservers` raises."""
    try:
        read = _GlobalConfig.model_validate_json(raw)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"must name a global config of TON: {where}: {first['msg']}") from None
    block = read.validator.init_block
    return Liteservers(
        servers=tuple(_liteserver(server) for server in read.liteservers[:MAX_SERVERS]),
        zero_state=read.validator.zero_state.root_hash,
        init_block=None if block is None else BlockId(block.seqno, block.root_hash, block.file_hash),
    )


def _liteserver(read: _Server) -> Liteserver:
    return Liteserver(str(ipaddress.IPv4Address(read.ip & 0xFFFFFFFF)), read.port, read.id.key)
