"""The local chain sets itself up, from the lock alone."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devnet import toolchain


def test_setting_up_what_is_there_is_quick() -> None:
    toolchain.setup()
    started = time.monotonic()
    toolchain.setup()
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("folder", "least"),
    [(toolchain.ROOT, 10), (toolchain.CLIENT, 1), (toolchain.ROOT / "bench" / "evm_processor", 10)],
    ids=["devnet", "client", "evm-processor"],
)
def test_the_lock_names_no_download_address_and_pins_every_package_of_every_platform(folder: Path, least: int) -> None:
    packages = json.loads((folder / "package-lock.json").read_text())["packages"]
    assert not [name for name, package in packages.items() if "resolved" in package]
    assert len(packages) > least
    assert [name for name, package in packages.items() if name and not is_sha512(package.get("integrity", ""))] == []


def is_sha512(text: str) -> bool:
    return text.startswith("sha512-") and len(base64.b64decode(text.removeprefix("sha512-"), validate=True)) == 64


@pytest.mark.parametrize("name", ["runtime", "dev", "node", "postgresql", "lock", "bench-peer", "bench-cryo"])
def test_every_python_package_is_pinned_by_version_and_hash(name: str) -> None:
    text = (toolchain.ROOT / "locks" / f"{name}.txt").read_text().replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip()]
    assert entries
    unpinned = [
        line for line in entries if re.match(r"[\w.\[\]-]+==\S+.*(\s--hash=sha256:[0-9a-f]{64})+\s*$", line) is None
    ]
    assert unpinned == []


def test_nothing_is_installed_by_a_name_alone() -> None:
    """What installs names a lock with hashes; only `make lock` may resolve names, and only to write locks."""
    programs = [
        toolchain.ROOT / "Makefile",
        toolchain.ROOT / "tests/postgres.py",
        *toolchain.HERE.glob("*.py"),
        *(toolchain.ROOT / "bench").glob("*.py"),
    ]
    installs = [
        line
        for path in programs
        for line in path.read_text().splitlines()
        if re.search(r"pip[\", ]{1,4}install|npm.{1,6}(ci|install)", line)
    ]
    assert len(installs) == 7
    for line in installs:
        assert "--require-hashes" in line or '"ci"' in line or " npm ci " in line, line


@pytest.mark.long
def test_a_changed_contract_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toolchain.setup()
    for each in toolchain.SOURCES:
        shutil.copy(each, tmp_path)
    source = tmp_path / "Tokens.sol"
    monkeypatch.setattr(toolchain, "SOURCES", tuple(tmp_path / each.name for each in toolchain.SOURCES))
    monkeypatch.setattr(toolchain, "BUILD", tmp_path / "build")
    toolchain.setup()
    before = json.loads((tmp_path / "build" / "contracts.json").read_text())
    source.write_text(source.read_text().replace("value / 100", "value / 50"))
    toolchain.setup()
    after = json.loads((tmp_path / "build" / "contracts.json").read_text())
    assert [name for name in before if before[name] != after[name]] == ["FeeToken"]


def test_a_contract_that_does_not_compile_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toolchain.setup()
    source = tmp_path / "Tokens.sol"
    source.write_text("contract {")
    monkeypatch.setattr(toolchain, "SOURCES", (source,))
    monkeypatch.setattr(toolchain, "BUILD", tmp_path / "build")
    with pytest.raises(toolchain.ToolchainError, match="ParserError"):
        toolchain.setup()
    assert not (tmp_path / "build" / "stamp").exists()


def test_as_a_program_it_says_nothing_when_all_is_there() -> None:
    toolchain.setup()
    done = subprocess.run(
        [sys.executable, "-m", "devnet.toolchain"], cwd=toolchain.ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
