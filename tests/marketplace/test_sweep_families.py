"""Sweeps of Tron and TON: transactions as their chains write them, each purpose sent once."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from pytoniq.contract.wallets import wallet as ton_library
from pytoniq.contract.wallets.wallet_v5 import WalletV5R1
from pytoniq_core.boc.address import Address
from pytoniq_core.boc.cell import Cell

from addresses import ton, tron
from devnet.fault_server import serving
from marketplace.payments.sweeps.tron import LIFE_MS, transfer_data, unsigned
from marketplace.payments.sweeps.tron_node import GENESIS
from marketplace.payments.ton_wallets import KEY_AT, WalletState, address_cell, jetton_transfer
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import Running, environment, running
from tests.marketplace.test_sweeps import BUILD

TRON_ID, TON_ID = 728126428, 1100
TEN = 10 * 10**6
TRON_LIST = ["TJRabPrwbZy45sbavfcjinPJC18kjpRTv8", "TVjsyZ7fYF3qLF6BQgPmTEZy1xrNNyVAAA"]
TON_WALLET = "EQB3ncyBUTjZUA5EnFKR5_EnOMI9V1tTEAAPaiU71gc4TiUt"
TO_TRON, TO_TON = "TT67rPNwgmpeimvHUMVzFfKsjL9GZ1wGw8", "EQDtFpEwcFAEcRe5mLVh2N6C0x-_hJEM7W61_JLnSF74p4q2"
JETTONS = "0:" + "5E" * 32


class Node:
    """A node of either family: answers by route, which a test may change."""

    def __init__(self, answers: Mapping[str, Callable[[Any], Any]]) -> None:
        self.url = ""
        self.answers = dict(answers)

    async def serve(self, request: web.Request) -> web.Response:
        raw = await request.read()
        asked = orjson.loads(raw) if raw else dict(request.query)
        return web.Response(body=orjson.dumps(self.answers[request.path](asked)))


@asynccontextmanager
async def serves(answers: Mapping[str, Callable[[Any], Any]]) -> AsyncIterator[Node]:
    node = Node(answers)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", node.serve)
    async with serving(app) as url:
        node.url = url
        yield node


def block(number: int, at_ms: int) -> dict[str, Any]:
    return {
        "blockID": f"{number:016x}" + "ab" * 24,
        "block_header": {"raw_data": {"number": number, "timestamp": at_ms}},
    }


@pytest.fixture
async def tron_node(clock: FakeClock) -> AsyncIterator[Node]:
    async with serves(
        {
            "/wallet/getblockbynum": lambda _: {"blockID": GENESIS},
            "/walletsolidity/getnowblock": lambda _: block(70_000_000, clock.now_ms() - 60_000),
            "/wallet/getchainparameters": lambda _: {"chainParameter": [{"key": "getEnergyFee", "value": 210}]},
            "/walletsolidity/gettransactioninfobyid": lambda _: {},
            "/wallet/getaccount": lambda _: {"balance": 1_000_000},
            "/wallet/triggerconstantcontract": lambda asked: {
                "result": {"result": True},
                "energy_used": 65_000,
                "constant_result": [f"{TEN if asked['function_selector'].startswith('balanceOf') else 1:064x}"],
            },
        }
    ) as found:
        yield found


CODE = {"v3": list(KEY_AT)[1], "v4": list(KEY_AT)[2], "v5": list(KEY_AT)[3]}


@pytest.fixture
async def ton_node() -> AsyncIterator[Node]:
    state = {
        "address": ton.canonical(TON_WALLET),
        "balance": "50000000",
        "code_hash": base64.b64encode(bytes.fromhex(CODE["v4"])).decode(),
        "status": "active",
        "seqno": 7,
        "wallet_id": 698983191,
    }
    jettons = {"address": JETTONS, "owner": state["address"], "balance": str(TEN)}
    async with serves(
        {
            "/api/v3/masterchainInfo": lambda _: {"last": {"global_id": -239}},
            "/api/v3/walletStates": lambda _: {"wallets": [state]},
            "/api/v3/runGetMethod": lambda _: {
                "exit_code": 0,
                "stack": [{"type": "slice", "value": address_cell(JETTONS)}],
            },
            "/api/v3/jetton/wallets": lambda _: {"jetton_wallets": [{**jettons, "address": "0:" + "66" * 32}, jettons]},
        }
    ) as found:
        yield found


@asynccontextmanager
async def market_of(folder: Path, scanner: FakeScanner, clock: FakeClock, **more: str) -> AsyncIterator[Running]:
    escrows = orjson.dumps({str(TRON_ID): TRON_LIST, str(TON_ID): [TON_WALLET]}).decode()
    env = environment(folder, scanner.url, MARKETPLACE_ESCROW_ADDRESSES=escrows, **more)
    async with running(env, clock=clock) as found:
        yield found


async def ordered(market: Running, scanner: FakeScanner, clock: FakeClock, chain_id: int) -> AcceptedPurchase:
    purchase = await accept_purchase(market, scanner, clock)
    await purchase.open("direct", chainId=chain_id)
    assert (await purchase.hook(scanner.pay(purchase.payment_id)))[1]["data"]["outcome"] == "funded"
    assert (await purchase.refund(TO_TRON if chain_id == TRON_ID else TO_TON))[0] == 200
    return purchase


async def build(market: Running, chain_id: int) -> tuple[dict[str, Any], dict[str, Any]]:
    market.admin.token = market.marketplace.services.tokens.issue(market.admin.user_id, "admin")
    body = {"chainId": chain_id, "token": "USDT", "purpose": "instructions"}
    answer = (await market.admin.ok("POST", BUILD, body))["sweep"]
    return answer, orjson.loads(answer["file"])


# -- Tron ----------------------------------------------------------------------------------------------


def fields(raw: bytes) -> dict[int, Any]:
    """Read a protobuf message, by itself and not with what wrote it."""
    found: dict[int, Any] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = raw[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(raw):
        key = varint()
        if key & 7 == 0:
            found[key >> 3] = varint()
        else:
            length = varint()
            found[key >> 3] = raw[at : at + length]
            at += length
    return found


def test_a_transaction_of_tron_says_in_its_bytes_what_it_says_in_its_fields() -> None:
    owner, token, to = TRON_LIST[0], "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", TRON_LIST[1]
    made = unsigned(
        owner=owner,
        token=token,
        data=transfer_data(to, TEN),
        block_number=70_000_000,
        block_id=f"{70_000_000:016x}" + "ab" * 24,
        timestamp=1_790_000_000_000,
        expires_at=1_790_000_043_000,
    )

    raw = bytes.fromhex(made["raw_data_hex"])
    told = fields(raw)
    contract = fields(told[11])
    call = fields(fields(contract[2])[2])
    assert made["txID"] == hashlib.sha256(raw).hexdigest()
    assert (told[1].hex(), told[4].hex()) == (f"{70_000_000:016x}"[12:16], "ab" * 8)
    assert (told[8], told[14], told[18]) == (1_790_000_043_000, 1_790_000_000_000, 100_000_000)
    assert (contract[1], fields(contract[2])[1]) == (31, b"type.googleapis.com/protocol.TriggerSmartContract")
    assert (call[1].hex(), call[2].hex()) == (f"41{tron.to_hex(owner)}", f"41{tron.to_hex(token)}")
    assert call[4].hex() == f"a9059cbb{tron.to_hex(to):0>64}{TEN:064x}"


async def test_a_sweep_of_tron_is_the_same_transaction_until_it_expired(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock, tron_node: Node
) -> None:
    async with market_of(tmp_path, fake_scanner, clock, TRONGRID_URL=tron_node.url) as market:
        await ordered(market, fake_scanner, clock, TRON_ID)
        _, first = await build(market, TRON_ID)
        clock.advance(3600)
        _, again = await build(market, TRON_ID)
        clock.advance(LIFE_MS // 1000)
        _, expired = await build(market, TRON_ID)
        sent_id = expired["transfers"][0]["transaction"]["txID"]
        tron_node.answers["/walletsolidity/gettransactioninfobyid"] = lambda asked: (
            {"id": asked["value"]} if asked["value"] == sent_id else {}
        )
        clock.advance(LIFE_MS // 500)

        sent, _ = await build(market, TRON_ID)

    [one], [same], [other] = first["transfers"], again["transfers"], expired["transfers"]
    assert (one["from"], one["to"], one["amount"], one["path"]) == (TRON_LIST[0], TO_TRON, str(TEN), None)
    assert one["transaction"] == same["transaction"]
    assert one["transaction"]["txID"] != other["transaction"]["txID"]
    assert (sent["count"], sent["skipped"][0]["reason"]) == (0, "sent_already")
    needed = 65_000 * 210 + 400_000
    assert first["coins"] == [
        {"address": TRON_LIST[0], "neededSun": str(needed), "missingSun": str(needed - 1_000_000)}
    ]


async def test_on_tron_nothing_else_is_built_while_a_transaction_may_still_be_sent(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock, tron_node: Node
) -> None:
    treasury = orjson.dumps({str(TRON_ID): TRON_LIST[1]}).decode()
    more = {"TRONGRID_URL": tron_node.url, "MARKETPLACE_TREASURY_ADDRESSES": treasury}
    async with market_of(tmp_path, fake_scanner, clock, **more) as market:
        purchase = await accept_purchase(market, fake_scanner, clock)
        await purchase.open("direct", chainId=TRON_ID)
        await purchase.hook(fake_scanner.pay(purchase.payment_id))
        await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))
        body = {"chainId": TRON_ID, "token": "USDT", "purpose": "treasury"}
        swept = (await market.admin.ok("POST", BUILD, body))["sweep"]
        assert (await purchase.release(TO_TRON))[0] == 200

        waits, _ = await build(market, TRON_ID)
        clock.advance(LIFE_MS // 500)
        after, _ = await build(market, TRON_ID)

    assert (swept["count"], waits["count"], after["count"]) == (1, 0, 1)
    assert [each["reason"] for each in waits["skipped"]] == ["another_waits"]


@pytest.mark.parametrize(
    ("route", "lie"),
    [
        ("/wallet/getblockbynum", {"blockID": "00" * 32}),
        ("/walletsolidity/getnowblock", {}),
        ("/walletsolidity/getnowblock", {"blockID": "zz" * 32, "block_header": {"raw_data": {}}}),
        ("/wallet/getaccount", {"balance": -1}),
        ("/wallet/getaccount", []),
        ("/wallet/triggerconstantcontract", {"result": {"result": True}, "constant_result": ["zz"]}),
        ("/wallet/getchainparameters", {"chainParameter": "many"}),
        ("/walletsolidity/gettransactioninfobyid", {"Error": "busy"}),
    ],
)
async def test_a_node_of_tron_that_answers_nonsense_builds_nothing(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock, tron_node: Node, route: str, lie: Any
) -> None:
    async with market_of(tmp_path, fake_scanner, clock, TRONGRID_URL=tron_node.url) as market:
        await ordered(market, fake_scanner, clock, TRON_ID)
        await build(market, TRON_ID)
        tron_node.answers[route] = lambda _: lie

        body = {"chainId": TRON_ID, "token": "USDT", "purpose": "instructions"}
        assert await market.admin.refused("POST", BUILD, body) == (503, "node_unavailable")


# -- TON -----------------------------------------------------------------------------------------------


async def test_a_sweep_of_ton_is_a_message_of_the_wallets_next_number(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock, ton_node: Node
) -> None:
    async with market_of(tmp_path, fake_scanner, clock, TONCENTER_URL=ton_node.url) as market:
        await ordered(market, fake_scanner, clock, TON_ID)
        answer, file = await build(market, TON_ID)
        _, again = await build(market, TON_ID)

    [one] = file["transfers"]
    external = Cell.one_from_boc(one["transaction"]["message"]).begin_parse()
    external.load_bits(4)
    to = external.load_address()
    body = external.load_ref()
    assert answer["count"] == 1
    assert f"{to.wc}:{to.hash_part.hex().upper()}" == ton.canonical(TON_WALLET)
    assert (one["transaction"]["seqno"], one["transaction"]["walletVersion"]) == (7, "v4")
    assert one["transaction"]["toSign"] == body.hash.hex()
    assert again["transfers"][0]["transaction"]["seqno"] == 7
    assert file["coins"][0]["missingNano"] == str(20_000_000)


async def test_a_wallet_that_is_not_deployed_or_not_known_is_left_out(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock, ton_node: Node
) -> None:
    async with market_of(tmp_path, fake_scanner, clock, TONCENTER_URL=ton_node.url) as market:
        await ordered(market, fake_scanner, clock, TON_ID)
        ton_node.answers["/api/v3/walletStates"] = lambda _: {"wallets": []}

        answer, _ = await build(market, TON_ID)

    assert [each["reason"] for each in answer["skipped"]] == ["wallet_not_ready"]


@pytest.mark.parametrize(
    ("route", "lie"),
    [
        ("/api/v3/masterchainInfo", {"last": {"global_id": -3}}),
        ("/api/v3/walletStates", {}),
        ("/api/v3/runGetMethod", {"exit_code": 0, "stack": []}),
        ("/api/v3/runGetMethod", {"exit_code": 0, "stack": [{"type": "cell", "value": "AAAA"}]}),
        ("/api/v3/runGetMethod", {"exit_code": 11, "stack": [{"type": "cell", "value": address_cell(JETTONS)}]}),
        ("/api/v3/jetton/wallets", {"jetton_wallets": [{"address": JETTONS, "balance": "-5"}]}),
        ("/api/v3/jetton/wallets", {"error": "busy"}),
    ],
)
async def test_a_toncenter_that_answers_nonsense_builds_nothing(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock, ton_node: Node, route: str, lie: Any
) -> None:
    async with market_of(tmp_path, fake_scanner, clock, TONCENTER_URL=ton_node.url) as market:
        await ordered(market, fake_scanner, clock, TON_ID)
        ton_node.answers[route] = lambda _: lie

        body = {"chainId": TON_ID, "token": "USDT", "purpose": "instructions"}
        assert await market.admin.refused("POST", BUILD, body) == (503, "node_unavailable")


@pytest.mark.parametrize("version", ["v3", "v4", "v5"])
def test_what_is_to_be_signed_is_what_the_librarys_wallets_sign(version: str) -> None:
    state = WalletState(version=version, wallet_id=698983191, seqno=7)
    owner = str(ton.canonical(TON_WALLET))
    made = jetton_transfer(
        wallet=owner,
        state=state,
        jetton_wallet=JETTONS,
        to=str(ton.canonical(TO_TON)),
        amount=TEN,
        attached=50_000_000,
        valid_until=1_790_000_000,
        query_id=5,
    )
    body = Cell.one_from_boc(made.boc).refs[0]
    message = body.refs[0].refs[1] if version == "v5" else body.refs[0]
    jetton = message.begin_parse()
    jetton.load_bits(4 + 2)
    to, value = jetton.load_address(), jetton.load_coins()

    # The library builds the same message of the same call, and signs the same bytes.
    theirs = ton_library.Wallet.create_wallet_internal_message(
        destination=Address(JETTONS), value=50_000_000, body=message.refs[0], send_mode=3, bounce=True
    )
    key = bytes(64)
    maker = {
        "v3": ton_library.WalletV3.raw_create_transfer_msg,
        "v4": ton_library.WalletV4.raw_create_transfer_msg,
        "v5": lambda **more: WalletV5R1.raw_create_transfer_msg(object(), **more),
    }[version]
    if version == "v5":
        packed = WalletV5R1.pack_actions([theirs])
        signed_there = packed.refs[0].hash.hex()
        assert body.refs[0].hash.hex() == signed_there
    else:
        whole = maker(
            private_key=hashlib.sha256(b"key").digest() + key[:32],
            seqno=7,
            wallet_id=698983191,
            messages=[theirs],
            valid_until=1_790_000_000,
        )
        rest = whole.begin_parse()
        rest.load_bits(512)
        assert rest.to_cell().hash.hex() == made.to_sign == body.hash.hex()
    assert (f"{to.wc}:{to.hash_part.hex().upper()}", value) == (JETTONS, 50_000_000)
    call = message.refs[0].begin_parse()
    assert (call.load_uint(32), call.load_uint(64), call.load_coins()) == (0x0F8A7EA5, 5, TEN)
    assert made.signature == ("end" if version == "v5" else "start")
