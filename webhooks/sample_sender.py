"""Sends a test event the way real ones are sent: the same guard, the same signatures, the same bounds."""

from __future__ import annotations

from kernel.clock import Clock
from webhooks.http_sender import Attempt, HttpSender
from webhooks.signing import headers_for


class SampleSender:
    """One call that leaves no trace in the outbox (scanner.deliveries.SampleSender)."""

    def __init__(self, client: HttpSender, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def send(self, url: str, secret: str, *, event_id: str, event_type: str, body: bytes) -> Attempt:
        """Send now, once; whatever goes wrong is in the answer."""
        headers = headers_for(
            event_id=event_id,
            event_type=event_type,
            delivery_id=event_id,
            body=body,
            secret=secret,
            timestamp=self._clock.wall_ms() // 1000,
        )
        return await self._client.send(url, body, headers)
