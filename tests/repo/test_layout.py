"""The house is as it is drawn: modules import alone, and nothing of a machine is in it."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.harness import ROOT

PACKAGES = [
    "kernel",
    "addresses",
    "protocol",
    "config",
    "chains",
    "scanner",
    "webhooks",
    "api",
    "marketplace",
    "clients",
    "devnet",
    "bench",
]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)  # the peer's environment of a benchmark
    if "migrations" not in path.parts
]
FOREIGN = re.compile(rb"(?<![\w.])/(?:work|root|home)/|pypi\.org|pythonhosted|registry\.npmjs")
BINARY = {".png"}


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports(name: str) -> None:
    assert importlib.import_module(name).__doc__


def test_nothing_of_a_machine_or_a_registry_is_in_the_project() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    files = {name: (ROOT / name).read_bytes() for name in listed if name != "tests/repo/test_layout.py"}

    assert {"README.md", "pyproject.toml", "scanner/__main__.py", "package-lock.json"} <= files.keys()
    assert [name for name, content in files.items() if FOREIGN.search(content)] == []
    assert {Path(name).suffix for name, content in files.items() if not is_text(content)} == BINARY


@pytest.mark.parametrize(
    "lock",
    [
        "package-lock.json",
        "clients/js/package-lock.json",
        "docs/site/package-lock.json",
        "bench/evm_processor/package-lock.json",
    ],
)
def test_the_locks_of_npm_name_no_address(lock: str) -> None:
    packages = json.loads((ROOT / lock).read_text())["packages"]

    assert len(packages) > 1
    assert not any("resolved" in package for package in packages.values())


@pytest.mark.parametrize("picture", sorted(ROOT.glob("docs/**/*.png"), key=str), ids=lambda path: path.name)
def test_a_picture_is_small_and_holds_nothing_but_itself(picture: Path) -> None:
    """A text within it, which says how or where it was made, could be compressed and would not be found."""
    with Image.open(picture) as opened:
        assert (opened.format, opened.info) == ("PNG", {})
    assert picture.stat().st_size < 120_000


def is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
