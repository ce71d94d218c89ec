"""Hosted providers: what they say is a reason to look, what the chain shows is what counts, and it counts once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from devnet.hosted.request_network import RequestNetworkServer
from devnet.hosted.shkeeper import ShkeeperServer
from marketplace.payments.hosted import hosted_provider, upstream, webhook_receiver
from marketplace.payments.hosted.request_network import destination_id
from marketplace.store import told_transactions
from protocol.wire import Moment
from tests.harness import USDC, USDT, FakeClock
from tests.marketplace.accepted_purchase import TEN, AcceptedPurchase, accept_purchase
from tests.marketplace.fake_scanner import SENDER, FakeScanner
from tests.marketplace.harness import ESCROW, Running, environment, notes, running
from tests.marketplace.hosted_purchase import (
    API_KEY,
    HOOK_KEY,
    KEY,
    ONE,
    REQUEST_NETWORK_HOOK,
    SHKEEPER_HOOK,
    HostedPurchase,
    nowhere,
    of_request_network,
    of_shkeeper,
)

pytestmark = pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
FUNDED = [("payment_detected", TEN), ("hold", TEN)]
FUNDED_STATE = ("completed", "funded", None)
ELSEWHERE = "0x1111111111111111111111111111111111111112"
PROVIDERS = ["shkeeper", "request.network"]
both = pytest.mark.parametrize("provider", PROVIDERS)


@pytest.fixture
async def shkeeper() -> AsyncIterator[ShkeeperServer]:
    async with ShkeeperServer(KEY) as server:
        yield server


@pytest.fixture
async def request_network() -> AsyncIterator[RequestNetworkServer]:
    async with RequestNetworkServer(API_KEY, HOOK_KEY) as server:
        yield server


@pytest.fixture
async def hosting(
    tmp_path: Path,
    clock: FakeClock,
    fake_scanner: FakeScanner,
    place: Mapping[str, str],
    shkeeper: ShkeeperServer,
    request_network: RequestNetworkServer,
) -> AsyncIterator[Running]:
    """A backend with both hosted providers."""
    more = {**of_shkeeper(shkeeper), **of_request_network(request_network)}
    async with running(environment(tmp_path, fake_scanner.url, **more, **place), clock=clock) as found:
        yield found


@pytest.fixture
async def bought(hosting: Running, fake_scanner: FakeScanner, clock: FakeClock) -> AcceptedPurchase:
    return await accept_purchase(hosting, fake_scanner, clock)


@pytest.fixture
def provider() -> str:
    return "shkeeper"


@pytest.fixture
def deal(
    bought: AcceptedPurchase, shkeeper: ShkeeperServer, request_network: RequestNetworkServer, provider: str
) -> HostedPurchase:
    return HostedPurchase(bought, shkeeper, request_network, provider)


# -- choosing ------------------------------------------------------------------------------------------


async def test_options_name_the_providers_that_are_configured(deal: HostedPurchase) -> None:
    data = await deal.purchase.buyer.ok("GET", f"/api/payment/options?requestId={deal.purchase.request_id}")

    found = {each["token"]: {one["name"]: one["rails"] for one in each["providers"]} for each in data["options"]}
    rails = ["proxy", "direct", "direct_balance"]
    named = {"amn.scanner": rails, "shkeeper": ["direct"], "request.network": ["direct"]}
    assert (found["USDT"], found["USDC"]) == (named, named)
    assert [each["rails"] for each in data["options"]] == [rails] * len(data["options"])


@pytest.mark.long
@both
@pytest.mark.parametrize(
    "fields", [{"rail": "proxy"}, {"rail": "direct_balance"}, {"mode": "watch"}, {"chainId": 56}, {"provider": "other"}]
)
async def test_what_a_provider_does_not_take_is_refused(deal: HostedPurchase, fields: dict[str, Any]) -> None:
    body = deal.purchase.intent("direct") | {"provider": deal.provider} | fields

    assert (await deal.purchase.buyer.refused("POST", "/api/payment/intents", body))[0] == 422


async def test_without_settings_nobody_is_offered_and_nothing_is_believed(purchase: AcceptedPurchase) -> None:
    data = await purchase.buyer.ok("GET", f"/api/payment/options?requestId={purchase.request_id}")
    assert {one["name"] for each in data["options"] for one in each["providers"]} == {"amn.scanner"}

    for provider, path in (("shkeeper", SHKEEPER_HOOK), ("request.network", REQUEST_NETWORK_HOOK)):
        body = purchase.intent("direct", provider=provider)
        assert await purchase.buyer.refused("POST", "/api/payment/intents", body) == (422, "invalid")
        assert await purchase.buyer.nobody().refused("POST", path, {"external_id": "x"}) == (503, "not_configured")


# -- creating ------------------------------------------------------------------------------------------


async def test_shkeeper_gives_the_address_and_the_amount_is_ours(deal: HostedPurchase) -> None:
    data = await deal.open()

    made = deal.shkeeper.invoice(deal.payment_id)
    payment = data["payment"]
    assert (payment["provider"], payment["providerPaymentId"]) == ("shkeeper", payment["id"])
    assert payment["destination"].lower() == made.address
    assert (made.crypto, str(made.amount_fiat), made.fiat) == ("BNB-USDT", "10", "USD")
    assert made.callback_url == deal.purchase.buyer.url + SHKEEPER_HOOK
    assert (data["instructions"]["address"], data["instructions"]["amountBaseUnits"]) == (made.address, str(TEN))
    assert deal.purchase.scanner.intents == {}


@pytest.mark.parametrize("provider", ["request.network"])
async def test_request_network_pays_to_an_address_of_ours_on_a_page_of_theirs(deal: HostedPurchase) -> None:
    data = await deal.open()

    made = deal.request_network.of(deal.payment_id)
    payment = data["payment"]
    assert (payment["provider"], payment["providerPaymentId"]) == ("request.network", made["requestId"])
    assert payment["paymentUrl"].startswith("https://pay.request.test/")
    # What is sent there past that page is never told of.
    assert (payment["destination"], "instructions" in data) == (None, False)
    assert (made["amount"], made["reference"]) == ("10", payment["id"])
    assert made["destinationId"] == destination_id(97, deal.address(), USDT)
    assert deal.address() != ESCROW


@pytest.mark.long
@both
async def test_opening_again_is_the_same_payment_and_another_provider_a_conflict(deal: HostedPurchase) -> None:
    first = await deal.open()
    again = await deal.open()

    others = [each for each in ("amn.scanner", *PROVIDERS) if each != deal.provider]
    bodies = [deal.purchase.intent("direct", provider=each) for each in others]
    refused = [await deal.purchase.buyer.refused("POST", "/api/payment/intents", body) for body in bodies]
    assert (first["payment"]["id"], refused) == (again["payment"]["id"], [(409, "conflict")] * 2)


@both
async def test_a_creation_whose_answer_is_lost_is_made_again_and_is_one_payment(deal: HostedPurchase) -> None:
    deal.shkeeper.loses_answers = deal.request_network.loses_answers = 1

    waiting = await deal.open()
    assert (waiting["payment"]["destination"], waiting["payment"]["paymentUrl"]) == (None, None)
    deal.purchase.clock.advance(10)
    await deal.purchase.market.settled_down()

    again = await deal.open()
    assert again["payment"]["id"] == waiting["payment"]["id"]
    assert (await deal.pay())[1]["data"]["outcome"] == "funded"
    if deal.provider == "shkeeper":
        assert len(deal.shkeeper.invoices) == 1
    else:  # nobody was shown the first; both pay to the same address
        assert len({made["destinationId"] for made in deal.request_network.requests.values()}) == 1


@pytest.mark.long
@both
@pytest.mark.parametrize("status", [500, 502, 429, 401])
async def test_a_provider_that_is_away_or_has_another_key_is_waited_for(deal: HostedPurchase, status: int) -> None:
    routes = ("payment_request", "secure-payments")
    for server, route in zip((deal.shkeeper, deal.request_network), routes, strict=True):
        server.fail(route, status=status, times=1)

    status_, answer = await deal.purchase.buyer.call(
        "POST", "/api/payment/intents", deal.purchase.intent("direct", provider=deal.provider)
    )
    deal.purchase.payment_id = answer["data"]["payment"]["id"]
    deal.purchase.clock.advance(10)
    await deal.purchase.market.settled_down()

    assert status_ == 202
    assert (await deal.pay())[1]["data"]["outcome"] == "funded"


async def test_an_invoice_about_another_amount_is_refused(deal: HostedPurchase) -> None:
    deal.shkeeper.fee_percent += 2

    body = deal.purchase.intent("direct", provider="shkeeper")
    assert await deal.purchase.buyer.refused("POST", "/api/payment/intents", body) == (503, "rail_unavailable")
    assert (await deal.purchase.open())["payment"]["provider"] == "amn.scanner"  # another way is open at once


@pytest.mark.long
@pytest.mark.parametrize("given", ["escrow", "reserved", "another payment's", "no address", "the token's contract"])
async def test_an_address_that_is_paid_for_something_else_is_refused(
    deal: HostedPurchase, given: str, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    other = await accept_purchase(deal.purchase.market, fake_scanner, clock)
    if given == "reserved":
        address = (await other.open("direct"))["instructions"]["address"]
    elif given == "another payment's":
        address = (await other.open("direct", provider="shkeeper"))["instructions"]["address"]
    else:
        address = {"escrow": ESCROW, "no address": "wallet-7", "the token's contract": USDT}[given]
    deal.shkeeper.addresses = [address]

    body = deal.purchase.intent("direct", provider="shkeeper")
    assert await deal.purchase.buyer.refused("POST", "/api/payment/intents", body) == (503, "rail_unavailable")


@pytest.mark.parametrize("provider", ["request.network"])
async def test_a_request_that_is_another_payments_is_refused(
    deal: HostedPurchase, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    other = await accept_purchase(deal.purchase.market, fake_scanner, clock)
    taken = (await other.open("direct", provider="request.network"))["payment"]["providerPaymentId"]
    deal.request_network.names = [taken]

    body = deal.purchase.intent("direct", provider="request.network")
    assert await deal.purchase.buyer.refused("POST", "/api/payment/intents", body) == (503, "rail_unavailable")


@pytest.mark.long
@pytest.mark.parametrize("provider", ["request.network"])
async def test_a_page_that_is_no_link_is_refused(deal: HostedPurchase) -> None:
    deal.request_network.page = "javascript:alert(1)//"

    body = deal.purchase.intent("direct", provider="request.network")
    assert await deal.purchase.buyer.refused("POST", "/api/payment/intents", body) == (503, "rail_unavailable")


# -- paying --------------------------------------------------------------------------------------------


@both
async def test_a_payment_is_funded_by_what_the_chain_shows(deal: HostedPurchase) -> None:
    await deal.open()

    status, answer = await deal.pay()

    assert (status, answer["data"]) == (
        202 if deal.provider == "shkeeper" else 200,
        {"outcome": "funded", "funded": True},
    )
    payment = await deal.purchase.payment()
    assert (payment["status"], payment["escrowState"]) == ("completed", "funded")
    assert (payment["evidence"]["sender"], payment["evidence"]["amountReceivedBaseUnits"]) == (SENDER, str(TEN))
    assert deal.purchase.entries() == FUNDED
    assert (await deal.purchase.request())["status"] == "processing"
    assert await deal.purchase.findings() == []
    assert ("payment_confirmed", deal.payment_id) in await notes(deal.purchase.seller)


@both
async def test_a_webhook_that_comes_twice_or_many_times_at_once_funds_once(deal: HostedPurchase) -> None:
    await deal.open()
    body = deal.told(deal.on_chain(TEN), "10")

    answers = await asyncio.gather(*(deal.send(body) for _ in range(6)))
    again = await deal.send(body)

    assert all(answer["data"]["funded"] for _, answer in answers)
    assert again[1]["data"] == {"outcome": "duplicate", "funded": True}
    assert deal.purchase.entries() == FUNDED
    assert await deal.purchase.recoveries() == []


@both
async def test_what_a_provider_says_of_amounts_is_not_believed(deal: HostedPurchase) -> None:
    await deal.open()

    _, answer = await deal.send(deal.told(deal.on_chain(4 * ONE), "10"))

    assert (answer["data"]["funded"], deal.state()[:2]) == (False, ("processing", "partial"))
    assert deal.purchase.entries() == []


async def test_a_provider_that_hangs_is_waited_for_once(deal: HostedPurchase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round of the sweep asks about a hundred payments: it would wait for each."""
    monkeypatch.setattr(upstream, "TIMEOUT_S", 0.2)
    await deal.open()
    deal.shkeeper.fail("invoices", hang=True)
    for _ in range(3):
        deal.purchase.clock.advance(61)
        await deal.sweep()

    assert (deal.shkeeper.calls["invoices"], deal.state()[0]) == (1, "pending")


