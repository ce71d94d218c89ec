"""Two scanners on one store: the second refuses to start, whatever became of the first."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from kernel.store.lock import exclusive_store_lock
from scanner.store.errors import StoreError
from tests.harness import environment, process
from tests.processes import start

pytestmark = pytest.mark.process
sole_owner = partial(exclusive_store_lock, service="scanner", setting="DB_PATH")

NOWHERE = "http://127.0.0.1:9"


async def refused(env: dict[str, str]) -> tuple[int, str]:
    """Start a scanner that is expected to refuse; return how it ended and what it said."""
    another = await start("scanner", env=env, errors_apart=True)
    try:
        async with asyncio.timeout(60):
            _, said = await another.communicate()
    finally:
        if another.returncode is None:  # it did not refuse: it must not stay
            another.kill()
            await another.wait()
    return another.returncode or 0, (said or b"").decode()


async def test_a_second_scanner_on_the_same_store_ends_with_a_sentence_and_the_first_goes_on(tmp_path: Path) -> None:
    env = environment(tmp_path, NOWHERE)
    async with aiohttp.ClientSession() as session, process(env, session) as first:
        code, said = await refused(env)
        assert code == 1
        assert len(said.splitlines()) == 1
        assert "is in use by another scanner (process " in said
        assert await first.api.get("/health")


async def test_a_killed_scanner_leaves_no_lock_behind(tmp_path: Path) -> None:
    env = environment(tmp_path, NOWHERE)
    async with aiohttp.ClientSession() as session:
        async with process(env, session) as first:
            await first.kill()
        async with process(env, session) as second:
            assert await second.api.get("/health")


def test_the_owner_is_named_and_stores_do_not_stand_in_each_others_way(tmp_path: Path) -> None:
    here, there = tmp_path / "a.db", tmp_path / "b.db"
    with (
        sole_owner(here),
        sole_owner(there),
        pytest.raises(StoreError, match=f"process {os.getpid()}"),
        sole_owner(here),
    ):
        pass
    with sole_owner(here):
        pass
