"""A webhook of the scanner whose signature was found good."""

from __future__ import annotations

from dataclasses import dataclass

from clients.python.amn_scanner_client import BalanceEvent, Event


@dataclass(frozen=True, slots=True)
class SignedWebhook:
    """A webhook with a good signature; `event` None and `why` say that it cannot be what it says it is."""

    event_id: str
    event_type: str
    names: tuple[str, ...]
    event: Event | None
    why: str | None = None

    @property
    def about_balance(self) -> bool:
        return isinstance(self.event, BalanceEvent)
