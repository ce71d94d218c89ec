"""The units are accepted, confine the services, and know their exit codes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from kernel.process import EXIT_FIX, EXIT_RESTART, EXIT_WRONG_KEY
from scanner.app import DRAIN_S
from tests.deploy.files import DEPLOY, checked_by, is_setting

UNITS = ["amn-scanner", "amn-marketplace"]
MOST_EXPOSED = 2.0  # of ten


def options(unit: str) -> dict[str, str]:
    lines = (DEPLOY / "systemd" / f"{unit}.service").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_no_fault_but_that_nothing_is_installed_here(unit: str, tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / f"{unit}.service").read_text()
    (tmp_path / f"{unit}.service").write_text(text.replace(f"/opt/amn/bin/{unit}", "/bin/true"))

    assert unit not in checked_by("systemd-analyze", "verify", "--man=no", tmp_path / f"{unit}.service")


@pytest.mark.parametrize("unit", UNITS)
def test_a_service_is_confined(unit: str) -> None:
    said = checked_by(
        "systemd-analyze", "security", "--offline=true", "--no-pager", DEPLOY / "systemd" / f"{unit}.service"
    )
    (exposure,) = re.findall(r"exposure level for \S+ ([\d.]+)", said)

    assert float(exposure) <= MOST_EXPOSED


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_starts_its_program_and_knows_when_a_restart_helps(unit: str) -> None:
    given = options(unit)
    named = [part.split("=")[0] for part in shlex.split(given["Environment"])]

    assert given["Type"] == "notify"
    assert given["ExecStart"] == f"/opt/amn/bin/{unit}"
    assert {int(code) for code in given["RestartPreventExitStatus"].split()} == {EXIT_FIX, EXIT_WRONG_KEY}
    assert EXIT_RESTART not in {EXIT_FIX, EXIT_WRONG_KEY}
    assert int(given["TimeoutStopSec"]) > DRAIN_S
    assert [name for name in named if not is_setting(name)] == []