@both
@pytest.mark.parametrize("outcome", ["none", "away"])
async def test_what_nobody_is_told_is_asked_for(deal: HostedPurchase, outcome: str) -> None:
    """Callbacks may be lost for good."""
    await deal.open()
    deal.told(deal.on_chain(TEN), "10")
    if outcome == "away":
        for server, route in ((deal.shkeeper, "invoices"), (deal.request_network, "request")):
            server.fail(route, status=503, times=1)
        deal.purchase.clock.advance(61)
        await deal.sweep()
        assert deal.state()[0] == "pending"

    deal.purchase.clock.advance(61)
    await deal.sweep()

    assert deal.state() == ("completed", "funded", None)
    assert deal.purchase.entries() == FUNDED


@pytest.mark.long
@both
async def test_a_hosted_payment_is_not_asked_for_at_each_sweep(deal: HostedPurchase) -> None:
    await deal.open()
    deal.purchase.clock.advance(61)
    for _ in range(4):
        await deal.sweep()

    asked = deal.shkeeper.calls["invoices"] + deal.request_network.calls["request"]
    assert asked == 1


@both
async def test_money_that_may_be_taken_back_waits_until_it_is_deep(deal: HostedPurchase) -> None:
    await deal.open()
    tx = deal.on_chain(TEN, depth=4, final=False)

    _, answer = await deal.send(deal.told(tx, "10"))
    assert (answer["data"]["outcome"], deal.state()[0]) == ("waiting", "processing")
    await deal.sweep()
    assert deal.state()[0] == "processing"

    deal.purchase.scanner.transactions[(97, tx)] |= {"depth": 5, "final": True}
    await deal.sweep()
    assert deal.state() == ("completed", "funded", None)


