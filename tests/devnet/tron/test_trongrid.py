"""The TronGrid stand-in behaves like the service it stands for, with its limits and its faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from chains.tron.address import to_hex, topic
from devnet.tron.ledger import APPROVAL, CHAIN_ID, SLOT_MS, TRANSFER, USDT, TronLedger, account
from devnet.tron.trongrid import TronGrid

SHOP = account("shop")
HISTORY = f"/v1/accounts/{SHOP}/transactions/trc20"
ASCENDING = {"order_by": "block_timestamp,asc"}


class Asked:
    """The service as a client sees it."""

    def __init__(self, grid: TronGrid, session: aiohttp.ClientSession) -> None:
        self.grid = grid
        self.ledger = grid.ledger
        self._session = session

    async def raw(self, path: str, body: Any = None, **params: str) -> tuple[int, Any]:
        verb, data = ("GET", None) if body is None else ("POST", orjson.dumps(body))
        async with self._session.request(verb, self.grid.url + path, params=params, data=data) as response:
            return response.status, orjson.loads(await response.read() or b"null")

    async def get(self, path: str, **params: str) -> Any:
        return (await self.raw(path, **params))[1]

    async def post(self, path: str, **body: Any) -> Any:
        return (await self.raw(path, body))[1]

    async def rpc(self, method: str, *params: Any) -> Any:
        answer = await self.post("/jsonrpc", jsonrpc="2.0", id=1, method=method, params=list(params))
        return answer.get("result", answer.get("error"))


@pytest.fixture
async def service() -> AsyncIterator[Asked]:
    ledger = TronLedger(busy=False)
    ledger.advance(30)
    async with TronGrid(ledger) as grid, aiohttp.ClientSession() as session:
        yield Asked(grid, session)


async def test_the_two_sides_of_a_node_differ_by_what_is_not_solid(service: Asked) -> None:
    newest = await service.post("/wallet/getnowblock")
    solid = await service.post("/walletsolidity/getnowblock")
    assert newest["block_header"]["raw_data"]["number"] == 30
    assert solid["block_header"]["raw_data"]["number"] == 11
    assert (
        newest["block_header"]["raw_data"]["timestamp"] - SLOT_MS * 19 == solid["block_header"]["raw_data"]["timestamp"]
    )
    assert await service.post("/walletsolidity/getblock", id_or_num="12", detail=False) == {}
    assert (await service.post("/wallet/getblockbynum", num=12))["blockID"].startswith(f"{12:016x}")


async def test_the_genesis_block_tells_the_chain_and_leaves_zeros_out(service: Asked) -> None:
    genesis = await service.post("/walletsolidity/getblock", id_or_num="0", detail=False)
    assert int(genesis["blockID"][-8:], 16) == CHAIN_ID
    assert "number" not in genesis["block_header"]["raw_data"]
    assert await service.rpc("eth_chainId") == hex(CHAIN_ID)


async def test_a_receipt_is_there_for_good_once_its_block_is_solid(service: Asked) -> None:
    paid = service.ledger.transfer(SHOP, 5)
    service.ledger.advance()
    assert await service.post("/walletsolidity/gettransactioninfobyid", value=paid) == {}
    early = await service.post("/wallet/gettransactioninfobyid", value=paid)
    service.ledger.settle()
    info = await service.post("/walletsolidity/gettransactioninfobyid", value=paid)
    assert info == early
    assert info["receipt"]["result"] == "SUCCESS"
    assert info["blockTimeStamp"] == service.ledger.time_of(paid)
    assert info["log"] == [
        {"address": to_hex(USDT), "topics": [TRANSFER, topic(account("buyer")), topic(SHOP)], "data": f"{5:064x}"}
    ]
    assert await service.post("/walletsolidity/gettransactioninfobyblocknum", num=info["blockNumber"]) == [info]


async def test_a_failed_transaction_says_so_in_two_places_and_moves_nothing(service: Asked) -> None:
    failed = service.ledger.fail(SHOP, 5)
    service.ledger.settle()
    info = await service.post("/walletsolidity/gettransactioninfobyid", value=failed)
    assert (info["result"], info["receipt"]["result"], "log" in info) == ("FAILED", "REVERT", False)
    assert (await service.get(HISTORY))["data"] == []


async def test_history_shows_everything_newest_first_unless_told_otherwise(service: Asked) -> None:
    paid = service.ledger.transfer(SHOP, 5)
    approved = service.ledger.approve(SHOP, 6)
    service.ledger.settle()
    sent = service.ledger.transfer(account("buyer"), 1, sender="shop")
    service.ledger.advance()
    rows = (await service.get(HISTORY, only_confirmd="true"))["data"]  # misspelt: ignored without a word
    assert [row["transaction_id"] for row in rows] == [sent, approved, paid]
    assert [row["type"] for row in rows] == ["Transfer", "Approval", "Transfer"]
    confirmed = (await service.get(HISTORY, only_confirmed="true", only_to="true", **ASCENDING))["data"]
    assert [row["transaction_id"] for row in confirmed] == [paid, approved]
    assert confirmed[0] == {
        "transaction_id": paid,
        "token_info": {"symbol": "USDT", "address": USDT, "decimals": 6, "name": "USDT"},
        "block_timestamp": service.ledger.time_of(paid),
        "from": account("buyer"),
        "to": SHOP,
        "type": "Transfer",
        "value": "5",
    }
    assert len((await service.get(HISTORY, only_unconfirmed="true"))["data"]) == 1
    assert len((await service.get(HISTORY, only_from="true"))["data"]) == 1
    assert len((await service.get(HISTORY, contract_address=account("other")))["data"]) == 0


async def test_pages_hold_20_rows_at_most_200_and_go_on_by_fingerprint(service: Asked) -> None:
    paid = []
    for _ in range(410):
        paid.append(service.ledger.transfer(SHOP, 1))
        service.ledger.advance()
    assert len((await service.get(HISTORY))["data"]) == 20
    seen: list[str] = []
    more: dict[str, str] = {}
    for rows in (200, 200, 10):
        page = await service.get(HISTORY, limit="5000", **ASCENDING, **more)
        assert page["meta"]["page_size"] == rows == len(page["data"])
        seen += [row["transaction_id"] for row in page["data"]]
        more = {"fingerprint": page["meta"].get("fingerprint", "")}
    assert more == {"fingerprint": ""}
    assert seen == paid


async def test_times_bound_a_page_on_both_sides(service: Asked) -> None:
    paid = []
    for _ in range(4):
        paid.append(service.ledger.transfer(SHOP, 1))
        service.ledger.advance()
    first, last = (str(service.ledger.time_of(paid[place])) for place in (1, 2))
    rows = (await service.get(HISTORY, min_timestamp=first, max_timestamp=last, **ASCENDING))["data"]
    assert [row["transaction_id"] for row in rows] == paid[1:3]


async def test_the_faults_of_paging_can_be_switched_on(service: Asked) -> None:
    paid = []
    for _ in range(5):
        paid.append(service.ledger.transfer(SHOP, 1))
        service.ledger.advance()
    service.grid.drops_fingerprint = True
    assert "fingerprint" not in (await service.get(HISTORY, limit="2", **ASCENDING))["meta"]
    service.grid.heal()
    service.grid.repeats_rows = True
    page = await service.get(HISTORY, limit="2", **ASCENDING)
    again = await service.get(HISTORY, limit="2", fingerprint=page["meta"]["fingerprint"], **ASCENDING)
    assert [row["transaction_id"] for row in again["data"]] == paid[1:3]
    service.grid.heal()
    service.grid.reverses_rows = True
    assert (await service.get(HISTORY, **ASCENDING))["data"][0]["transaction_id"] == paid[-1]
    service.grid.heal()
    service.grid.ignores_confirmed = True
    assert len((await service.get(HISTORY, only_confirmed="true"))["data"]) == 5
    service.grid.stale_at = service.ledger.time_of(paid[1])
    assert len((await service.get(HISTORY))["data"]) == 2


async def test_events_of_a_contract_count_within_the_transaction_and_spell_addresses_in_hex(service: Asked) -> None:
    service.ledger.transfers([(USDT, account("other"), 1), (USDT, SHOP, 5)])
    service.ledger.approve(SHOP, 6)
    service.ledger.advance()
    (_, event) = (await service.get(f"/v1/contracts/{USDT}/events", event_name="Transfer", **ASCENDING))["data"]
    assert (event["event_index"], event["result"]["to"], event["result"]["value"]) == (1, "0x" + to_hex(SHOP), "5")
    assert event["_unconfirmed"] is True
    service.ledger.settle()
    events = (await service.get(f"/v1/transactions/{event['transaction_id']}/events", **ASCENDING))["data"]
    assert [("_unconfirmed" in row, row["event_index"]) for row in events] == [(False, 0), (False, 1)]


def _filter(first: str, last: str, *places: Any, **more: Any) -> dict[str, Any]:
    return {"fromBlock": first, "toBlock": last, "topics": list(places), **more}


async def test_logs_are_found_by_topic_and_count_within_the_block(service: Asked) -> None:
    service.ledger.transfer(account("other"), 1)
    paid = service.ledger.transfer(SHOP, 5)
    service.ledger.settle()
    wanted = [f"0x{TRANSFER}", None, [f"0x{topic(SHOP)}"]]
    (row,) = await service.rpc("eth_getLogs", _filter("0x0", "finalized", *wanted))
    assert (row["transactionHash"], row["logIndex"], row["address"]) == (f"0x{paid}", "0x1", f"0x{to_hex(USDT)}")
    assert row["data"] == f"0x{5:064x}"
    assert await service.rpc("eth_getLogs", _filter("0x0", "0x5", *wanted)) == []
    assert len(await service.rpc("eth_getLogs", _filter("0x0", "latest", address=f"0x{to_hex(USDT)}"))) == 2
    service.grid.blind_below = 2**62
    assert await service.rpc("eth_getLogs", _filter("0x0", "latest", *wanted)) == []
    assert len(await service.rpc("eth_getLogs", _filter("0x0", "latest"))) == 2  # unfiltered needs no index


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (_filter("0x0", "safe"), "TAG safe not supported"),
        (_filter("0x0", "pending"), "TAG pending not supported"),
        (_filter("0x5", "0x4"), "fromBlock <= toBlock"),
        (_filter("0x0", "0x1", address=[USDT]), "invalid address"),
        (_filter("0x0", "0x1", *[None] * 5), "topics size"),
        (
            _filter("0x0", "0x1", ["0x" + "0" * 64] * 1, [f"0x{n:064x}" for n in range(1001)]),
            "exceed max sub topics: 1000",
        ),
    ],
)
async def test_queries_are_limited_as_they_are_upstream(service: Asked, query: dict[str, Any], words: str) -> None:
    refusal = await service.rpc("eth_getLogs", query)
    assert refusal["code"] == -32602
    assert words in refusal["message"]


async def test_five_thousand_blocks_are_the_longest_range(service: Asked) -> None:
    service.ledger.advance(5_010)
    assert await service.rpc("eth_getLogs", _filter("0x0", hex(5000))) == []
    assert (await service.rpc("eth_getLogs", _filter("0x0", hex(5001))))["message"] == "exceed max block range: 5000"


async def test_state_is_reported_for_latest_alone(service: Asked) -> None:
    service.ledger.transfer(SHOP, 5)
    service.ledger.advance()
    call = {"to": "0x" + to_hex(USDT), "data": "0x70a08231" + topic(SHOP)}
    assert await service.rpc("eth_call", call, "latest") == f"0x{5:064x}"
    assert (await service.rpc("eth_call", call, "0x1"))["code"] == -32602
    solid = await service.post(
        "/walletsolidity/triggerconstantcontract",
        contract_address=USDT,
        function_selector="balanceOf(address)",
        parameter=topic(SHOP),
    )
    assert solid["constant_result"] == ["0" * 64]


async def test_a_hundred_calls_are_the_longest_batch(service: Asked) -> None:
    calls = [{"jsonrpc": "2.0", "id": n, "method": "eth_blockNumber", "params": []} for n in range(101)]
    assert [answer["id"] for answer in (await service.raw("/jsonrpc", calls[:100]))[1]] == [*range(100)]
    assert "exceed max batch size" in (await service.raw("/jsonrpc", calls))[1]["error"]["message"]


async def test_a_suspension_comes_without_retry_after_and_passes(service: Asked) -> None:
    service.grid.suspend(30)
    status, body = await service.raw(HISTORY)
    assert (status, "suspended for 30s" in body["Error"]) == (429, True)
    service.grid.overload()
    assert await service.raw(HISTORY) == (
        200,
        {"Error": "this node has a lack of computing resources, please try again later"},
    )
    assert (await service.raw(HISTORY))[0] == 200


async def test_calls_are_counted_by_route_and_by_method(service: Asked) -> None:
    await service.get(HISTORY)
    await service.rpc("eth_blockNumber")
    assert service.grid.calls == {"/v1/accounts/transactions/trc20": 1, "/jsonrpc": 1, "eth_blockNumber": 1}
    assert service.grid.keys == [None, None]
    assert service.grid.requests == 2


async def test_what_hangs_is_let_go(service: Asked) -> None:
    service.grid.fail(hang=True, times=1)
    asked = asyncio.create_task(service.get(HISTORY))
    await service.grid.called("/v1/accounts/transactions/trc20")
    service.grid.release()
    assert (await asked)["success"] is True


def test_balances_follow_every_move() -> None:
    ledger = TronLedger(busy=False)
    ledger.transfer(SHOP, 5)
    ledger.advance()
    ledger.transfer(account("other"), 2, sender="shop")
    ledger.send_coin(SHOP, 7)
    ledger.advance()
    assert [ledger.balance(SHOP, USDT, at) for at in (0, 1, 2)] == [0, 5, 3]
    assert ledger.balance(SHOP, None, 2) == 7


def test_missed_slots_leave_a_gap_in_time_and_none_in_numbers() -> None:
    ledger = TronLedger(busy=False)
    ledger.advance(3, missed=2)
    gaps = [later - earlier for earlier, later in zip(ledger.times, ledger.times[1:], strict=False)]
    assert gaps == [3 * SLOT_MS, SLOT_MS, SLOT_MS]
    assert ledger.number_at(ledger.times[2] - 1) == 1
    assert APPROVAL != TRANSFER
