"""Each fault of the proxy is what a client of a real endpoint would see, and ends when it is healed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from chains.evm.fee_proxy import EVENT_TOPIC
from devnet.evm.batch_refusals import BATCH_REFUSALS
from devnet.evm.faulty_rpc import FaultyRpc
from devnet.evm.generated_chain import PROXY, ChainSpec, GeneratedChain, block_hash, tx_hash
from devnet.evm.generated_node import serve

Call = tuple[str, list[Any]]
SCRIPT = ChainSpec(logs=200, blocks=100)  # two events a block in 1 to 100, then ten empty blocks
HEAD = 110


class Client:
    """Asks an endpoint as an adapter does."""

    def __init__(self, session: aiohttp.ClientSession, rpc: FaultyRpc) -> None:
        self._session = session
        self._rpc = rpc

    async def post(self, question: Any, timeout_s: float = 10) -> tuple[int, Any]:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with self._session.post(self._rpc.url, data=orjson.dumps(question), timeout=timeout) as response:
            self.headers = response.headers
            return response.status, await response.read()

    async def batch(self, *calls: Call) -> list[Any]:
        question = [{"jsonrpc": "2.0", "id": n, "method": m, "params": p} for n, (m, p) in enumerate(calls, start=5)]
        status, body = await self.post(question)
        assert status == 200
        return list(orjson.loads(body))

    async def ask(self, method: str, *params: Any) -> Any:
        status, body = await self.post({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
        assert status == 200
        answer = orjson.loads(body)
        assert answer["id"] == 7
        return answer.get("result", answer.get("error"))

    async def logs(self, first: int, last: int) -> Any:
        return await self.ask("eth_getLogs", span(first, last))


def span(first: int, last: int) -> dict[str, Any]:
    return {"address": PROXY, "topics": [EVENT_TOPIC], "fromBlock": hex(first), "toBlock": hex(last)}


@pytest.fixture
async def rpc() -> AsyncIterator[FaultyRpc]:
    async with serve(GeneratedChain(SCRIPT)) as target, FaultyRpc(target) as proxy:
        yield proxy


@pytest.fixture
async def client(rpc: FaultyRpc) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session, rpc)


async def test_without_faults_everything_passes_and_is_counted(rpc: FaultyRpc, client: Client) -> None:
    assert len(await client.logs(1, 100)) == 200
    answers = await client.batch(("eth_blockNumber", []), ("eth_chainId", []), ("eth_chainId", []))
    assert [(a["id"], a["result"]) for a in answers] == [(5, hex(HEAD)), (6, "0x61"), (7, "0x61")]
    assert rpc.calls == {"eth_getLogs": 1, "eth_blockNumber": 1, "eth_chainId": 2}
    assert rpc.requests == 2
    assert rpc.asked[0] == ("eth_getLogs", [span(1, 100)])


async def test_a_stale_endpoint_silently_knows_nothing_above_its_head(rpc: FaultyRpc, client: Client) -> None:
    rpc.stale_at = 40
    assert await client.ask("eth_blockNumber") == hex(40)
    assert (await client.ask("eth_getBlockByNumber", "latest", False))["number"] == hex(40)
    assert (await client.ask("eth_getBlockByNumber", hex(40), False))["hash"] == block_hash(40)
    assert await client.ask("eth_getBlockByNumber", hex(41), False) is None
    assert await client.ask("eth_getBlockByHash", block_hash(41), False) is None
    assert [int(log["blockNumber"], 16) for log in await client.logs(39, 60)] == [39, 39, 40, 40]
    assert await client.logs(41, 60) == []
    assert await client.ask("eth_getLogs", {"blockHash": block_hash(41)}) == []
    assert await client.ask("eth_getTransactionReceipt", tx_hash(SCRIPT.first_log(41))) is None
    assert (await client.ask("eth_getTransactionReceipt", tx_hash(SCRIPT.first_log(40))))["blockNumber"] == hex(40)
    rpc.heal()
    assert len(await client.logs(41, 60)) == 40


@pytest.mark.parametrize(("before", "after", "sees"), [(40, None, 40), (None, 40, HEAD)], ids=["ends", "begins"])
async def test_a_request_is_answered_as_of_one_moment_although_a_defect_changes_meanwhile(
    rpc: FaultyRpc, before: int | None, after: int | None, sees: int
) -> None:
    held = rpc.fail("eth_getLogs", hang=True)
    async with FaultyRpc(rpc.url) as front, aiohttp.ClientSession() as session:
        front.stale_at = before
        number, logs, block = (
            ("eth_blockNumber", []),
            ("eth_getLogs", [span(1, 100)]),
            ("eth_getBlockByNumber", [hex(60), False]),
        )
        asking = asyncio.create_task(Client(session, front).batch(number, logs, block))
        await rpc.called("eth_getLogs")
        front.stale_at = after
        held.times = 0
        rpc.release()
        answers = [answer["result"] for answer in await asking]

    assert answers[0] == hex(sees)
    assert {int(log["blockNumber"], 16) for log in answers[1]} == set(range(1, min(sees, 100) + 1))
    assert (answers[2] is not None) == (sees >= 60)


async def test_ranges_above_the_limit_are_refused_with_its_words(rpc: FaultyRpc, client: Client) -> None:
    rpc.max_range = 10
    assert len(await client.logs(1, 10)) == 20
    assert await client.logs(1, 11) == {"code": -32005, "message": "exceed maximum block range: 10"}
    rpc.range_error = (-32600, "at most {limit} blocks, please")
    assert await client.logs(1, 11) == {"code": -32600, "message": "at most 10 blocks, please"}


async def test_an_endpoint_without_logs_refuses_even_one_block(rpc: FaultyRpc, client: Client) -> None:
    rpc.max_range = 0
    assert (await client.logs(5, 5))["code"] == -32005


async def test_another_chain_id_is_claimed(rpc: FaultyRpc, client: Client) -> None:
    rpc.chain_id = 56
    assert await client.ask("eth_chainId") == "0x38"


async def test_logs_get_lost_repeated_and_reordered(rpc: FaultyRpc, client: Client) -> None:
    whole = await client.logs(1, 3)
    rpc.loses = lambda log: log["blockNumber"] == "0x2"
    assert await client.logs(1, 3) == whole[:2] + whole[4:]
    rpc.loses = None
    rpc.repeats_logs = True
    assert await client.logs(1, 1) == [whole[0], whole[0], whole[1], whole[1]]
    rpc.repeats_logs = False
    rpc.reorders_logs = True
    assert await client.logs(1, 3) == whole[::-1]


async def test_batches_are_refused_as_a_whole(rpc: FaultyRpc, client: Client) -> None:
    rpc.batches = False
    status, body = await client.post([{"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}])
    assert status == 200
    assert orjson.loads(body)["error"]["code"] == -32600
    assert await client.ask("eth_chainId") == "0x61"


async def test_answers_of_a_batch_come_in_another_order(rpc: FaultyRpc, client: Client) -> None:
    rpc.reorders_batches = True
    answers = await client.batch(("eth_chainId", []), ("eth_blockNumber", []))
    assert [(a["id"], a["result"]) for a in answers] == [(6, hex(HEAD)), (5, "0x61")]


async def test_a_status_with_headers_comes_so_often_and_no_more(rpc: FaultyRpc, client: Client) -> None:
    rpc.fail("eth_getLogs", status=429, headers={"Retry-After": "3"}, times=2)
    question = {"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [span(1, 1)]}
    for _ in range(2):
        status, body = await client.post(question)
        assert (status, body, client.headers["Retry-After"]) == (429, b"status 429", "3")
        assert await client.ask("eth_chainId") == "0x61"
    assert len(await client.logs(1, 1)) == 2


async def test_a_fault_of_the_whole_request_is_used_once_by_a_batch(rpc: FaultyRpc, client: Client) -> None:
    rpc.fail(status=500, times=1)
    rpc.fail(status=503, times=1)
    batch = [{"jsonrpc": "2.0", "id": n, "method": "eth_chainId", "params": []} for n in range(3)]
    assert [(await client.post(batch))[0] for _ in range(3)] == [500, 503, 200]


async def test_an_error_of_one_call_leaves_the_rest_of_its_batch(rpc: FaultyRpc, client: Client) -> None:
    rpc.fail("eth_chainId", error=(-32000, "header not found"), times=1)
    first, second, third = await client.batch(("eth_chainId", []), ("eth_chainId", []), ("eth_blockNumber", []))
    assert first["error"] == {"code": -32000, "message": "header not found"}
    assert (second["result"], third["result"]) == ("0x61", hex(HEAD))


async def test_a_result_can_be_made_up(rpc: FaultyRpc, client: Client) -> None:
    rpc.fail("eth_getBlockByNumber", result=None, times=1)
    rpc.fail("eth_getBlockByNumber", result=lambda params: {"number": params[0]}, times=1)
    assert await client.ask("eth_getBlockByNumber", "0x5", False) is None
    assert await client.ask("eth_getBlockByNumber", "0x5", False) == {"number": "0x5"}


async def test_an_answer_that_is_no_json(rpc: FaultyRpc, client: Client) -> None:
    rpc.fail(body=b"<html>busy</html>", times=1)
    assert await client.post({"id": 1, "method": "eth_chainId"}) == (200, b"<html>busy</html>")


async def test_a_truncated_answer_breaks_off(rpc: FaultyRpc, client: Client) -> None:
    rpc.fail("eth_getLogs", truncate=True, times=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.logs(1, 100)
    assert len(await client.logs(1, 100)) == 200


async def test_a_closed_connection_gives_no_answer(rpc: FaultyRpc, client: Client) -> None:
    rpc.fail("eth_chainId", close=True, times=1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.ask("eth_chainId")
    assert await client.ask("eth_chainId") == "0x61"


async def test_a_hanging_call_waits_until_it_is_let_go(rpc: FaultyRpc, client: Client) -> None:
    rpc.fail("eth_chainId", hang=True, times=1)
    hanging = asyncio.create_task(client.ask("eth_chainId"))
    await rpc.called("eth_chainId")
    assert await client.ask("eth_blockNumber") == hex(HEAD)  # others are served meanwhile
    assert not hanging.done()
    rpc.release()
    assert await hanging == "0x61"


async def test_a_client_gives_up_on_what_hangs_or_is_slow(rpc: FaultyRpc, client: Client) -> None:
    rpc.fail("eth_chainId", hang=True, times=1)
    rpc.fail("eth_chainId", delay_s=5, times=1)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await client.post({"id": 1, "method": "eth_chainId"}, timeout_s=0.05)


async def test_closing_lets_go_of_what_hangs() -> None:
    async with asyncio.timeout(5), serve(GeneratedChain(SCRIPT)) as target, aiohttp.ClientSession() as session:
        async with FaultyRpc(target) as rpc:
            rpc.fail(hang=True)
            hanging = asyncio.create_task(session.post(rpc.url, data=b'{"id":1,"method":"eth_chainId"}'))
            await rpc.called("eth_chainId")
        (outcome,) = await asyncio.gather(hanging, return_exceptions=True)
        if isinstance(outcome, aiohttp.ClientResponse):
            outcome.release()


async def test_healing_ends_every_fault(rpc: FaultyRpc, client: Client) -> None:
    rpc.stale_at, rpc.max_range, rpc.chain_id, rpc.batches = 3, 0, 1, False
    rpc.fail(status=500)
    rpc.heal()
    chain_id, logs = await client.batch(("eth_chainId", []), ("eth_getLogs", [span(1, 100)]))
    assert (chain_id["result"], len(logs["result"])) == ("0x61", 200)


# --- what public endpoints were seen to do --------------------------------------------------------


@pytest.mark.parametrize("how", [how for how in BATCH_REFUSALS if how != "cut"])
async def test_a_batch_that_is_too_large_is_refused_in_each_spelling(client: Client, rpc: FaultyRpc, how: str) -> None:
    rpc.most_calls, rpc.batch_refusal = 3, how
    assert len(await client.batch(*[("eth_chainId", [])] * 3)) == 3
    question = [{"jsonrpc": "2.0", "id": n, "method": "eth_chainId", "params": []} for n in range(4)]
    status, body = await client.post(question)
    named = {"object": 200, "first_id": 200, "sentence": 200, "nothing": 200, "each": 500}
    assert status == (named[how] if how in named else int(how))
    if how == "each":
        assert [answer["error"]["code"] for answer in orjson.loads(body)] == [31] * 4
    if how == "first_id":
        assert [answer["id"] for answer in orjson.loads(body)] == [0]


async def test_a_batch_that_is_too_large_may_be_cut_off(client: Client, rpc: FaultyRpc) -> None:
    rpc.most_calls, rpc.batch_refusal = 1, "cut"
    with pytest.raises(aiohttp.ClientError):
        await client.batch(("eth_chainId", []), ("eth_chainId", []))


async def test_shapes_of_a_question_for_logs_are_refused(client: Client, rpc: FaultyRpc) -> None:
    rpc.needs_address, rpc.most_topics, rpc.most_rows = True, 2, 3
    anywhere = {name: value for name, value in span(1, 1).items() if name != "address"}
    assert (await client.ask("eth_getLogs", anywhere))["code"] == -32701
    crowded = {**span(1, 1), "topics": [[EVENT_TOPIC, "0x" + "0" * 64, "0x" + "1" * 64]]}
    assert (await client.ask("eth_getLogs", crowded))["code"] == -32602
    assert len(await client.logs(1, 1)) == 2
    assert "more than 3 results" in (await client.logs(1, 2))["message"]


async def test_an_endpoint_may_not_know_what_is_final_nor_a_receipt_nor_a_method(
    client: Client, rpc: FaultyRpc
) -> None:
    rpc.knows_finalized, rpc.unserved = False, frozenset({"eth_getBlockReceipts"})
    rpc.without_receipt = lambda tx: tx == tx_hash(0)
    assert (await client.ask("eth_getBlockByNumber", "finalized", False))["code"] == -39001
    assert (await client.ask("eth_getBlockReceipts", "0x1"))["code"] == -32601
    assert await client.ask("eth_getTransactionReceipt", tx_hash(0)) is None
    assert (await client.ask("eth_getTransactionReceipt", tx_hash(1)))["status"] == "0x1"


async def test_an_endpoint_may_number_logs_its_own_way_and_add_fields(client: Client, rpc: FaultyRpc) -> None:
    plain = await client.logs(1, 1)
    before = await client.ask("eth_getTransactionReceipt", plain[0]["transactionHash"])
    rpc.renumbers, rpc.odd_fields = 7, True
    shown = await client.logs(1, 1)
    assert [int(log["logIndex"], 16) for log in shown] == [int(log["logIndex"], 16) + 7 for log in plain]
    assert isinstance(shown[0]["blockTimestamp"], int)
    receipt = await client.ask("eth_getTransactionReceipt", shown[0]["transactionHash"])
    assert int(receipt["logs"][0]["logIndex"], 16) == int(before["logs"][0]["logIndex"], 16) + 7


async def test_an_endpoint_may_make_up_a_head(client: Client, rpc: FaultyRpc) -> None:
    rpc.lies_ahead = 975
    assert int((await client.ask("eth_getBlockByNumber", "latest", False))["number"], 16) == HEAD + 975
    assert int(await client.ask("eth_blockNumber"), 16) == HEAD + 975
    made_up = await client.ask("eth_getBlockByNumber", hex(HEAD + 900), False)
    assert made_up["hash"] == f"0x{HEAD + 900:064x}"
    assert (await client.ask("eth_getBlockByNumber", hex(HEAD), False))["hash"] == block_hash(HEAD)


async def test_an_answer_may_come_with_large_headers(rpc: FaultyRpc) -> None:
    rpc.big_headers = True
    async with aiohttp.ClientSession(max_field_size=65_536, max_headers=1_000) as session:
        client = Client(session, rpc)
        assert await client.ask("eth_blockNumber") == hex(HEAD)
        assert len(client.headers["X-Policy"]) == 9_000
        assert len(client.headers) > 200
