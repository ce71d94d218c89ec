"""The client understands the real scanner, survives a broken one, and believes only what is signed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from clients.python.amn_scanner_client import (
    BalanceEvent,
    Conflict,
    IntentEvent,
    InvalidWebhook,
    MalformedWebhook,
    NotFound,
    ScannerClient,
    ScannerRefused,
    ScannerUnavailable,
    verify_webhook,
)
from devnet.evm.anvil import Anvil
from devnet.fault_server import serving
from devnet.receiver import Receiver
from protocol.codec import plain
from tests.clients.webhook_vectors import CHANGED, CONFIRMED, NOW, amn_only, signed
from tests.harness import MERCHANT, ROOT, SECRET, USDC, USDT, Running, environment, running
from webhooks.signing import sign_amn

KEY = "a-key-for-tests"
OTHER = "0x1000000000000000000000000000000000000001"


def new_intent(**changed: Any) -> dict[str, Any]:
    return {
        "intent_id": "order-1",
        "chain_id": 97,
        "token": "USDT",
        "destination": MERCHANT,
        "amount": 1000,
        "callback_url": "http://127.0.0.1:9/hook",
        "callback_secret": SECRET,
        **changed,
    }


def new_watch(**changed: Any) -> dict[str, Any]:
    return {
        "watch_id": "watch-1",
        "chain_id": 97,
        "address": MERCHANT,
        "token": "USDT",
        "callback_url": "http://127.0.0.1:9/hook",
        "callback_secret": SECRET,
        **changed,
    }


# -- the real scanner, without a chain ---------------------------------------------------------------


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    env = environment(tmp_path, "http://127.0.0.1:9", SCANNER_API_KEY=KEY, POLL_INTERVAL_SEC="3600")
    async with running(env) as found:
        yield found


@pytest.fixture
async def client(daemon: Running) -> AsyncIterator[ScannerClient]:
    async with ScannerClient.open(daemon.api.url, KEY, retry_delays=()) as made:
        yield made


async def test_an_intent_is_registered_and_the_same_again_answers_the_same(client: ScannerClient) -> None:
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)

    first = await client.create_intent(**new_intent(amount=2**255, expires_at=expires))
    again = await client.create_intent(**new_intent(amount=2**255, expires_at=expires))

    assert again == first
    assert first.expires_at is not None
    assert (first.intent_id, first.status, first.expires_at.datetime) == ("order-1", "pending", expires)
    block = first.checkout_block
    assert (block.destination, block.token_address, block.decimals) == (MERCHANT, USDT, 18)
    assert block.amount_wei == 2**255
    assert plain(block)["amountWei"] == str(2**255)


async def test_every_option_of_an_intent_arrives(client: ScannerClient, daemon: Running) -> None:
    await client.create_intent(
        **new_intent(rail="proxy", confirmations=77, fee_amount=5, fee_address=OTHER, events=["payment.late"])
    )

    stored = await daemon_intent(daemon)

    assert (stored["confirmationsRequired"], stored["feeAmount"], stored["events"]) == (77, "5", ["payment.late"])
    assert stored["feeAddress"] == OTHER


async def daemon_intent(daemon: Running) -> dict[str, Any]:
    return await daemon.api.intent("order-1")


async def test_an_intent_is_read_back(client: ScannerClient) -> None:
    created = await client.create_intent(**new_intent(rail="direct"))

    intent = await client.intent("order-1")

    assert (intent.intent_id, intent.rail, intent.amount, intent.amount_received) == ("order-1", "direct", 1000, 0)
    assert intent.payment_reference == created.payment_reference
    assert intent.transfers == ()
    assert intent.tx_hash is None
    assert intent.created_at.datetime.tzinfo is not None


async def test_another_payment_under_the_same_id_is_a_conflict_that_names_the_field(client: ScannerClient) -> None:
    await client.create_intent(**new_intent())

    with pytest.raises(Conflict) as caught:
        await client.create_intent(**new_intent(amount=1001))

    assert (caught.value.status, caught.value.code, caught.value.details) == (409, "conflict", {"field": "amount"})


async def test_a_bad_parameter_is_refused_with_its_name(client: ScannerClient) -> None:
    with pytest.raises(ScannerRefused) as caught:
        await client.create_intent(**new_intent(amount=0))

    assert (caught.value.status, caught.value.code) == (400, "invalid_request")
    assert caught.value.details == {"field": "amount"}
    assert "amount" in caught.value.message


async def test_a_wrong_key_is_refused(daemon: Running) -> None:
    async with ScannerClient.open(daemon.api.url, "wrong") as client:
        with pytest.raises(ScannerRefused) as caught:
            await client.intent("order-1")

    assert caught.value.status == 401


async def test_a_pending_intent_is_cancelled_and_twice_is_harmless(client: ScannerClient) -> None:
    await client.create_intent(**new_intent())

    first = await client.cancel_intent("order-1")
    second = await client.cancel_intent("order-1")

    assert first.status == second.status == "expired"
    assert first.cancelled_at == second.cancelled_at is not None


async def test_an_intent_that_ran_out_by_itself_is_at_its_end(client: ScannerClient, daemon: Running) -> None:
    await client.create_intent(**new_intent())
    async with daemon.database.write() as tx:
        await tx.execute(text("UPDATE intents SET status = 'expired'"))

    assert (await client.end_intent("order-1")).cancelled_at is None


async def test_an_intent_that_is_being_paid_is_not_at_its_end(client: ScannerClient, daemon: Running) -> None:
    await client.create_intent(**new_intent())
    async with daemon.database.write() as tx:
        await tx.execute(text("UPDATE intents SET status = 'confirming'"))

    with pytest.raises(Conflict):
        await client.end_intent("order-1")


async def test_what_the_scanner_does_not_know_is_not_found(client: ScannerClient) -> None:
    for call in (client.intent, client.cancel_intent, client.recheck_intent, client.watch, client.stop_watch):
        with pytest.raises(NotFound):
            await call("nobody")


@pytest.mark.parametrize("identity", ["", ".", "..", "a/b", "a b", "x" * 129, "\u00e9"])
async def test_what_cannot_be_an_id_is_never_sent(client: ScannerClient, identity: str) -> None:
    with pytest.raises(ValueError, match="is not a valid id"):
        await client.cancel_intent(identity)


async def test_an_id_with_every_character_there_is_finds_its_way(client: ScannerClient) -> None:
    identity = "..A.z_0:-"
    await client.create_intent(**new_intent(intent_id=identity))

    assert (await client.intent(identity)).intent_id == identity


async def test_intents_are_listed_page_by_page(client: ScannerClient) -> None:
    for number in range(3):
        await client.create_intent(**new_intent(intent_id=f"order-{number}"))

    first = await client.intents(limit=2, status="pending", chain_id=97)
    second = await client.intents(limit=2, status="pending", chain_id=97, cursor=first.next_cursor)

    assert [row.intent_id for row in first.intents + second.intents] == ["order-0", "order-1", "order-2"]
    assert second.next_cursor is None


async def test_a_balance_that_cannot_be_read_is_unavailable_and_not_zero(client: ScannerClient) -> None:
    with pytest.raises(ScannerUnavailable, match="balance check failed"):
        await client.check_balance(chain_id=97, address=MERCHANT, token="USDT")


async def test_nothing_is_retried_when_nothing_was_given_up(client: ScannerClient) -> None:
    assert await client.retry_webhooks() == 0


async def test_nothing_unmatched_is_an_empty_page(client: ScannerClient) -> None:
    page = await client.unmatched(chain_id=97, reason="late", limit=5)

    assert (page.unmatched, page.next_cursor) == ((), None)


async def test_operators_ask_for_webhooks_stats_and_what_is_named(client: ScannerClient) -> None:
    await client.create_intent(**new_intent(intent_id="named"))

    tested = await client.test_webhook(callback_url="http://127.0.0.1:9/", callback_secret="s")

    assert (tested.status, tested.error) == (None, "connection refused")
    assert [each.intent_id for each in (await client.intents(named="named", rail="proxy")).intents] == ["named"]
    assert (await client.intents(named="nam")).intents == ()
    assert (await client.webhooks(status="failed", receiver="shop.example:443")).webhooks == ()
    assert (await client.stats(97, hours=1)).chain_id == 97
    for call in (
        client.webhook("nobody"),
        client.redeliver_webhook("nobody"),
        client.handle_unmatched("1", "sent back"),
    ):
        with pytest.raises(NotFound):
            await call


async def test_a_scanner_without_its_chain_is_not_ready_and_says_why(client: ScannerClient) -> None:
    readiness = await client.ready()

    assert not readiness.is_ready
    assert readiness.reasons


async def test_the_chains_are_returned(client: ScannerClient) -> None:
    (chain,) = await client.status()

    assert (chain.chain_id, chain.chain_type, chain.name) == (97, "evm", "BSC Testnet")


# -- the real scanner on a chain ---------------------------------------------------------------------


async def asked(daemon: Running) -> ScannerClient:
    return ScannerClient(daemon.api.url, None, daemon.api._session)


@pytest.mark.anvil
async def test_a_payment_is_verified_from_its_webhook_and_read_back(
    chain: Anvil, hooks: Receiver, scanner: Running
) -> None:
    client = await asked(scanner)
    created = await client.create_intent(**new_intent(callback_url=hooks.url()))
    tx = await chain.pay(USDT, MERCHANT, 1200, created.payment_reference)
    await chain.mine(6)
    (delivery,) = await hooks.wait_for(1)

    event = verify_webhook(delivery.body, delivery.headers, SECRET, now=int(delivery.at))

    assert isinstance(event, IntentEvent)
    assert (event.event_type, event.intent_id, event.tx_hash) == ("payment.confirmed", "order-1", tx)
    assert (event.amount, event.amount_received, event.status) == (1000, 1200, "confirmed")
    assert event.event_id == delivery.event_id
    assert event.transfers is not None
    assert [(each.tx_hash, each.amount) for each in event.transfers] == [(tx, 1200)]
    intent = await client.intent("order-1")
    assert (intent.status, intent.tx_hash, intent.sender) == ("confirmed", tx, event.sender)
    assert [(each.tx_hash, each.amount, each.settled) for each in intent.transfers] == [(tx, 1200, True)]
    with pytest.raises(Conflict):
        await client.cancel_intent("order-1")
    (surplus,) = (await client.unmatched(reason="overpaid_surplus")).unmatched
    assert (surplus.amount, surplus.transfer_amount, surplus.intent_id) == (200, 1200, "order-1")


@pytest.mark.anvil
async def test_a_recheck_says_what_is_missing(chain: Anvil, scanner: Running) -> None:
    client = await asked(scanner)
    created = await client.create_intent(**new_intent())
    tx = await chain.pay(USDT, MERCHANT, 400, created.payment_reference)

    answer = await client.recheck_intent("order-1", tx)

    assert (answer.settled, answer.missing) == (False, 600)
    assert [(observed.tx_hash, observed.amount, observed.counts) for observed in answer.seen] == [(tx, 400, True)]


@pytest.mark.anvil
async def test_a_transaction_is_looked_at_while_it_grows_deep(chain: Anvil, scanner: Running) -> None:
    client = await asked(scanner)
    tx = await chain.transfer(USDT, MERCHANT, 400)
    await chain.mined(tx)

    fresh = await client.inspect_transaction(97, tx)
    await chain.mine(20)
    deep = await client.inspect_transaction(97, "0x" + tx[2:].upper())
    unknown = await client.inspect_transaction(97, "0x" + "ab" * 32)

    assert (fresh.found, fresh.success, fresh.final) == (True, True, False)
    assert (deep.tx_hash, deep.final, deep.block_hash) == (tx, True, fresh.block_hash)
    assert fresh.depth is not None
    assert deep.depth is not None
    assert deep.depth >= fresh.depth + 20
    (moved,) = deep.transfers
    assert (moved.token, moved.destination, moved.amount) == (USDT.lower(), MERCHANT.lower(), 400)
    assert (unknown.found, unknown.success, unknown.final, unknown.transfers) == (False, None, False, ())


@pytest.mark.anvil
async def test_balances_are_checked_and_watched(chain: Anvil, hooks: Receiver, scanner: Running) -> None:
    client = await asked(scanner)

    before = await client.check_balance(chain_id=97, address=MERCHANT, token="USDT")
    coin = await client.check_balance(chain_id=97, address=chain.accounts[1], token="native")
    watch = await client.create_watch(
        **new_watch(callback_url=hooks.url(), baseline_balance=0 if before.balance else 7)
    )
    again = await client.create_watch(
        **new_watch(callback_url=hooks.url(), baseline_balance=0 if before.balance else 7)
    )

    assert (before.token_address, before.decimals) == (USDT, 18)
    assert coin.token_address is None
    assert coin.balance > 0
    assert again.watch_id == watch.watch_id == "watch-1"
    assert watch.status == "watching"
    with pytest.raises(Conflict) as caught:
        await client.create_watch(**new_watch(callback_url=hooks.url(), token=USDC))
    assert caught.value.details["field"]
    assert (await client.watch("watch-1")).baseline_balance == watch.baseline_balance
    assert (await client.stop_watch("watch-1")).status == "stopped"
    assert (await client.stop_watch("watch-1")).status == "stopped"
    await scanner.worker.poll()
    assert (await client.ready()).is_ready


# -- a broken scanner --------------------------------------------------------------------------------


@dataclass
class Broken:
    """Answers what it was given, one after the other, and keeps what it was asked."""

    answers: list[Callable[[web.Request], Awaitable[web.StreamResponse]]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path))
        return await self.answers[min(len(self.asked), len(self.answers)) - 1](request)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[ScannerClient]:
        async with ScannerClient.open(self.url, "secret-key", sleep=self.sleep, **options) as made:
            yield made


@pytest.fixture
async def broken() -> AsyncIterator[Broken]:
    server = Broken()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with serving(app) as url:
        server.url = url
        yield server


def says(
    status: int, body: Any = None, headers: dict[str, str] | None = None
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    text = body if isinstance(body, str) else json.dumps(body)

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers=headers)

    return answer


async def hangs(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("never")


async def cuts(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def stops_midway(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"retried"')
    assert request.transport is not None
    request.transport.abort()
    return response


RETRIED = {"chains": []}


@pytest.mark.parametrize(
    "bad",
    [
        cuts,
        stops_midway,
        says(500, {"error": "bug", "code": "internal"}),
        says(502, "<html>bad gateway</html>"),
        says(503, {"error": "no store", "code": "store_unavailable"}),
        says(429, ""),
        says(200, "<html>welcome</html>"),
        says(200, []),
        says(200, "[" * 100_000),
        says(302, "", {"Location": "/elsewhere"}),
        says(204, ""),
    ],
)
async def test_what_is_no_answer_is_asked_again_and_then_unavailable(
    broken: Broken, bad: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> None:
    broken.answers = [bad]

    async with broken.client() as client:
        with pytest.raises(ScannerUnavailable):
            await client.status()

    # aiohttp asks once more by itself when a connection it kept open is cut.
    assert broken.asked[:3] == [("GET", "/scanner/status")] * 3
    assert len(broken.pauses) == 2
    assert [0.16 <= broken.pauses[0] <= 0.24, 0.8 <= broken.pauses[1] <= 1.2] == [True, True]


async def test_the_first_good_answer_ends_the_repeating(broken: Broken) -> None:
    broken.answers = [cuts, says(503, {}), says(200, {"chains": [], "nodes": []})]

    async with broken.client() as client:
        assert await client.status() == ()

    assert len(broken.asked) == 3


async def test_a_scanner_that_hangs_is_given_up_in_time(broken: Broken) -> None:
    broken.answers = [hangs]

    async with broken.client(timeout_s=0.05, retry_delays=()) as client:
        with pytest.raises(ScannerUnavailable, match="no answer"):
            await client.status()


async def test_a_scanner_that_is_gone_is_unavailable() -> None:
    async with ScannerClient.open("http://127.0.0.1:9", "secret-key", retry_delays=()) as client:
        with pytest.raises(ScannerUnavailable) as caught:
            await client.status()

    assert "secret-key" not in str(caught.value) + repr(client)


@pytest.mark.parametrize(("after", "pause"), [("2", 2.0), ("0", 0.0), ("soon", 0.0), ("-5", 0.0), ("\u0665", 0.0)])
async def test_a_short_retry_after_is_waited_for(broken: Broken, after: str, pause: float) -> None:
    broken.answers = [says(503, {}, {"Retry-After": after}), says(200, {"chains": [], "nodes": []})]

    async with broken.client() as client:
        await client.status()

    assert broken.pauses[0] == pause or (pause == 0.0 and broken.pauses[0] <= 0.24)


async def test_a_long_retry_after_is_handed_to_the_caller_at_once(broken: Broken) -> None:
    broken.answers = [says(503, {"error": "busy"}, {"Retry-After": "120"})]

    async with broken.client() as client:
        with pytest.raises(ScannerUnavailable, match="busy") as caught:
            await client.create_intent(**new_intent())

    assert caught.value.retry_after == 120
    assert len(broken.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422])
async def test_a_refusal_is_not_repeated(broken: Broken, status: int) -> None:
    broken.answers = [says(status, {"error": "no", "code": "x", "details": "odd"})]

    async with broken.client() as client:
        with pytest.raises(ScannerRefused) as caught:
            await client.create_intent(**new_intent())

    assert (caught.value.status, caught.value.message, caught.value.details) == (status, "no", {})
    assert len(broken.asked) == 1


async def test_what_is_not_idempotent_is_asked_once(broken: Broken) -> None:
    broken.answers = [says(503, {})]

    async with broken.client() as client:
        with pytest.raises(ScannerUnavailable):
            await client.retry_webhooks()

    assert broken.asked == [("POST", "/admin/webhooks/retry")]


async def test_a_proxys_404_does_not_say_that_an_intent_is_unknown(broken: Broken) -> None:
    broken.answers = [says(404, "<html>no such host</html>")]

    async with broken.client() as client:
        with pytest.raises(ScannerRefused) as caught:
            await client.intent("order-1")

    assert not isinstance(caught.value, NotFound)


async def test_a_failing_store_is_not_mistaken_for_readiness(broken: Broken) -> None:
    broken.answers = [says(503, {"error": "the store is not available", "code": "store_unavailable"})]

    async with broken.client() as client:
        with pytest.raises(ScannerUnavailable, match="store"):
            await client.ready()


BALANCE = {
    "chainId": 97,
    "chainType": "evm",
    "address": MERCHANT,
    "tokenAddress": USDT,
    "tokenSymbol": "USDT",
    "decimals": 18,
    "balance": "12",
    "blockNumber": 1,
    "checkedAt": "2026-01-01T00:00:00.000Z",
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"balance": "1.5"},
        {"balance": 1.5},
        {"balance": True},
        {"balance": None},
        {"balance": "1e3"},
        {"balance": "\u0661"},
        {"chainType": 7},
        {"checkedAt": "yesterday"},
        {"checkedAt": "2026-01-01T00:00:00"},
        {"blockNumber": [1]},
    ],
)
async def test_an_answer_of_another_shape_is_unavailable_and_names_the_field(
    broken: Broken, wrong: dict[str, Any]
) -> None:
    broken.answers = [says(200, BALANCE | wrong)]

    async with broken.client() as client:
        with pytest.raises(ScannerUnavailable, match=next(iter(wrong))):
            await client.check_balance(chain_id=97, address=MERCHANT, token="USDT")


async def test_an_answer_with_a_field_missing_is_unavailable(broken: Broken) -> None:
    broken.answers = [says(200, {name: value for name, value in BALANCE.items() if name != "balance"})]

    async with broken.client() as client:
        with pytest.raises(ScannerUnavailable, match="balance is missing"):
            await client.check_balance(chain_id=97, address=MERCHANT, token="USDT")


async def test_an_answer_may_say_more_than_is_known(broken: Broken) -> None:
    broken.answers = [says(200, BALANCE | {"news": {"of": "tomorrow"}})]

    async with broken.client() as client:
        assert (await client.check_balance(chain_id=97, address=MERCHANT, token="USDT")).balance == 12


@pytest.mark.parametrize("answer", [{}, {"watch": None}, {"watch": []}, {"watch": "x"}])
async def test_an_empty_envelope_is_unavailable(broken: Broken, answer: Any) -> None:
    broken.answers = [says(200, answer)]

    async with broken.client() as client:
        with pytest.raises(ScannerUnavailable, match="watch is "):
            await client.watch("watch-1")


async def test_the_key_and_the_body_are_sent(broken: Broken) -> None:
    observed: list[tuple[str, dict[str, Any]]] = []

    async def keep(request: web.Request) -> web.StreamResponse:
        observed.append((request.headers["Authorization"], await request.json()))
        return web.json_response(BALANCE)

    broken.answers = [keep]
    async with broken.client() as client:
        await client.check_balance(chain_id=97, address=MERCHANT, token="USDT")

    assert observed == [("Bearer secret-key", {"chainId": 97, "address": MERCHANT, "token": "USDT"})]


async def test_a_cancelled_call_is_cancelled(broken: Broken) -> None:
    started = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        started.set()
        return await hangs(request)

    broken.answers = [hang]
    async with broken.client() as client:
        call = asyncio.create_task(client.status())
        await started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    assert len(broken.asked) == 1


# -- webhooks ----------------------------------------------------------------------------------------


def test_a_confirmation_is_read() -> None:
    event = verify_webhook(*signed(CONFIRMED | {"eventId": "evt_1", "eventType": "payment.confirmed"}), SECRET, now=NOW)

    assert isinstance(event, IntentEvent)
    assert (event.event_id, event.event_type, event.amount) == ("evt_1", "payment.confirmed", 2**200)
    assert event.transfers is None
    assert event.intent_id == "order-1"


def test_the_smallest_confirmation_of_the_contract_is_read() -> None:
    event = verify_webhook(*amn_only(CONFIRMED), SECRET, now=NOW)

    assert isinstance(event, IntentEvent)
    assert event.event_type == "payment.confirmed"


def test_a_balance_change_is_read() -> None:
    event = verify_webhook(*signed(CHANGED), SECRET, now=NOW)

    assert isinstance(event, BalanceEvent)
    assert (event.event_id, event.delta, event.token_address, event.transfers) == ("evt_2", -6, None, None)


def test_the_event_id_is_the_signed_one() -> None:
    from_header = verify_webhook(*signed(CONFIRMED, event_id="evt_h"), SECRET, now=NOW)
    from_body = verify_webhook(*amn_only(CONFIRMED), SECRET, now=NOW)
    same = verify_webhook(*amn_only(CONFIRMED), SECRET, now=NOW)
    other = verify_webhook(*amn_only(CONFIRMED | {"blockNumber": 42}), SECRET, now=NOW)

    assert from_header.event_id == "evt_h"
    assert from_body.event_id.startswith("sha256:")
    assert from_body.event_id == same.event_id != other.event_id


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw, headers: (raw + b" ", headers),
        lambda raw, headers: (raw, {}),
        lambda raw, headers: (raw, headers | {"X-AMN-Signature": ""}),
        lambda raw, headers: (raw, headers | {"X-AMN-Signature": "0" * 64}),
        lambda raw, headers: (raw, headers | {"X-AMN-Signature": "\udcff"}),
        lambda raw, headers: (raw, headers | {"webhook-signature": "v1,AAAA"}),
        lambda raw, headers: (raw, headers | {"webhook-signature": ""}),
        lambda raw, headers: (raw, headers | {"webhook-id": "evt_other"}),
        lambda raw, headers: (raw, headers | {"webhook-timestamp": str(NOW + 1)}),
        lambda raw, headers: (raw, {n: v for n, v in headers.items() if n != "X-AMN-Signature"}),
        lambda raw, headers: (raw, {n: v for n, v in headers.items() if n != "webhook-timestamp"}),
    ],
)
def test_whatever_was_altered_is_refused(spoil: Callable[..., tuple[bytes, dict[str, str]]]) -> None:
    with pytest.raises(InvalidWebhook):
        verify_webhook(*spoil(*signed(CONFIRMED)), SECRET, now=NOW)


def test_another_secret_is_refused() -> None:
    with pytest.raises(InvalidWebhook):
        verify_webhook(*signed(CONFIRMED, secret="another"), SECRET, now=NOW)


@pytest.mark.parametrize(("age_s", "good"), [(300, True), (301, False), (-300, True), (-301, False)])
def test_five_minutes_are_tolerated(age_s: int, good: bool) -> None:
    webhook = signed(CONFIRMED, age_s=age_s)

    if good:
        assert verify_webhook(*webhook, SECRET, now=NOW).chain_id == 97
    else:
        with pytest.raises(InvalidWebhook, match="too old"):
            verify_webhook(*webhook, SECRET, now=NOW)


def test_without_a_secret_nothing_is_accepted() -> None:
    raw, headers = amn_only(CONFIRMED)

    with pytest.raises(ValueError, match="empty"):
        verify_webhook(raw, headers | {"x-amn-signature": sign_amn(raw, "")}, "", now=NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        {},
        {"intentId": 7},
        CONFIRMED | {"amount": "12.5"},
        CONFIRMED | {"amount": None},
        CONFIRMED | {"chainId": "x"},
        CONFIRMED | {"transfers": {}},
        CONFIRMED | {"eventId": 7},
        CHANGED | {"currentBalance": 1.5},
    ],
)
def test_what_is_signed_and_no_event_is_malformed(body: Any) -> None:
    with pytest.raises(MalformedWebhook):
        verify_webhook(*signed(body), SECRET, now=NOW)


@given(st.dictionaries(st.sampled_from([*CONFIRMED, *CHANGED]), st.none() | st.booleans() | st.integers() | st.text()))
def test_no_signed_body_breaks_it(body: dict[str, Any]) -> None:
    try:
        event = verify_webhook(*signed(body), SECRET, now=NOW)
    except MalformedWebhook:
        return
    assert event.event_id


def test_an_empty_event_id_is_replaced_by_the_signed_header() -> None:
    assert verify_webhook(*signed(CONFIRMED | {"eventId": ""}), SECRET, now=NOW).event_id == "evt_h"


# -- the documentation -------------------------------------------------------------------------------


def snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "client.md").read_text(), re.DOTALL)


def in_the_repository(snippet: str) -> str:
    """Return a snippet as it reads where the client is not installed."""
    return snippet.replace("from amn_scanner_client import", "from clients.python.amn_scanner_client import")


async def test_the_documented_call_works_and_says_what_to_do(daemon: Running) -> None:
    space: dict[str, Any] = {}
    exec(in_the_repository(snippets()[0]), space)  # noqa: S102 - our own documentation

    assert re.fullmatch(r"0x[0-9a-f]{16}", await space["ask_for_payment"](daemon.api.url, KEY, "order-1"))
    assert await space["ask_for_payment"]("http://127.0.0.1:9", KEY, "order-1") == (
        "keep the order and try again in 30 s"
    )


def test_the_documented_receiver_works() -> None:
    space: dict[str, Any] = {}
    exec(in_the_repository(snippets()[1]), space)  # noqa: S102 - our own documentation
    raw, headers = signed(CONFIRMED | {"amountReceived": "1200"}, secret="a shared secret")

    assert space["receive"](raw, headers, NOW) == "order-1 is paid with 1200 by 0x4eba"
    assert space["receive"](raw + b" ", headers, NOW).startswith("401")


def test_the_documented_names_exist() -> None:
    calls = re.findall(r"`(\w+)\(", (ROOT / "docs" / "client.md").read_text())

    assert calls
    assert [name for name in calls if not hasattr(ScannerClient, name)] == []
