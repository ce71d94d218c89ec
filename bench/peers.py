"""Peers in environments of their own: each is installed once, from a lock, where nothing of ours is."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


async def python_with(name: str, lock: str) -> Path:
    """Return the interpreter of an environment with what a lock names, made when it is not there."""
    home = ROOT / "bench" / f".{name}"  # ignored by git
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        await run(sys.executable, "-m", "venv", "--clear", str(home))
        await run(str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(ROOT / "locks" / lock))
        (home / "ready").touch()
    return python


async def run(*command: str) -> str:
    """Run a program and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {error.decode()[-2000:]}")
    return out.decode()
