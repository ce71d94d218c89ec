"""What is checked of a callback before an intent is stored."""

from __future__ import annotations

from scanner.errors import InvalidRequest
from webhooks.guard import CallbackGuard, ForbiddenTarget
from webhooks.signing import check_secret


class CallbackChecks:
    """Refuses callbacks that could never be delivered safely (scanner.services.CallbackPolicy)."""

    def __init__(self, guard: CallbackGuard) -> None:
        self._guard = guard

    def check_callback(self, url: str, secret: str) -> str:
        """Return the receiver a callback belongs to."""
        try:
            check_secret(secret)
        except ValueError as exc:
            raise InvalidRequest("callbackSecret", f"callbackSecret: {exc}") from exc
        try:
            return self._guard.check_url(url)
        except ForbiddenTarget as exc:
            raise InvalidRequest("callbackUrl", f"callbackUrl: {exc}", code="forbidden_callback") from exc