@both
async def test_a_transaction_that_is_nowhere_is_waited_for_and_then_for_a_person(deal: HostedPurchase) -> None:
    """A provider that says that something was paid funds nothing by itself."""
    await deal.open()
    tx = nowhere()
    _, answer = await deal.send(deal.told(tx, "10"))
    assert (answer["data"], deal.state()[0]) == ({"outcome": "waiting", "funded": False}, "processing")

    deal.purchase.clock.advance(3601)
    await deal.sweep()
    assert deal.state() == ("processing", None, "transfer_not_found")
    assert deal.told_admins() == ["payment_held"]
    assert deal.purchase.entries() == []

    deal.on_chain(TEN, tx=tx)
    await deal.sweep()
    assert deal.state() == ("completed", "funded", None)


@pytest.mark.long
@both
@pytest.mark.parametrize(
    ("money", "reason"),
    [
        ({"to": ELSEWHERE}, "transfer_not_found"),
        ({"token": USDC}, "wrong_token"),
        ({"success": False}, "transfer_not_found"),
        ({"sender": "its own"}, "transfer_not_found"),
    ],
)
async def test_money_that_is_not_what_was_agreed_is_held(
    deal: HostedPurchase, money: dict[str, Any], reason: str
) -> None:
    await deal.open()
    if "sender" in money:
        money = {"sender": deal.address()}

    _, answer = await deal.pay(**money)

    assert (answer["data"], deal.state()[2]) == ({"outcome": "held", "funded": False}, reason)
    assert deal.purchase.entries() == []


async def test_parts_are_added_up_however_they_are_told(deal: HostedPurchase) -> None:
    await deal.open()
    first, second = deal.on_chain(4 * ONE), deal.on_chain(6 * ONE)
    part = deal.told(first, "4")
    whole = deal.told(second, "6")

    _, answer = await deal.send(part)
    assert (answer["data"]["outcome"], deal.state()[:2]) == ("funded", ("completed", "funded"))
    _, answer = await deal.send(whole)  # told by then: SHKeeper's own list had both
    assert answer["data"]["funded"] is True
    assert deal.purchase.entries() == FUNDED
    assert await deal.purchase.recoveries() == []


@both
async def test_a_part_is_told_to_the_buyer_and_the_rest_completes_it(deal: HostedPurchase) -> None:
    await deal.open()
    more: dict[str, Any] = {} if deal.provider == "shkeeper" else {"whole": False}
    _, answer = await deal.send(deal.told(deal.on_chain(4 * ONE), "4", **more))

    assert (answer["data"]["outcome"], deal.state()[:2]) == ("waiting", ("processing", "partial"))
    assert ("payment-underpaid", deal.payment_id) in await notes(deal.purchase.buyer)

    await deal.send(deal.told(deal.on_chain(6 * ONE), "6"))
    assert deal.state() == ("completed", "funded", None)
    assert deal.purchase.entries() == FUNDED


@pytest.mark.long
@both
async def test_what_is_paid_too_much_is_in_the_ledger_and_what_comes_later_is_for_a_person(
    deal: HostedPurchase,
) -> None:
    await deal.open()
    await deal.pay(12 * ONE)
    assert deal.purchase.entries() == [("payment_detected", 12 * ONE), ("hold", TEN)]

    status, answer = await deal.pay(3 * ONE)

    assert (status < 300, answer["data"]["funded"]) == (True, True)
    assert await deal.purchase.recoveries() == [("duplicate_payment", str(3 * ONE))]
    assert len(deal.purchase.entries()) == 2


@both
async def test_late_money_is_listed_and_never_credited(deal: HostedPurchase) -> None:
    await deal.open()
    await deal.purchase.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")

    _, answer = await deal.pay()

    assert answer["data"] == {"outcome": "late", "funded": False}
    assert await deal.purchase.recoveries() == [("late_payment", str(TEN))]
    assert deal.purchase.entries() == []


@both
async def test_late_money_that_cannot_be_looked_at_now_is_not_forgotten(deal: HostedPurchase) -> None:
    """Request Network sends four times and never again."""
    await deal.open()
    await deal.purchase.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    body = deal.told(deal.on_chain(TEN), "10")
    deal.purchase.scanner.down = True
    assert (await deal.send(body))[0] == 503
    deal.purchase.scanner.down = False

    await deal.sweep()

    assert await deal.purchase.recoveries() == [("late_payment", str(TEN))]
    assert (await deal.send(body))[1]["data"]["outcome"] == "duplicate"


