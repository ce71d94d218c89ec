"""What every table of the marketplace is declared on."""

from __future__ import annotations

from sqlalchemy import MetaData

metadata = MetaData()
