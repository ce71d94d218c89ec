"""What can be wrong with an address."""

from __future__ import annotations


class InvalidAddress(ValueError):
    """The text is not an address money may be sent to; the message is a sentence for whoever typed it."""
