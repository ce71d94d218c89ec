"""A coalescing bell."""

from kernel.bell import Bell

__all__ = ["Bell"]
