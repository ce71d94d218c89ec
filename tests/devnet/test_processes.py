"""The daemons of a demo are the same everywhere, and say why they did not start."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from config.settings import VARIABLES
from devnet import demo, processes
from devnet.processes import OURS, DemoError, Service
from marketplace.settings import VARIABLES as MARKETPLACE_VARIABLES

FOR_THE_DEMO = {"PORT"}  # whoever starts it may choose where the scanner listens


async def test_a_service_that_does_not_listen_in_time_is_named_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "START_S", 0.01)
    service = Service("scanner", {}, "PORT", tmp_path / "scanner.log")
    running = SimpleNamespace(returncode=None)

    for said, shown in (("waiting for a database\n", "waiting for a database"), ("", "it said nothing")):
        service.log.write_text(said)
        with pytest.raises(DemoError, match=f"the scanner did not listen within 0.01 s: {shown}"):
            await service._listening(running, 0)  # type: ignore[arg-type]


def test_a_demo_in_which_nothing_happened_in_time_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def nothing(*, once: bool) -> None:
        raise TimeoutError

    monkeypatch.setattr(demo, "run", nothing)
    monkeypatch.setattr(sys, "argv", ["demo"])

    assert demo.main() == 1
    assert capsys.readouterr().err == "demo failed: nothing happened in time\n"


async def test_a_service_reads_no_settings_of_the_clone_it_runs_in(tmp_path: Path) -> None:
    (tmp_path / "says_where.py").write_text("import os\nprint(f'listening on {os.getcwd()}', flush=True)\n")
    service = Service("says_where", {}, "PORT", tmp_path / "said.log")

    assert await service.start() == str(tmp_path)
    await service.stop()


def test_no_setting_of_whoever_starts_the_demo_reaches_its_services() -> None:
    assert {name for name in {*VARIABLES, *MARKETPLACE_VARIABLES} if not name.startswith(OURS)} == FOR_THE_DEMO
