"""The system that is driven, and who may drive it."""

from __future__ import annotations

from dataclasses import dataclass, field

from devnet.processes import Town


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A marketplace whose rate limits are off, and its scanner."""

    marketplace_url: str
    scanner_url: str
    scanner_key: str = field(repr=False)
    admin_email: str
    admin_password: str = field(repr=False)
    patience_s: float = 0.0  # how long a service may be away; 0: never


def target_of(found: Town, *, patience_s: float = 0.0) -> Target:
    """Return what a runner needs to know of a town."""
    return Target(
        marketplace_url=found.marketplace.url,
        scanner_url=found.scanner.url,
        scanner_key=found.who.scanner_key,
        admin_email=found.who.admin_email,
        admin_password=found.who.admin_password,
        patience_s=patience_s,
    )
