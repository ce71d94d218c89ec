"""The form of the keys that seal secrets at rest."""

from __future__ import annotations

import base64
import binascii

KEY_BYTES = 32


def parse_key(text: str) -> bytes:
    """Return the bytes of a key, which may be spelt in either base64 alphabet; raise ValueError when it is none."""
    try:
        raw = base64.b64decode(text.strip().translate(str.maketrans("-_", "+/")), validate=True)
    except binascii.Error as exc:
        raise ValueError("must be base64") from exc
    if len(raw) != KEY_BYTES:
        raise ValueError(f"must be base64 of {KEY_BYTES} bytes, as `openssl rand -base64 {KEY_BYTES}` makes them")
    return raw
