"""The values raw answers are made of, each read strictly or not at all (pure)."""

from __future__ import annotations

import re

from chains.errors import ChainProtocolError

HASH = re.compile(r"0x[0-9a-fA-F]{64}")
ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
ADDRESS_WORD = re.compile(r"0{24}[0-9a-fA-F]{40}")
WORD = re.compile(r"[0-9a-fA-F]{64}")


def address_text(value: object) -> str | None:
    """Return an address in lower case; None when it is none."""
    return value.lower() if isinstance(value, str) and ADDRESS.fullmatch(value) else None


def hash_text(value: object) -> str:
    """Return a hash in lower case."""
    if not isinstance(value, str) or HASH.fullmatch(value) is None:
        raise ChainProtocolError(f"not a hash: {excerpt(value)}")
    return value.lower()


def excerpt(value: object) -> str:
    return repr(value)[:60]
