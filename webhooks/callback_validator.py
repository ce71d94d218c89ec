"""What is checked of a callback before an intent is stored."""

from __future__ import annotations

from scanner.errors import InvalidRequest
from webhooks.signing import check_secret
from webhooks.ssrf_guard import BlockedTarget, SsrfGuard


class CallbackValidator:
    """Refuses callbacks that could never be delivered safely (scanner.services.CallbackPolicy)."""

    def __init__(self, guard: SsrfGuard) -> None:
        self._guard = guard

    def check_callback(self, url: str, secret: str) -> str:
        """Return the receiver a callback belongs to."""
        try:
            check_secret(secret)
        except ValueError as exc:
            raise InvalidRequest("callbackSecret", f"callbackSecret: {exc}") from exc
        try:
            return self._guard.check_url(url)
        except BlockedTarget as exc:
            raise InvalidRequest("callbackUrl", f"callbackUrl: {exc}", code="forbidden_callback") from exc
