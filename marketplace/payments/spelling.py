"""The one spelling under which transfers are compared, however a node, a webhook or a person writes them; pure."""

from __future__ import annotations

from addresses import canonical_tx_hash

PREFIXES = ("0x", "0X")


def normal_tx_hash(text: str, chain_type: str) -> str | None:
    """
    Return a transaction hash in its one spelling; None for what is no hash of the family.

    One transaction in capitals, without its 0x, or in base64 (TON) would otherwise pay for two things.
    """
    bare = text[2:] if text.startswith(PREFIXES) else text
    if bare.startswith(PREFIXES):
        return None
    forms = (canonical_tx_hash(chain_type, each) for each in (bare, f"0x{bare}"))
    return next((form for form in forms if form is not None), None)


def normal_event_key(text: str) -> str:
    """Return a transfer's place in its transaction in its one spelling."""
    plain = text.strip().lower()
    return str(int(plain)) if plain.isascii() and plain.isdigit() else plain
