"""Delivery codes: six random digits the buyer hands to the seller, kept as a salted digest alone."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

DIGITS = 6
_CODE = re.compile(r"[0-9]{6}")


class Code(str):
    """A delivery code: text where it is answered, hidden where it is shown by accident."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Code(hidden)"


def new_code() -> Code:
    """Return six digits, each of the million equally likely."""
    return Code(f"{secrets.randbelow(10**DIGITS):0{DIGITS}d}")


def new_salt() -> str:
    """Return a salt for one code."""
    return secrets.token_hex(16)


def hash_code(code: str, salt: str, *, pepper: str = "") -> str:
    """
    Return what to store of a code: the hex HMAC-SHA256 under its salt.

    A million codes are tried in a second by whoever reads both from the store. `pepper`, a secret that
    is not in the store, is what keeps them from it.
    """
    key = f"{len(salt)}:{salt}{pepper}".encode()  # the length keeps salt and pepper from running together
    return hmac.new(key, code.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def matches(code: str, salt: str, hashed: str, *, pepper: str = "") -> bool:
    """Say whether a code is the one that was stored; compared in constant time."""
    same = hmac.compare_digest(hash_code(code, salt, pepper=pepper).encode(), hashed.encode())
    return same and _CODE.fullmatch(code) is not None
