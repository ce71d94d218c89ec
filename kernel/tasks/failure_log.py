"""Log once when something breaks and once when it recovers."""

from __future__ import annotations

import logging


class FailureLog:
    """One thing that can be broken; `debug` in between."""

    def __init__(self, log: logging.Logger, subject: str) -> None:
        self._log = log
        self._subject = subject
        self._broken = False

    def failed(self, why: str) -> None:
        level = logging.DEBUG if self._broken else logging.WARNING
        self._log.log(level, "%s: %s", self._subject, why)
        self._broken = True

    def recovered(self) -> None:
        if self._broken:
            self._log.info("%s: recovered", self._subject)
        self._broken = False
