"""What is wrong with what the operator told us."""

from __future__ import annotations


class ConfigError(Exception):
    """An operator must change something; the message is one line and names what."""
