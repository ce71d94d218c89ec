"""The system that is driven, and who may drive it."""

from __future__ import annotations

from dataclasses import dataclass, field

from devnet.processes import Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A marketplace whose rate limits are off, and its scanner."""

    marketplace_url: str
    scanner_url: str
    scanner_key: str = field(repr=False)
    admin_email: str
    admin_password: str = field(repr=False)
    max_downtime_s: float = 0.0  # how long a service may be down; 0: never


def target_of(deployment: Deployment, *, max_downtime_s: float = 0.0) -> Target:
    """Return what a runner needs to know of a deployment."""
    return Target(
        marketplace_url=deployment.marketplace.url,
        scanner_url=deployment.scanner.url,
        scanner_key=deployment.credentials.scanner_key,
        admin_email=deployment.credentials.admin_email,
        admin_password=deployment.credentials.admin_password,
        max_downtime_s=max_downtime_s,
    )
