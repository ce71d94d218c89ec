"""Whose money is taken: sanctions lists and contract senders, with and without opting in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from devnet.fault_server import serving
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import TEN, AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import SENDER, FakeScanner, balance_changed
from tests.marketplace.harness import environment, running

LISTED = """<?xml version="1.0" standalone="yes"?>
<sdnList xmlns="https://example.test/XML"><sdnEntry><uid>7</uid><lastName>NOBODY</lastName><idList>
<id><uid>8</uid><idType>Digital Currency Address - ETH</idType><idNumber>{address}</idNumber></id>
</idList></sdnEntry></sdnList>"""
ELSEWHERE = "0x1000000000000000000000000000000000000001"
FUNDED = [("payment_detected", TEN), ("hold", TEN)]


@asynccontextmanager
async def dealing(
    folder: Path, scanner: FakeScanner, clock: FakeClock, offer: dict[str, Any], **env: str
) -> AsyncIterator[AcceptedPurchase]:
    """A deal at a backend with these settings; its sanctions list has been read."""
    async with running(environment(folder, scanner.url, **env), clock=clock) as market:
        if market.marketplace.screener is not None:
            await market.marketplace.screener.refresh()
        yield await accept_purchase(market, scanner, clock, **offer)


def list_of(folder: Path, address: str) -> str:
    path = folder / "sdn.xml"
    path.write_text(LISTED.format(address=address))
    return str(path)


async def pay(purchase: AcceptedPurchase) -> str:
    await purchase.open()
    _, answer = await purchase.hook(purchase.scanner.pay(purchase.payment_id))
    return str(answer["data"]["outcome"])


OPT_IN = {"requireAmlCheck": True, "amlBlockOnFailure": True}
FAIL_OPEN = {"requireAmlCheck": True, "amlBlockOnFailure": False}


@pytest.mark.parametrize(
    ("offer", "listed", "outcome", "why"),
    [
        (OPT_IN, SENDER.lower(), "held", "aml_sanctions"),
        (FAIL_OPEN, SENDER, "held", "aml_sanctions"),
        ({}, SENDER, "funded", "aml_not_required"),
        (OPT_IN, ELSEWHERE, "funded", "clear"),
    ],
)
async def test_a_listed_sender_is_held_where_the_offer_asks_for_screening(
    tmp_path: Path,
    fake_scanner: FakeScanner,
    clock: FakeClock,
    offer: dict[str, Any],
    listed: str,
    outcome: str,
    why: str,
) -> None:
    async with dealing(tmp_path, fake_scanner, clock, offer, OFAC_SDN_PATH=list_of(tmp_path, listed)) as purchase:
        assert await pay(purchase) == outcome

        payment = await purchase.payment()
        assert (payment["holdReason"] or payment["evidence"]["screening"]) == why
        assert purchase.entries() == (FUNDED if outcome == "funded" else [])


@pytest.mark.parametrize(("offer", "outcome"), [(OPT_IN, "held"), (FAIL_OPEN, "funded")])
async def test_a_list_that_cannot_be_read_holds_or_lets_through_as_the_offer_says(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock, offer: dict[str, Any], outcome: str
) -> None:
    missing = str(tmp_path / "missing.xml")
    async with dealing(tmp_path, fake_scanner, clock, offer, OFAC_SDN_PATH=missing) as purchase:
        assert await pay(purchase) == outcome


async def test_held_for_want_of_a_list_is_credited_once_the_list_is_back(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    async with dealing(tmp_path, fake_scanner, clock, OPT_IN, OFAC_SDN_PATH=str(tmp_path / "sdn.xml")) as purchase:
        assert await pay(purchase) == "held"
        list_of(tmp_path, ELSEWHERE)
        assert purchase.market.marketplace.screener is not None
        await purchase.market.marketplace.screener.refresh()

        await purchase.market.marketplace.sweep.once()

        assert purchase.entries() == FUNDED
        assert (await purchase.payment())["holdReason"] is None


async def test_what_a_person_has_to_decide_is_not_decided_by_time(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    async with dealing(tmp_path, fake_scanner, clock, OPT_IN, OFAC_SDN_PATH=list_of(tmp_path, SENDER)) as purchase:
        assert await pay(purchase) == "held"
        refused = await purchase.buyer.refused("POST", f"/api/payment/{purchase.payment_id}/cancel")
        clock.advance(48 * 3600)
        await purchase.market.marketplace.sweep.once()
        services = purchase.market.marketplace.services
        purchase.market.admin.token = services.tokens.issue(purchase.market.admin.user_id, "admin")

        cancelled = await purchase.market.admin.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")

        assert refused == (409, "conflict")
        assert cancelled["payment"]["status"] == "cancelled"
        assert await purchase.recoveries() == [("aml_sanctions", str(TEN))]
        assert purchase.entries() == []


async def test_a_balance_without_a_sender_is_not_screened_and_held_where_screening_is_asked_for(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    async with dealing(tmp_path, fake_scanner, clock, OPT_IN, OFAC_SDN_PATH=list_of(tmp_path, ELSEWHERE)) as purchase:
        payment = (await purchase.open("direct_balance", mode="watch"))["payment"]

        await purchase.hook(balance_changed(payment, TEN, transfers=None))
        held = (await purchase.payment())["holdReason"]
        _, known = await purchase.hook(balance_changed(payment, TEN))

        assert held == "no_buyer_address_to_screen"
        assert known["data"]["outcome"] == "funded"


@asynccontextmanager
async def node(code: str | None) -> AsyncIterator[str]:
    """A node that knows one code for every account, or none at all."""

    async def answer(request: web.Request) -> web.Response:
        if code is None:
            return web.Response(status=500, text="away")
        return web.json_response({"jsonrpc": "2.0", "id": (await request.json())["id"], "result": code})

    app = web.Application()
    app.router.add_post("/", answer)
    async with serving(app) as url:
        yield f"{url}/"


@pytest.mark.parametrize(
    ("flag", "code", "outcome"),
    [
        ("true", "0x6001", "held"),
        ("true", "0x", "funded"),
        ("true", "0xef0100" + "11" * 20, "funded"),
        ("true", None, "held"),
        ("false", "0x6001", "funded"),
    ],
)
async def test_contracts_are_refused_where_the_operator_asks_for_plain_accounts(
    tmp_path: Path, fake_scanner: FakeScanner, clock: FakeClock, flag: str, code: str | None, outcome: str
) -> None:
    async with node(code) as url:
        env = {"TRANSACTION_SAFETY_REQUIRE_EOA_SENDER": flag, "RPC_BSC_TESTNET": url}
        async with dealing(tmp_path, fake_scanner, clock, {}, **env) as purchase:
            assert await pay(purchase) == outcome

            if outcome == "held":
                assert (await purchase.payment())["holdReason"] == "contract_sender"
