"""What identifies an event within its transaction: a key of what its log says, never of a node's numbering (pure)."""

from __future__ import annotations

import functools
from binascii import unhexlify
from collections.abc import Sequence
from hashlib import blake2b

KEY_BYTES = 16  # of the hash in an event key
_digest = functools.partial(blake2b, digest_size=KEY_BYTES)


def first_key(address: str, topics: Sequence[str], data: str) -> str:
    """
    Return the key of the first log of a transaction that says this.

    Made of what the log says alone: nodes number logs differently (github.com/erigontech/erigon issue 13542), and
    a transfer that is known by a number is counted once by each of them.
    """
    return key_of(hex_bytes(f"{address}{''.join(topics)}{data}"))


def nth_key(first: str, place: int) -> str:
    """Return the key of a later log of the same transaction that says the same as the first, which has place 0."""
    return f"{first[: 2 * KEY_BYTES]}-{place}"


def key_of(said: bytes) -> str:
    return f"{_digest(said).hexdigest()}-0"


def hex_bytes(texts: str) -> bytes:
    """Return hex texts in a row as bytes, each `0x` as a zero: much shorter to hash, and in one spelling."""
    return unhexlify(texts.replace("x", "0"))
