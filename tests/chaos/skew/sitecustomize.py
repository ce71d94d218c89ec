"""Put the wall clock of a process off by what a file says; the laboratory's scanners start with it on their path."""

import os
import time
from pathlib import Path

_true_time_ns = time.time_ns
_file = Path(os.environ["CHAOS_CLOCK"])


def _skewed() -> int:
    return _true_time_ns() + int(_file.read_text()) * 1_000_000_000


time.time_ns = _skewed
