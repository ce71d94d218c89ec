"""What a stranger sends by the thousand is counted in a few rows and reported once; honest money is reported first."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from devnet.evm.scripted_node import tx_hash
from tests.cases.scanned_nodes import ScannedNodes, run_scanned_nodes, shop
from tests.harness import USDC, USDT

EVERYTHING = [
    "payment.detected",
    "payment.confirming",
    "payment.partial",
    "payment.overpaid",
    "payment.late",
    "payment.reorged",
    "payment.anomaly",
    "intent.expired",
]
WORTHLESS = "0x" + "ee" * 20


async def rows(system: ScannedNodes, table: str) -> int:
    async with system.scanner.database.read() as tx:
        return int((await tx.exec_driver_sql(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608


async def unmatched(system: ScannedNodes, **query: Any) -> list[dict[str, Any]]:
    """Walk every page."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while cursor is not None:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        page = await system.api.get(f"/unmatched?limit=7&{asked}" + (f"&cursor={cursor}" if cursor else ""))
        found += page["unmatched"]
        cursor = page["nextCursor"]
    return found


def anomalies(system: ScannedNodes) -> Counter[str]:
    return Counter(delivery.json["eventType"] for delivery in system.hooks.deliveries)


def spam(
    system: ScannedNodes, count: int, *, token: str = WORTHLESS, amount: int = 0, name: str = "spam", to: int = 1
) -> None:
    (node,) = system.nodes
    node.head += 1
    logs = [
        node.transfer(token, shop(to), amount, tx=tx_hash(name), block=node.head, index=index) for index in range(count)
    ]
    node.include(*logs)


async def test_three_thousand_worthless_logs_are_a_row_and_an_event_and_delay_no_honest_payment(tmp_path: Path) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        intent = await system.direct(1, amount="1000", events=EVERYTHING)
        spam(system, 3_000)
        system.nodes[0].pay(USDT, shop(1), 1000, tx=tx_hash("paid"))
        system.grow(20)
        await system.api.status_is(intent["intentId"], "confirmed")
        await system.polled(3)  # what is read again adds nothing

        assert await rows(system, "transfers") == 2
        assert await rows(system, "events") <= 4
        (row,) = await unmatched(system)
        assert (row["reason"], row["count"], row["amount"]) == ("wrong_token", 3_000, "0")
        assert (row["txHash"], row["lastTxHash"]) == (tx_hash("spam"), tx_hash("spam"))
        await system.hooks.wait_for(4)
        assert anomalies(system) == {
            "payment.anomaly": 1,
            "payment.detected": 1,
            "payment.confirming": 1,
            "payment.confirmed": 1,
        }
        (anomaly,) = [d.json for d in system.hooks.deliveries if d.json["eventType"] == "payment.anomaly"]
        assert (anomaly["count"], anomaly["transferCount"], anomaly["reason"]) == (3_000, 3_000, "wrong_token")


@pytest.mark.parametrize(
    ("token", "amount", "reason"),
    [(USDT, 0, "zero_amount"), (USDC, 5, "wrong_token"), (WORTHLESS, 10**30, "wrong_token")],
)
async def test_what_can_never_count_is_one_row_a_transaction(
    tmp_path: Path, token: str, amount: int, reason: str
) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        await system.direct(1, amount="1000", events=EVERYTHING)
        for number in range(3):
            spam(system, 200, token=token, amount=amount, name=f"spam {number}")
        system.grow(3)
        await system.polled(3)

        listed = await unmatched(system)
        assert [(row["reason"], row["count"], row["amount"]) for row in listed] == [
            (reason, 200, str(200 * amount))
        ] * 3
        assert await rows(system, "events") == 1
        await system.hooks.wait_for(1)


async def test_transactions_of_worthless_logs_are_listed_as_one_beyond_twenty(tmp_path: Path) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        intent = await system.direct(1, amount="1000")
        for number in range(50):
            spam(system, 3, token=USDC, amount=7, name=f"spam {number}")
        system.grow(1)
        await system.polled(2)

        listed = await unmatched(system)
        assert [row["count"] for row in listed] == [3] * 20 + [90]
        merged = listed[-1]
        assert (merged["amount"], merged["intentId"]) == (str(90 * 7), intent["intentId"])
        assert (merged["txHash"], merged["lastTxHash"]) == (tx_hash("spam 20"), tx_hash("spam 49"))
        assert merged["lastBlockNumber"] == merged["blockNumber"] + 29


