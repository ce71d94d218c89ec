"""A coalescing bell."""

from kernel.tasks.bell import Bell

__all__ = ["Bell"]
