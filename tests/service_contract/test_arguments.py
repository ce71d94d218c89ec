"""What a daemon is asked on its command line: known, or refused before anything is made."""

from __future__ import annotations

import asyncio
import os
import tomllib
from pathlib import Path

import pytest

from tests.processes import start
from tests.service_contract.services import BOTH, ServiceUnderTest

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[2]


async def ended(
    service: ServiceUnderTest, folder: Path, *arguments: str, afresh: bool = False
) -> tuple[int | None, str, str]:
    started = await start(
        service.name, *arguments, env=service.environment(folder), folder=folder, errors_apart=True, afresh=afresh
    )
    try:
        async with asyncio.timeout(60):
            out, err = await started.communicate()
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()
    return started.returncode, out.decode(), (err or b"").decode()


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("asked", ["--help", "-h"])
async def test_help_prints_and_ends_and_makes_nothing(service: ServiceUnderTest, tmp_path: Path, asked: str) -> None:
    code, out, err = await ended(service, tmp_path, asked, afresh=True)
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: amn-{service.name}")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


@BOTH
async def test_the_version_is_that_of_the_package_and_nothing_is_made(
    service: ServiceUnderTest, tmp_path: Path
) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert await ended(service, tmp_path, "--version") == (0, f"amn-{service.name} {version}\n", "")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


@BOTH
@pytest.mark.parametrize(
    "asked", [["--versions"], ["start"], ["--hel"], ["backup"], ["--port", "80"], ["check", "a", "b"]]
)
async def test_an_unknown_argument_is_refused_and_makes_nothing(
    service: ServiceUnderTest, tmp_path: Path, asked: list[str]
) -> None:
    code, out, err = await ended(service, tmp_path, *asked)
    assert (code, out) == (2, "")
    assert err.startswith("usage: ")
    assert os.listdir(tmp_path) == []  # noqa: PTH208
