"""Money leaves for an address somebody typed: what cannot receive it is refused before the ledger is written."""

from __future__ import annotations

import base64
import binascii

import pytest

from marketplace.errors import ConfigError
from marketplace.settings import load_settings
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import TEN, AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import ESCROW, Running, environment, running

TRON, TON = 728126428, 1100
TON_WALLET = "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs"
SELLER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"


def friendly(tag: int, workchain: int, digits: bytes) -> str:
    body = bytes([tag, workchain & 0xFF]) + digits
    return base64.urlsafe_b64encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "big")).decode()


WRONG = {
    97: [
        SELLER.replace("BC", "bC"),  # one letter in the wrong case
        SELLER.replace("Cd", "cd"),
        SELLER[:-1],
        SELLER + "\u200b",
        "0x" + "0" * 40,
        "0x" + "0" * 38 + "09",
        "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
        TON_WALLET,
    ],
    TRON: [
        SELLER,
        "0x41a614f803b6fd780986a42c78ec9c7f77e6ded13c",
        "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6u",
        "T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb",
        "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",  # the token's own contract
    ],
    TON: [
        friendly(0x91, 0, b"\x5e" * 32),  # of the test network
        friendly(0x11, 5, b"\x5e" * 32),
        "5:" + "5E" * 32,
        friendly(0x11, 0, bytes(32)),
        "-1:" + "0" * 64,
        friendly(0x11, 0, b"\x5e" * 32)[:-1] + "_",
        TON_WALLET,  # the token's own contract
    ],
}
CASES = [(chain, wrong) for chain, addresses in WRONG.items() for wrong in addresses]
ESCROWS = {97: ESCROW, TRON: "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8", TON: friendly(0x51, 0, b"\x77" * 32)}
RIGHT = {97: SELLER, TRON: "TVjsyZ7fYF3qLF6BQgPmTEZy1xrNNyVAAA", TON: friendly(0x51, 0, b"\x5e" * 32)}


async def paid_deal(market: Running, scanner: FakeScanner, clock: FakeClock, chain_id: int) -> AcceptedPurchase:
    purchase = await accept_purchase(market, scanner, clock)
    await purchase.open("direct" if chain_id != 97 else "proxy", chainId=chain_id)
    status, answer = await purchase.hook(scanner.pay(purchase.payment_id))
    assert (status, answer["data"]["outcome"]) == (200, "funded")
    return purchase


@pytest.fixture
def market_env(tmp_path, fake_scanner: FakeScanner) -> dict[str, str]:
    escrows = ", ".join(f'"{chain}": ["{address}"]' for chain, address in ESCROWS.items())
    return environment(tmp_path, fake_scanner.url, MARKETPLACE_ESCROW_ADDRESSES=f"{{{escrows}}}")


@pytest.mark.parametrize("chain_id", sorted(WRONG))
async def test_a_release_or_refund_to_an_address_that_cannot_receive_is_refused_without_an_entry(
    market_env: dict[str, str], fake_scanner: FakeScanner, clock: FakeClock, chain_id: int
) -> None:
    async with running(market_env, clock=clock) as market:
        purchase = await paid_deal(market, fake_scanner, clock, chain_id)
        before = purchase.entries()
        for address in WRONG[chain_id]:
            for order in (purchase.release, purchase.refund):
                status, answer = await order(address)
                assert (status, answer["error"]["code"]) == (422, "invalid"), (address, answer)
                assert answer["error"]["details"]["field"] == "toAddress"
        assert purchase.entries() == before
        assert (await purchase.payment())["escrowState"] == "funded"
        status, answer = await purchase.refund(RIGHT[chain_id])
        assert status == 200, answer
        assert answer["data"]["instruction"]["to"] == RIGHT[chain_id]


@pytest.mark.parametrize(("chain_id", "address"), CASES)
def test_a_receiving_address_nobody_could_empty_stops_the_start(tmp_path, chain_id: int, address: str) -> None:
    from marketplace.catalog import load_catalog  # noqa: PLC0415
    from marketplace.payments.deposit_addresses import open_destinations  # noqa: PLC0415

    if "\u200b" in address:
        address = address[:-1] + "Z"
    env = environment(tmp_path, MARKETPLACE_ESCROW_ADDRESSES=f'{{"{chain_id}": ["{address}"]}}')
    settings = load_settings(env)
    with pytest.raises(ConfigError, match="MARKETPLACE_ESCROW_ADDRESSES"):
        open_destinations(load_catalog(settings.chains_path, settings.tokens_path), settings.money)


@pytest.mark.parametrize("rail", ["proxy", "direct"])
async def test_money_is_not_sent_back_to_an_address_of_the_escrow(purchase: AcceptedPurchase, rail: str) -> None:
    await purchase.fund(rail)
    own = (await purchase.payment())["destination"]
    before = purchase.entries()

    for address in {own, own.lower(), ESCROW}:
        for order in (purchase.release, purchase.refund):
            status, answer = await order(address)
            assert (status, answer["error"]["details"]["field"]) == (422, "toAddress"), address

    assert purchase.entries() == before


async def test_money_is_not_sent_to_the_address_of_another_payment(
    market: Running, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    one, two = await accept_purchase(market, fake_scanner, clock), await accept_purchase(market, fake_scanner, clock)
    await one.fund("direct")
    other = (await two.fund("direct"))["destination"]

    status, answer = await one.refund(other)

    assert (status, answer["error"]["details"]["field"]) == (422, "toAddress")


async def test_a_transaction_hash_of_an_instruction_has_one_spelling(purchase: AcceptedPurchase) -> None:
    await purchase.fund()
    _, answer = await purchase.refund()
    purchase.scanner.carries_out(answer["data"]["instruction"], tx="0x" + "ab" * 32)
    path = f"/api/admin/instructions/{answer['data']['instruction']['id']}/settle"
    first = await purchase.market.admin.ok("POST", path, {"txHash": "0x" + "AB" * 32})
    again = await purchase.market.admin.ok("POST", path, {"txHash": "0x" + "ab" * 32})

    assert first["instruction"]["txHash"] == again["instruction"]["txHash"] == "0x" + "ab" * 32
    assert purchase.entries()[-1] == ("refund", TEN)
