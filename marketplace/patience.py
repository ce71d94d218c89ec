"""Chores that outlive a store that is locked or full."""

from kernel.tasks.patience import Patient

__all__ = ["Patient"]
