"""A store of an earlier version, which knew transfers by the numbers of their logs, is gone on with: nothing twice."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from devnet.evm.anvil import Anvil
from devnet.receiver import Receiver, receiver
from devnet.tron.ledger import CHAIN_ID as TRON
from devnet.tron.trongrid import TronGrid
from tests.e2e import tron_shop
from tests.harness import MERCHANT, USDT, Running, environment, running


def fresh(number: int) -> str:
    return f"0x2{number:039x}"


def number_transfers(store: Path) -> None:
    """Store every transfer as earlier versions did."""
    with sqlite3.connect(store) as tx:
        triggers = tx.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            tx.execute(f"DROP TRIGGER {name}")
        tx.execute("UPDATE transfers SET event_key = CAST(log_index AS TEXT)")
        for _, statement in triggers:
            tx.execute(statement)


def apart(store: Path) -> None:
    """Store every transfer of a row that stands for three by itself, as earlier versions did."""
    with sqlite3.connect(store) as tx:
        names = [row[1] for row in tx.execute("PRAGMA table_info(transfers)")]
        (row,) = tx.execute("SELECT * FROM transfers WHERE times = 3").fetchall()
        first = dict(zip(names, row, strict=True))
        tx.execute("DELETE FROM transfers WHERE id = ?", [first["id"]])
        for place in range(3):
            number = first["log_index"] + place
            single = {**first, "id": first["id"] + place, "event_key": str(number), "log_index": number}
            single |= {"amount": str(int(first["amount"]) // 3), "times": 1, "members": None}
            tx.execute(f"INSERT INTO transfers VALUES ({', '.join('?' * len(names))})", list(single.values()))  # noqa: S608


async def reasons_of(scanner: Running, chain_id: int | None = None) -> list[tuple[str, str]]:
    query = {} if chain_id is None else {"chainId": chain_id}
    return sorted((row["intentId"], row["reason"]) for row in await scanner.api.unmatched(**query))


@pytest.mark.anvil
async def test_what_was_found_is_not_found_again_under_another_key(
    chain: Anvil, hooks: Receiver, tmp_path: Path
) -> None:
    env = environment(tmp_path, chain.url)
    proxied, direct = {"callbackUrl": hooks.url()}, {"callbackUrl": hooks.url(), "rail": "direct"}
    async with running(env) as scanner:
        whole = [
            await scanner.api.create(**proxied, amount="1000"),
            await scanner.api.create(**direct, amount="1000", destination=fresh(1)),
        ]
        await chain.pay(USDT, MERCHANT, 1000, whole[0]["paymentReference"])
        await chain.transfer(USDT, fresh(1), 1000)
        await chain.mine(12)
        for intent in whole:
            await scanner.api.status_is(intent["intentId"], "confirmed")
        parts = [
            await scanner.api.create(**proxied, amount="1000"),
            await scanner.api.create(**direct, amount="1000", destination=fresh(2)),
        ]
        await chain.pay(USDT, MERCHANT, 600, parts[0]["paymentReference"])
        await chain.transfer(USDT, fresh(2), 600)
        for intent in parts:
            await scanner.api.until(intent["intentId"], lambda seen: seen["amountReceived"] == "600")
    number_transfers(tmp_path / "scanner.db")

    async with running(env) as scanner:
        for _ in range(2):
            await scanner.worker.poll()
            await chain.mine(12)
        await scanner.worker.second.sweep()
        assert await reasons_of(scanner) == sorted((intent["intentId"], "underpaid") for intent in parts)
        for intent in parts:
            assert (await scanner.api.intent(intent["intentId"]))["amountReceived"] == "600"
        await chain.pay(USDT, MERCHANT, 400, parts[0]["paymentReference"])
        await chain.transfer(USDT, fresh(2), 400)
        await chain.mine(12)
        for intent in parts:
            await scanner.api.status_is(intent["intentId"], "confirmed")
        assert await reasons_of(scanner) == []


@pytest.mark.anvil
async def test_rows_that_are_added_up_today_are_not_added_again(chain: Anvil, hooks: Receiver, tmp_path: Path) -> None:
    env = environment(tmp_path, chain.url)
    stranger = await chain.deploy("Stranger")
    async with running(env) as scanner:
        created = await scanner.api.create(callbackUrl=hooks.url(), rail="direct", destination=fresh(1), amount="1000")
        await chain.worthless(stranger, fresh(1), 3)
        await chain.mine()
        await scanner.api.until(created["intentId"], lambda seen: seen["transferCount"] == 3)
    apart(tmp_path / "scanner.db")

    async with running(env) as scanner:
        for _ in range(2):
            await scanner.worker.poll()
            await chain.mine(2)
        rows = await scanner.api.unmatched()

        assert {row["reason"] for row in rows} == {"wrong_token"}
        assert sum(row["count"] for row in rows) == 3


async def test_the_same_holds_on_tron(tmp_path: Path) -> None:
    async with receiver() as hooks, TronGrid(tron_shop.chain_of_today(ago_s=600)) as grid:
        to, other = tron_shop.fresh_address(), tron_shop.fresh_address()
        async with tron_shop.opened(tmp_path, grid, hooks) as shop:
            whole = await shop.sell(destination=to)
            await shop.pay(to, 1000)
            await shop.api.status_is(whole, "confirmed")
            part = await shop.sell(destination=other)
            await shop.pay(other, 600)
        number_transfers(tmp_path / "scanner.db")

        async with tron_shop.opened(tmp_path, grid, hooks) as shop:
            for _ in range(2):
                await shop.settle()
            assert await reasons_of(shop.scanner, TRON) == [(part, "underpaid")]
            await shop.pay(other, 400)
            await shop.api.status_is(part, "confirmed")
            assert await reasons_of(shop.scanner, TRON) == []
