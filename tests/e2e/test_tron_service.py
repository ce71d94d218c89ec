"""The daemon and a TronGrid that misbehaves: its key, its limits, its silences, and many waiting intents."""

from __future__ import annotations

import logging
import re
import sqlite3
from pathlib import Path

import orjson
import pytest

from chains.errors import ChainUnavailable
from chains.tron.adapter import HISTORY_MS
from chains.tron.http import SUSPENSION_S
from devnet.receiver import Receiver
from devnet.tron_ledger import account
from devnet.trongrid import TronGrid
from tests.e2e.tron_street import CHAIN_ID, KEY, Street, chain_of_today, environment, opened, street, till
from tests.harness import running

HISTORY = "/v1/accounts/transactions/trc20"
ON_DEMAND = "3600"  # seconds between polls: a test polls by itself


def checkpoint(folder: Path) -> int:
    with sqlite3.connect(folder / "scanner.db") as store:
        return int(store.execute("SELECT last_scanned_block FROM checkpoints").fetchone()[0])


# --- the key -----------------------------------------------------------------------------------------


async def test_the_key_travels_in_its_header_with_every_request_and_is_shown_nowhere(
    hooks: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with street(tmp_path, hooks, POLL_INTERVAL_SEC=ON_DEMAND) as tron:
        to = till()
        intent_id = await tron.sell(destination=to)
        await tron.pay(to, 1000)
        said = orjson.dumps({"Error": f"ApiKey {KEY} is not valid for {tron.grid.url}"})
        tron.grid.fail(status=401, body=said)
        with pytest.raises(Exception, match="HTTP 401"):
            await tron.scanner.worker.poll()
        status, refusal = await tron.api.call(
            "POST", "/balances/check", {"chainId": CHAIN_ID, "address": to, "token": "USDT"}
        )
        shown = [
            caplog.text,
            str(refusal),
            str(await tron.api.get("/scanner/status")),
            str(await tron.api.get("/metrics")),
            str(await tron.api.intent(intent_id)),
            repr(tron.scanner.worker.chain),
        ]
        assert set(tron.grid.keys) == {KEY}

    assert status == 502
    assert "is not valid" in str(refusal)
    assert [text for text in shown if KEY in text] == []


async def test_without_a_key_no_key_is_sent_not_even_one_of_a_library(hooks: Receiver, tmp_path: Path) -> None:
    async with TronGrid(chain_of_today()) as grid:
        env = environment(tmp_path, grid, POLL_INTERVAL_SEC=ON_DEMAND)
        del env["TRONGRID_API_KEY"]
        async with running(env) as scanner:
            tron = Street(grid, scanner, hooks)
            to = till()
            await tron.sell(destination=to)
            await tron.pay(to, 1000)
            await hooks.wait_for(1)

    assert set(grid.keys) == {None}


# --- limits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 429, 503])
async def test_a_suspension_is_obeyed_by_everything_that_uses_the_key(
    hooks: Receiver, tmp_path: Path, status: int
) -> None:
    async with street(tmp_path, hooks, POLL_INTERVAL_SEC=ON_DEMAND) as tron:
        await tron.sell()
        await tron.scanner.worker.poll()
        tron.grid.suspend(30, status=status)
        tron.ledger.advance()
        with pytest.raises(ChainUnavailable, match="suspended for 30s"):
            await tron.scanner.worker.poll()
        asked = tron.grid.requests

        for _ in range(3):
            with pytest.raises(ChainUnavailable) as refused:
                await tron.scanner.worker.poll()
            assert 0 < (refused.value.retry_after or 0) <= 30
        answer = await tron.api.call(
            "POST", "/balances/check", {"chainId": CHAIN_ID, "address": till(), "token": "TRX"}
        )

        assert answer[0] == 502
        assert tron.grid.requests == asked
        assert "suspended for 30s" in (await tron.chain())["lastError"] or tron.scanner.worker.health.last_error is None


async def test_a_plain_429_means_half_a_minute(hooks: Receiver, tmp_path: Path) -> None:
    async with street(tmp_path, hooks, POLL_INTERVAL_SEC=ON_DEMAND) as tron:
        await tron.scanner.worker.poll()
        tron.grid.fail(times=1, status=429, body=b"{}")

        with pytest.raises(ChainUnavailable) as refused:
            await tron.scanner.worker.poll()

    assert refused.value.retry_after == SUSPENSION_S


async def test_after_a_suspension_everything_goes_on_where_it_stood(hooks: Receiver, tmp_path: Path) -> None:
    async with street(tmp_path, hooks) as tron:
        to = till()
        intent_id = await tron.sell(destination=to)
        tx = tron.ledger.transfer(to, 1000)
        tron.grid.suspend(1)
        tron.ledger.settle()

        done = await tron.delivered(intent_id)

    assert (done["status"], done["txHash"]) == ("confirmed", tx)
    assert len(hooks.distinct) == 1


async def test_requests_are_never_closer_than_the_rate_allows(hooks: Receiver, tmp_path: Path) -> None:
    """The bucket is per host, so that pages, watches and checks share it."""
    async with street(tmp_path, hooks, TRONGRID_RPS="40", POLL_INTERVAL_SEC=ON_DEMAND) as tron:
        moments: list[float] = []
        tron.grid.before = moments.append
        await tron.sell()
        for _ in range(4):
            tron.ledger.advance(3)
            await tron.scanner.worker.poll()

    gaps = sorted(late - early for early, late in zip(moments, moments[1:], strict=False))
    assert len(gaps) >= 8
    assert moments[-1] - moments[0] >= len(gaps) / 40 * 0.95
