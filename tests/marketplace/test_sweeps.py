"""Files of unsigned transactions: never more than is releasable, and nothing twice."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from eth_account import Account

from marketplace.errors import ConfigError
from marketplace.payments.hd_addresses import evm_address
from tests.harness import ROOT, FakeClock
from tests.marketplace.accepted_purchase import BUYERS_WALLET, SELLERS_WALLET, TEN, AcceptedPurchase, accept_purchase
from tests.marketplace.evm_node_stub import GWEI, EvmNodeStub, run_evm_node
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import Running, environment, running
from tests.marketplace.test_hd_addresses import WALLET

TREASURY = "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955"
ACCOUNT = "m/44'/60'/1'"
XPUB = WALLET.get_xpub_from_path(ACCOUNT)
BUILD = "/api/admin/sweeps/build"
ENGINES = pytest.mark.parametrize(
    "engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)


@pytest.fixture
async def node() -> AsyncIterator[EvmNodeStub]:
    async with run_evm_node() as found:
        yield found


@pytest.fixture
async def market(
    tmp_path: Path, clock: FakeClock, fake_scanner: FakeScanner, place: Mapping[str, str], node: EvmNodeStub
) -> AsyncIterator[Running]:
    more = {
        "MARKETPLACE_XPUB": XPUB,
        "RPC_BSC_TESTNET": node.url,
        "MARKETPLACE_TREASURY_ADDRESSES": f'{{"97": "{TREASURY}"}}',
        **place,
    }
    async with running(environment(tmp_path, fake_scanner.url, **more), clock=clock) as found:
        yield found


async def funded(market: Running, scanner: FakeScanner, clock: FakeClock, node: EvmNodeStub) -> AcceptedPurchase:
    """Return a purchase whose money lies at an address of its own."""
    purchase = await accept_purchase(market, scanner, clock)
    payment = await purchase.fund("direct")
    node.tokens[payment["destination"].lower()] = TEN
    return purchase


async def releasable(market: Running, scanner: FakeScanner, clock: FakeClock, node: EvmNodeStub) -> AcceptedPurchase:
    purchase = await funded(market, scanner, clock, node)
    await purchase.buyer.ok("PATCH", purchase.path("confirm-delivery"))
    return purchase


async def build(market: Running, purpose: str = "instructions", **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what was answered, and what the file says."""
    body = {"chainId": 97, "token": "USDT", "purpose": purpose, **more}
    answer = (await market.admin.ok("POST", BUILD, body))["sweep"]
    assert answer["checksum"] == hashlib.sha256(answer["file"].encode()).hexdigest()
    return answer, orjson.loads(answer["file"])


async def source_of(purchase: AcceptedPurchase) -> str:
    return str((await purchase.payment())["destination"])


def reasons(answer: Mapping[str, Any]) -> list[str]:
    return [each["reason"] for each in answer["skipped"]]


async def test_each_instruction_is_one_transfer_of_exactly_its_amount(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, node: EvmNodeStub
) -> None:
    seller = await releasable(market, fake_scanner, clock, node)
    order = (await seller.release())[1]["data"]["instruction"]
    clock.advance(1)
    buyer = await funded(market, fake_scanner, clock, node)
    back = (await buyer.refund())[1]["data"]["instruction"]
    await releasable(market, fake_scanner, clock, node)  # ordered to nobody
    node.coins[order["from"].lower()] = 10**15

    answer, file = await build(market)

    assert (answer["count"], answer["totalBaseUnits"], answer["skipped"]) == (2, str(2 * TEN), [])
    assert [(each["for"], each["from"], each["to"], each["amount"]) for each in file["transfers"]] == [
        (order["id"], order["from"], SELLERS_WALLET, str(TEN)),
        (back["id"], back["from"], BUYERS_WALLET, str(TEN)),
    ]
    assert file["transfers"][0]["transaction"] == {
        "type": "0x2",
        "chainId": "0x61",
        "nonce": "0x0",
        "to": order["tokenAddress"],
        "value": "0x0",
        "data": f"0xa9059cbb{SELLERS_WALLET.lower()[2:]:0>64}{TEN:064x}",
        "gas": hex(65_000),
        "maxFeePerGas": hex(11 * GWEI),
        "maxPriorityFeePerGas": hex(GWEI),
    }
    needed = 65_000 * 11 * GWEI
    assert [(each["neededWei"], each["missingWei"]) for each in file["coins"]] == [
        (str(needed), "0"),
        (str(needed), str(needed)),
    ]


