"""The house is as it is drawn: modules import alone, and nothing of a machine is in it."""

from __future__ import annotations

import importlib
import json
import re
import subprocess

import pytest

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
FOREIGN = re.compile(r"(?<![\w.])/(?:work|root|home)/|pypi\.org|pythonhosted|registry\.npmjs")


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports(name: str) -> None:
    assert importlib.import_module(name).__doc__


def test_nothing_of_a_machine_or_a_registry_is_in_the_project() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    texts = {name: (ROOT / name).read_text() for name in listed if name != "tests/repo/test_layout.py"}

    assert {"README.md", "pyproject.toml", "scanner/__main__.py", "package-lock.json"} <= texts.keys()
    assert [name for name, text in texts.items() if FOREIGN.search(text)] == []
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert not any("resolved" in package for package in packages.values())
