"""The garbage collector's pace."""

from kernel.collector import calm_collector

__all__ = ["calm_collector"]
