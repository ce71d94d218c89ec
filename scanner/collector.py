"""The garbage collector's pace."""

from kernel.tasks.collector import calm_collector

__all__ = ["calm_collector"]
