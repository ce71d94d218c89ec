"""What is wrong with what the operator told us."""

from __future__ import annotations


class ConfigError(Exception):
    """An operator must change something; the message is one line and names what."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # a path may hold line breaks
