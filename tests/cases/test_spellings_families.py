"""On Tron and TON, what is spelt otherwise is read, and what a node leaves out hides, invents and refuses no payment."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from chains.tron.address import to_hex
from chains.types import BalanceKey, VerificationOutcome
from devnet.receiver import receiver
from devnet.tron.index import Index
from devnet.tron.jsonrpc import CallRefused, JsonRpc
from devnet.tron.ledger import USDT, account
from devnet.tron.node import TronNode
from tests.chains.ton_world import OTHER, OWNER, owner_of, seen
from tests.chains.tron_world import SHOP, scan_all
from tests.e2e.tron_shop import fresh_address, run_tron_shop

HISTORY = "/v1/accounts/transactions/trc20"
RECEIPT = "/walletsolidity/gettransactioninfobyid"


async def paid_on(tron, grid, *, settle=60):
    """Return an adapter of a service, where it begins to read, and a payment."""
    adapter = await tron.adapter(grid)
    after = tron.start()
    paid = tron.ledger.transfer(SHOP, 5)
    tron.ledger.advance(settle)
    return adapter, after, paid


async def looked_at(adapter, found):
    return {look.transfer.tx_hash: look for look in await adapter.verify(found, head=await adapter.head())}


def capitals(log):
    return {
        "address": log["address"].upper(),
        "topics": [text.upper() for text in log["topics"]],
        "data": log["data"].upper(),
    }


def prefixed(log):
    return {
        "address": "0x" + log["address"],
        "topics": ["0x" + text for text in log["topics"]],
        "data": "0x" + log["data"],
    }


def as_an_account(log):
    return log | {"address": "41" + log["address"]}


# --- Tron: receipts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("spell", [capitals, prefixed, as_an_account])
@pytest.mark.parametrize("jsonrpc", [True, False])
async def test_events_of_receipts_are_read_however_they_are_spelt(tron, spell, jsonrpc, monkeypatch):
    """They were no transfers at all: nothing was found, and nothing said so."""
    whole = TronNode.info

    def info(grid, tx):
        reported = whole(grid, tx)
        return reported | {"log": [spell(log) for log in reported.get("log", [])]}

    monkeypatch.setattr(TronNode, "info", info)
    adapter, after, paid = await paid_on(tron, await tron.grid(jsonrpc=jsonrpc))
    found, _ = await scan_all(adapter, after)
    assert [(transfer.tx_hash, transfer.token) for transfer in found] == [(paid, USDT)]
    assert (await looked_at(adapter, found))[paid].outcome is VerificationOutcome.CREDITED


UNREADABLE = {
    "no status": {"receipt": {"net_usage": 345}},
    "a status that is null": {"receipt": {"result": None}},
    "a status that is a number": {"receipt": {"result": 1}},
    "nothing about the contract": {"receipt": None},
    "no events at all": {"log": []},
    "a topic that is a number": {"log": [{"address": to_hex(USDT), "topics": [7, 8, 9], "data": ""}]},
    "data that is no hex": {"log": [{"address": to_hex(USDT), "topics": [], "data": "five"}]},
    "seconds instead of milliseconds": {"blockTimeStamp": 1_790_000_061},
}


@pytest.mark.parametrize("jsonrpc", [True, False])
@pytest.mark.parametrize("strange", UNREADABLE)
async def test_a_receipt_that_leaves_something_out_neither_hides_nor_refuses_a_payment(tron, strange, jsonrpc):
    grid = await tron.grid(jsonrpc=jsonrpc)
    adapter, after, paid = await paid_on(tron, grid)
    grid.strange_receipts[paid] = UNREADABLE[strange]
    found, _ = await scan_all(adapter, after)
    assert [transfer.tx_hash for transfer in found] == [paid]
    look = (await looked_at(adapter, found))[paid]
    assert look.outcome is VerificationOutcome.NOT_YET
    assert "receipt" in look.why
    grid.strange_receipts.clear()
    assert (await looked_at(adapter, found))[paid].outcome is VerificationOutcome.CREDITED


async def test_an_event_its_receipt_does_not_show_is_reported_with_a_reason(tron):
    grid = await tron.grid()
    adapter, after, paid = await paid_on(tron, grid)
    other = {"address": to_hex(USDT), "topics": ["00" * 32], "data": ""}
    grid.strange_receipts[paid] = {"log": [other]}
    found, _ = await scan_all(adapter, after)
    assert [transfer.tx_hash for transfer in found] == [paid]
    assert (await looked_at(adapter, found))[paid].outcome is VerificationOutcome.NO_TRANSFER_LOG


async def test_a_payment_a_node_cannot_tell_the_end_of_waits_in_sight(tmp_path):
    async with receiver() as hooks, run_tron_shop(tmp_path, hooks) as shop:
        made = await shop.checkout(destination=(to := fresh_address()))
        tx = shop.ledger.transfer(to, 1000)
        shop.grid.strange_receipts[tx] = UNREADABLE["no status"]
        await shop.settle()
        chain = await shop.until_chain(lambda chain: chain["stuckCount"] == 1)
        assert chain["stuck"][0]["txHash"] == tx
        assert (await shop.api.intent(made["intentId"]))["status"] == "confirming"
        shop.grid.strange_receipts.clear()
        await shop.api.status_is(made["intentId"], "confirmed")


# --- Tron: logs and histories ----------------------------------------------------------------------------


async def test_a_log_that_comes_twice_is_one_transfer(tron, monkeypatch):
    """Its receipt is missing: what the log says is all there is, and 600 of 1000 is not 1200."""
    whole = JsonRpc._logs
    monkeypatch.setattr(JsonRpc, "_logs", lambda rpc, wanted: [row for row in whole(rpc, wanted) for _ in range(2)])
    grid = await tron.grid()
    adapter, after, paid = await paid_on(tron, grid)
    grid.strange_receipts[paid] = {}
    number = tron.ledger.by_id[paid].block
    whole_block = TronNode.receipts
    monkeypatch.setattr(
        TronNode,
        "receipts",
        lambda grid, name, asked, *, solid: whole_block(
            grid, name, asked if int(asked["num"]) != number else {"num": number - 1}, solid=solid
        ),
    )
    found, _ = await scan_all(adapter, after)
    assert [(transfer.tx_hash, transfer.amount) for transfer in found] == [(paid, 5)]


@pytest.mark.parametrize(
    "spell",
    [
        {"to": "41" + to_hex(SHOP)},
        {"to": "0x" + to_hex(SHOP)},
        {"to": None},
        {"to": {"address": SHOP}},
        {"value": 5},
        {"block_timestamp": "{time}"},
        {"from": "0x" + to_hex(account("buyer"))},
    ],
)
async def test_rows_of_histories_are_read_however_they_are_spelt(tron, spell):
    grid = await tron.grid(jsonrpc=False)
    adapter, after, paid = await paid_on(tron, grid)
    time = str(tron.ledger.time_of(paid))
    grid.spoilt_rows[paid] = {name: time if value == "{time}" else value for name, value in spell.items()}
    found, _ = await scan_all(adapter, after)
    assert [transfer.tx_hash for transfer in found] == [paid]
    assert (await looked_at(adapter, found))[paid].outcome is VerificationOutcome.CREDITED
    assert grid.calls[HISTORY] > 0
    assert grid.calls["/walletsolidity/gettransactioninfobyblocknum"] <= 1  # for a proof: no other way was needed


async def test_rows_of_others_are_still_nobodys(tron):
    grid = await tron.grid(jsonrpc=False)
    adapter, after, paid = await paid_on(tron, grid)
    grid.spoilt_rows[paid] = {"to": account("somebody else")}
    found, _ = await scan_all(adapter, after)
    assert found == []


@pytest.mark.parametrize("rows", ["no rows", "the same rows"])
async def test_a_next_page_that_is_promised_for_ever_hangs_nothing(tron, rows, monkeypatch):
    whole = Index._page

    def page(index, all_rows, asked):
        again = asked.pop("fingerprint", None) is not None
        answer = whole(index, [] if again and rows == "no rows" else all_rows, asked)
        body = orjson.loads(answer.body)
        body["meta"]["fingerprint"] = "again"
        answer.body = orjson.dumps(body)
        return answer

    monkeypatch.setattr(Index, "_page", page)
    grid = await tron.grid(jsonrpc=False)
    adapter, after, paid = await paid_on(tron, grid)
    async with asyncio.timeout(20):
        found, _ = await scan_all(adapter, after)
    assert [transfer.tx_hash for transfer in found] == [paid]
    assert grid.calls[HISTORY] <= 210


@pytest.mark.parametrize("code", [-32602, -32601, -39001])
async def test_json_rpc_that_does_not_know_what_is_finalized_delays_no_payment(tron, code, monkeypatch):
    whole = JsonRpc._height

    def height(rpc, tag):
        if tag == "finalized":
            raise CallRefused(code, "TAG finalized not supported")
        return whole(rpc, tag)

    monkeypatch.setattr(JsonRpc, "_height", height)
    grid = await tron.grid()
    adapter = await tron.adapter(grid)
    after = tron.start()
    for _ in range(4):
        paid = tron.ledger.transfer(SHOP, 5)
        tron.ledger.settle()
        found, after = await scan_all(adapter, after)
        assert [transfer.tx_hash for transfer in found] == [paid]


async def test_a_node_without_the_irreversible_route_still_tells_what_a_token_is(tron):
    grid = await tron.grid()
    grid.fail("/walletsolidity/triggerconstantcontract", status=404, body=b'{"error":"not found"}')
    adapter = await tron.adapter(grid)
    tron.start()
    meta = await adapter.token(USDT)
    assert (meta.symbol, meta.decimals) == ("USDT", 6)
    assert await adapter.self_test() == []


# --- TON -------------------------------------------------------------------------------------------------


def receiving_half(payment):
    return next(tx for tx in payment.transactions if tx["account"] == payment.wallet)


@pytest.mark.parametrize("network", ["-239", -239])
async def test_a_network_is_read_however_it_is_spelt(ton, network):
    center = await ton.center()
    center.network = network
    adapter = await ton.adapter(center)
    payment = ton.ledger.pay(OWNER)
    ton.ledger.advance()
    assert [transfer.tx_hash for transfer in await seen(adapter, OWNER)] == [payment.tx_hash]


@pytest.mark.parametrize(
    "leave_out",
    [
        lambda tx: tx["description"].pop("aborted"),
        lambda tx: tx["description"].update(aborted=None),
        lambda tx: tx["description"].update(aborted="false"),
        lambda tx: tx["description"].update(compute_ph=None),
        lambda tx: tx["description"]["compute_ph"].pop("success"),
        lambda tx: tx["description"]["compute_ph"].update(success=1),
        lambda tx: tx["description"]["action"].pop("success"),
        lambda tx: tx["in_msg"].update(bounced="no"),
        lambda tx: tx.update(description="ok"),
    ],
)
async def test_a_receiving_half_that_does_not_say_how_it_went_refuses_no_payment(ton, leave_out):
    """It counted as bounced, for good."""
    _, adapter = await ton.both()
    payment = ton.ledger.pay(OWNER)
    fine = ton.ledger.pay(OTHER)
    leave_out(receiving_half(payment))
    ton.ledger.advance()
    looks = await looked_at(adapter, await seen(adapter, OWNER, OTHER))
    assert looks[payment.tx_hash].outcome is VerificationOutcome.NOT_YET
    assert looks[payment.tx_hash].why is not None
    assert looks[fine.tx_hash].outcome is VerificationOutcome.CREDITED


@pytest.mark.parametrize("opcode", [None, "395134233", 395134233, "", "0x178D4519", {"name": "internal_transfer"}])
async def test_a_message_is_known_by_its_body_where_its_name_cannot_be_read(ton, opcode):
    _, adapter = await ton.both()
    payment = ton.ledger.pay(OWNER)
    receiving_half(payment)["in_msg"]["opcode"] = opcode
    ton.ledger.advance()
    looks = await looked_at(adapter, await seen(adapter, OWNER))
    assert looks[payment.tx_hash].outcome is VerificationOutcome.CREDITED


ROW_LIMITS = {
    "as TonCenter": (422, {"code": 422, "error": "limit is not allowed: 1000 > {}"}),
    "as a framework": (422, {"error": "query.limit: input should be less than or equal to {}"}),
    "400 without a word": (400, b""),
    "500 without a number": (500, {"error": "too many rows"}),
    "200 with an error inside": (200, {"ok": False, "code": 400, "error": "limit must not exceed {}"}),
}


@pytest.mark.parametrize("most", [100, 256])
@pytest.mark.parametrize("refusal", ROW_LIMITS)
async def test_an_index_that_shows_few_rows_is_asked_for_few_rows_and_not_for_few_owners(ton, refusal, most):
    """It looked as if it took one owner at a time: a thousand questions a poll, for hours."""
    center, adapter = await ton.both()
    status, body = ROW_LIMITS[refusal]
    said = {k: v.format(most) if isinstance(v, str) else v for k, v in body.items()} if isinstance(body, dict) else body
    center.most_rows, center.refusal = most, (status, said)
    owners = [owner_of(number) for number in range(300)]
    ton.ledger.coins = dict.fromkeys(owners, 3)
    paid = {ton.ledger.pay(owner).tx_hash for owner in owners[:120]}
    ton.ledger.advance()
    transfers = await seen(adapter, *owners)
    assert {transfer.tx_hash for transfer in transfers} == paid
    assert {look.outcome for look in (await looked_at(adapter, transfers)).values()} == {VerificationOutcome.CREDITED}
    again = await adapter.rescan(owners, since=ton.ledger.now - 600, until=ton.ledger.now)
    assert ({transfer.tx_hash for transfer in again.transfers}, again.unread) == (paid, {})
    assert sum(center.calls.values()) <= 60
    held = await adapter.balances([BalanceKey(owner, ton.ledger.master) for owner in owners])
    assert sum(1 for amount in held.amounts if amount) == 120
    fresh = await ton.adapter(center)
    coins = await fresh.balances([BalanceKey(owner, None) for owner in owners])
    assert coins.amounts == [3] * 300
    if "{}" in str(body):
        assert adapter._client.row_limits.of(adapter._pool.endpoints[0], "transactions").learnt == most


async def test_a_refusal_fewer_rows_did_not_help_is_not_tried_with_fewer_rows_again(ton):
    center, adapter = await ton.both()
    center.most_owners, center.refusal = 1, (500, {"error": "context deadline exceeded"})
    owners = [owner_of(number) for number in range(130)]
    await seen(adapter, *owners)
    asked = [len(question["owner_address"]) for question in center.questions("jetton/transfers")]
    assert [count for count in asked if count > 1] == [130, 130, 130, 65, 32, 16, 8, 4, 2]


async def test_wallets_that_leave_no_room_make_no_balance_zero(ton):
    """Strangers can list wallets that claim an owner: who is not shown any more is asked about apart."""
    center, adapter = await ton.both()
    center.most_rows, center.refusal = 100, (422, {"error": "limit is not allowed: 1000 > 100"})
    owners = [owner_of(number) for number in range(40)]
    for owner in owners:
        ton.ledger.pay(owner, 7)
    fake = {"jetton": ton.ledger.master, "balance": "9"}
    center.strangers = [{**fake, "owner": owners[0], "address": f"0:{n + 77:064X}"} for n in range(70)]
    ton.ledger.advance()
    held = await adapter.balances([BalanceKey(owner, ton.ledger.master) for owner in owners])
    assert held.amounts[1:] == [7] * 39


async def test_a_second_reading_names_whose_wallet_it_could_not_read(ton):
    """A row that came late is looked for there: what cannot be read is not nothing."""
    center, adapter = await ton.both()
    odd, fine = ton.ledger.pay(OWNER), ton.ledger.pay(OTHER)
    center.late_rows = {odd.tx_hash, fine.tx_hash}
    receiving_half(odd)["description"] = None
    ton.ledger.advance(60)
    again = await adapter.rescan([OWNER, OTHER], since=ton.ledger.now - 600, until=ton.ledger.now)
    assert [transfer.tx_hash for transfer in again.transfers] == [fine.tx_hash]
    assert set(again.unread) == {OWNER}
