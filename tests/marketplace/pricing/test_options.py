"""With what an accepted offer can be paid now, and the networks of both services side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from devnet.price_publisher import PricePublisher
from protocol import answers
from tests.cases.scanned_nodes import registry
from tests.harness import ROOT, FakeClock
from tests.marketplace.accepted_purchase import AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import ESCROW, TRON_LIST, Running, environment, running
from tests.wire import response, shown

TRON, TON = 728126428, 1100
TOKENS = orjson.loads((ROOT / "tokens.json").read_bytes())
FIELDS = {
    "chainId",
    "chainName",
    "token",
    "tokenAddress",
    "rails",
    "providers",
    "confirmations",
    "estimatedSeconds",
    "amount",
}


def watches(scanner: FakeScanner, *chains: tuple[int, str], without: str = "") -> None:
    """Let the scanner watch these chains with the registry's tokens."""

    def status(_: web.Request) -> web.Response:
        found = []
        for chain_id, kind in chains:
            one = shown(answers.ChainStatus, chain_id=chain_id, name="there", chain_type=kind, state="ready")
            mine = [t for t in TOKENS if t["chainId"] == chain_id and t["symbol"] != without]
            one["tokens"] = [{name: token[name] for name in ("address", "symbol", "decimals")} for token in mine]
            found.append(one)
        return response(answers.Status, {"chains": found, "nodes": []})

    scanner.lies["/scanner/status"] = status


async def options(purchase: AcceptedPurchase) -> list[dict[str, Any]]:
    path = f"/api/payment/options?requestId={purchase.request_id}"
    return list((await purchase.buyer.ok("GET", path))["options"])


async def refused(purchase: AcceptedPurchase) -> tuple[int, str]:
    return await purchase.buyer.refused("GET", f"/api/payment/options?requestId={purchase.request_id}")


async def test_a_buyer_is_told_what_can_be_used_now(purchase: AcceptedPurchase) -> None:
    found = await options(purchase)

    assert [set(each) for each in found] == [FIELDS] * 2
    usdt = next(each for each in found if each["token"] == "USDT")
    assert usdt == {
        "chainId": 97,
        "chainName": "BSC Testnet",
        "token": "USDT",
        "tokenAddress": usdt["tokenAddress"],
        "rails": ["proxy", "direct", "direct_balance"],
        "providers": [{"name": "amn.scanner", "rails": ["proxy", "direct", "direct_balance"]}],
        "confirmations": 5,
        "estimatedSeconds": 4,  # 5 blocks of 0.75 s
        "amount": "10",
    }
    opened = await purchase.open(rail="direct", token=usdt["tokenAddress"])
    assert opened["payment"]["amount"] == usdt["amount"]


async def test_more_confirmations_take_longer(purchase: AcceptedPurchase) -> None:
    raised = {"thresholds": [{"chainId": 97, "confirmations": 100}]}
    await purchase.market.admin.ok("PUT", "/api/admin/settings/confirmation-thresholds", raised)

    assert {(each["confirmations"], each["estimatedSeconds"]) for each in await options(purchase)} == {(100, 75)}


async def test_only_what_the_scanner_watches_and_addresses_are_left_for(purchase: AcceptedPurchase) -> None:
    watches(purchase.scanner, (97, "evm"), (TRON, "tron"), (TON, "ton"), (1, "tron"))

    found = {(each["chainId"], tuple(each["rails"])) for each in await options(purchase)}

    # No address of TON is configured; and a chain that is of another family there is not ours.
    assert found == {(97, ("proxy", "direct", "direct_balance")), (TRON, ("direct", "direct_balance"))}


async def test_a_token_the_scanner_knows_otherwise_is_not_offered(purchase: AcceptedPurchase) -> None:
    watches(purchase.scanner, (97, "evm"), without="USDC")

    assert [each["token"] for each in await options(purchase)] == ["USDT"]