async def test_what_is_built_is_signed_by_the_key_of_its_path_and_nothing_else(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, node: EvmNodeStub
) -> None:
    purchase = await releasable(market, fake_scanner, clock, node)
    await purchase.release()
    _, file = await build(market)
    [transfer] = file["transfers"]
    index = int(transfer["path"].removeprefix("0/"))

    signer = Account.from_key(WALLET.get_privkey_from_path(f"{ACCOUNT}/0/{index}"))
    signed = signed_as_the_page_says(orjson.dumps(file).decode(), WALLET.get_xpriv_from_path(ACCOUNT))

    assert signer.address == transfer["from"] == evm_address(XPUB, index)
    assert Account.recover_transaction(signed[transfer["for"]]) == transfer["from"]
    assert signer.key.hex() not in str(file)


def signed_as_the_page_says(file: str, account_xprv: str) -> dict[str, str]:
    program = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "sweeps.md").read_text(), re.DOTALL)
    assert program is not None
    space: dict[str, Any] = {}
    exec(program[1], space)  # noqa: S102 - our own page
    sent: dict[str, str] = space["signed"](file, account_xprv)
    assert all(line.startswith("0x") for line in sent.values())
    return sent


async def test_building_again_gives_the_same_transaction_so_that_it_is_sent_once(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, node: EvmNodeStub
) -> None:
    purchase = await releasable(market, fake_scanner, clock, node)
    await purchase.release()
    node.nonces[(await source_of(purchase)).lower()] = 3
    _, first = await build(market)
    _, again = await build(market)
    node.nonces[(await source_of(purchase)).lower()] = 4  # it was sent, and nobody said so yet
    node.tokens[(await source_of(purchase)).lower()] = 5 * TEN

    sent, _ = await build(market)

    numbers = [file["transfers"][0]["transaction"]["nonce"] for file in (first, again)]
    assert numbers == ["0x3", "0x3"]
    assert (sent["count"], reasons(sent)) == (0, ["sent_already"])


@ENGINES
async def test_files_built_at_the_same_time_hold_the_same_transactions(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, node: EvmNodeStub
) -> None:
    for _ in range(2):
        await (await releasable(market, fake_scanner, clock, node)).release()

    files = [file["transfers"] for _, file in await asyncio.gather(*(build(market) for _ in range(4)))]

    assert len(files[0]) == 2
    assert all(each == files[0] for each in files)


async def test_releasable_money_goes_to_the_treasury_or_to_its_instruction_never_both(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, node: EvmNodeStub
) -> None:
    purchase = await releasable(market, fake_scanner, clock, node)
    _, swept = await build(market, "treasury")
    await purchase.release()
    late, _ = await build(market, "treasury")

    _, paid = await build(market)

    [one], [other] = swept["transfers"], paid["transfers"]
    assert (one["to"], one["amount"], other["to"]) == (TREASURY, str(TEN), SELLERS_WALLET)
    assert one["transaction"]["nonce"] == other["transaction"]["nonce"]  # the chain takes one of them
    assert late["count"] == 0


async def test_only_what_is_releasable_goes_to_the_treasury(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, node: EvmNodeStub
) -> None:
    await funded(market, fake_scanner, clock, node)  # not delivered
    argued = await releasable(market, fake_scanner, clock, node)
    body = {"purchaseRequestId": argued.request_id, "reason": "It broke.", "category": "quality"}
    await argued.buyer.ok("POST", "/api/disputes", body, 201)
    held = await releasable(market, fake_scanner, clock, node)
    until = {"until": "2099-01-01T00:00:00Z"}
    await market.admin.ok("POST", f"/api/admin/payments/{held.payment_id}/hold", until)
    more = await releasable(market, fake_scanner, clock, node)
    node.tokens[(await source_of(more)).lower()] = TEN + 7  # somebody sent more than the price

    answer, file = await build(market, "treasury")

    assert [(each["for"], each["amount"]) for each in file["transfers"]] == [(more.payment_id, str(TEN))]
    assert answer["skipped"] == []


async def test_what_is_not_there_is_left_out(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, node: EvmNodeStub
) -> None:
    short = await releasable(market, fake_scanner, clock, node)
    failing = await releasable(market, fake_scanner, clock, node)
    for each in (short, failing):
        await each.release()
    node.tokens[(await source_of(short)).lower()] = TEN - 1
    node.fails.add((await source_of(failing)).lower())

    answer, file = await build(market)

    assert (sorted(reasons(answer)), file["transfers"]) == (["too_little_there", "would_fail"], [])


async def test_what_may_be_gone_or_is_settling_is_not_sent(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, node: EvmNodeStub
) -> None:
    gone = await releasable(market, fake_scanner, clock, node)
    settling = await releasable(market, fake_scanner, clock, node)
    for each in (gone, settling):
        await each.release()
    await market.write("UPDATE payments SET reorged_at = 1 WHERE id = ?", [gone.payment_id])
    orders = (await market.admin.ok("GET", "/api/admin/instructions"))["payouts"]
    [order] = [each["instruction"] for each in orders if each["payment"]["id"] == settling.payment_id]
    await market.admin.ok("POST", f"/api/admin/instructions/{order['id']}/settle", {"txHash": "0x" + "ab" * 32})

    assert (await build(market))[0]["count"] == 0


