"""The demo shows the payment it told of in the console, and leaves another one to pay, at a page that is watched."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import sys
from dataclasses import replace

import aiohttp
import pytest

from devnet import demo
from devnet.processes import DemoError, new_credentials
from tests.api.conftest import KEY, daemon
from tests.harness import ROOT, Running

__all__ = ["daemon"]
LINKS = re.compile(r"pay at +(http\S+)\n.*console +(http\S+) with the key \S+\n.*admin +(http\S+) with ", re.DOTALL)
SEEN = re.compile(r"seen +confirmed in the console, \d+ s after the start\n")


@pytest.mark.process
@pytest.mark.anvil
@pytest.mark.long
async def test_the_demo_leaves_a_page_to_pay_at_and_a_console() -> None:
    """Enter pays, as it does for whoever sits at a terminal, and the page says so by itself."""
    terminal, given = pty.openpty()
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "devnet.demo"),
        cwd=ROOT,
        stdin=given,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert running.stdout is not None
    try:
        said = ""
        async with asyncio.timeout(100), aiohttp.ClientSession() as session:
            while "Ctrl-C ends it" not in said:
                line = await running.stdout.readline()
                assert line, said
                said += line.decode()
            found = LINKS.search(said)
            assert found, said
            assert SEEN.search(said), said
            for url, shown in ((found[1], "Two chairs"), (found[2], "API key"), (found[3], "For admins and resolvers")):
                async with session.get(url) as response:
                    assert response.status == 200
                    assert shown in await response.text()
            async with session.get(f"{found[1]}/events") as events:
                os.write(terminal, b"\n")
                async for line in events.content:
                    if b'"state":"paid"' in line:
                        break
    finally:
        os.close(terminal)
        os.close(given)
        if running.returncode is None:
            running.send_signal(signal.SIGINT)
        await running.communicate()
    assert running.returncode == 0


class Shown:
    """A deployment of which nothing but the console is there."""

    def __init__(self, running: Running) -> None:
        self.scanner = running.api
        self.credentials = replace(new_credentials(), scanner_key=KEY)


async def test_a_payment_that_the_console_does_not_show_as_confirmed_ends_the_demo(daemon: Running) -> None:
    await daemon.api.create(intentId="order-1")

    with pytest.raises(DemoError, match="does not show payment order-1 as confirmed"):
        await demo._look_in_console(Shown(daemon), "order-1")  # type: ignore[arg-type]
    with pytest.raises(aiohttp.ClientResponseError, match="404"):
        await demo._look_in_console(Shown(daemon), "order-2")  # type: ignore[arg-type]
