"""Many values in one statement, many rows in one answer."""

from kernel.store.json_rows import in_one_row, is_one_of, listed, rows_of

__all__ = ["in_one_row", "is_one_of", "listed", "rows_of"]
