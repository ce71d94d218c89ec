"""Time as a collaborator, so that tests can own it."""

from kernel.clock import HOUR_MS, Clock, SystemClock, rfc3339, shown

__all__ = ["HOUR_MS", "Clock", "SystemClock", "rfc3339", "shown"]