async def test_dust_of_the_right_token_keeps_its_rows_completes_the_payment_and_is_summarised(
    tmp_path: Path,
) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        intent = await system.direct(1, amount="500", events=EVERYTHING)
        spam(system, 400, token=USDT, amount=1, name="dust")
        system.grow(1)
        await system.api.until(intent["intentId"], lambda seen: seen["amountReceived"] == "400")
        listed = await unmatched(system)
        assert sum(row["count"] for row in listed) == 400
        assert [row["count"] for row in listed] == [1] * 20 + [380]
        assert listed[-1]["amount"] == "380"
        assert await rows(system, "transfers") == 400

        system.nodes[0].pay(USDT, shop(1), 100, tx=tx_hash("rest"))
        system.grow(20)
        await system.api.status_is(intent["intentId"], "confirmed")

        assert await unmatched(system) == []
        assert await rows(system, "events") < 40
        (confirmed,) = [d.json for d in await system.hooks.wait_for(20) if d.json["eventType"] == "payment.confirmed"]
        assert (confirmed["amountReceived"], confirmed["transferCount"]) == ("500", 401)
        assert len(confirmed["transfers"]) == 20


async def test_payments_of_nobodys_are_a_row_a_token_and_destination_and_day(tmp_path: Path) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        await system.polled(1)
        (node,) = system.nodes
        for number in range(60):
            node.head += 1
            reference = f"0x{number:016x}"
            token = (USDT, USDC)[number % 2]
            node.include(
                node.transfer(token, shop(9), 5, tx=tx_hash(f"other {number}"), block=node.head),
                node.event(token, shop(9), 5, reference, tx=tx_hash(f"other {number}"), block=node.head),
            )
        system.grow(1)
        await system.polled(3)

        listed = await unmatched(system)
        assert sorted((row["token"], row["count"], row["amount"]) for row in listed) == sorted(
            (token.lower(), 30, "150") for token in (USDT, USDC)
        )
        assert {row["reason"] for row in listed} == {"unknown_reference"}
        assert {row["intentId"] for row in listed} == {None}
        first = next(row for row in listed if row["token"] == USDT.lower())
        assert (first["txHash"], first["lastTxHash"]) == (tx_hash("other 0"), tx_hash("other 58"))


async def test_what_a_reorganisation_takes_away_is_taken_off_the_sum(tmp_path: Path) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        await system.polled(1)
        (node,) = system.nodes
        for number in range(6):
            node.head += 1
            node.include(
                node.transfer(USDT, shop(9), 5, tx=tx_hash(f"other {number}"), block=node.head),
                node.event(USDT, shop(9), 5, f"0x{number:016x}", tx=tx_hash(f"other {number}"), block=node.head),
            )
            await system.polled(1)  # a hash is remembered at each block
        await system.polled(1)  # nobody waits: the newest is read by the poll after the one that hears of it
        (row,) = await unmatched(system)
        assert (row["count"], row["lastTxHash"]) == (6, tx_hash("other 5"))

        node.fork_from = node.head - 1
        node.logs = [log for log in node.logs if int(log["blockNumber"], 16) < node.fork_from]
        system.grow(5)
        await system.polled(3)

        (row,) = await unmatched(system)
        assert (row["count"], row["amount"], row["lastTxHash"]) == (4, "20", tx_hash("other 3"))


async def test_cursors_stay_good_while_rows_are_added_up(tmp_path: Path) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        await system.direct(1, amount="1000")
        await system.direct(2, amount="1000")
        for number in range(12):
            spam(system, 1, token=USDC, amount=7, name=f"one {number}")
        spam(system, 1, token=USDC, amount=7, name="other", to=2)
        system.grow(1)
        await system.polled(2)
        page = await system.api.get("/unmatched?limit=8")

        for number in range(30):
            spam(system, 2, token=USDC, amount=7, name=f"two {number}")
        system.grow(1)
        await system.polled(2)
        rest = await system.api.get(f"/unmatched?limit=500&cursor={page['nextCursor']}")

        assert sum(row["count"] for row in (*page["unmatched"], *rest["unmatched"])) == 12 + 1 + 60
        assert [row["count"] for row in rest["unmatched"]] == [1] * 4 + [1] + [2] * 8 + [44]
