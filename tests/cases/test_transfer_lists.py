"""A list that is cut says so, and all of it can be read: every transfer of an intent, rejected ones included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devnet.evm.scripted_node import tx_hash
from tests.cases.scanned_nodes import ScannedNodes, run_scanned_nodes, shop
from tests.harness import USDC, USDT


async def every(system: ScannedNodes, intent_id: str, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await system.api.get(
            f"/intents/{intent_id}/transfers?limit={limit}" + (f"&cursor={cursor}" if cursor else "")
        )
        assert len(page["transfers"]) <= limit
        found += page["transfers"]
        cursor = page["nextCursor"]
    return found


@pytest.mark.parametrize("limit", [1, 7, 46, 500])
async def test_every_transfer_of_an_intent_is_listed_oldest_first(tmp_path: Path, limit: int) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        intent = await system.direct(1, amount="45")
        for number in range(45):
            token = USDC if number == 3 else USDT
            system.nodes[0].pay(token, shop(1), 1, tx=tx_hash(f"part {number}"))
        system.nodes[0].pay(USDT, shop(1), 2, tx=tx_hash("last"))
        system.grow(20)
        await system.api.status_is(intent["intentId"], "confirmed")

        listed = await every(system, intent["intentId"], limit)
        assert [row["txHash"] for row in listed] == [tx_hash(f"part {n}") for n in range(45)] + [tx_hash("last")]
        assert [row["reason"] for row in listed if row["reason"]] == ["wrong_token", "overpaid_surplus"]

        view = await system.api.intent(intent["intentId"])
        assert (view["transferCount"], len(view["transfers"])) == (46, 20)
        assert view["transfers"] == listed[-20:]
        (delivery,) = [d.json for d in await system.hooks.wait_for(1)]
        assert (delivery["transferCount"], len(delivery["transfers"])) == (45, 20)
        assert delivery["transfers"][0]["txHash"] == tx_hash("last")


async def test_a_list_of_nothing_is_empty_and_one_of_nobody_is_not_there(tmp_path: Path) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        intent = await system.direct(1, amount="45")
        assert await system.api.get(f"/intents/{intent['intentId']}/transfers") == {"transfers": [], "nextCursor": None}
        assert (await system.api.call("GET", "/intents/nobody/transfers"))[0] == 404
        for query in ("cursor=x", "limit=0", "limit=501", "chainId=97", "cursor=WyJhIl0"):
            assert (await system.api.call("GET", f"/intents/{intent['intentId']}/transfers?{query}"))[0] == 400


async def test_looking_at_a_transaction_again_lists_few_of_its_thousands(tmp_path: Path) -> None:
    async with run_scanned_nodes(tmp_path) as system:
        intent = await system.direct(1, amount="45")
        (node,) = system.nodes
        node.head += 1
        node.include(
            *(
                node.transfer((USDT, USDC)[index % 2], shop(1), 1, tx=tx_hash("many"), block=node.head, index=index)
                for index in range(300)
            )
        )
        system.grow(1)

        status, answer = await system.api.call(
            "POST", f"/intents/{intent['intentId']}/recheck", {"txHash": tx_hash("many")}
        )

        assert (status, answer["settled"], answer["intent"]["amountReceived"]) == (200, False, "45")
        assert len(answer["seen"]) == len(answer["intent"]["transfers"]) == 20
        assert answer["intent"]["transferCount"] == 300