@both
@pytest.mark.parametrize("paid_before", [False, True])
async def test_late_money_that_the_chain_shows_later_is_listed(deal: HostedPurchase, paid_before: bool) -> None:
    """A provider tells once, and may see a transaction sooner than the node that the scanner asks."""
    await deal.open()
    if paid_before:
        await deal.pay()
    else:
        await deal.purchase.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    late = nowhere()
    assert (await deal.send(deal.told(late, "10")))[0] < 300
    await deal.sweep()
    assert deal.recoveries() == []

    deal.on_chain(TEN, tx=late, depth=1, final=False)
    await deal.sweep()
    deal.on_chain(TEN, tx=late)
    await deal.sweep()
    await deal.sweep()

    reason = "duplicate_payment" if paid_before else "late_payment"
    assert await deal.purchase.recoveries() == [(reason, str(TEN))]
    calls = len(deal.purchase.scanner.calls)
    await deal.sweep()
    assert deal.purchase.scanner.calls[calls:].count(("POST", "/transactions/inspect")) == 0  # it is done with


@pytest.mark.long
@both
async def test_a_payment_that_is_on_its_way_cannot_be_cancelled(deal: HostedPurchase) -> None:
    await deal.open()
    deal.told(deal.on_chain(TEN, depth=1, final=False), "10")
    cancel = f"/api/payment/{deal.payment_id}/cancel"
    assert await deal.purchase.buyer.refused("POST", cancel) == (409, "conflict")

    await deal.sweep()
    assert await deal.purchase.buyer.refused("POST", cancel) == (409, "conflict")


@both
async def test_a_payment_that_nobody_pays_expires(deal: HostedPurchase) -> None:
    await deal.open()
    deal.purchase.clock.advance(25 * 3600)
    await deal.sweep()

    assert deal.column("stop_reason") == "expired"
    assert deal.state()[0] == "cancelled"


@pytest.mark.long
@both
async def test_a_part_of_a_payment_that_expires_is_listed(deal: HostedPurchase) -> None:
    await deal.open()
    more: dict[str, Any] = {} if deal.provider == "shkeeper" else {"whole": False}
    await deal.send(deal.told(deal.on_chain(4 * ONE), "4", **more))
    deal.purchase.clock.advance(25 * 3600)
    await deal.sweep()

    assert deal.state()[0] == "cancelled"
    assert deal.recoveries() == [("partial_payment", str(4 * ONE))]


@pytest.mark.long
@both
@pytest.mark.parametrize(
    ("before_s", "state"), [(3601, ("processing", None, "transfer_not_found")), (3599, FUNDED_STATE)]
)
async def test_what_was_paid_before_the_payment_was_opened_pays_nothing(
    deal: HostedPurchase, before_s: int, state: tuple[str, str | None, str | None]
) -> None:
    """A gateway that gives an address once more knows transactions that paid for something else."""
    await deal.open()
    opened = int(deal.column("created_at"))

    await deal.send(deal.told(deal.on_chain(TEN, blockTime=Moment(opened - before_s * 1000).written()), "10"))

    assert deal.state() == state
    assert deal.purchase.entries() == (FUNDED if state == FUNDED_STATE else [])


@pytest.mark.long
@both
async def test_dust_that_was_just_sent_does_not_delay_what_is_deep(deal: HostedPurchase) -> None:
    await deal.open()
    dust = deal.on_chain(1, depth=1, final=False)
    if deal.provider == "shkeeper":
        deal.told(dust, "0")
    else:
        await deal.send(deal.told(dust, "0", whole=False))

    assert (await deal.pay())[1]["data"]["outcome"] == "funded"
    assert deal.purchase.entries() == FUNDED


