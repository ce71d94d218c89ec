"""The garbage collector's pace."""

from __future__ import annotations

import gc

THRESHOLDS = (50_000, 20, 100)


def tune_gc() -> None:
    """
    Collect less often, and never what was imported.

    A page of logs is a hundred thousand short-lived objects without cycles. At the default pace the
    collector walks them, and everything else that lives, hundreds of times a page.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
