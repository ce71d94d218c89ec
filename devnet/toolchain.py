"""What the local chain needs beside Python: Node, the npm packages, the compiled contracts; and the Node client's."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
MODULES = ROOT / "node_modules"
CLIENT = ROOT / "clients" / "js"
BUILD = HERE / "build"
SOURCES = tuple(sorted((HERE / "contracts").glob("*.sol")))
COMPILER = HERE / "compile.cjs"
NODE_LOCK = ROOT / "locks" / "node.txt"


class ToolchainError(Exception):
    """The local chain cannot be set up; the message says what is missing."""


def setup() -> None:
    """Install and compile what is missing or out of date; quick when nothing is."""
    if _modules_fresh(ROOT) and _modules_fresh(CLIENT) and _build_fresh():
        return
    with _alone():
        _install(ROOT)
        _install(CLIENT)
        if not _build_fresh():
            _run([_program("node"), str(COMPILER), str(BUILD / "contracts.json"), *map(str, SOURCES)])
            (BUILD / "stamp").write_text(_stamp(*SOURCES, COMPILER, ROOT / "package-lock.json"))


def setup_client() -> None:
    """Install what the Node client needs; quick when it is there."""
    setup_folder(CLIENT)


def setup_folder(folder: Path) -> Path:
    """Install what a folder's lock names where nothing of ours is, quick when it is there; return Node."""
    if not _modules_fresh(folder):
        with _alone():
            _install(folder)
    return Path(_program("node"))


def _install(folder: Path) -> None:
    if not _modules_fresh(folder):
        _run([_program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], folder)
        (folder / "node_modules" / ".installed").write_text(_stamp(folder / "package-lock.json"))


@contextmanager
def _alone() -> Iterator[None]:
    """Keep test workers that start together from installing over each other."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _stamp(*paths: Path) -> str:
    return "\n".join(path.read_text() for path in paths)


def _is_fresh(marker: Path, *paths: Path) -> bool:
    return marker.is_file() and _versions(marker.read_text()) == _versions(_stamp(*paths))


def _versions(stamp: str) -> list[str]:
    """Return a stamp without hashes: one more hash, of another platform, changes nothing that is installed here."""
    return [line for line in stamp.splitlines() if '"integrity":' not in line]


def _modules_fresh(folder: Path) -> bool:
    return _is_fresh(folder / "node_modules" / ".installed", folder / "package-lock.json")


def _build_fresh() -> bool:
    return _is_fresh(BUILD / "stamp", *SOURCES, COMPILER, ROOT / "package-lock.json")


def _program(name: str) -> str:
    """Find node or npm: the machine's own, else Node from PyPI in this environment."""
    beside = Path(sys.executable).parent
    found = shutil.which(name) or shutil.which(name, path=str(beside))
    if found is None:
        _run([sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(NODE_LOCK)])
        found = shutil.which(name, path=str(beside))
    if found is None:
        raise ToolchainError(f"{name} is missing and could not be installed")
    return found


def _run(command: list[str], folder: Path = ROOT) -> None:
    env = dict(os.environ)
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}"
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ToolchainError(f"{Path(command[0]).name} {command[1]} failed: {done.stderr.strip()[-800:]}")


def anvil_binary() -> Path:
    """Return the program inside the platform package."""
    found = sorted((MODULES / "@foundry-rs").glob("anvil-*/bin/anvil*"))
    if not found:
        raise ToolchainError("anvil is not installed: run `make setup-devnet`")
    return found[0]


@functools.cache
def bytecode(contract: str) -> str:
    """Return a contract's creation bytecode as 0x hex."""
    code: dict[str, str] = json.loads((BUILD / "contracts.json").read_text())
    return code[contract]


if __name__ == "__main__":
    try:
        setup()
    except ToolchainError as exc:
        sys.exit(str(exc))
