"""The demo ends with a page to pay at and a console, both of the system that runs."""

from __future__ import annotations

import asyncio
import re
import signal
import sys

import aiohttp
import pytest

from tests.harness import ROOT

LINKS = re.compile(r"pay at +(http\S+)\n.*console +(http\S+) with the key (\S+)\n", re.DOTALL)


@pytest.mark.process
@pytest.mark.anvil
@pytest.mark.long
async def test_the_demo_leaves_a_page_to_pay_at_and_a_console() -> None:
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "devnet.demo", cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert demo.stdout is not None
    try:
        said = ""
        async with asyncio.timeout(100), aiohttp.ClientSession() as session:
            while "Ctrl-C ends it" not in said:
                line = await demo.stdout.readline()
                assert line, said
                said += line.decode()
            found = LINKS.search(said)
            assert found, said
            for url, shown in ((found[1], "Two chairs"), (found[2], "password")):
                async with session.get(url) as response:
                    assert response.status == 200
                    assert shown in await response.text()
    finally:
        if demo.returncode is None:
            demo.send_signal(signal.SIGINT)
        await demo.communicate()
    assert demo.returncode == 0
