"""The whole daemon on Tron: what settles, what does not and why, read over HTTP from a faithful TronGrid."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from chains.errors import ChainUnavailable
from devnet.receiver import Receiver
from devnet.tron.ledger import CHAIN_ID, SLOT_MS, USDT, account
from devnet.tron.trongrid import TronGrid
from tests.e2e.crashes import rows
from tests.e2e.tron_shop import BUYER, USDC, TronShop, chain_of_today, fresh_address, in_hex, opened, run_tron_shop
from tests.harness import SECRET, FakeClock, intent_body

RECEIPT = "/walletsolidity/gettransactioninfobyid"


@pytest.fixture
async def tron(hooks: Receiver, tmp_path: Path) -> AsyncIterator[TronShop]:
    async with run_tron_shop(tmp_path, hooks) as opened:
        yield opened


# --- what settles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelt", [str, in_hex], ids=["base58", "41-hex"])
async def test_an_exact_transfer_settles_and_is_reported_once(tron: TronShop, spelt: Any) -> None:
    to = fresh_address()
    created = await tron.checkout(destination=spelt(to), token="USDT")
    block = created["checkoutBlock"]
    assert (block["destination"], block["tokenAddress"], block["tokenSymbol"]) == (spelt(to), USDT, "USDT")
    assert (block["decimals"], block["proxyAddress"], block["calldata"]) == (6, None, None)
    assert block["paymentUri"] == f"tron:{to}?amount=1000&token={USDT}"

    tx = await tron.pay(to, 1000)
    done = await tron.delivered(created["intentId"])

    time_ms = tron.ledger.time_of(tx)
    (delivery,) = tron.hooks.deliveries
    assert delivery.verified(SECRET)
    assert {
        "eventType": "payment.confirmed",
        "intentId": created["intentId"],
        "paymentReference": created["paymentReference"],
        "txHash": tx,
        "blockNumber": time_ms,
        "confirmations": 200,
        "amount": "1000",
        "amountReceived": "1000",
        "token": USDT,
        "chainId": CHAIN_ID,
        "status": "confirmed",
        "sender": BUYER,
        "rail": "direct",
        "transferCount": 1,
    }.items() <= delivery.json.items()
    assert (done["status"], done["destination"], done["blockNumber"]) == ("confirmed", spelt(to), time_ms)
    assert await tron.api.unmatched() == []


async def test_nothing_counts_before_its_block_is_irreversible(tron: TronShop) -> None:
    to = fresh_address()
    intent_id = await tron.sell(destination=to)
    tron.ledger.transfer(to, 1000)
    tron.ledger.advance(19)
    await tron.scanner.worker.poll()
    assert (await tron.api.intent(intent_id))["status"] == "pending"

    tron.ledger.advance(1)
    await tron.scanner.worker.poll()

    assert (await tron.api.intent(intent_id))["status"] == "confirmed"


async def test_two_intents_paid_in_one_transaction_are_settled_by_an_event_each(tron: TronShop) -> None:
    one, two = fresh_address(), fresh_address()
    first, second = await tron.sell(destination=one), await tron.sell(destination=two, amount="2000")

    tx = tron.ledger.transfers([(USDT, BUYER, 7), (USDT, one, 1000), (USDT, two, 1500), (USDT, two, 500)])
    await tron.settle()

    views = [await tron.api.intent(intent_id) for intent_id in (first, second)]
    assert [(view["status"], view["txHash"], view["amountReceived"]) for view in views] == [
        ("confirmed", tx, "1000"),
        ("confirmed", tx, "2000"),
    ]
    keys = [[t["eventKey"] for t in view["transfers"]] for view in views]
    assert [len(found) for found in keys] == [1, 2]
    assert len({key for found in keys for key in found}) == 3
    assert await tron.api.unmatched() == []


# --- what does not, and why --------------------------------------------------------------------------


async def test_another_token_is_stored_as_such_whatever_it_calls_itself(tron: TronShop) -> None:
    to = fresh_address()
    intent_id = await tron.sell(destination=to)
    fake = tron.ledger.deploy("a forger", "USDT")

    txs = [await tron.pay(to, 1000, token=token) for token in (USDC, fake)]

    rows = await tron.api.unmatched()
    assert {(row["reason"], row["token"], row["txHash"], row["intentId"]) for row in rows} == {
        ("wrong_token", USDC, txs[0], intent_id),
        ("wrong_token", fake, txs[1], intent_id),
    }
    assert (await tron.api.intent(intent_id))["status"] == "pending"


@pytest.mark.parametrize("jsonrpc", [True, False], ids=["by logs", "by slower calls"])
async def test_failed_transactions_and_approvals_move_nothing_and_settle_nothing(tron: TronShop, jsonrpc: bool) -> None:
    tron.grid.jsonrpc = jsonrpc
    to = fresh_address()
    intent_id = await tron.sell(destination=to)

    tron.ledger.fail(to, 1000)
    tron.ledger.fail(to, 1000, result="OUT_OF_ENERGY", keeps_logs=True)
    tron.ledger.approve(to, 1000)
    tron.ledger.send_coin(to, 1000)
    await tron.settle()
    view = await tron.api.intent(intent_id)

    assert (view["status"], view["amountReceived"], view["transfers"]) == ("pending", "0", [])
    await tron.pay(to, 1000)
    assert (await tron.api.intent(intent_id))["status"] == "confirmed"


async def test_a_transaction_that_the_second_look_finds_failed_is_reverted(tron: TronShop) -> None:
    to = fresh_address()
    intent_id = await tron.sell(destination=to)
    tx = tron.ledger.transfer(to, 1000)
    tron.ledger.settle()
    reported = orjson.loads(tron.grid.node.receipt("", {"value": tx}, solid=True).body)
    failed = reported | {"result": "FAILED", "receipt": {"result": "REVERT"}}
    tron.grid.fail(RECEIPT, skip=1, body=orjson.dumps(failed))

    await tron.scanner.worker.poll()

    assert await tron.unmatched(intent_id) == [("reverted", tx)]
    view = await tron.api.intent(intent_id)
    assert (view["status"], view["amountReceived"]) == ("pending", "0")


async def test_a_transfer_after_settling_is_a_duplicate_and_after_cancelling_is_cancelled(tron: TronShop) -> None:
    one, two = fresh_address(), fresh_address()
    first, second = await tron.sell(destination=one), await tron.sell(destination=two)
    await tron.pay(one, 1000)
    await tron.api.call("DELETE", f"/intents/{second}")

    again, late = tron.ledger.transfer(one, 1000), tron.ledger.transfer(two, 1000)
    await tron.settle()

    assert await tron.unmatched(first) == [("duplicate", again)]
    assert await tron.unmatched(second) == [("cancelled", late)]
    assert [d.json["intentId"] for d in await tron.hooks.wait_for(1)] == [first]


async def test_a_transfer_for_an_expired_intent_is_late_and_settles_nothing(hooks: Receiver, tmp_path: Path) -> None:
    clock = FakeClock()
    async with run_tron_shop(tmp_path, hooks, clock=clock) as tron:
        to = fresh_address()
        intent_id = await tron.sell(destination=to)
        clock.advance(24 * 3600 + 60)
        tron.ledger.advance(24 * 1200 + 60)
        await tron.scanner.worker.poll()
        await tron.api.status_is(intent_id, "expired")

        tx = await tron.pay(to, 1000)

        assert await tron.unmatched(intent_id) == [("late", tx)]
        assert (await tron.api.intent(intent_id))["status"] == "expired"


async def test_a_transfer_long_before_the_intent_does_not_settle_it(tron: TronShop) -> None:
    to = fresh_address()
    old = tron.ledger.transfer(to, 1000)
    tron.ledger.settle()
    tron.ledger.times = [time_ms - 15 * 60_000 for time_ms in tron.ledger.times]
    tron.ledger.advance(15 * 20)  # the chain goes on until now
    await tron.scanner.worker.poll()
    intent_id = await tron.sell(destination=to)

    status, answer = await tron.api.call("POST", f"/intents/{intent_id}/recheck", {"txHash": old})

    assert (status, [seen["reason"] for seen in answer["seen"]]) == (200, ["before_intent"])
    assert await tron.unmatched(intent_id) == [("before_intent", old)]


# --- receivers ---------------------------------------------------------------------------------------


async def test_a_receiver_that_is_down_for_the_whole_schedule_is_notified_when_it_is_back(tron: TronShop) -> None:
    tron.hooks.behave(statuses=[503])
    to = fresh_address()
    intent_id = await tron.sell(destination=to)
    tx = await tron.pay(to, 1000)
    failed = await tron.api.status_is(intent_id, "webhook_failed")
    (delivery,) = failed["deliveries"]
    assert [attempt["status"] for attempt in delivery["attempts"]] == [503] * 4

    tron.hooks.behave(statuses=[200])
    status, answer = await tron.api.call("POST", "/admin/webhooks/retry")
    assert (status, answer) == (200, {"retried": 1})
    done = await tron.delivered(intent_id)

    assert done["status"] == "confirmed"
    (event,) = tron.hooks.distinct.values()
    assert event.json["txHash"] == tx


async def test_what_was_paid_while_the_daemon_was_down_is_found_at_the_next_start(
    hooks: Receiver, tmp_path: Path
) -> None:
    async with TronGrid(chain_of_today()) as grid:
        to = fresh_address()
        async with opened(tmp_path, grid, hooks) as tron:
            intent_id = await tron.sell(destination=to)
            await tron.settle()
        tx = grid.ledger.transfer(to, 1000)
        grid.ledger.advance(30)

        async with opened(tmp_path, grid, hooks) as tron:
            done = await tron.delivered(intent_id)

    assert (done["status"], done["txHash"]) == ("confirmed", tx)
    assert len(hooks.distinct) == 1


# --- addresses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("0x" + "a" * 40, "somebody's EVM address"),
        ("TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6u", "does not match its checksum"),
        ("TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6", "T and 33 base58 characters"),
        ("EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs", "T and 33 base58 characters"),
        ("41" + "0" * 40, "the zero address"),
    ],
)
async def test_an_address_that_is_not_one_is_refused_with_a_sentence(tron: TronShop, address: str, why: str) -> None:
    body = intent_body(chainId=CHAIN_ID, destination=address)
    status, answer = await tron.api.call("POST", "/intents", body)

    assert (status, answer["details"]) == (400, {"field": "destination"})
    assert why in answer["error"]


async def test_one_address_is_one_reservation_however_it_is_spelt(tron: TronShop) -> None:
    to = fresh_address()
    await tron.sell(destination=to)

    status, answer = await tron.api.call("POST", "/intents", intent_body(chainId=CHAIN_ID, destination=in_hex(to)))

    assert (status, answer["details"]) == (409, {"field": "destination"})


async def test_the_proxy_rail_is_not_offered(tron: TronShop) -> None:
    status, answer = await tron.api.call(
        "POST", "/intents", intent_body(chainId=CHAIN_ID, destination=fresh_address(), rail="proxy")
    )

    assert (status, answer["details"]) == (400, {"field": "rail"})


# --- balances ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "shown"),
    [
        ({"token": "USDT"}, (USDT, "USDT", 6, str(2**200 + 7))),
        ({"tokenAddress": in_hex(USDT)}, (USDT, "USDT", 6, str(2**200 + 7))),
        ({"token": "native"}, (None, "TRX", 6, "5000001")),
        ({"token": "trx"}, (None, "TRX", 6, "5000001")),
        ({"tokenSymbol": "USDC"}, (USDC, "USDC", 6, "0")),
    ],
)
async def test_a_balance_is_read_exactly(tron: TronShop, named: dict[str, str], shown: tuple[Any, ...]) -> None:
    holder = fresh_address()
    tron.ledger.transfer(holder, 2**200 + 7)
    tron.ledger.send_coin(holder, 5_000_001)
    tron.ledger.advance()

    body = {"chainId": CHAIN_ID, "address": in_hex(holder), **named}
    status, answer = await tron.api.call("POST", "/balances/check", body)

    assert status == 200, answer
    assert answer.pop("checkedAt")
    assert answer == {
        "chainId": CHAIN_ID,
        "chainType": "tron",
        "address": in_hex(holder),
        **dict(zip(("tokenAddress", "tokenSymbol", "decimals", "balance"), shown, strict=True)),
        "blockNumber": tron.ledger.times[-1],
    }


async def test_a_balance_that_cannot_be_read_is_an_error_and_not_zero(tron: TronShop) -> None:
    broken = tron.ledger.deploy("broken", "BRK", broken=True)
    body = {"chainId": CHAIN_ID, "address": fresh_address(), "tokenAddress": broken}

    status, answer = await tron.api.call("POST", "/balances/check", body)

    assert status == 502
    assert answer["error"].startswith("balance check failed: ")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def test_a_watch_tells_a_rise_with_its_transfers_and_a_fall(
    hooks: Receiver, tmp_path: Path, clock: FakeClock
) -> None:
    holder = account("a watched holder")
    async with run_tron_shop(tmp_path, hooks, clock=clock) as tron:
        watch_id = await watch(tron, holder, token="USDT")
        tx = tron.ledger.transfer(holder, 2**130)
        tron.ledger.settle()
        await due(tron, clock)
        (rise,) = await hooks.wait_for(1)
        assert rise.verified(SECRET)
        assert {
            "eventType": "balance_changed",
            "watchId": watch_id,
            "chainId": CHAIN_ID,
            "chainType": "tron",
            "address": in_hex(holder),
            "tokenAddress": USDT,
            "tokenSymbol": "USDT",
            "decimals": 6,
            "previousBalance": "0",
            "currentBalance": str(2**130),
            "delta": str(2**130),
            "changeCount": 1,
            "transfers": [
                {"txHash": tx, "blockNumber": tron.ledger.time_of(tx), "sender": BUYER, "amount": str(2**130)}
            ],
        }.items() <= rise.json.items()
        await watched(tron, watch_id, lambda found: found["changeCount"] == 1)

        tron.ledger.transfer(BUYER, 2**130 - 5, sender="a watched holder")
        tron.ledger.settle()
        await due(tron, clock)
        _, fall = await hooks.wait_for(2)

    assert (fall.json["previousBalance"], fall.json["currentBalance"]) == (str(2**130), "5")
    assert (fall.json["delta"], fall.json["changeCount"], fall.json["transfers"]) == (str(5 - 2**130), 2, [])


async def test_a_watch_of_trx_tells_a_change_once_it_is_irreversible(
    hooks: Receiver, tmp_path: Path, clock: FakeClock
) -> None:
    holder = fresh_address()
    async with run_tron_shop(tmp_path, hooks, clock=clock) as tron:
        await watch(tron, holder, token="TRX")
        tron.ledger.send_coin(holder, 7)
        tron.ledger.advance(19)
        await due(tron, clock)
        assert rows(tmp_path, "SELECT count(*) FROM events") == [(0,)]

        tron.ledger.advance()
        await due(tron, clock)
        (rise,) = await hooks.wait_for(1)

    assert (rise.json["tokenAddress"], rise.json["tokenSymbol"], rise.json["currentBalance"]) == (None, "TRX", "7")


async def test_a_failed_balance_read_tells_nobody(hooks: Receiver, tmp_path: Path, clock: FakeClock) -> None:
    holder = fresh_address()
    async with run_tron_shop(tmp_path, hooks, clock=clock, POLL_INTERVAL_SEC="3600") as tron:
        watch_id = await watch(tron, holder, token="USDT")
        tron.grid.fail("/walletsolidity/triggerconstantcontract", status=500)
        tron.ledger.transfer(holder, 9)
        tron.ledger.settle()
        await due(tron, clock)
        found = await watched(tron, watch_id, lambda _: True)
        assert (found["currentBalance"], found["changeCount"]) == ("0", 0)
        assert rows(tmp_path, "SELECT count(*) FROM events") == [(0,)]

        tron.grid.heal()
        await tron.answers_again()
        await due(tron, clock)
        (rise,) = await hooks.wait_for(1)

    assert (rise.json["previousBalance"], rise.json["currentBalance"]) == ("0", "9")


async def watch(tron: TronShop, holder: str, **fields: Any) -> str:
    """Create a watch and wait for its first read."""
    body = {
        "chainId": CHAIN_ID,
        "address": in_hex(holder),
        "callbackUrl": tron.hooks.url(),
        "callbackSecret": SECRET,
        **fields,
    }
    status, answer = await tron.api.call("POST", "/balance-watches", body)
    assert status == 200, answer
    await watched(tron, answer["watch"]["watchId"], lambda found: found["lastCheckedAt"] is not None)
    return str(answer["watch"]["watchId"])


async def watched(tron: TronShop, watch_id: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while not condition(found := (await tron.api.get(f"/balance-watches/{watch_id}"))["watch"]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # a backend has no event to wait on either
    return dict(found)


async def due(tron: TronShop, clock: FakeClock) -> None:
    clock.advance(300)
    assert await tron.scanner.daemon.watchers[CHAIN_ID].check_due() == 1


# --- what an operator sees ---------------------------------------------------------------------------


async def test_the_status_counts_in_ms_and_in_seconds(hooks: Receiver, tmp_path: Path) -> None:
    async with run_tron_shop(tmp_path, hooks, POLL_INTERVAL_SEC="3600") as tron:
        await tron.scanner.worker.poll()
        await tron.sell()
        seen = await tron.chain()
        solid = tron.ledger.times[tron.ledger.solid]
        assert (seen["chainType"], seen["lastScannedBlock"], seen["chainHead"]) == ("tron", solid, solid)
        assert (seen["lag"], seen["lagSeconds"], seen["lastError"], seen["pendingIntents"]) == (0, 0, None, 1)
        assert seen["endpoint"].startswith("127.0.0.1:")

        tron.ledger.advance(50)
        for route in ("/jsonrpc", "/walletsolidity/gettransactioninfobyblocknum", "/v1/contracts/events"):
            tron.grid.fail(route, status=500)
        with pytest.raises(ChainUnavailable):
            await tron.scanner.worker.poll()
        behind = await tron.chain()

    assert (behind["lag"], behind["lagSeconds"]) == (50 * SLOT_MS, 150)
