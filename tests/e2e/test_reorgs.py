"""Reorganisations: no payment confirms wrongly, none is lost, none is reported twice."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from devnet.evm.anvil import Anvil
from devnet.receiver import Receiver
from tests.harness import MERCHANT, USDT, Running, environment, in_seconds, running

pytestmark = pytest.mark.anvil


async def paid(
    chain: Anvil, scanner: Running, hooks: Receiver, *, payer: str | None = None, **fields: Any
) -> tuple[str, str, str]:
    """Register and pay; return the intent's id, the transaction, and its raw form."""
    created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000", **fields)
    tx = await chain.pay(USDT, MERCHANT, 1000, created["paymentReference"], payer=payer)
    await scanner.api.status_is(created["intentId"], "confirming")
    return created["intentId"], tx, await chain.raw(tx)


async def told_once(chain: Anvil, scanner: Running, hooks: Receiver, intent_id: str) -> dict[str, Any]:
    """Let it confirm, and some more; return the intent."""
    await chain.mine(6)
    await scanner.api.until(intent_id, lambda intent: intent["webhookDeliveredAt"] is not None)
    await chain.mine(3)
    await scanner.worker.poll()
    confirmed = [d for d in hooks.deliveries if d.json["eventType"] == "payment.confirmed"]
    assert [d.json["intentId"] for d in confirmed] == [intent_id]
    return await scanner.api.intent(intent_id)


