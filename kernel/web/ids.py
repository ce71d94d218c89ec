"""
Texts that match a pattern whole.

`$` lets a line break stand behind it, in pydantic's patterns too; an id that ends in one cannot be asked for again, and
is refused as a header for ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pydantic import WithJsonSchema

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
NAME = r"[A-Za-z0-9._:-]{1,128}"


def whole(pattern: str, sentence: str) -> Callable[[str], str]:
    """Return a validator that lets a text pass when all of it matches."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(sentence)
        return value

    return check


def described(pattern: str) -> WithJsonSchema:
    """Return what the description says of it: `$` of ECMA-262 is the very end."""
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})


check_name = whole(NAME, "must be 1 to 128 of the characters A-Z a-z 0-9 . _ : -")
check_uuid = whole(UUID, "must be an id of ours: 8-4-4-4-12 small hex digits")
