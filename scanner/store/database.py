"""The scanner's connections to its store."""

from kernel.store.database import Database, open_database

__all__ = ["Database", "open_database"]
