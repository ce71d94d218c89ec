"""The version of this code, as it shows itself."""

from __future__ import annotations

VERSION = "0.1.0"
