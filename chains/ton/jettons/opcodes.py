"""The operations of a jetton transfer (TEP-74), by the first 32 bits of their messages."""

from __future__ import annotations

TRANSFER = 0x0F8A7EA5  # an owner to their own jetton wallet
INTERNAL_TRANSFER = 0x178D4519  # one jetton wallet to another
NOTIFICATION = 0x7362D09C  # a jetton wallet to its owner; only sent with a forward amount
EXCESSES = 0xD53276DB  # what is left of the fees, back to the sender