@pytest.mark.long
@pytest.mark.parametrize("before", [0, 20, 40])
async def test_dust_a_provider_names_costs_looks_and_holds_nothing_up(
    deal: HostedPurchase, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """Two hundred and one of them once held a sale for a person, for a stranger's dollar."""
    monkeypatch.setattr(hosted_provider, "MAX_LOOKED", 5)
    await deal.open()
    cancel = f"/api/payment/{deal.payment_id}/cancel"
    for _ in range(before):
        deal.told(deal.on_chain(1), "0")
    paid = deal.on_chain(TEN)
    deal.told(paid, "10")
    for _ in range(40 - before):
        deal.told(deal.on_chain(1), "0")
    deal.told(paid, "10")

    async def sweep() -> int:
        begun = len(deal.purchase.scanner.calls)
        deal.purchase.clock.advance(61)
        await deal.sweep()
        return deal.purchase.scanner.calls[begun:].count(("POST", "/transactions/inspect"))

    for _ in range(9):
        assert 0 < await sweep() <= 15  # one look, and two more of one that is over
        if deal.state()[0] == "completed":
            break
        assert deal.state() == ("processing", None, None)  # nobody is told that anything is missing, or wrong
        assert await deal.purchase.buyer.refused("POST", cancel) == (409, "conflict")

    assert deal.state() == ("completed", "funded", None)
    left = [await sweep() for _ in range(6)]
    assert left[-1] == 0
    ((_, detected), (_, held)) = deal.purchase.entries()
    beyond = sum(int(amount or 0) for _, amount in deal.recoveries())
    assert (held, detected + beyond) == (TEN, TEN + 40)  # each unit once


@pytest.mark.long
async def test_what_is_settled_is_not_looked_at_again(deal: HostedPurchase) -> None:
    await deal.open()
    for _ in range(3):
        deal.told(deal.on_chain(1), "0")
    for _ in range(3):
        deal.purchase.clock.advance(61)
        await deal.sweep()

    assert deal.purchase.scanner.calls.count(("POST", "/transactions/inspect")) == 3
    assert deal.state()[1] == "partial"


ANSWERS = {
    "chain_unavailable": (503, {"error": "no node agrees", "code": "chain_unavailable"}),
    "too large": (400, {"error": "too many", "code": "invalid_request", "details": {"field": "txHash"}}),
    "no JSON of ours": (200, {"chainId": 97}),
}


@pytest.mark.long
@pytest.mark.parametrize(
    ("answer", "alone"),
    [("chain_unavailable", None), ("too large", "broken_answer"), ("no JSON of ours", "broken_answer")],
)
async def test_one_transaction_that_nobody_can_look_at_holds_up_no_other(
    deal: HostedPurchase, answer: str, alone: str | None
) -> None:
    """Whoever sends a transaction chooses how large it is, and may let one node alone know of it."""
    await deal.open()
    strange = nowhere()
    deal.purchase.scanner.untold[strange] = ANSWERS[answer]
    deal.told(strange, "0")
    deal.purchase.clock.advance(61)
    await deal.sweep()
    assert (deal.state()[2], deal.purchase.entries()) == (alone, [])

    deal.told(deal.on_chain(TEN), "10")
    deal.purchase.clock.advance(61)
    await deal.sweep()

    assert deal.state() == ("completed", "funded", None)
    assert deal.purchase.entries() == FUNDED


@pytest.mark.long
async def test_more_names_than_are_read_are_for_a_person_unless_enough_is_seen(
    deal: HostedPurchase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "MAX_ANSWER", 2_000)
    await deal.open()
    for _ in range(20):
        body = deal.told(nowhere(), "0")
    deal.purchase.clock.advance(61)
    await deal.sweep()
    assert deal.state()[2] == "broken_answer"

    paid = deal.on_chain(TEN)
    await deal.send({**body, "transactions": [{"txid": paid}]})

    assert deal.state() == ("completed", "funded", None)


def named(deal: HostedPurchase, tx: str) -> dict[str, Any]:
    """Return a webhook that names one transaction, of which the provider's own list knows nothing."""
    body = deal.told(nowhere(), "0")
    if deal.provider == "shkeeper":
        deal.shkeeper.invoice(deal.payment_id).txs.clear()
        return {**body, "transactions": [{"txid": tx}]}
    deal.request_network.of(deal.payment_id)["txHash"] = None
    return {**body, "txHash": tx}


def kept(deal: HostedPurchase, table: str) -> int:
    with deal.purchase.market.opened() as store:
        sql = f"SELECT count(*) FROM {table} WHERE payment_id = ?"  # noqa: S608 - tables of ours
        ((found,),) = store.execute(sql, [deal.payment_id]).fetchall()
    return int(found)


@both
@pytest.mark.parametrize("over", [False, True])
async def test_more_names_than_are_kept_are_told_once_and_what_was_seen_stays(
    deal: HostedPurchase, monkeypatch: pytest.MonkeyPatch, over: bool
) -> None:
    """Whoever has a provider's key names as many as they like, in one webhook after another."""
    monkeypatch.setattr(told_transactions, "MAX_NAMED", 5)
    await deal.open()
    if over:
        await deal.purchase.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    known = deal.on_chain(4 * ONE)
    strange = [nowhere() for _ in range(10)]
    for tx in (known, *strange):
        assert (await deal.send(named(deal, tx)))[0] < 300
    await sweep_twice(deal)

    money = [("late_payment", str(4 * ONE))] if over else []
    assert sorted(deal.recoveries(), key=str) == [*money, ("unread_transactions", None)]
    assert (kept(deal, "told_transactions"), deal.told_admins().count("payment_recovery")) == (5, 1)
    if not over:
        assert deal.state() == ("processing", "partial", "broken_answer")
        deal.on_chain(6 * ONE, tx=strange[0])
        await sweep_twice(deal)
        assert deal.state() == FUNDED_STATE


@pytest.mark.long
async def test_a_long_list_is_kept_up_to_the_bound(deal: HostedPurchase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told_transactions, "MAX_NAMED", 5)
    await deal.open()
    for _ in range(3):
        deal.shkeeper.invoice(deal.payment_id).txs.clear()
        for _ in range(4):
            deal.told(nowhere(), "0")
        deal.purchase.clock.advance(61)
        await deal.sweep()

    assert kept(deal, "told_transactions") == 5
    assert deal.recoveries() == [("unread_transactions", None)]


@both
async def test_of_more_webhooks_than_are_kept_only_what_they_name_is(
    deal: HostedPurchase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_receiver, "MAX_KEPT", 3)
    await deal.open()
    bodies = [named(deal, deal.on_chain(ONE)) for _ in range(10)]
    for body in bodies[:8]:
        assert (await deal.send(body))[0] < 300
    assert kept(deal, "webhook_inbox") == 3
    assert (await deal.send(bodies[0]))[1]["data"]["outcome"] == "duplicate"

    deal.purchase.scanner.down = True
    assert [(await deal.send(body))[0] for body in bodies[8:]] == [503, 503]
    deal.purchase.scanner.down = False
    await sweep_twice(deal)

    assert kept(deal, "webhook_inbox") == 3
    assert (deal.state(), deal.purchase.entries()) == (FUNDED_STATE, FUNDED)


async def test_a_transaction_of_another_chain_is_for_a_person(deal: HostedPurchase) -> None:
    await deal.open()
    body = deal.told("4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33bZZ", "10", crypto="BTC")

    _, answer = await deal.send(body)

    assert (answer["data"]["funded"], deal.state()[2]) == (False, "broken_answer")


async def test_a_payment_that_cannot_be_looked_at_holds_up_no_others(
    deal: HostedPurchase, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    """A hundred that waited for ever were all that was ever looked at again."""
    other = HostedPurchase(
        await accept_purchase(deal.purchase.market, fake_scanner, clock),
        deal.shkeeper,
        deal.request_network,
        "shkeeper",
    )
    for each in (deal, other):
        await each.open()
    strange = nowhere()
    fake_scanner.untold[strange] = ANSWERS["chain_unavailable"]
    assert (await deal.send(deal.told(strange, "0")))[0] == 503
    fake_scanner.down = True
    assert (await other.send(other.told(other.on_chain(TEN), "10")))[0] == 503
    fake_scanner.down = False

    for _ in range(2):
        await deal.purchase.market.marketplace.sweep._hosted_webhooks.read_again(1)
        clock.advance(1)

    assert (deal.state()[0], other.state()[0]) == ("pending", "completed")


@pytest.mark.long
async def test_one_look_answers_all_that_was_told_of_a_payment(deal: HostedPurchase) -> None:
    await deal.open()
    bodies = [deal.told(deal.on_chain(1), "0") for _ in range(6)]
    deal.purchase.scanner.down = True
    for body in bodies:
        assert (await deal.send(body))[0] == 503
    deal.purchase.scanner.down = False
    asked = deal.shkeeper.calls["invoices"]

    await deal.purchase.market.marketplace.sweep._hosted_webhooks.read_again(100)

    assert deal.shkeeper.calls["invoices"] - asked == 1
    for body in bodies:
        assert (await deal.send(body))[1]["data"]["outcome"] == "duplicate"


@both
async def test_late_money_that_may_be_taken_back_is_not_listed(deal: HostedPurchase) -> None:
    """Nobody is told when it is taken back: whoever returns it by then returns what never came."""
    await deal.open()
    await deal.purchase.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    late = deal.on_chain(TEN, depth=1, final=False)

    await deal.send(deal.told(late, "10"))
    assert deal.recoveries() == []

    deal.on_chain(TEN, tx=late)
    await sweep_twice(deal)
    assert deal.recoveries() == [("late_payment", str(TEN))]


@both
async def test_nor_is_what_comes_in_while_a_payment_ends(deal: HostedPurchase, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was open when it was looked at, and over when what was seen was written down."""
    await deal.open()
    late = deal.on_chain(TEN, depth=1, final=False)
    real = hosted_provider.inspect

    async def while_it_ends(*asked: Any) -> Any:
        seen = await real(*asked)
        # As when its time is up just then, and whoever ends it had looked a moment earlier.
        await deal.purchase.market.write("UPDATE payments SET status = 'cancelled' WHERE id = ?", [deal.payment_id])
        return seen

    monkeypatch.setattr(hosted_provider, "inspect", while_it_ends)
    await deal.send(deal.told(late, "10"))
    assert (deal.column("status"), deal.recoveries()) == ("cancelled", [])
    monkeypatch.setattr(hosted_provider, "inspect", real)

    deal.on_chain(TEN, tx=late)
    await sweep_twice(deal)
    assert deal.recoveries() == [("late_payment", str(TEN))]


@both
async def test_another_token_adds_nothing_to_a_part_that_was_listed(deal: HostedPurchase) -> None:
    """The part was taken back, and a stranger sends what costs nothing."""
    await deal.open()
    more: dict[str, Any] = {} if deal.provider == "shkeeper" else {"whole": False}
    part = deal.on_chain(4 * ONE, depth=1, final=False)
    await deal.send(deal.told(part, "4", **more))
    await deal.purchase.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    for gone in (False, True):
        if gone:
            del deal.purchase.scanner.transactions[97, part]
        await deal.send(deal.told(deal.on_chain(900 * ONE, token=USDC), "0", **more))
        await sweep_twice(deal)
        mine = [each for each in deal.recoveries() if each[0] != "wrong_token"]
        assert mine == [("partial_payment", str(4 * ONE))]


@both
@pytest.mark.parametrize("ended", ["cancelled", "expired", "completed"])
async def test_another_token_that_comes_to_a_payment_that_is_over_is_listed_once(
    deal: HostedPurchase, ended: str
) -> None:
    await deal.open()
    if ended == "completed":
        await deal.pay()
    elif ended == "cancelled":
        await deal.purchase.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    else:
        deal.purchase.clock.advance(25 * 3600)
        await deal.sweep()
    late = deal.on_chain(7 * ONE, token=USDC, depth=1, final=False)
    assert (await deal.send(named(deal, late)))[0] < 300
    await sweep_twice(deal)
    assert deal.recoveries() == []  # it may be taken back

    deal.on_chain(7 * ONE, token=USDC, tx=late)
    await sweep_twice(deal)
    await deal.send(named(deal, late))
    await sweep_twice(deal)

    assert deal.recoveries() == [("wrong_token", str(7 * ONE))]
    assert deal.column("(SELECT token_address FROM recoveries r WHERE r.payment_id = payments.id)") == USDC
    assert deal.told_admins() == ["payment_recovery"]


class EndedError(Exception):
    """The process ended here."""


@both
async def test_other_tokens_are_written_down_a_few_transactions_at_a_time(
    deal: HostedPurchase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends them chooses how many: all in one transaction kept everybody else from the store."""
    await deal.open()
    await deal.purchase.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    some = webhook_receiver.LISTED_AT_ONCE
    count = 2 * some + 1
    for _ in range(count):
        assert (await deal.send(named(deal, deal.on_chain(ONE, token=USDC))))[0] < 300
    written: list[int] = []
    real = hosted_provider.HostedProvider.list_others

    async def counting(mine: Any, work: Any, payment: Any, settled: Any) -> None:
        written.append(len(settled))
        await real(mine, work, payment, settled)
        if len(written) == 2:
            raise EndedError

    monkeypatch.setattr(hosted_provider.HostedProvider, "list_others", counting)
    with pytest.raises(EndedError):
        await deal.sweep()
    deal.purchase.clock.advance(60)
    await sweep_twice(deal)

    assert written == [some, some, some, 1]
    market = deal.purchase.market.admin
    rows = (await market.ok("GET", "/api/admin/recoveries?limit=100"))["recoveries"]
    assert (sum(row["count"] for row in rows), {row["reason"] for row in rows}) == (count, {"wrong_token"})
    assert sum(int(row["amountBaseUnits"]) for row in rows) == count * ONE


@pytest.mark.long
@both
async def test_another_token_that_came_beside_what_paid_is_listed_once(deal: HostedPurchase) -> None:
    """It was looked at while the payment was open, and what paid was enough."""
    await deal.open()
    aside = deal.on_chain(7 * ONE, token=USDC)
    zero = deal.on_chain(0, token=USDC)
    for tx in (zero, aside):
        await deal.send(named(deal, tx))
    assert deal.state()[2] == "wrong_token"
    more = {"chainId": 97, "from": SENDER, "to": deal.address()}
    tokens = [f"0x{number:040x}" for number in range(1, 41)]
    strange = [{**more, "tokenAddress": each, "amountBaseUnits": "5"} for each in (*tokens, tokens[0])]
    paid = deal.purchase.scanner.carries_out(
        {**more, "tokenAddress": deal.column("token_address"), "amountBaseUnits": str(TEN)}, *strange
    )
    await deal.send(named(deal, paid))
    assert deal.state() == FUNDED_STATE
    await sweep_twice(deal)

    assert deal.purchase.entries() == FUNDED
    listed = [("wrong_token", str(7 * ONE)), ("wrong_token", "10"), *[("wrong_token", "5")] * 19]
    assert deal.recoveries() == listed  # of the tokens of one transaction the first twenty


DAY_S = 86_400


async def asked_and_looked(deal: HostedPurchase, seconds: float) -> tuple[int, int]:
    """Sweep after a while; return how often the provider was asked, and transactions were looked at."""
    begun = len(deal.purchase.scanner.calls)
    asked = deal.shkeeper.calls["invoices"] + deal.request_network.calls["request"]
    deal.purchase.clock.advance(seconds)
    await deal.sweep()
    now = deal.shkeeper.calls["invoices"] + deal.request_network.calls["request"]
    return now - asked, deal.purchase.scanner.calls[begun:].count(("POST", "/transactions/inspect"))


@both
async def test_what_is_on_no_chain_is_looked_for_more_and_more_seldom_for_a_week(deal: HostedPurchase) -> None:
    await deal.open()
    await deal.purchase.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    late = nowhere()
    await deal.send(named(deal, late))
    for _ in range(6):
        assert (await asked_and_looked(deal, 600))[1] == 1
    looks = [(await asked_and_looked(deal, 3600))[1] for _ in range(23)]
    later = [(await asked_and_looked(deal, DAY_S / 4))[1] for _ in range(4 * 8)]

    assert (sum(looks), sum(later)) == (4, 7)
    assert later[-4:] == [0] * 4  # it was given up

    deal.on_chain(TEN, tx=late)
    await sweep_twice(deal)
    assert deal.recoveries() == []
    await deal.send(named(deal, late) | {"date": "once more"})
    await sweep_twice(deal)
    assert deal.recoveries() == [("late_payment", str(TEN))]


@both
async def test_what_is_mined_days_after_it_was_named_is_listed(deal: HostedPurchase) -> None:
    await deal.open()
    await deal.purchase.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    late = nowhere()
    await deal.send(named(deal, late))
    for _ in range(3):
        await asked_and_looked(deal, DAY_S)
    deal.on_chain(TEN, tx=late)
    await asked_and_looked(deal, DAY_S)
    await sweep_twice(deal)

    assert deal.recoveries() == [("late_payment", str(TEN))]


@both
@pytest.mark.parametrize("paid_before", [False, True])
async def test_what_nobody_is_told_of_a_payment_that_is_over_is_asked_for(
    deal: HostedPurchase, paid_before: bool
) -> None:
    await deal.open()
    if paid_before:
        await deal.pay()
    else:
        await deal.purchase.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    asked = [(await asked_and_looked(deal, 3600))[0] for _ in range(9)]
    assert asked[1:] == [1, 0, 1, 0, 0, 0, 1, 0]  # at first it is asked whether it agrees to the end, too
    deal.told(deal.on_chain(TEN), "10")  # its webhook is lost
    for _ in range(2):
        await asked_and_looked(deal, DAY_S)

    reason = "duplicate_payment" if paid_before else "late_payment"
    assert deal.recoveries() == [(reason, str(TEN))]
    later = [(await asked_and_looked(deal, DAY_S / 4))[0] for _ in range(4 * 7)]
    assert sum(later) == 4
    assert later[-8:] == [0] * 8


@pytest.mark.long
@pytest.mark.parametrize("over", [False, True])
async def test_a_callback_that_dust_made_too_large_is_made_up_for_by_asking(deal: HostedPurchase, over: bool) -> None:
    """SHKeeper lists every transaction of an invoice in each callback, and whoever knows the address can send."""
    await deal.open()
    if over:
        await deal.purchase.buyer.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    for _ in range(360):
        deal.told(deal.on_chain(1), "0")
    status, answer = await deal.pay()
    assert (status, answer["error"]["code"]) == (413, "payload_too_large")

    for _ in range(5):
        await asked_and_looked(deal, 61)

    listed = sum(int(amount or 0) for _, amount in deal.recoveries())
    detected = sum(amount for kind, amount in deal.purchase.entries() if kind == "payment_detected")
    assert (deal.state()[0], listed + detected) == ("cancelled" if over else "completed", TEN + 360)


async def test_a_list_that_is_too_long_is_told_once_after_the_end_too(
    deal: HostedPurchase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "MAX_ANSWER", 2_000)
    await deal.open()
    await deal.pay()
    for _ in range(20):
        deal.told(nowhere(), "0")
    for _ in range(3):
        await asked_and_looked(deal, DAY_S)

    assert deal.recoveries() == [("unread_transactions", None)]
    assert deal.told_admins() == ["payment_recovery"]


OF_ANOTHER_CHAIN = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33bZZ"


async def held_part(deal: HostedPurchase, **second: Any) -> str:
    """Pay four tenths in two transactions, and let the provider name what cannot be; return the second."""
    await deal.open()
    more: dict[str, Any] = {} if deal.provider == "shkeeper" else {"whole": False}
    txs = [deal.on_chain(2 * ONE), deal.on_chain(2 * ONE, **second)]
    for tx in (*txs, OF_ANOTHER_CHAIN):
        await deal.send(deal.told(tx, "2", **more))
    assert deal.state() == ("processing", "partial", "broken_answer")
    return txs[1]


async def sweep_twice(deal: HostedPurchase) -> None:
    for _ in range(2):
        deal.purchase.clock.advance(61)
        await deal.sweep()


@both
async def test_a_part_of_several_that_is_given_up_is_listed_once(deal: HostedPurchase) -> None:
    """It was held for what else the provider named: its transactions are looked at once more when it is over."""
    await held_part(deal)

    await deal.purchase.market.admin.ok("POST", f"/api/payment/{deal.payment_id}/cancel")
    await sweep_twice(deal)

    assert deal.recoveries() == [("broken_answer", str(4 * ONE))]


@pytest.mark.long
@both
async def test_a_held_part_that_is_credited_with_the_rest_is_not_listed_besides(deal: HostedPurchase) -> None:
    later = await held_part(deal, depth=1, final=False)

    await deal.pay()
    assert deal.state() == ("completed", "funded", None)
    deal.on_chain(2 * ONE, tx=later)
    await sweep_twice(deal)

    assert deal.purchase.entries() == [("payment_detected", 12 * ONE), ("hold", TEN)]
    assert deal.recoveries() == [("duplicate_payment", str(2 * ONE))]


# -- webhooks ------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    "headers",
    [
        {"X_Shkeeper_Api_Key": None, "X_Shkeeper_Signature": None},
        {"X_Shkeeper_Api_Key": "another-key"},
        {"X_Shkeeper_Signature": "0" * 64},
        {"X_Shkeeper_Timestamp": None},
        {"X_Shkeeper_Timestamp": "soon"},
        {"X_Shkeeper_Timestamp": "9" * 40},
        {"X_Shkeeper_Api_Key": "\xe9\xe9"},
    ],
)
async def test_a_callback_that_is_not_shkeepers_is_nothing(
    deal: HostedPurchase, headers: dict[str, str | None]
) -> None:
    await deal.open()

    status, answer = await deal.send(deal.told(deal.on_chain(TEN), "10"), **headers)

    assert (status, answer["error"]["code"]) == (401, "bad_signature")
    assert deal.state()[0] == "pending"


async def test_an_old_shkeeper_has_its_key_alone_and_an_old_callback_is_none(deal: HostedPurchase) -> None:
    await deal.open()
    body = deal.told(deal.on_chain(TEN), "10")
    late = deal.purchase.clock.now_ms() // 1000 - 301
    session = deal.purchase.buyer.session
    assert (await deal.shkeeper.send(session, body, now=late))[0] == 401

    deal.shkeeper.signs = False
    assert (await deal.send(body))[1]["data"]["outcome"] == "funded"


@pytest.mark.long
@pytest.mark.parametrize("provider", ["request.network"])
@pytest.mark.parametrize("signature", [None, "", "0" * 64, "\xe9"])
async def test_a_webhook_that_is_not_request_networks_is_nothing(deal: HostedPurchase, signature: str | None) -> None:
    await deal.open()
    body = deal.told(deal.on_chain(TEN), "10")

    status, answer = await deal.send(body, x_request_network_signature=signature)

    assert (status, answer["error"]["code"]) == (401, "bad_signature")
    assert deal.state()[0] == "pending"


@both
async def test_a_webhook_about_another_providers_payment_finds_none(
    deal: HostedPurchase, fake_scanner: FakeScanner, clock: FakeClock
) -> None:
    """Whoever holds the key of one provider reaches no payment of another, by whatever name."""
    await deal.open()
    others = []
    for name in ("amn.scanner", *(each for each in PROVIDERS if each != deal.provider)):
        other = await accept_purchase(deal.purchase.market, fake_scanner, clock)
        payment = (await other.open("direct", provider=name))["payment"]
        others += [payment["id"], payment["providerPaymentId"]]
    field = "external_id" if deal.provider == "shkeeper" else "requestId"
    body = deal.told(deal.on_chain(TEN), "10")
    body.pop("requestID", None)

    for other_name in others:
        session, raw = deal.purchase.buyer.session, orjson.dumps(body | {field: other_name})
        sender = deal.shkeeper if deal.provider == "shkeeper" else deal.request_network
        path = SHKEEPER_HOOK if deal.provider == "shkeeper" else REQUEST_NETWORK_HOOK
        headers = (
            deal.shkeeper.headers(raw, now=clock.now_ms() // 1000)
            if sender is deal.shkeeper
            else deal.request_network.headers(raw)
        )
        async with session.post(deal.purchase.buyer.url + path, data=raw, headers=headers) as response:
            assert response.status == 404


@pytest.mark.long
@both
@pytest.mark.parametrize("raw", [b"[]", b"not json", b"{}", b'{"external_id": 7, "requestId": {}}', b"[" * 2000])
async def test_a_signed_body_that_is_no_webhook_is_refused(deal: HostedPurchase, raw: bytes) -> None:
    shkeeper = deal.provider == "shkeeper"
    now = deal.purchase.clock.now_ms() // 1000
    headers = deal.shkeeper.headers(raw, now=now) if shkeeper else deal.request_network.headers(raw)
    path = SHKEEPER_HOOK if shkeeper else REQUEST_NETWORK_HOOK

    status, _ = await deal.purchase.buyer.nobody().call("POST", path, raw, headers=headers)

    assert status == 400


async def test_a_callback_that_is_faster_than_the_answer_to_its_creation_counts(deal: HostedPurchase) -> None:
    deal.shkeeper.loses_answers = 1
    await deal.open()
    made = deal.shkeeper.invoice(deal.payment_id)
    tx = deal.on_chain(TEN, to=made.address)

    _, answer = await deal.send(deal.told(tx, "10"))

    assert answer["data"] == {"outcome": "funded", "funded": True}


async def test_a_callback_while_the_address_is_not_known_is_to_come_again(deal: HostedPurchase) -> None:
    deal.shkeeper.loses_answers = 2
    await deal.open()
    made = deal.shkeeper.invoice(deal.payment_id)
    body = deal.told(deal.on_chain(TEN, to=made.address), "10")

    assert (await deal.send(body))[0] == 503
    deal.purchase.clock.advance(60)
    await deal.purchase.market.settled_down()
    assert (await deal.send(body))[1]["data"]["outcome"] == "funded"


async def test_an_unconfirmed_transaction_is_news(deal: HostedPurchase) -> None:
    await deal.open()
    tx = nowhere()
    _, answer = await deal.send(deal.shkeeper.unconfirmed(deal.payment_id, "10", tx))
    assert (answer["data"]["outcome"], deal.state()[0]) == ("waiting", "processing")

    deal.on_chain(TEN, tx=tx)
    await deal.send(deal.told(tx, "10"))
    assert deal.state() == ("completed", "funded", None)


@pytest.mark.parametrize("provider", ["request.network"])
async def test_a_test_delivery_is_accepted_and_does_nothing(deal: HostedPurchase) -> None:
    await deal.open()
    body = deal.told(deal.on_chain(TEN), "10")

    status, answer = await deal.send(body, x_request_network_test="true")

    assert (status, answer["data"]) == (200, {"outcome": "test", "funded": False})
    assert deal.state()[0] == "pending"


@pytest.mark.long
@pytest.mark.parametrize("provider", ["request.network"])
async def test_an_event_that_tells_of_no_payment_is_kept_and_changes_nothing(deal: HostedPurchase) -> None:
    await deal.open()
    body = {"event": "payment.failed", "requestId": deal.request_network.of(deal.payment_id)["requestId"]}

    status, answer = await deal.send(body)

    assert (status, answer["data"], deal.state()[0]) == (200, {"outcome": "noted", "funded": False}, "pending")


# -- the store -----------------------------------------------------------------------------------------


async def test_only_a_provider_that_gives_addresses_may_leave_one_open(deal: HostedPurchase) -> None:
    await deal.purchase.open("direct")
    for change in ("destination = NULL", "destination = NULL, provider = 'shkeeper'"):
        with pytest.raises(sqlite3.IntegrityError, match="payments_destination_known"):
            await deal.purchase.market.write(f"UPDATE payments SET {change}")  # noqa: S608 - changes of ours
