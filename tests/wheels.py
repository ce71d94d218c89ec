"""Builds the project's wheels and puts them into environments of their own, as somebody who installs them does."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

from tests.processes import ROOT

NOT_SHIPPED = ("tests/", "bench/", "devnet/", "docs/")


def tracked() -> list[str]:
    """Return the files of the project that a build may see: those git has, or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [name for name in listed if name and (ROOT / name).is_file()]


def copied(folder: Path) -> Path:
    """Copy what a build needs: in the project itself it would find, and leave, the remains of others."""
    for name in tracked():
        if not name.startswith(NOT_SHIPPED):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def built(source: Path, folder: Path) -> Path:
    """Build the wheel of a source tree with the tools of the test environment, offline."""
    _pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def names(wheel: Path) -> set[str]:
    """Return what lies in a wheel, its own records left out."""
    with ZipFile(wheel) as opened:
        return {name for name in opened.namelist() if ".dist-info/" not in name}


def installed(wheel: Path, folder: Path, *, libraries: Path | None = None) -> Path:
    """
    Install a wheel into a new environment and return its folder of programs.

    The libraries are those a lock names, which takes minutes to install, or else those the tests have.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    _pip("--python", python, "install", "--no-deps", "--no-index", wheel)
    if libraries is not None:
        _pip("--python", python, "install", "--require-hashes", "-r", libraries)
        _pip("--python", python, "check")
    else:
        site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
        (site / "libraries_of_the_tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder / "bin"


async def start_program(
    program: Path, *arguments: str, env: dict[str, str], folder: Path
) -> asyncio.subprocess.Process:
    """Start an installed program in a folder, with this environment alone."""
    return await asyncio.create_subprocess_exec(
        program,
        *arguments,
        cwd=folder,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


def _pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
