"""One statement for many rows."""

from kernel.store.bulk import SLICE, Bulk, BulkInsert, Row, unindexed

__all__ = ["SLICE", "Bulk", "BulkInsert", "Row", "unindexed"]
