"""Ready means: the store can be written, and every chain is up to date."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from scanner.upkeep.store_probe import PATIENCE_S
from tests.cases.scanned_nodes import ScannedNodes, run_scanned_nodes
from tests.harness import Api
from tests.write_lock import write_lock


async def ready(api: Api) -> tuple[int, list[str]]:
    status, answer = await api.call("GET", "/ready")
    assert (status, answer["status"]) in {(200, "ready"), (503, "not ready")}
    return status, answer["reasons"]


async def until_ready(api: Api, timeout_s: float = 10) -> None:
    async with asyncio.timeout(timeout_s):
        while (await ready(api))[0] != 200:  # noqa: ASYNC110 - polled over HTTP, as a balancer does
            await asyncio.sleep(0.1)


async def answers_expire() -> None:
    """Wait until what was known a moment ago may no longer be answered: it is kept for a second of the real clock."""
    await asyncio.sleep(1.1)  # nothing tells when that second is over


async def refuse_writes(system: ScannedNodes) -> None:
    """Let the one writing connection be refused, as on a file system that became read-only."""
    async with system.scanner.database.write() as tx:
        await tx.exec_driver_sql("PRAGMA query_only=ON")


@pytest.mark.long
async def test_a_store_that_somebody_holds_is_not_ready_and_is_once_it_is_let_go(tmp_path: Path) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        await system.polled(1)
        await until_ready(system.api)
        async with write_lock(tmp_path / "scanner.db"):
            await answers_expire()
            started = time.monotonic()
            status, reasons = await ready(system.api)

            assert (status, time.monotonic() - started < PATIENCE_S + 2) == (503, True)
            assert "the store cannot be written" in reasons[-1]
            assert (await system.api.call("GET", "/health"))[0] == 200
            assert (await system.api.call("GET", "/scanner/status"))[0] == 200
        await until_ready(system.api)


async def test_a_store_that_became_read_only_is_not_ready(tmp_path: Path) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        await system.polled(1)
        await until_ready(system.api)
        await refuse_writes(system)
        await answers_expire()

        status, reasons = await ready(system.api)

        assert status == 503
        assert "readonly" in reasons[-1] or "read-only" in reasons[-1]


async def test_a_full_disk_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        await system.polled(1)
        await until_ready(system.api)
        async with system.scanner.database.write() as tx:
            await tx.exec_driver_sql(
                "CREATE TEMP TRIGGER full BEFORE UPDATE ON main.heartbeats "
                "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
            )
        await answers_expire()

        status, reasons = await ready(system.api)

        assert (status, "disk is full" in reasons[-1]) == (503, True)


async def test_many_who_ask_at_once_cost_one_write(tmp_path: Path) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        await system.polled(1)
        await until_ready(system.api)
        await answers_expire()
        before = await beats(system)

        answers = await asyncio.gather(*(ready(system.api) for _ in range(50)))

        assert {status for status, _ in answers} == {200}
        assert await beats(system) - before <= 1


async def beats(system: ScannedNodes) -> int:
    async with system.scanner.database.write() as tx:
        row: Any = (await tx.exec_driver_sql("SELECT total_changes()")).scalar_one()
    return int(row)


@pytest.mark.parametrize("hours", [1, 3, 100])
async def test_a_chain_that_stands_still_is_not_ready(tmp_path: Path, hours: int) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        (node,) = system.nodes
        await system.polled(1)
        await until_ready(system.api)
        node._born -= hours * 3600
        await system.polled(2)

        status, reasons = await ready(system.api)

        assert status == 503
        assert "chain 97 is stale" in reasons[0]