@pytest.mark.long  # in every seed of the simulator
async def test_a_payment_that_moves_to_another_block_confirms_there(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    intent_id, tx, raw = await paid(chain, scanner, hooks)
    before = (await scanner.api.intent(intent_id))["blockHash"]

    await chain.reorg(2, [(raw, 1)])
    done = await told_once(chain, scanner, hooks, intent_id)

    assert (done["txHash"], done["status"]) == (tx, "confirmed")
    assert done["blockHash"] != before
    assert done["blockHash"] == (await chain.mined(tx))["blockHash"]
    assert await scanner.api.reasons() == []


async def test_a_payment_that_moves_behind_another_log_is_one_payment(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    intent_id, tx, raw = await paid(chain, scanner, hooks)
    other = await chain.raw(await chain.transfer(USDT, chain.accounts[5], 1, sender=chain.accounts[2]))

    await chain.reorg(3, [(other, 1), (raw, 1)])
    await chain.mine(1)
    done = await told_once(chain, scanner, hooks, intent_id)

    assert done["amountReceived"] == "1000"
    rows = {(t["txHash"], t["counted"], t["reason"]) for t in done["transfers"]}
    assert (tx, True, None) in rows
    assert all(reason == "reorged" for _, counted, reason in rows if not counted)


@pytest.mark.long  # in every seed of the simulator
async def test_a_payment_that_disappears_never_confirms_and_its_intent_expires(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    async with running(environment(tmp_path, chain.url)) as scanner:
        intent_id, tx, _ = await paid(chain, scanner, hooks, events=["payment.reorged"], expiresAt=in_seconds(10))

        await chain.reorg(2)
        await chain.mine(20)
        gone = await scanner.api.status_is(intent_id, "pending")
        assert (gone["amountReceived"], gone["txHash"]) == ("0", None)
        (row,) = await scanner.api.unmatched(reason="reorged")
        assert (row["txHash"], row["intentId"]) == (tx, intent_id)
        assert [d.json["eventType"] for d in await hooks.wait_for(1)] == ["payment.reorged"]

        await chain.pass_time(75)
        await scanner.api.status_is(intent_id, "expired")


@pytest.mark.long  # in every seed of the simulator
async def test_a_payment_that_disappears_and_returns_later_confirms_once(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    intent_id, tx, raw = await paid(chain, scanner, hooks)

    await chain.reorg(1)
    await chain.mine(1)
    await scanner.api.status_is(intent_id, "pending")
    await chain.rpc("eth_sendRawTransaction", [raw])
    await scanner.api.status_is(intent_id, "confirming")
    done = await told_once(chain, scanner, hooks, intent_id)

    assert done["txHash"] == tx
    assert await scanner.api.reasons() == []


@pytest.mark.long  # in every seed of the simulator
async def test_a_reorganisation_over_several_pages_is_unwound_to_the_last_common_block(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    intent_id, _, raw = await paid(chain, scanner, hooks, confirmations=30)
    for _ in range(8):
        await chain.mine(1)
        await scanner.worker.poll()

    await chain.reorg(9, [(raw, 4)])
    await scanner.worker.poll()

    intent = await scanner.api.intent(intent_id)
    assert intent["status"] == "confirming"
    metrics = await scanner.api.get("/metrics")
    assert 'amn_scanner_reorgs_total{chain="97"} 1.0' in metrics
    await chain.mine(30)
    await told_once(chain, scanner, hooks, intent_id)


async def test_a_reorganisation_below_every_remembered_block_is_survived(
    chain: Anvil, hooks: Receiver, scanner: Running, tmp_path: Path
) -> None:
    intent_id, _, raw = await paid(chain, scanner, hooks, confirmations=30)
    await chain.mine(5)
    await scanner.worker.poll()
    with sqlite3.connect(tmp_path / "scanner.db") as store:
        newest = store.execute("SELECT max(number) FROM blocks").fetchone()[0]
        store.execute("DELETE FROM blocks WHERE number < ?", (newest,))

    await chain.reorg(6, [(raw, 2)])
    await scanner.worker.poll()
    await chain.mine(30)

    await told_once(chain, scanner, hooks, intent_id)


@pytest.mark.long  # in every seed of the simulator
async def test_a_reorganisation_while_the_scanner_is_away_is_noticed_at_its_return(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    env = environment(tmp_path, chain.url)
    async with running(env) as scanner:
        other = chain.accounts[2]  # a payment of the same payer would depend on the one that is gone
        await chain.fund(USDT, other)
        gone_id, _, _ = await paid(chain, scanner, hooks)
        moved_id, _, moved = await paid(chain, scanner, hooks, payer=other)
        await chain.mine(2)
        await scanner.worker.poll()
    await chain.reorg(4, [(moved, 2)])
    await chain.mine(10)

    async with running(env) as scanner:
        await scanner.api.status_is(gone_id, "pending")
        await told_once(chain, scanner, hooks, moved_id)
        assert await scanner.api.reasons(gone_id) == ["reorged"]


async def test_a_payment_that_moves_between_the_scan_and_the_second_look_does_not_confirm_on_the_old_block(
    chain: Anvil, hooks: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(environment(tmp_path, chain.url, POLL_INTERVAL_SEC="3600")) as scanner:
        created = await scanner.api.create(callbackUrl=hooks.url(), amount="1000")
        await scanner.worker.poll()
        tx = await chain.pay(USDT, MERCHANT, 1000, created["paymentReference"])
        raw = await chain.raw(tx)
        await chain.mine(5)
        verify = scanner.worker.adapter.verify

        async def late(transfers: Any, **options: Any) -> Any:
            monkeypatch.setattr(scanner.worker.adapter, "verify", verify)
            await chain.reorg(6, [(raw, 3)])
            return await verify(transfers, **options)

        monkeypatch.setattr(scanner.worker.adapter, "verify", late)
        await scanner.worker.poll()

        assert (await scanner.api.intent(created["intentId"]))["status"] in {"pending", "confirming"}
        await chain.mine(6)
        await scanner.worker.poll()
        done = await scanner.api.intent(created["intentId"])
        assert (done["status"], done["blockHash"]) == ("confirmed", (await chain.mined(tx))["blockHash"])
        assert len(await hooks.wait_for(1)) == 1


async def test_a_confirmed_payment_that_leaves_the_chain_is_shown_and_settles_nothing_else(
    chain: Anvil, hooks: Receiver, scanner: Running, caplog: pytest.LogCaptureFixture
) -> None:
    intent_id, _, raw = await paid(chain, scanner, hooks, events=["payment.reorged"])
    await told_once(chain, scanner, hooks, intent_id)

    await chain.reorg(12)
    await chain.mine(13)
    intent = await scanner.api.until(intent_id, lambda intent: intent["amountReceived"] == "0")

    assert intent["status"] == "confirmed"
    assert await scanner.api.reasons(intent_id) == ["reorged"]
    assert "left the canonical chain" in caplog.text
    await chain.rpc("eth_sendRawTransaction", [raw])
    await chain.mine(6)
    await scanner.api.until(intent_id, lambda intent: intent["amountReceived"] == "1000")
    assert await scanner.api.reasons(intent_id) == []
    assert sum(d.json["eventType"] == "payment.confirmed" for d in hooks.deliveries) == 1
