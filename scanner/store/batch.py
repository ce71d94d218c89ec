"""Group commit."""

from kernel.store.group_commit import GroupCommit

__all__ = ["GroupCommit"]
