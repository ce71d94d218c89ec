"""The stories of Tron and TON are told to the end, by real processes, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from devnet import demo_direct
from devnet.processes import DemoError
from tests.harness import ROOT

STORY = """
import asyncio, sys
from devnet.demo_direct import run
asyncio.run(run(sys.argv[1], once=sys.argv[2] == "once"))
"""
STEPS = ["chain", "scanner", "intent", "checkout", "paid", "waiting", "confirmed", "webhook", "done"]

pytestmark = pytest.mark.process


async def play(family: str, how: str, folder: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STORY, family, how),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.mark.long
@pytest.mark.parametrize(("family", "uri"), [("tron", "tron:T"), ("ton", "ton://transfer/UQ")])
async def test_the_demo_runs_to_the_end(family: str, uri: str, tmp_path: Path) -> None:
    story = await play(family, "once", tmp_path)
    async with asyncio.timeout(90):
        output, _ = await story.communicate()

    lines = output.decode().splitlines()
    assert story.returncode == 0, lines
    assert [line.split()[1] for line in lines] == STEPS
    assert uri in lines[STEPS.index("checkout")]
    assert "both signatures verified" in lines[STEPS.index("webhook")]
    assert left_in(tmp_path) == []


@pytest.mark.long
async def test_left_running_it_ends_at_ctrl_c(tmp_path: Path) -> None:
    story = await play("tron", "on", tmp_path)
    assert story.stdout is not None
    said = []
    async with asyncio.timeout(90):
        async for line in story.stdout:
            said.append(line.decode())
            if "Ctrl-C ends it" in said[-1]:
                break
        story.send_signal(signal.SIGINT)
        rest = (await story.stdout.read()).decode()
        code = await story.wait()

    assert (code, "done" in rest) == (0, True), said
    assert left_in(tmp_path) == []


async def test_there_are_stories_of_two_families() -> None:
    with pytest.raises(DemoError, match="no story for doge: tron or ton"):
        await demo_direct.run("doge", once=True)
