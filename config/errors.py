"""What is wrong with what the operator told us."""

from kernel.errors import ConfigError

__all__ = ["ConfigError"]
