"""`python -m tests.simulation`: so many seeds of the whole system in one process, on virtual time."""

from __future__ import annotations

import importlib
import os
import sys

from tests.simulation import machine

ORDER = "0"  # of texts in a set: two receivers were told in another order in another process


def main() -> int:
    if os.environ.get("PYTHONHASHSEED") != ORDER:
        os.environ["PYTHONHASHSEED"] = ORDER
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])  # noqa: S606 - ourselves
    machine.install()
    return int(importlib.import_module("tests.simulation.seeds").main())


if __name__ == "__main__":
    sys.exit(main())
