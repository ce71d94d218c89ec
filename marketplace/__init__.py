"""A small escrow backend: the first customer of the scanner, and its example."""

from __future__ import annotations

VERSION = "0.1.0"
