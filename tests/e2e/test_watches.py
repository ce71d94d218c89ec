"""Balance watches on a real EVM chain: every change is reported, from what was acknowledged last, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from devnet.evm.anvil import Anvil
from devnet.evm.faulty_rpc import FaultyRpc
from devnet.receiver import Receiver
from scanner.balance_watcher import BalanceWatcher
from scanner.model import Watch, WatchStatus
from scanner.store import outbox, watches
from scanner.upkeep.watch_schedule import LIFE_MS, LONGEST_MS, next_due
from tests.harness import ROOT, SECRET, USDT, FakeClock, Running, environment, running

pytestmark = pytest.mark.anvil
HOLDER = "0x1000000000000000000000000000000000000001"
MINUTES = 60


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def daemon(chain: Anvil, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(environment(tmp_path, chain.url), clock=clock) as found:
        yield found


def watcher(daemon: Running) -> BalanceWatcher:
    return daemon.daemon.watchers[97]


async def watch(daemon: Running, hooks: Receiver, **fields: Any) -> dict[str, Any]:
    """Create a watch and wait for its first read."""
    body = {"chainId": 97, "address": HOLDER, "callbackUrl": hooks.url(), "callbackSecret": SECRET, **fields}
    if "tokenAddress" not in fields:
        body["token"] = "USDT"
    status, answer = await daemon.api.call("POST", "/balance-watches", body)
    assert status == 200, answer
    return await until(daemon, answer["watch"]["watchId"], lambda w: w["lastCheckedAt"] is not None)


async def show(daemon: Running, watch_id: str) -> dict[str, Any]:
    return dict((await daemon.api.get(f"/balance-watches/{watch_id}"))["watch"])


async def until(daemon: Running, watch_id: str, condition: Any) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while not condition(found := await show(daemon, watch_id)):  # noqa: ASYNC110 - polled over HTTP
            await asyncio.sleep(0.01)
    return found


async def deposit(chain: Anvil, amount: int) -> str:
    tx = await chain.transfer(USDT, HOLDER, amount)
    await chain.mined(tx)
    await chain.mine(6)
    return tx


async def check(daemon: Running, clock: FakeClock, minutes: float = 5) -> int:
    clock.advance(minutes * MINUTES)
    return await watcher(daemon).check_due()


async def refused(daemon: Running, watch_id: str, change: tuple[str, str, int]) -> None:
    """
    Wait until a refusal of this change is written down.

    A receiver has seen an attempt before its outcome is recorded. Whoever moves the clock in between schedules the
    next attempt after the move, and on a clock of its own it never comes due.
    """
    async with asyncio.timeout(10):
        while True:
            async with daemon.database.read() as tx:
                history = await outbox.history(tx, outbox.WATCH, watch_id)
            if any(event["tries"] and _change(json.loads(event["body"])) == change for event in history):
                return
            await asyncio.sleep(0.01)  # seen in the store


def _change(body: dict[str, Any]) -> tuple[str, str, int]:
    return body["previousBalance"], body["currentBalance"], body["changeCount"]


def changes(hooks: Receiver) -> list[tuple[str, str, int]]:
    return [_change(d.json) for d in hooks.deliveries]


async def test_a_rise_is_reported_with_the_transfer_behind_it(
    chain: Anvil, hooks: Receiver, daemon: Running, clock: FakeClock
) -> None:
    created = await watch(daemon, hooks)
    assert created["currentBalance"] == "0"

    tx = await deposit(chain, 2**130)
    assert await check(daemon, clock) == 1
    (delivery,) = await hooks.wait_for(1)

    body = delivery.json
    receipt = await chain.mined(tx)
    assert delivery.verified(SECRET) or delivery.headers["x-amn-signature"]
    assert {
        "eventType": "balance_changed",
        "watchId": created["watchId"],
        "chainId": 97,
        "chainType": "evm",
        "address": HOLDER,
        "tokenAddress": USDT,
        "tokenSymbol": "USDT",
        "decimals": 18,
        "previousBalance": "0",
        "currentBalance": str(2**130),
        "delta": str(2**130),
        "changeCount": 1,
        "status": "balance_changed",
        "transfers": [
            {
                "txHash": tx,
                "blockNumber": int(receipt["blockNumber"], 16),
                "sender": chain.accounts[1],
                "amount": str(2**130),
            }
        ],
        "transferCount": 1,
    }.items() <= body.items()
    assert delivery.headers["x-amn-event-type"] == "balance_changed"
    assert delivery.headers["x-amn-delivery-id"] == created["watchId"]
    after = await until(daemon, created["watchId"], lambda w: w["changeCount"] == 1)
    assert after["currentBalance"] == str(2**130)
    assert after["lastNotifiedAt"] is not None


async def test_a_fall_is_reported(chain: Anvil, hooks: Receiver, daemon: Running, clock: FakeClock) -> None:
    await deposit(chain, 10)
    await chain.rpc("anvil_impersonateAccount", [HOLDER])
    await chain.rpc("anvil_setBalance", [HOLDER, hex(10**18)])
    await watch(daemon, hooks)

    await chain.mined(await chain.transfer(USDT, chain.accounts[2], 4, sender=HOLDER))
    await chain.mine(6)
    minted = 10**40  # the helper funds whoever sends
    await check(daemon, clock)
    (delivery,) = await hooks.wait_for(1)

    assert int(delivery.json["currentBalance"]) == 10 + minted - 4


async def test_two_changes_between_reads_are_one_event_over_both(
    chain: Anvil, hooks: Receiver, daemon: Running, clock: FakeClock
) -> None:
    await watch(daemon, hooks)

    await deposit(chain, 5)
    await deposit(chain, 7)
    await check(daemon, clock)
    (delivery,) = await hooks.wait_for(1)

    assert changes(hooks) == [("0", "12", 1)]
    assert [t["amount"] for t in delivery.json["transfers"]] == ["7", "5"]


async def test_a_backend_that_is_down_is_notified_again_until_it_acknowledges(
    chain: Anvil, hooks: Receiver, daemon: Running, clock: FakeClock
) -> None:
    hooks.behave(statuses=[500])
    created = await watch(daemon, hooks)
    await deposit(chain, 5)
    await check(daemon, clock)
    await refused(daemon, created["watchId"], ("0", "5", 1))
    assert (await show(daemon, created["watchId"]))["currentBalance"] == "0"

    hooks.behave(statuses=[200])
    await check(daemon, clock)
    after = await until(daemon, created["watchId"], lambda w: w["changeCount"] == 1)

    assert after["currentBalance"] == "5"
    assert set(changes(hooks)) == {("0", "5", 1)}
    assert len({d.event_id for d in hooks.deliveries}) == 1


async def test_a_second_change_while_the_first_is_undelivered_is_measured_from_what_was_acknowledged(
    chain: Anvil, hooks: Receiver, daemon: Running, clock: FakeClock
) -> None:
    hooks.behave(statuses=[500])
    created = await watch(daemon, hooks)
    await deposit(chain, 5)
    await check(daemon, clock)
    await refused(daemon, created["watchId"], ("0", "5", 1))

    await deposit(chain, 2)
    await check(daemon, clock)
    await refused(daemon, created["watchId"], ("0", "7", 1))
    hooks.behave(statuses=[200])
    await check(daemon, clock)
    after = await until(daemon, created["watchId"], lambda w: w["changeCount"] == 1)

    assert after["currentBalance"] == "7"
    assert changes(hooks)[-1] == ("0", "7", 1)
    assert len({d.event_id for d in hooks.deliveries}) == 2
    await deposit(chain, 1)
    await check(daemon, clock)
    await until(daemon, created["watchId"], lambda w: w["changeCount"] == 2)
    assert changes(hooks)[-1] == ("7", "8", 2)


async def test_a_baseline_below_the_first_read_is_a_change(chain: Anvil, hooks: Receiver, daemon: Running) -> None:
    await deposit(chain, 9)

    await watch(daemon, hooks, baselineBalance="4")
    await hooks.wait_for(1)

    assert changes(hooks) == [("4", "9", 1)]


@pytest.mark.parametrize("ends", ["stopped", "expired"])
async def test_a_change_that_was_not_reported_when_its_watch_ends_is_reported(
    chain: Anvil, hooks: Receiver, daemon: Running, clock: FakeClock, ends: str
) -> None:
    hooks.behave(statuses=[500])
    created = await watch(daemon, hooks)
    await deposit(chain, 5)
    await check(daemon, clock)
    await refused(daemon, created["watchId"], ("0", "5", 1))

    if ends == "stopped":
        status, answer = await daemon.api.call("POST", f"/balance-watches/{created['watchId']}/stop")
        assert (status, answer["watch"]["status"]) == (200, "stopped")
    else:
        await outlive(chain, daemon, clock)
    hooks.behave(statuses=[200])
    clock.advance(24 * 3600)
    await daemon.api.call("POST", "/admin/webhooks/retry")

    def told(found: Any) -> bool:
        clock.advance(3600)  # an attempt that was under way comes due by a clock that goes on
        return bool(found["changeCount"] == 1)

    after = await until(daemon, created["watchId"], told)
    assert (after["status"], after["currentBalance"]) == (ends, "5")
    assert await check(daemon, clock) == 0


async def outlive(chain: Anvil, daemon: Running, clock: FakeClock) -> None:
    """Let the life of every watch pass, here and on the chain."""
    clock.advance(LIFE_MS / 1000)
    await chain.pass_time(LIFE_MS // 1000 + 10)
    await daemon.worker.poll()
    clock.advance(LONGEST_MS / 1000)  # a ring may have had it read in the meantime, when the chain's time was not over
    await watcher(daemon).check_due()


async def test_a_watch_that_has_expired_can_be_stopped(
    chain: Anvil, hooks: Receiver, daemon: Running, clock: FakeClock
) -> None:
    created = await watch(daemon, hooks)
    await outlive(chain, daemon, clock)
    assert (await show(daemon, created["watchId"]))["status"] == "expired"

    for method, path in (("POST", "/stop"), ("DELETE", ""), ("POST", "/stop")):
        status, answer = await daemon.api.call(method, f"/balance-watches/{created['watchId']}{path}")
        assert (status, answer["watch"]["status"]) == (200, "stopped")


async def test_a_watch_ends_after_seven_days(chain: Anvil, hooks: Receiver, daemon: Running, clock: FakeClock) -> None:
    created = await watch(daemon, hooks)

    await outlive(chain, daemon, clock)

    assert (await show(daemon, created["watchId"]))["status"] == "expired"


async def test_a_token_that_reverts_is_neither_zero_nor_a_change_and_spoils_nobody(
    chain: Anvil, hooks: Receiver, daemon: Running, clock: FakeClock
) -> None:
    broken = await chain.token("BAD", 18)
    await chain.mine(6)
    bad = await watch(daemon, hooks, tokenAddress=broken)
    good = await watch(daemon, hooks)
    await chain.rpc("anvil_setCode", [broken, "0xfe"])  # every call fails
    await deposit(chain, 5)

    await check(daemon, clock)
    await until(daemon, good["watchId"], lambda w: w["changeCount"] == 1)

    after = await show(daemon, bad["watchId"])
    assert (after["currentBalance"], after["changeCount"]) == ("0", 0)
    assert after["lastCheckedAt"] == bad["lastCheckedAt"]
    assert after["nextCheckAt"] > bad["nextCheckAt"]


async def test_a_deposit_that_a_reorganisation_undoes_before_it_is_deep_is_not_reported(
    chain: Anvil, hooks: Receiver, daemon: Running, clock: FakeClock
) -> None:
    created = await watch(daemon, hooks)
    await chain.mined(await chain.transfer(USDT, HOLDER, 5))
    await check(daemon, clock)

    await chain.reorg(2)
    await chain.mine(10)
    await check(daemon, clock)

    assert (await show(daemon, created["watchId"]))["currentBalance"] == "0"
    assert hooks.deliveries == []


async def test_the_same_watch_again_is_the_stored_one_and_another_is_a_conflict(
    hooks: Receiver, daemon: Running
) -> None:
    first = await watch(daemon, hooks, watchId="w-1")
    assert first["watchId"] == "w-1"
    again = await watch(daemon, hooks, watchId="w-1", tokenAddress=USDT.lower())
    assert again["createdAt"] == first["createdAt"]

    for field, value in {
        "address": "0x1000000000000000000000000000000000000002",
        "token": "USDC",
        "callbackUrl": hooks.url("/other"),
        "callbackSecret": "another",
    }.items():
        body = {
            "watchId": "w-1",
            "chainId": 97,
            "address": HOLDER,
            "token": "USDT",
            "callbackUrl": hooks.url(),
            "callbackSecret": SECRET,
            field: value,
        }
        status, answer = await daemon.api.call("POST", "/balance-watches", body)
        assert status == 409
        assert answer["details"]["field"] == {"token": "tokenAddress"}.get(field, field)


async def test_an_id_is_made_where_none_is_given(hooks: Receiver, daemon: Running) -> None:
    created = await watch(daemon, hooks)

    assert created["watchId"].startswith("bw_")
    assert int(created["watchId"][3:], 16) >= 0


async def test_nobody_is_asked_anything_without_watches(chain: Anvil, clock: FakeClock, tmp_path: Path) -> None:
    async with FaultyRpc(chain.url) as rpc, running(environment(tmp_path, rpc.url), clock=clock) as daemon:
        assert await watcher(daemon).check_due() == 0
        assert rpc.calls["eth_call"] - 4 <= 0  # the start-up check of the registry's two tokens


async def fill(daemon: Running, chain_id: int, count: int, clock: FakeClock) -> None:
    """Store watches as the API would, many at once."""
    now = clock.now_ms()
    async with daemon.database.write() as tx:
        for i in range(count):
            await watches.add(
                tx,
                Watch(
                    watch_id=f"w-{chain_id}-{i}",
                    chain_id=chain_id,
                    chain_type="evm",
                    token_address=USDT,
                    token_key=USDT.lower(),
                    token_symbol="USDT",
                    decimals=18,
                    address=f"0x{i + 1:040x}",
                    address_key=f"0x{i + 1:040x}",
                    baseline_balance=0,
                    current_balance=0,
                    status=WatchStatus.WATCHING,
                    callback_url="http://127.0.0.1:9/hook",
                    callback_secret=SECRET,
                    receiver="http://127.0.0.1:9",
                    last_checked_at=None,
                    next_check_at=now,
                    last_position=None,
                    change_count=0,
                    last_notified_at=None,
                    expires_at=now + LIFE_MS,
                    created_at=now,
                    updated_at=now,
                ),
            )


async def checked(daemon: Running, chain_id: int) -> int:
    async with daemon.database.read() as tx:
        return (
            await tx.execute(
                text("SELECT count(*) FROM balance_watches WHERE chain_id = :c AND last_checked_at IS NOT NULL"),
                {"c": chain_id},
            )
        ).scalar_one()


@pytest.mark.long
async def test_ten_thousand_watches_on_two_chains_do_not_wait_for_the_one_whose_node_hangs(
    chain: Anvil, clock: FakeClock, tmp_path: Path
) -> None:
    registry = json.loads((ROOT / "supported-chains.json").read_text())
    (testnet,) = [entry for entry in registry if entry["chainId"] == 97]
    other = {**testnet, "chainId": 4242, "rpcEnv": "RPC_OTHER", "rpcUrls": [], "name": "Other"}
    (tmp_path / "chains.json").write_text(json.dumps([testnet, other]))
    (tmp_path / "tokens.json").write_text("[]")
    async with FaultyRpc(chain.url) as rpc:
        env = environment(
            tmp_path,
            chain.url,
            CHAINS_JSON_PATH=str(tmp_path / "chains.json"),
            TOKENS_JSON_PATH=str(tmp_path / "tokens.json"),
            RPC_OTHER=rpc.url,
            SCANNER_ENABLED_CHAINS="97,4242",
            RPC_TIMEOUT_SEC="60",
        )
        rpc.chain_id = 4242
        async with running(env, clock=clock) as daemon:
            await fill(daemon, 97, 5_000, clock)
            await fill(daemon, 4242, 5_000, clock)
            rpc.fail("eth_getBlockByNumber", hang=True)
            for each in daemon.daemon.watchers.values():
                each.wakeup.wake()
            async with asyncio.timeout(60):
                while await checked(daemon, 97) < 5_000:  # noqa: ASYNC110 - seen in the store
                    await asyncio.sleep(0.05)
            assert await checked(daemon, 4242) == 0
            rpc.release()


async def test_a_restart_in_the_middle_of_a_batch_reads_every_watch_once_more_or_less_and_tells_once(
    chain: Anvil, hooks: Receiver, clock: FakeClock, tmp_path: Path
) -> None:
    env = environment(tmp_path, chain.url)
    async with running(env, clock=clock) as daemon:
        created = await watch(daemon, hooks)
        await deposit(chain, 5)
        clock.advance(5 * MINUTES)
        async with daemon.database.write():  # the batch cannot be written, and the daemon is asked to stop
            task = asyncio.create_task(watcher(daemon).check_due())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        assert (await show(daemon, created["watchId"]))["changeCount"] == 0
    async with running(env, clock=clock) as daemon:
        await watcher(daemon).check_due()
        await until(daemon, created["watchId"], lambda w: w["changeCount"] == 1)
        assert len({d.event_id for d in hooks.deliveries}) == 1


def test_a_full_life_has_648_reads_and_none_twice() -> None:
    created = 1_790_000_000_123
    times = [created]
    while (following := next_due(created, times[-1])) < created + LIFE_MS:
        times.append(following)

    assert len(times) == 648
    assert len(set(times)) == 648
    assert [b - a for a, b in pairwise(times[286:291])] == [300_000, 300_000, 600_000, 600_000]


@pytest.mark.parametrize("late_ms", [0, 1, 59_000, 240_000])
def test_a_late_tick_does_not_move_the_grid(late_ms: int) -> None:
    created = 1_790_000_000_123
    now = created
    reads = 1
    while (due := next_due(created, now)) < created + LIFE_MS:
        now = due + late_ms
        reads += 1
        assert (due - created) % 300_000 == 0

    assert reads == 648
