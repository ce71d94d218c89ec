"""A log line that strangers can cause is written at most so often."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable


class SeldomLog:
    """Lets one line through in `every_s` seconds and says how many were kept back since the last."""

    def __init__(
        self, log: logging.Logger, *, every_s: float = 1.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._every_s = every_s
        self._monotonic = monotonic
        self._last: float | None = None
        self._kept_back = 0

    def warning(self, message: str, *args: object) -> None:
        now = self._monotonic()
        if self._last is not None and now - self._last < self._every_s:
            self._kept_back += 1
            return
        self._log.warning(f"{message} (%d more since the last such line)", *args, self._kept_back)
        self._last, self._kept_back = now, 0
