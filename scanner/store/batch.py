"""Group commit."""

from kernel.group_commit import GroupCommit

__all__ = ["GroupCommit"]
