"""`python -m tests.loaded scanner` is `python -m scanner`, and prints at its end which modules it has loaded."""

from __future__ import annotations

import atexit
import json
import runpy
import sys


def say() -> None:
    sys.stdout.write(f"{json.dumps(sorted(sys.modules))}\n")


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    atexit.register(say)
    runpy.run_module(sys.argv[0], run_name="__main__")
