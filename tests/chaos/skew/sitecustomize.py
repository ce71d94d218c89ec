"""
Put the clocks of a process off by what a file says; the laboratory's daemons start with it on their path.

The first number sets the wall clock, as somebody does who sets a machine's clock. The second one lets time pass: the
stopwatch goes on with the clock. What asyncio waits for goes on as it is.
"""

import os
import time
from pathlib import Path

SECOND_NS = 1_000_000_000
_true_time_ns, _true_monotonic_ns = time.time_ns, time.monotonic_ns
_file = Path(os.environ["CHAOS_CLOCK"])


def _off() -> tuple[int, int]:
    set_by, passed = _file.read_text().split()
    return int(set_by), int(passed)


def _wall_ns() -> int:
    return _true_time_ns() + sum(_off()) * SECOND_NS


def _stopwatch_ns() -> int:
    return _true_monotonic_ns() + _off()[1] * SECOND_NS


time.time_ns, time.monotonic_ns = _wall_ns, _stopwatch_ns
