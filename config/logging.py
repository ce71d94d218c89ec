"""What is logged, and how."""

from __future__ import annotations

from config.settings import LogSettings
from kernel import logging
from kernel.logging import ConsoleFormatter, JsonFormatter, fields

__all__ = ["ConsoleFormatter", "JsonFormatter", "configure", "fields"]


def configure(settings: LogSettings) -> None:
    """Send everything to stdout in the format asked for."""
    logging.configure(level=settings.level, form=settings.format)
