"""
What a token says of itself, read from what its contract answers: labels, and how many decimals it counts.

A contract may answer anything. What is no short readable text, or no sensible number, is the contract's own
nonsense: it is None, no error, and no endpoint's fault (`symbol()` of the words 32 and 2**200 was once a 500).
"""

from __future__ import annotations

from chains.types import TokenMeta
from config.catalog import Token

MAX_SYMBOL = 64  # characters
MAX_DECIMALS = 77  # one whole token of more does not fit 256 bits
MAX_ANSWER_BYTES = 4_096

_WORD = 32
_HEAD = 2 * _WORD  # where the text is, and how long it is


def read_symbol(answer: bytes) -> str | None:
    """Read a `string` in its usual layout, or the 32 bytes of tokens older than the standard."""
    text = answer if len(answer) == _WORD else _string(answer)
    return None if text is None else decoded(text)


def is_unusual(answer: bytes) -> bool:
    """Say whether an answer puts its text at another place than every known token: that is for an ABI library."""
    place = int.from_bytes(answer[:_WORD], "big")
    return place != _WORD and _HEAD <= len(answer) <= MAX_ANSWER_BYTES and place <= len(answer) - _WORD


def decoded(text: bytes) -> str | None:
    """Return the label in some bytes; None when nobody could read it."""
    try:
        return printable_label(text.rstrip(b"\0").decode())
    except UnicodeDecodeError:
        return None


def printable_label(text: object) -> str | None:
    """Return a label people can read; None for anything else."""
    if not isinstance(text, str):
        return None
    label = text.strip()
    return label if 0 < len(label) <= MAX_SYMBOL and label.isprintable() else None


def read_decimals(answer: bytes) -> int | None:
    """Read a `uint8`."""
    return plausible_decimals(int.from_bytes(answer[:_WORD], "big")) if len(answer) >= _WORD else None


def plausible_decimals(decimals: int) -> int | None:
    """Return a number of decimals; None when no token can count so many."""
    return decimals if 0 <= decimals <= MAX_DECIMALS else None


def _string(answer: bytes) -> bytes | None:
    if not _HEAD <= len(answer) <= MAX_ANSWER_BYTES or int.from_bytes(answer[:_WORD], "big") != _WORD:
        return None
    length = int.from_bytes(answer[_WORD:_HEAD], "big")
    return answer[_HEAD : _HEAD + length] if length <= len(answer) - _HEAD else None


def disagreement(token: Token, meta: TokenMeta | None) -> str | None:
    """Return in what the registry and a token's contract disagree; None when they say the same."""
    if meta is None or meta.decimals is None:
        return f"token {token.symbol} {token.address}: the contract cannot be read"
    label = token.on_chain_symbol or token.symbol
    if (meta.symbol, meta.decimals) == (label, token.decimals):
        return None
    return (
        f"token {token.symbol} {token.address}: the chain says {meta.symbol} with {meta.decimals} decimals,"
        f" the registry {label} with {token.decimals}"
    )
