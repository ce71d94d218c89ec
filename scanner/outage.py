"""Log once when something breaks and once when it recovers."""

from kernel.tasks.outage import Outage

__all__ = ["Outage"]