async def test_a_chain_whose_addresses_were_used_up_is_not_offered(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    watches(fake_scanner, (97, "evm"), (TRON, "tron"))
    for _ in TRON_LIST:
        other = await accept_purchase(market, fake_scanner, clock)
        fake_scanner.lies["/intents"] = lambda _: web.json_response({"error": "away"}, status=503)
        await other.open("direct", chainId=TRON)
    purchase = await accept_purchase(market, fake_scanner, clock)

    assert {each["chainId"] for each in await options(purchase)} == {97}
    assert (await purchase.buyer.refused("POST", "/api/payment/intents", purchase.intent("direct", chainId=TRON)))[
        0
    ] == 503


async def test_without_an_escrow_address_there_is_no_proxy_rail(
    tmp_path: Path, clock: FakeClock, fake_scanner: FakeScanner
) -> None:
    env = environment(tmp_path, fake_scanner.url, MARKETPLACE_ESCROW_ADDRESSES="{}")
    async with running(env, clock=clock) as market:
        purchase = await accept_purchase(market, fake_scanner, clock)
        found = await options(purchase)

    assert {tuple(each["rails"]) for each in found} == {("direct", "direct_balance")}


async def test_where_payments_have_to_be_proven_only_what_can_be_is_offered(
    tmp_path: Path, clock: FakeClock, fake_scanner: FakeScanner
) -> None:
    """Elsewhere a payment would be held for ever."""
    watches(fake_scanner, (97, "evm"), (TRON, "tron"), (TON, "ton"))
    node = {"RPC_BSC_TESTNET": "http://127.0.0.1:9/"}
    proven = registry(tmp_path, {"proof": "receipts"})
    found = []
    for place, (chains, env) in enumerate([(proven, node), (proven, {}), (None, node)]):
        folder = tmp_path / str(place)
        folder.mkdir()
        more = {**env, "CHAINS_JSON_PATH": chains} if chains else env
        place_of = environment(folder, fake_scanner.url, MARKETPLACE_REQUIRE_PROOF="true", **more)
        async with running(place_of, clock=clock) as market:
            found.append(await options(await accept_purchase(market, fake_scanner, clock)))

    first, *others = [{(each["chainId"], tuple(each["rails"])) for each in one} for one in found]
    assert (first, others) == ({(97, ("proxy", "direct"))}, [set(), set()])


async def test_looking_takes_no_address(purchase: AcceptedPurchase) -> None:
    await options(purchase)
    await options(purchase)

    with purchase.market.opened() as store:
        assert store.execute("SELECT count(*) FROM address_indices").fetchall() == [(0,)]


async def test_what_cannot_be_paid_now_has_no_options(purchase: AcceptedPurchase) -> None:
    stranger = await purchase.market.user("buyer")
    path = f"/api/payment/options?requestId={purchase.request_id}"
    assert await stranger.refused("GET", path) == (403, "forbidden")
    assert await purchase.seller.refused("GET", path) == (403, "forbidden")
    await purchase.fund()

    assert await refused(purchase) == (409, "conflict")


async def test_while_the_scanner_is_away_nothing_is_promised(purchase: AcceptedPurchase) -> None:
    purchase.scanner.down = True

    assert await refused(purchase) == (503, "scanner_unavailable")


async def test_the_scanner_is_asked_once_in_a_while(purchase: AcceptedPurchase) -> None:
    for _ in range(3):
        await options(purchase)

    assert purchase.scanner.calls.count(("GET", "/scanner/status")) == 1
    purchase.clock.advance(11)
    await options(purchase)
    assert purchase.scanner.calls.count(("GET", "/scanner/status")) == 2


async def test_amounts_are_quoted_and_a_coin_without_a_price_is_left_out(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, publisher: PricePublisher
) -> None:
    publisher.prices = {"USDT": "0.9", "USDC": "0.995"}
    purchase = await accept_purchase(quoting_market, fake_scanner, clock, "8", "EUR")

    found = await options(purchase)

    assert [(each["token"], each["amount"]) for each in found] == [("USDC", "10.050251256281407036")]


async def test_when_nothing_can_be_quoted_the_list_is_not_just_empty(
    quoting_market: Running, fake_scanner: FakeScanner, clock: FakeClock, publisher: PricePublisher
) -> None:
    publisher.answer = lambda _: web.Response(status=500)
    purchase = await accept_purchase(quoting_market, fake_scanner, clock, "8", "EUR")

    assert await refused(purchase) == (503, "quote_unavailable")


# -- networks ------------------------------------------------------------------------------------------


async def test_both_registries_stand_side_by_side(market: Running, fake_scanner: FakeScanner) -> None:
    watches(fake_scanner, (97, "evm"), (10, "evm"), without="USDC")

    told = await market.admin.ok("GET", "/api/admin/networks")

    found = {each["chainId"]: each for each in told["networks"]}
    assert told["scannerError"] is None
    testnet = found[97]
    assert (testnet["marketplace"]["name"], testnet["scanner"]["name"]) == ("BSC Testnet", "there")
    assert testnet["marketplace"]["rails"] == ["proxy", "direct", "direct_balance"]
    assert len(testnet["differences"]) == 1
    assert "USDC" in testnet["differences"][0]
    assert "only here" in testnet["differences"][0]
    assert (found[10]["marketplace"], found[10]["scanner"]["chainType"]) == (None, "evm")
    assert found[10]["differences"] == ["10 is evm there"]
    assert (found[1]["scanner"], found[1]["differences"]) == (None, ["the scanner does not watch it"])


async def test_without_the_scanner_its_side_is_missing_and_why_is_told(
    market: Running, fake_scanner: FakeScanner
) -> None:
    fake_scanner.down = True

    told = await market.admin.ok("GET", "/api/admin/networks")

    assert told["scannerError"]
    assert {each["scanner"] for each in told["networks"]} == {None}
    assert [each["differences"] for each in told["networks"]] == [[]] * len(told["networks"])
    assert ESCROW not in str(told)
