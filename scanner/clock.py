"""Time as a collaborator, so that tests can own it."""

from kernel.clock import Clock, SystemClock, rfc3339

__all__ = ["Clock", "SystemClock", "rfc3339"]
