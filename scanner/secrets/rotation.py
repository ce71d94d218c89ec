"""Which secrets sign a delivery while a backend changes its own: pure decisions, no I/O."""

from __future__ import annotations

from typing import NamedTuple


class Rotation(NamedTuple):
    """A newer secret for everything registered earlier with one callback URL. Secrets are sealed, times unix ms."""

    callback_url: str
    secret: str
    since: int
    overlap_until: int  # until then the former secret signs as well
    former_secret: str | None  # of the rotation before this one
    former_since: int | None


def signing_secrets(own: str, created_at: int, rotation: Rotation | None, now: int) -> tuple[str, ...]:
    """Return the (sealed) secrets to sign with, the one in use first: whoever registered later brought its own."""
    if rotation is None or created_at >= rotation.since:
        return (own,)
    if now >= rotation.overlap_until:
        return (rotation.secret,)
    return (rotation.secret, _former(own, created_at, rotation))


def _former(own: str, created_at: int, rotation: Rotation) -> str:
    if rotation.former_secret is None or rotation.former_since is None or created_at >= rotation.former_since:
        return own
    return rotation.former_secret
