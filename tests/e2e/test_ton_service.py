"""The whole daemon on TON: receivers that are down, balances, watches, status, rates and keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from devnet.receiver import Receiver
from devnet.ton.toncenter import TonCenter
from scanner.balance_watcher import BalanceWatcher
from tests.e2e.ton_shop import (
    CHAIN_ID,
    KEY,
    MASTER,
    USDT,
    TonShop,
    bounceable,
    chain_of_today,
    environment,
    fresh_address,
    opened,
    run_ton_shop,
    unbounceable,
)
from tests.harness import SECRET, FakeClock, running


@pytest.fixture
async def ton(hooks: Receiver, tmp_path: Path) -> AsyncIterator[TonShop]:
    async with run_ton_shop(tmp_path, hooks) as found:
        yield found


# --- receivers -----------------------------------------------------------------------------------


async def test_a_receiver_that_is_down_for_the_whole_schedule_is_notified_once_when_an_operator_asks(
    ton: TonShop,
) -> None:
    ton.hooks.behave(statuses=[503])
    to = fresh_address()
    intent_id = await ton.sell(destination=to)
    await ton.pay(to)
    failed = await ton.api.status_is(intent_id, "webhook_failed")
    assert [attempt["status"] for attempt in failed["deliveries"][0]["attempts"]] == [503] * 4
    assert (await ton.chain())["undeliveredWebhooks"] == 1

    ton.hooks.behave(statuses=[200])
    assert await ton.api.call("POST", "/admin/webhooks/retry") == (200, {"retried": 1})
    done = await ton.delivered(intent_id)

    assert done["status"] == "confirmed"
    assert len(ton.hooks.distinct) == 1


# --- balances and watches ------------------------------------------------------------------------


async def balance(ton: TonShop, address: str, **fields: Any) -> tuple[int, dict[str, Any]]:
    body = {"chainId": CHAIN_ID, "address": address, **fields}
    return await ton.api.call("POST", "/balances/check", body)


@pytest.mark.parametrize(
    "named",
    [
        {"token": "USDT"},
        {"tokenSymbol": "usdt"},
        {"tokenAddress": USDT},
        {"tokenAddress": unbounceable(MASTER)},
        {"token": MASTER},
        {"token": MASTER.lower()},
    ],
)
async def test_a_jetton_balance_is_read_by_symbol_or_address_and_shown_as_asked(
    ton: TonShop, named: dict[str, str]
) -> None:
    to = fresh_address()
    await ton.pay(to, 2**90 + 7)

    status, answer = await balance(ton, unbounceable(to), **named)

    assert status == 200, answer
    assert answer.pop("checkedAt")
    assert answer == {
        "chainId": CHAIN_ID,
        "chainType": "ton",
        "address": unbounceable(to),
        "tokenAddress": USDT,
        "tokenSymbol": "USDT",
        "decimals": 6,
        "balance": str(2**90 + 7),
        "blockNumber": ton.ledger.now,
    }


@pytest.mark.parametrize("name", ["native", "TON", "ton"])
async def test_the_coin_is_read_and_who_never_had_any_has_none(ton: TonShop, name: str) -> None:
    to = fresh_address()
    ton.ledger.coins[to] = 10**18 + 1

    rich, poor = await balance(ton, to, token=name), await balance(ton, fresh_address(), token=name)

    assert (rich[0], rich[1]["balance"], rich[1]["tokenSymbol"], rich[1]["decimals"]) == (
        200,
        str(10**18 + 1),
        "TON",
        9,
    )
    assert (rich[1]["tokenAddress"], poor[0], poor[1]["balance"]) == (None, 200, "0")


async def test_a_balance_that_cannot_be_read_is_an_error_and_not_zero(ton: TonShop) -> None:
    to = fresh_address()
    await ton.pay(to, 5)
    ton.center.fail("jetton/wallets", status=500)

    status, answer = await balance(ton, to, token="USDT")

    assert status == 502
    assert answer["error"].startswith("balance check failed: ")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def watched(hooks: Receiver, tmp_path: Path, clock: FakeClock) -> AsyncIterator[TonShop]:
    async with run_ton_shop(tmp_path, hooks, clock=clock) as found:
        yield found


def watcher(ton: TonShop) -> BalanceWatcher:
    return ton.scanner.daemon.watchers[CHAIN_ID]


async def watch(ton: TonShop, **fields: Any) -> str:
    """Create a watch and wait for its first read."""
    body = {"chainId": CHAIN_ID, "callbackUrl": ton.hooks.url(), "callbackSecret": SECRET, **fields}
    status, answer = await ton.api.call("POST", "/balance-watches", body)
    assert status == 200, answer
    watch_id = str(answer["watch"]["watchId"])
    await until_watch(ton, watch_id, lambda found: found["lastCheckedAt"] is not None)
    return watch_id


async def until_watch(ton: TonShop, watch_id: str, condition: Any) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while not condition(found := (await ton.api.get(f"/balance-watches/{watch_id}"))["watch"]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # polled over HTTP
    return dict(found)


async def check(ton: TonShop, clock: FakeClock) -> None:
    clock.advance(5 * 60)
    await watcher(ton).check_due()


async def test_a_rise_is_reported_with_the_transfer_behind_it_and_a_fall_from_there(
    watched: TonShop, clock: FakeClock
) -> None:
    to, hooks = fresh_address(), watched.hooks
    watch_id = await watch(watched, address=bounceable(to), token="USDT")

    payment = await watched.pay(to, 70)
    await watched.see()
    await check(watched, clock)
    (rise,) = await hooks.wait_for(1)
    await until_watch(watched, watch_id, lambda found: found["changeCount"] == 1)
    await watched.pay(fresh_address(), 30, sender=to)
    await watched.see()
    await check(watched, clock)
    _, fall = await hooks.wait_for(2)

    assert rise.verified(SECRET) or rise.headers["x-amn-signature"]
    assert {
        "eventType": "balance_changed",
        "watchId": watch_id,
        "chainId": CHAIN_ID,
        "chainType": "ton",
        "address": bounceable(to),
        "tokenAddress": USDT,
        "tokenSymbol": "USDT",
        "decimals": 6,
        "previousBalance": "0",
        "currentBalance": "70",
        "delta": "70",
        "changeCount": 1,
        "status": "balance_changed",
    }.items() <= rise.json.items()
    assert [(t["txHash"], t["amount"]) for t in rise.json["transfers"]] == [(payment.tx_hash, "70")]
    assert (fall.json["previousBalance"], fall.json["currentBalance"], fall.json["delta"]) == ("70", "40", "-30")


async def test_a_rise_of_coin_is_reported(watched: TonShop, clock: FakeClock) -> None:
    to = fresh_address()
    await watch(watched, address=to, token="TON")

    watched.ledger.coins[to] = 5
    watched.ledger.advance(5)
    await check(watched, clock)
    (delivery,) = await watched.hooks.wait_for(1)

    reported = delivery.json
    assert (reported["currentBalance"], reported["tokenAddress"], reported["tokenSymbol"]) == ("5", None, "TON")


async def test_a_read_that_fails_tells_nobody_and_is_made_again(watched: TonShop, clock: FakeClock) -> None:
    to = fresh_address()
    watch_id = await watch(watched, address=to, token="USDT")
    await watched.pay(to, 70)
    fault = watched.center.fail("jetton/wallets", status=500)
    await check(watched, clock)
    assert watched.hooks.deliveries == []
    assert (await watched.api.get(f"/balance-watches/{watch_id}"))["watch"]["currentBalance"] == "0"

    fault.times = 0
    async with asyncio.timeout(30):
        while not watched.hooks.deliveries:  # the endpoint is left alone for a second first
            await check(watched, clock)
            await asyncio.sleep(0.05)

    assert [d.json["currentBalance"] for d in watched.hooks.distinct.values()] == ["70"]


@pytest.mark.long
async def test_hundreds_of_watches_are_read_in_a_handful_of_calls(watched: TonShop, clock: FakeClock) -> None:
    body = {"chainId": CHAIN_ID, "token": "USDT", "callbackUrl": watched.hooks.url(), "callbackSecret": SECRET}
    for _ in range(4):
        many = (watched.api.call("POST", "/balance-watches", {**body, "address": fresh_address()}) for _ in range(100))
        assert {status for status, _ in await asyncio.gather(*many)} == {200}
    await check(watched, clock)
    before = watched.center.calls["jetton/wallets"]
    clock.advance(5 * 60)

    read = await watcher(watched).check_due()

    assert read == 400
    assert watched.center.calls["jetton/wallets"] - before <= 400 // 50


# --- status --------------------------------------------------------------------------------------


async def test_positions_and_lag_are_seconds(hooks: Receiver, tmp_path: Path) -> None:
    async with run_ton_shop(tmp_path, hooks, POLL_INTERVAL_SEC="3600") as ton:
        await ton.scanner.worker.poll()
        status = await ton.chain()
        assert (status["chainType"], status["chainHead"], status["lastScannedBlock"]) == (
            "ton",
            ton.ledger.now,
            ton.ledger.now,
        )
        assert (status["lag"], status["lagSeconds"]) == (0, 0)
        assert status["lastError"] is None

        await ton.sell()
        ton.ledger.advance(40)
        ton.center.fail("jetton/transfers", status=500, body={"error": "query timeout", "code": 500})
        with pytest.raises(Exception, match="query timeout"):
            await ton.scanner.worker.poll()

        behind = await ton.chain()
        assert (behind["lag"], behind["lagSeconds"]) == (40, 40)


async def test_the_first_start_reads_a_day(hooks: Receiver, tmp_path: Path) -> None:
    async with TonCenter(chain_of_today()) as center:
        center.fail("masterchainInfo", status=500)  # until an intent waits
        async with opened(tmp_path, center, hooks) as ton:
            to = fresh_address()
            intent_id = await ton.sell(destination=to, token="USDT")
            center.ledger.pay(to, 1000, master=MASTER, at=center.ledger.now - 300)
            center.heal()
            await ton.answers_again()
            await ton.delivered(intent_id)

            assert center.questions("blocks")[0]["end_utime"] == [str(center.ledger.now - 86_400 - 2 * 60)]


async def test_what_the_registry_promises_is_compared_with_the_chain(hooks: Receiver, tmp_path: Path) -> None:
    ledger = chain_of_today()
    ledger.issue(MASTER, "USD₮", 9)
    async with TonCenter(ledger) as center, opened(tmp_path, center, hooks) as ton:
        await ton.scanner.worker.poll()

        status = await ton.chain()

        assert any("9 decimals" in problem for problem in status["problems"]), status
        code, answer = await ton.api.call(
            "POST",
            "/intents",
            {
                "intentId": "a",
                "chainId": CHAIN_ID,
                "token": "USDT",
                "destination": fresh_address(),
                "amount": "1",
                "callbackUrl": hooks.url(),
                "callbackSecret": SECRET,
            },
        )
        assert code == 400, answer


# --- rates and keys ------------------------------------------------------------------------------


def arrivals(center: TonCenter) -> list[float]:
    """Return the list in which the moments of all further calls will be."""
    seen: list[float] = []
    loop = asyncio.get_running_loop()
    center.before = lambda _: seen.append(loop.time())
    return seen


def longest_pauses(moments: list[float], count: int) -> list[float]:
    return sorted(later - sooner for sooner, later in pairwise(moments))[-count:]


async def test_a_429_leaves_the_service_alone_as_long_as_it_says_and_costs_no_payment(ton: TonShop) -> None:
    to = fresh_address()
    intent_id = await ton.sell(destination=to)
    ton.ledger.pay(to, 1000, master=MASTER)
    moments = arrivals(ton.center)
    ton.center.limit_rate(times=1, headers={"Retry-After": "3"})
    ton.ledger.advance(5)

    failing = await ton.until_chain(lambda chain: chain["lastError"])
    await ton.api.status_is(intent_id, "confirmed")

    assert "429" in failing["lastError"]
    assert longest_pauses(moments, 1) >= [3]


async def test_a_429_without_a_word_about_time_is_left_alone_for_a_second_and_then_longer(ton: TonShop) -> None:
    await ton.sell()
    moments = arrivals(ton.center)
    ton.center.limit_rate(times=2)
    await ton.until_chain(lambda chain: chain["lastError"])
    await ton.until_chain(lambda chain: chain["lastError"] is None)

    shorter, longer = longest_pauses(moments, 2)
    assert (shorter >= 1, longer >= 2) == (True, True)


async def test_the_pace_is_the_one_the_operator_allows(hooks: Receiver, tmp_path: Path) -> None:
    async with TonCenter(chain_of_today()) as center:
        moments = arrivals(center)
        async with opened(tmp_path, center, hooks, TONCENTER_RPS="5"):
            await center.called("masterchainInfo", 8)

    assert moments[7] - moments[0] > 0.7  # 1.4 s apart when sent; at the poll interval they would come in 0.4


async def test_the_key_travels_in_its_header_and_is_shown_nowhere(
    hooks: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with TonCenter(chain_of_today()) as center:
        async with opened(tmp_path, center, hooks, TONCENTER_API_KEY=KEY) as ton:
            to = fresh_address()
            await ton.delivered(await paid(ton, to))
            center.fail(status=403, body={"error": f"no such key: {KEY}", "code": 403})
            failing = await ton.until_chain(lambda chain: chain["lastError"])

        assert set(center.keys) == {KEY}
        assert KEY not in str(center.asked)
        assert "403" in failing["lastError"]
        assert KEY not in str(failing) + caplog.text


async def test_without_a_key_none_is_sent(hooks: Receiver, tmp_path: Path) -> None:
    async with TonCenter(chain_of_today()) as center:
        env = environment(tmp_path, center)
        del env["TONCENTER_API_KEY"]
        async with running(env):
            await center.called("masterchainInfo", 2)

        assert set(center.keys) == {None}


async def test_a_base_with_its_path_is_accepted(hooks: Receiver, tmp_path: Path) -> None:
    async with (
        TonCenter(chain_of_today()) as center,
        opened(tmp_path, center, hooks, TONCENTER_URL=f"{center.url}/api/v3") as ton,
    ):
        await ton.delivered(await paid(ton, fresh_address()))


async def test_a_second_service_takes_over(hooks: Receiver, tmp_path: Path) -> None:
    ledger = chain_of_today()
    async with TonCenter(ledger) as first, TonCenter(ledger) as second:
        urls = f"{first.url},{second.url}"
        async with opened(tmp_path, first, hooks, TONCENTER_URL=urls) as ton:
            first.fail(status=503)
            await ton.delivered(await paid(ton, fresh_address()))
            assert (await ton.chain())["endpoint"].endswith("#2")


async def paid(ton: TonShop, to: str) -> str:
    """Sell and be paid."""
    intent_id = await ton.sell(destination=to)
    await ton.pay(to)
    return intent_id
