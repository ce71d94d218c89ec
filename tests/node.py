"""Runs small programs in Node, where there is one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devnet import toolchain


def node() -> str:
    """Return Node's program; without one on the machine the test is skipped."""
    found = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("Node is not installed")
    return found


def printed(program: str, *, given: str = "", module: bool = False) -> str:
    """Run a program, with this on its standard input, and return what it prints; a module may import the client."""
    if module:
        toolchain.setup_client()
    kind = ["--input-type=module"] if module else []
    done = subprocess.run([node(), *kind, "-e", program], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