async def test_an_address_that_the_configured_key_does_not_give_is_left_out(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, node: EvmNodeStub
) -> None:
    purchase = await releasable(market, fake_scanner, clock, node)
    await purchase.release()
    await market.write("UPDATE address_reservations SET source_index = source_index + 1000")

    answer, _ = await build(market)

    assert (answer["count"], reasons(answer)) == (0, ["not_our_address"])


async def test_a_file_is_bounded_and_the_next_one_goes_on_behind_it(
    market: Running,
    fake_scanner: FakeScanner,
    clock: FakeClock,
    node: EvmNodeStub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("marketplace.payments.sweeps.builder.MAX_TRANSFERS", 2)
    for _ in range(3):
        await (await releasable(market, fake_scanner, clock, node)).release()

    first, one = await build(market)
    second, two = await build(market, cursor=first["nextCursor"])

    told = {each["for"] for file in (one, two) for each in file["transfers"]}
    assert ([first["count"], second["count"]], len(told), second["nextCursor"]) == ([2, 1], 3, None)
    body = {"chainId": 97, "token": "USDT", "purpose": "instructions", "cursor": "x"}
    assert await market.admin.refused("POST", BUILD, body) == (422, "invalid")


@pytest.mark.parametrize(
    ("method", "lie"),
    [
        ("eth_chainId", "0x38"),
        ("eth_getTransactionCount", "three"),
        ("eth_getBalance", None),
        ("eth_call", "0x"),
        ("eth_call", "0x" + "f" * 65),
        ("eth_getBlockByNumber", None),
        ("eth_getBlockByNumber", {"baseFeePerGas": 5}),
        ("eth_estimateGas", 7),
    ],
)
async def test_a_node_that_answers_nonsense_builds_nothing(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, node: EvmNodeStub, method: str, lie: object
) -> None:
    await (await releasable(market, fake_scanner, clock, node)).release()
    node.lies[method] = lie

    found = await market.admin.refused("POST", BUILD, {"chainId": 97, "token": "USDT", "purpose": "instructions"})

    assert found == (503, "node_unavailable")


async def test_a_node_that_is_away_takes_no_batches_or_is_not_named_is_said_so(
    market: Running, node: EvmNodeStub, fake_scanner: FakeScanner, tmp_path: Path
) -> None:
    body = {"chainId": 97, "token": "USDT", "purpose": "instructions"}
    node.batches = False
    alone = await market.admin.refused("POST", BUILD, body)
    (tmp_path / "other").mkdir()
    async with running(environment(tmp_path / "other", fake_scanner.url)) as other:
        unnamed = await other.admin.refused("POST", BUILD, body)
        treasury = await other.admin.refused("POST", BUILD, body | {"purpose": "treasury"})
        unknown = await other.admin.refused("POST", BUILD, body | {"token": "DOGE"})

    assert (alone, unnamed, treasury) == (
        (503, "node_unavailable"),
        (503, "not_configured"),
        (503, "not_configured"),
    )
    assert unknown == (422, "invalid")


@pytest.mark.parametrize("wrong", ['{"97": "0x12"}', '{"5": "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955"}', "x", "[]"])
async def test_a_treasury_nobody_could_take_money_from_stops_the_start(
    tmp_path: Path, fake_scanner: FakeScanner, wrong: str
) -> None:
    with pytest.raises(ConfigError, match="MARKETPLACE_TREASURY_ADDRESSES"):
        async with running(environment(tmp_path, fake_scanner.url, MARKETPLACE_TREASURY_ADDRESSES=wrong)):
            pass


async def test_every_address_that_was_handed_out_is_listed_with_what_lies_there(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock, node: EvmNodeStub
) -> None:
    one, two = [await funded(market, fake_scanner, clock, node) for _ in range(2)]
    fake_scanner.balances = {await source_of(one): TEN, await source_of(two): 7}

    page = await market.admin.ok("GET", "/api/admin/addresses?chainId=97")
    fake_scanner.down = True
    away = await market.admin.ok("GET", "/api/admin/addresses?limit=1")

    shown = {each["paymentId"]: each for each in page["addresses"]}
    first = shown[one.payment_id]
    assert (page["total"], first["balance"], shown[two.payment_id]["balanceBaseUnits"]) == (2, "10", "7")
    assert (first["address"], first["isOurs"]) == (evm_address(XPUB, first["index"]), True)
    assert [(each["balance"], each["balanceBaseUnits"]) for each in away["addresses"]] == [(None, None)]
    assert await market.admin.refused("GET", "/api/admin/addresses?limit=101") == (422, "invalid")
