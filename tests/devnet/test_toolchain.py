"""The local chain sets itself up, from the lock alone."""

from __future__ import annotations

import json
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


def test_the_lock_names_no_download_address_and_pins_what_is_installed_here() -> None:
    packages = json.loads((toolchain.ROOT / "package-lock.json").read_text())["packages"]
    assert not [name for name, package in packages.items() if "resolved" in package]
    installed = [name for name in packages if name and (toolchain.ROOT / name).is_dir()]
    assert len(installed) >= 4
    assert all(packages[name]["integrity"].startswith("sha512-") for name in installed)


def test_a_changed_contract_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toolchain.setup()
    source = tmp_path / "Tokens.sol"
    shutil.copy(toolchain.SOURCE, source)
    monkeypatch.setattr(toolchain, "SOURCE", source)
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
    monkeypatch.setattr(toolchain, "SOURCE", source)
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
