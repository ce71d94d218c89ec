"""`python -m tests.simulation`: so many seeds of the whole system in one process, on virtual time."""

from __future__ import annotations

import importlib
import sys

from tests.simulation import machine


def main() -> int:
    machine.install()
    return int(importlib.import_module("tests.simulation.seeds").main())


if __name__ == "__main__":
    sys.exit(main())
