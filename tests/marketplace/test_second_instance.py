"""Two marketplaces on one store: the second refuses to start, whatever became of the first."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from kernel.store.lock import exclusive_store_lock
from marketplace.store.errors import StoreError
from tests.harness import process
from tests.marketplace.harness import environment
from tests.processes import start

pytestmark = pytest.mark.process
sole_owner = partial(exclusive_store_lock, service="marketplace", setting="MARKETPLACE_DB_PATH")


async def test_a_second_marketplace_on_the_same_store_ends_with_a_sentence_and_the_first_goes_on(
    tmp_path: Path,
) -> None:
    env = environment(tmp_path)
    async with aiohttp.ClientSession() as session, process(env, session, "marketplace") as first:
        another = await start("marketplace", env=env, errors_apart=True)
        try:
            async with asyncio.timeout(60):
                _, said = await another.communicate()
        finally:
            if another.returncode is None:  # it did not refuse: it must not stay
                another.kill()
                await another.wait()

        assert another.returncode == 1
        assert said is not None
        assert len(said.splitlines()) == 1
        assert b"is in use by another marketplace" in said
        assert await first.api.get("/health")


async def test_a_killed_marketplace_leaves_no_lock_behind(tmp_path: Path) -> None:
    env = environment(tmp_path)
    async with aiohttp.ClientSession() as session:
        async with process(env, session, "marketplace") as first:
            await first.kill()
        async with process(env, session, "marketplace") as second:
            assert await second.api.get("/health")


def test_stores_do_not_stand_in_each_others_way_and_are_free_afterwards(tmp_path: Path) -> None:
    here, there = tmp_path / "a.db", tmp_path / "b.db"
    with sole_owner(here), sole_owner(there), pytest.raises(StoreError, match="in use by another"), sole_owner(here):
        pass
    with sole_owner(here):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="MARKETPLACE_DB_PATH: cannot write"), sole_owner(tmp_path / "no" / "a.db"):
        pass
