"""Reads what lies in `deploy/`, and finds the tools that check it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.settings import VARIABLES
from marketplace.settings import VARIABLES as MARKETPLACE_VARIABLES
from tests.processes import ROOT

DEPLOY = ROOT / "deploy"
KNOWN = {*VARIABLES, *MARKETPLACE_VARIABLES}
ASSIGNED = re.compile(r"^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)


def parsed(name: str) -> Any:
    """Return a YAML file of the folder."""
    return yaml.safe_load((DEPLOY / name).read_text())


def example() -> dict[str, str]:
    """Return the variables of the example that are set."""
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def is_setting(name: str) -> bool:
    """Say whether one of the services reads a variable."""
    return name in KNOWN or name.startswith("RPC_")


def checked_by(tool: str, *arguments: str | Path, folder: Path = DEPLOY) -> str:
    """Run a checker and return what it says; where it is not installed the test is skipped."""
    found = shutil.which(tool) or shutil.which(tool, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([found, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
