"""What a transaction hash looks like on each family of chains; pure."""

from __future__ import annotations

import re

_FORMS = {
    "evm": re.compile(r"0x[0-9a-fA-F]{64}"),
    "tron": re.compile(r"[0-9a-fA-F]{64}"),
    "ton": re.compile(r"[0-9a-fA-F]{64}|[A-Za-z0-9+/_-]{43}=?"),
}


def is_tx_hash(text: str, chain_type: str) -> bool:
    """Say whether a text is a transaction hash of a family."""
    return _FORMS[chain_type].fullmatch(text) is not None
