"""How a simulated process ends: as the real one does."""

from __future__ import annotations

import pytest

from kernel.errors import ConfigError, StoreBusy, StoreError, UnknownOutcome
from kernel.process import EXIT_FIX, EXIT_RESTART
from kernel.store.postgresql import ConnectionLost
from tests.simulation.supervisor import end_of


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (ConnectionLost("the server ended this transaction"), EXIT_RESTART),
        (UnknownOutcome("lost amid a commit"), EXIT_RESTART),
        (StoreBusy("is locked"), EXIT_RESTART),
        (StoreError("too old"), EXIT_FIX),
        (ConfigError("no such chain"), EXIT_FIX),
        (ExceptionGroup("parts", [ValueError("a part failed")]), EXIT_RESTART),
    ],
)
def test_a_process_ends_with_the_code_of_the_real_one(exc: Exception, code: int) -> None:
    ended, said = end_of(exc)
    assert ended == code
    assert str(exc.exceptions[0] if isinstance(exc, ExceptionGroup) else exc) in said
