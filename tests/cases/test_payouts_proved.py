"""An instruction ends with a transaction that the chain shows to pay it: nobody's word is enough."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import BUYERS_WALLET, DONE_IN, TEN, AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import SENDER, FakeScanner, moved, tx_hash
from tests.marketplace.harness import Running, environment, notes, running

TRON, TON = 728126428, 1100
ESCROWS = (
    '{"97": ["0x6813Eb9362372EEF6200f3b1dbC3f819671cBA69"],'
    f' "{TRON}": ["TJRabPrwbZy45sbavfcjinPJC18kjpRTv8", "TVjsyZ7fYF3qLF6BQgPmTEZy1xrNNyVAAA"],'
    f' "{TON}": ["EQB3ncyBUTjZUA5EnFKR5_EnOMI9V1tTEAAPaiU71gc4TiUt"]}}'
)
TO = {
    97: BUYERS_WALLET,
    TRON: "TT67rPNwgmpeimvHUMVzFfKsjL9GZ1wGw8",
    TON: "EQDtFpEwcFAEcRe5mLVh2N6C0x-_hJEM7W61_JLnSF74p4q2",
}
TX = {97: DONE_IN, TRON: "ab" * 32, TON: "ab" * 32}
Refund = tuple[AcceptedPurchase, dict[str, Any]]
ENGINES = pytest.mark.parametrize(
    "engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)


@pytest.fixture
async def market(
    tmp_path: Path, clock: FakeClock, fake_scanner: FakeScanner, place: Mapping[str, str]
) -> AsyncIterator[Running]:
    env = environment(tmp_path, fake_scanner.url, MARKETPLACE_ESCROW_ADDRESSES=ESCROWS, **place)
    async with running(env, clock=clock) as found:
        yield found


async def ordered(market: Running, scanner: FakeScanner, clock: FakeClock, chain_id: int = 97) -> Refund:
    """Return a purchase that is being paid back, and the instruction."""
    purchase = await accept_purchase(market, scanner, clock)
    await purchase.open("proxy" if chain_id == 97 else "direct", chainId=chain_id)
    assert (await purchase.hook(scanner.pay(purchase.payment_id)))[1]["data"]["outcome"] == "funded"
    status, answer = await purchase.refund(TO[chain_id])
    assert status == 200, answer
    return purchase, answer["data"]["instruction"]


@pytest.fixture
async def refund(market: Running, fake_scanner: FakeScanner, clock: FakeClock) -> Refund:
    return await ordered(market, fake_scanner, clock)


def fresh(market: Running) -> Running:
    """Return it with an admin whose token is of now: the clock may have gone on by days."""
    market.admin.token = market.marketplace.services.tokens.issue(market.admin.user_id, "admin")
    return market


def escrow_of(purchase: AcceptedPurchase) -> str:
    with purchase.market.opened() as store:
        return str(store.execute("SELECT escrow_state FROM payments WHERE id = ?", [purchase.payment_id]).fetchone()[0])


async def settle(market: Running, order: dict[str, Any], tx: str) -> tuple[int, Any]:
    path = f"/api/admin/instructions/{order['id']}/settle"
    return await fresh(market).admin.call("POST", path, {"txHash": tx})


async def state(market: Running, order: dict[str, Any]) -> tuple[str, str | None]:
    found = (await fresh(market).admin.ok("GET", "/api/admin/instructions?limit=100"))["payouts"]
    [mine] = [each["instruction"] for each in found if each["instruction"]["id"] == order["id"]]
    return mine["status"], mine["txHash"]


async def look(market: Running) -> int:
    return await market.marketplace.services.payout_settlements.look_again()


async def told(market: Running) -> list[str]:
    return [kind for kind, _ in await notes(fresh(market).admin)]


# -- what proves it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("chain_id", [97, TRON, TON])
async def test_what_pays_exactly_this_and_is_deep_ends_it(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, chain_id: int
) -> None:
    purchase, order = await ordered(market, fake_scanner, clock, chain_id)
    fake_scanner.carries_out(order, tx=TX[chain_id])

    status, answer = await settle(market, order, TX[chain_id])

    assert (status, answer["data"]["instruction"]["status"]) == (200, "released")
    assert escrow_of(purchase) == "refunded"
    assert await purchase.findings() == []


@pytest.mark.parametrize("chain_id", [97, TRON, TON])
async def test_what_is_not_final_yet_is_settling_until_it_is(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, chain_id: int
) -> None:
    purchase, order = await ordered(market, fake_scanner, clock, chain_id)
    fake_scanner.carries_out(order, tx=TX[chain_id], final=False)
    status, answer = await settle(market, order, TX[chain_id])
    still = await look(market)
    escrow = escrow_of(purchase)
    fake_scanner.carries_out(order, tx=TX[chain_id])
    clock.advance(3600)

    done = await look(market)

    assert (status, answer["data"]["instruction"]["status"], still, escrow) == (202, "settling", 0, "releasing")
    assert (done, await state(market, order)) == (1, ("released", TX[chain_id]))
    assert escrow_of(purchase) == "refunded"


async def test_the_depth_is_that_of_the_payment_and_not_only_the_chains(
    market: Running, refund: Refund, fake_scanner: FakeScanner
) -> None:
    purchase, order = refund
    needed = (await purchase.payment())["confirmationsRequired"]
    fake_scanner.carries_out(order, tx=DONE_IN, depth=needed - 1)
    early = await settle(market, order, DONE_IN)
    fake_scanner.carries_out(order, tx=DONE_IN, depth=None)
    unknown = await settle(market, order, DONE_IN)
    fake_scanner.carries_out(order, tx=DONE_IN, depth=needed)

    late = await settle(market, order, DONE_IN)

    assert (early[0], unknown[0], late[0]) == (202, 202, 200)


async def test_a_transaction_nobody_has_seen_yet_is_waited_for(
    market: Running, refund: Refund, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    _, order = refund
    status, answer = await settle(market, order, DONE_IN)
    pages = [await market.admin.ok("GET", f"/api/admin/instructions?status={each}") for each in ("settling", "pending")]
    for _ in range(3):
        clock.advance(9 * 3600)
        await look(market)
    told_of = (await told(market)).count("payout_unproved")
    fake_scanner.carries_out(order, tx=DONE_IN)
    clock.advance(3600)

    await look(market)

    assert (status, answer["data"]["instruction"]["status"]) == (202, "settling")
    assert [page["total"] for page in pages] == [1, 0]
    assert told_of == 1  # after a day, once
    assert (await state(market, order))[0] == "released"


async def test_nothing_is_ever_settled_without_a_proof(
    market: Running, refund: Refund, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    purchase, order = refund
    await settle(market, order, DONE_IN)
    for _ in range(40):
        clock.advance(24 * 3600)
        assert await look(market) == 0
    fake_scanner.carries_out(order, tx=DONE_IN, success=None)
    clock.advance(3600)

    assert await look(market) == 0
    assert (await state(market, order))[0] == "settling"
    assert (await told(market)).count("payout_unproved") == 1
    assert escrow_of(purchase) == "releasing"


# -- what does not -------------------------------------------------------------------------------------

WRONG: dict[str, dict[str, Any]] = {
    "another token": {"token": "0x" + "12" * 20},
    "another recipient": {"destination": SENDER},
    "too little": {"amount": str(TEN - 1)},
    "from the recipient to itself": {"sender": BUYERS_WALLET.lower()},
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("final", [True, False])
async def test_what_pays_something_else_is_refused_with_what_was_seen(
    market: Running, refund: Refund, fake_scanner: FakeScanner, wrong: str, final: bool
) -> None:
    purchase, order = refund
    transfer = moved(order, **WRONG[wrong])
    fake_scanner.carries_out(order, tx=DONE_IN, transfers=[transfer], final=final)

    status, answer = await settle(market, order, DONE_IN)

    assert (status, answer["error"]["code"]) == (409, "wrong_transaction")
    assert answer["error"]["details"]["seen"]["transfers"] == [transfer]
    assert await state(market, order) == ("pending", None)
    assert escrow_of(purchase) == "releasing"


async def test_a_transaction_that_failed_is_refused(market: Running, refund: Refund, fake_scanner: FakeScanner) -> None:
    _, order = refund
    fake_scanner.carries_out(order, tx=DONE_IN, success=False)

    status, answer = await settle(market, order, DONE_IN)

    assert (status, answer["error"]["details"]["reason"]) == (409, "failed")
    assert await state(market, order) == ("pending", None)


async def test_what_is_shown_of_a_wrong_transaction_is_bounded(
    market: Running, refund: Refund, fake_scanner: FakeScanner
) -> None:
    _, order = refund
    many = [moved(order, event_key=str(each), amount="1") for each in range(5000)]
    fake_scanner.carries_out(order, tx=DONE_IN, transfers=many)

    _, answer = await settle(market, order, DONE_IN)

    seen = answer["error"]["details"]["seen"]
    assert (seen["transferCount"], len(seen["transfers"])) == (5000, 20)


async def test_what_turns_out_to_be_wrong_waits_for_another_and_somebody_is_told(
    market: Running, refund: Refund, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    _, order = refund
    await settle(market, order, DONE_IN)
    fake_scanner.carries_out(order, tx=DONE_IN, transfers=[moved(order, destination=SENDER)])
    clock.advance(60)
    await look(market)
    back = await state(market, order)
    right = fake_scanner.carries_out(order)

    assert (await settle(market, order, right))[0] == 200
    assert back == ("pending", None)
    assert "payout_wrong_transaction" in await told(market)


async def test_on_ton_the_rest_of_what_a_message_causes_may_still_come(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    _, order = await ordered(market, fake_scanner, clock, TON)
    fake_scanner.carries_out(order, tx=TX[TON], transfers=[], final=False)
    early = await settle(market, order, TX[TON])
    fake_scanner.carries_out(order, tx=TX[TON], transfers=[])
    late = await settle(market, order, TX[TON])

    assert (early[0], late[0], late[1]["error"]["code"]) == (202, 409, "wrong_transaction")


# -- lies ----------------------------------------------------------------------------------------------

LIES: dict[str, dict[str, Any]] = {
    "of another chain": {"chainId": 56},
    "of another transaction": {"txHash": "0x" + "cd" * 32},
    "a spelling that is none": {"txHash": "0x" + "AB" * 32},
    "the same transfer twice": {"transfers": "twice"},
    "a transfer without a name": {"transfers": "unnamed"},
    "a name without an end": {"transfers": "endless"},
    "an amount below zero": {"transfers": "negative"},
    "found is no truth": {"found": "yes"},
    "no transfers": {"transfers": None},
}


@pytest.mark.parametrize("lie", LIES)
async def test_an_answer_that_cannot_be_settles_nothing(
    market: Running, refund: Refund, fake_scanner: FakeScanner, lie: str
) -> None:
    _, order = refund
    one = moved(order)
    transfers: dict[str, Any] = {
        "twice": [one, one],
        "unnamed": [one | {"eventKey": ""}],
        "endless": [one | {"eventKey": "9" * 201}],
        "negative": [one | {"amount": "-1"}],
    }
    more = {name: transfers.get(value, value) if name == "transfers" else value for name, value in LIES[lie].items()}
    fake_scanner.carries_out(order, tx=DONE_IN, **more)

    status, answer = await settle(market, order, DONE_IN)

    assert (status, answer["error"]["code"]) == (503, "scanner_unavailable")
    assert await state(market, order) == ("pending", None)


async def test_a_scanner_that_is_away_or_refuses_changes_nothing(
    market: Running, refund: Refund, fake_scanner: FakeScanner
) -> None:
    _, order = refund
    fake_scanner.carries_out(order, tx=DONE_IN)
    fake_scanner.down = True
    away = await settle(market, order, DONE_IN)
    fake_scanner.down = False
    fake_scanner.refuses = {"error": "the chain is not enabled", "code": "invalid"}
    refused = await settle(market, order, DONE_IN)
    fake_scanner.refuses = None

    assert (away[0], refused[0], refused[1]["error"]["code"]) == (503, 409, "conflict")
    assert await state(market, order) == ("pending", None)


async def test_what_was_not_found_says_nothing_else(market: Running, refund: Refund, fake_scanner: FakeScanner) -> None:
    _, order = refund
    fake_scanner.carries_out(order, tx=DONE_IN, found=False)

    assert (await settle(market, order, DONE_IN))[1]["data"]["instruction"]["status"] == "settling"


# -- once ----------------------------------------------------------------------------------------------


@ENGINES
@pytest.mark.parametrize("deep", [True, False])
async def test_one_transfer_named_for_two_instructions_at_once_pays_one(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, deep: bool
) -> None:
    orders = [(await ordered(market, fake_scanner, clock))[1] for _ in range(4)]
    fake_scanner.carries_out(orders[0], tx=DONE_IN, final=deep)

    found = await asyncio.gather(*(settle(market, order, DONE_IN) for order in orders))

    assert sorted(status for status, _ in found) == [200 if deep else 202, 409, 409, 409]
    assert {answer["error"]["code"] for status, answer in found if status == 409} == {"wrong_transaction"}


@ENGINES
async def test_what_nobody_had_seen_when_it_was_named_for_two_pays_one(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    orders = [(await ordered(market, fake_scanner, clock))[1] for _ in range(2)]
    early = [(await settle(market, order, DONE_IN))[0] for order in orders]
    fake_scanner.carries_out(orders[0], tx=DONE_IN)
    clock.advance(60)

    done = await look(market)

    assert (early, done) == ([202, 202], 1)
    assert sorted([(await state(market, order))[0] for order in orders]) == ["pending", "released"]
    assert "payout_wrong_transaction" in await told(market)


@ENGINES
async def test_the_store_itself_refuses_that_a_transfer_pays_twice_or_is_taken_back(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    one, two = [(await ordered(market, fake_scanner, clock))[1] for _ in range(2)]
    first = fake_scanner.carries_out(one)
    await settle(market, one, first)
    other = fake_scanner.carries_out(two, final=False)
    await settle(market, two, other)

    for sql, order in (
        (
            "UPDATE payout_settlements SET tx_hash = (SELECT min(tx_hash) FROM payout_settlements), given_hash = 'x'",
            two,
        ),
        ("UPDATE payout_settlements SET event_key = NULL, done_at = NULL", one),
        ("DELETE FROM payout_settlements", one),
        ("UPDATE payout_settlements SET event_key = NULL, done_at = 1", two),
    ):
        with pytest.raises(sqlite3.IntegrityError):
            await market.write(f"{sql} WHERE instruction_id = ?", [order["id"]])


async def test_one_transaction_settles_as_many_instructions_as_it_carries_transfers(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    orders = [(await ordered(market, fake_scanner, clock))[1] for _ in range(3)]
    larger = moved(orders[0], event_key="9", amount=str(TEN + 1))
    fake_scanner.carries_out(*orders, tx=DONE_IN, transfers=[larger, moved(orders[0])])

    found = [(await settle(market, order, DONE_IN))[0] for order in orders]

    assert found == [200, 200, 409]
    with market.opened() as store:
        keys = store.execute("SELECT instruction_id, event_key FROM payout_settlements ORDER BY event_key").fetchall()
    assert keys == [(orders[0]["id"], "0"), (orders[1]["id"], "9")]  # the smallest that is enough


async def test_on_ton_two_hashes_of_one_transaction_are_one(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    purchase, order = await ordered(market, fake_scanner, clock, TON)
    message, first = "cd" * 32, "ab" * 32
    fake_scanner.carries_out(order, tx=first, named=message)
    fake_scanner.carries_out(order, tx=first)
    status, answer = await settle(market, order, message)
    again = [(await settle(market, order, each))[0] for each in (message, first)]

    assert (status, answer["data"]["instruction"]["txHash"], again) == (200, first, [200, 200])
    assert (await settle(market, order, "ef" * 32))[0] == 409
    assert await purchase.findings() == []


# -- meanwhile -----------------------------------------------------------------------------------------


async def test_another_transaction_may_be_named_while_nothing_was_seen(
    market: Running, refund: Refund, fake_scanner: FakeScanner
) -> None:
    _, order = refund
    await settle(market, order, tx_hash())
    right = fake_scanner.carries_out(order)

    status, answer = await settle(market, order, right)

    assert (status, answer["data"]["instruction"]["txHash"]) == (200, right)


async def test_what_pays_already_is_not_exchanged_for_what_nobody_has_seen(
    market: Running, refund: Refund, fake_scanner: FakeScanner
) -> None:
    _, order = refund
    seen = fake_scanner.carries_out(order, final=False)
    await settle(market, order, seen)

    assert (await settle(market, order, tx_hash()))[1]["error"]["code"] == "conflict"
    assert await state(market, order) == ("settling", seen)


async def test_a_payout_that_is_reorganised_away_is_not_done_and_frees_its_transfer(
    market: Running, refund: Refund, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    _, order = refund
    gone = fake_scanner.carries_out(order, final=False)
    await settle(market, order, gone)
    fake_scanner.transactions.clear()
    clock.advance(60)
    await look(market)
    after = await state(market, order)
    right = fake_scanner.carries_out(order)

    status, _ = await settle(market, order, right)

    assert (after[0], status) == ("settling", 200)
    assert "payout_reorged" in await told(market)


async def test_a_node_that_shows_a_payout_and_hides_it_fills_nobodys_list(
    market: Running, refund: Refund, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    _, order = refund
    await settle(market, order, fake_scanner.carries_out(order, tx=DONE_IN, final=False))
    for _ in range(10):
        fake_scanner.transactions.clear()
        clock.advance(30)
        await look(market)
        fake_scanner.carries_out(order, tx=DONE_IN, final=False)
        clock.advance(30)
        await look(market)

    assert (await told(market)).count("payout_reorged") == 1


async def test_one_that_cannot_be_looked_at_keeps_no_other_from_being_judged(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    orders = [(await ordered(market, fake_scanner, clock))[1] for _ in range(3)]
    hashes = [fake_scanner.carries_out(order, final=False) for order in orders]
    for order, tx in zip(orders, hashes, strict=True):
        await settle(market, order, tx)
    fake_scanner.transactions[(97, hashes[0])]["chainId"] = 56
    for tx in hashes[1:]:
        fake_scanner.transactions[(97, tx)]["final"] = True
    clock.advance(60)

    assert await look(market) == 2


async def test_a_chain_that_says_nothing_is_asked_once_a_sweep(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    for _ in range(3):
        await settle(market, (await ordered(market, fake_scanner, clock))[1], tx_hash())
    fake_scanner.calls.clear()
    fake_scanner.down = True
    clock.advance(60)

    await look(market)

    assert len(fake_scanner.calls) == 1


async def test_a_settled_instruction_without_a_proof_is_found(
    market: Running, refund: Refund, fake_scanner: FakeScanner
) -> None:
    purchase, order = refund
    await market.write("UPDATE payments SET status = 'completed' WHERE id = ?", [order["id"]])

    assert set(await purchase.findings()) == {"sent_and_not_over", "settled_without_proof"}


@pytest.mark.parametrize(("older_s", "status"), [(0, 200), (3600, 200), (3601, 409), (86_400, 409)])
async def test_a_transaction_of_before_the_instruction_paid_something_else(
    market: Running, refund: Refund, fake_scanner: FakeScanner, clock: FakeClock, older_s: int, status: int
) -> None:
    """The same seller may have been sent as much for something else before."""
    purchase, order = refund
    with market.opened() as store:
        sql = "SELECT created_at FROM payments WHERE id = ?"
        (row,) = store.execute(sql, [order["id"]]).fetchall()
    at = datetime.fromtimestamp((row[0] - older_s * 1000) / 1000, UTC).isoformat(timespec="milliseconds")
    tx = fake_scanner.carries_out(order, blockTime=at.replace("+00:00", "Z"))

    found, answer = await settle(market, order, tx)

    assert found == status
    if status == 409:
        assert (answer["error"]["code"], answer["error"]["details"]["reason"]) == (
            "wrong_transaction",
            "older_than_the_instruction",
        )
        assert answer["error"]["details"]["seen"]["blockTime"] == at.replace("+00:00", "Z")
        assert escrow_of(purchase) == "releasing"
