"""Log once when something breaks and once when it recovers."""

from kernel.outage import Outage

__all__ = ["Outage"]
