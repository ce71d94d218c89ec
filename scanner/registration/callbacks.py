"""What is asked of whoever knows which receivers may be called."""

from __future__ import annotations

from typing import Protocol


class CallbackPolicy(Protocol):
    """What the webhooks package checks at registration."""

    def check_callback(self, url: str, secret: str) -> str:
        """Return the receiver a callback belongs to; raise InvalidRequest when it is refused."""
