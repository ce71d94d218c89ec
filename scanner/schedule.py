"""The clockwork."""

from kernel.schedule import ringing

__all__ = ["ringing"]
