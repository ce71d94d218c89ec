"""Arguments of calls and answers laid out unusually, with tronpy, which only this file imports and only when needed."""

from __future__ import annotations

import asyncio
import functools
from typing import Any


async def encode_address(address: str) -> bytes:
    """Return an address as the one argument of a call."""
    codec = await asyncio.to_thread(_codec)
    return bytes(codec.encode(["address"], [address]))


async def decode_bytes(answer: bytes) -> bytes | None:
    """Return the one `bytes` or `string` in an answer, wherever its layout puts it; None when there is none."""
    codec = await asyncio.to_thread(_codec)
    try:
        (value,) = codec.decode(["bytes"], answer)
    except Exception:  # noqa: BLE001 - on words a contract made up it raises OverflowError and more beside its own errors
        return None
    return bytes(value)


@functools.cache
def _codec() -> Any:
    # Importing tronpy takes 0.2 s of processor and 12 MB. A chain on which no token balance is read never needs it.
    from tronpy.abi import tron_abi  # type: ignore[import-untyped]  # noqa: PLC0415 - ships no types

    return tron_abi
