"""The clockwork."""

from kernel.tasks.schedule import ringing

__all__ = ["ringing"]
