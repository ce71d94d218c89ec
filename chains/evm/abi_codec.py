"""Decode what a contract laid out unusually, with web3, which only this file imports and only when it is needed."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eth_abi.codec import ABICodec


async def decode_bytes(answer: bytes) -> bytes | None:
    """Return the one `bytes` or `string` in an answer, wherever its layout puts it; None when there is none."""
    codec = await asyncio.to_thread(_codec)
    try:
        (value,) = codec.decode(["bytes"], answer)
    except Exception:  # noqa: BLE001 - on words a contract made up it raises OverflowError and more beside its own errors
        return None
    return bytes(value)


@functools.cache
def _codec() -> ABICodec:
    # Importing web3 takes 0.5 s of processor and 13 MB. Tokens of the registry and nearly all others never need it.
    from web3 import Web3  # noqa: PLC0415

    return Web3().codec
