"""Many values in one statement."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, select


def is_one_of(column: ColumnElement[Any], values: Collection[str]) -> ColumnElement[bool]:
    """
    Say that a column is one of any number of values, as one bound parameter.

    A parameter a value would be written into the statement anew for every list of another length.
    """
    each = func.json_each(bindparam(None, json.dumps(list(values)))).table_valued("value")
    return column.in_(select(each.c.value))
