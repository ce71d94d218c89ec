"""What a daemon tells its supervisor by its exit code."""

from __future__ import annotations

import pytest

from kernel.errors import ConfigError, StoreBusy, StoreError, UnknownOutcome
from kernel.process import EXIT_FIX, EXIT_RESTART, refused
from kernel.store.postgresql import ConnectionLost


@pytest.mark.parametrize("lost", [ConnectionLost("no answer"), UnknownOutcome("not known"), StoreBusy("is locked")])
def test_a_database_lost_while_a_daemon_starts_asks_for_another_start(
    lost: StoreError, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(lost, serving=True) == EXIT_RESTART
    assert refused(lost, serving=False) == EXIT_FIX  # a command that failed is for whoever gave it
    assert capsys.readouterr().err == f"{lost}\n" * 2


@pytest.mark.parametrize("wrong", [ConfigError("no such chain"), StoreError("too old")])
def test_what_an_operator_has_to_change_asks_for_no_other_start(wrong: ConfigError | StoreError) -> None:
    assert refused(wrong, serving=True) == EXIT_FIX
