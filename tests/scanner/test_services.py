"""The use cases over a real store and a scripted chain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chains.errors import ChainUnavailable
from chains.types import Condition, Cursor, Rail, RailWarning, TransferProof
from config.catalog import Catalog, Token
from kernel.sealing.secret_cipher import SecretCipher
from kernel.store.database import Database
from scanner import events, ingest
from scanner.errors import InvalidRequest
from scanner.model import DeliveryStatus, EventType, Intent, IntentStatus, Reason
from scanner.redelivery import Redelivery
from scanner.registration.intents import Registrations
from scanner.registration.requests import CreateIntent
from scanner.services import Services
from scanner.store import checkpoints, intents, outbox, proofs, transfers
from scanner.store.errors import Conflict, NotFound, StoreError
from scanner.store.intent_search import IntentFilter
from scanner.upkeep.metrics import Metrics
from scanner.worker import ChainWorker
from tests.harness import FakeClock
from tests.scanner.facts import (
    CHAIN,
    HOUR_MS,
    ISSUER,
    LATE_MS,
    MERCHANT,
    NOW,
    OTHER_TOKEN,
    TOKEN,
    a_hash,
    a_head,
    a_transfer,
    an_intent,
)
from tests.scanner.fake_chain import FakeChain, a_chain
from webhooks.http_sender import Attempt

LISTED = Token(chain_id=CHAIN, address=TOKEN, symbol="USDT", decimals=18, name="Tether")


class Samples:
    """Sends no test events."""

    async def send(self, url: str, secret: str, *, event_id: str, event_type: str, body: bytes) -> Attempt:
        raise NotImplementedError


class Callbacks:
    """Allows everything but one host."""

    def check_callback(self, url: str, secret: str) -> str:
        if "forbidden" in url:
            raise InvalidRequest("callbackUrl", "callbackUrl: host is forbidden", code="forbidden_callback")
        return "http://127.0.0.1:9"


class ServicesBench:
    """The services and what stands behind them."""

    def __init__(self, db: Database, clock: FakeClock) -> None:
        self.db = db
        self.clock = clock
        self.chain = FakeChain()
        self.metrics = Metrics()
        self.wakeups = 0
        self.registrations = Registrations(db, clock, ttl_hours=24)
        chain = a_chain()
        self.worker = ChainWorker(
            chain=chain,
            adapter=self.chain,
            tokens=(),
            db=db,
            clock=clock,
            metrics=self.metrics,
            late_watch_ms=LATE_MS,
            on_events=self._ring,
        )
        self.services = Services(
            catalog=Catalog({CHAIN: chain, 98: a_chain(chainId=98)}, (CHAIN,), (LISTED,)),
            workers={CHAIN: self.worker},
            db=db,
            clock=clock,
            metrics=self.metrics,
            registrations=self.registrations,
            redelivery=Redelivery(db, clock, retry_hours=6, on_events=self._ring),
            callbacks=Callbacks(),
            late_watch_ms=LATE_MS,
            on_events=self._ring,
            on_watch=lambda chain_id: None,
            cipher=SecretCipher(),
            samples=Samples(),
        )

    def _ring(self) -> None:
        self.wakeups += 1

    async def store(self, *new: Intent) -> None:
        async with self.db.write() as tx:
            await intents.add_many(tx, new)

    async def sample(self, name: str, **labels: str) -> float | None:
        await self.services.metrics()
        return self.metrics.registry.get_sample_value(f"amn_scanner_{name}", labels)


@pytest.fixture
async def bench(db: Database, clock: FakeClock) -> AsyncIterator[ServicesBench]:
    found = ServicesBench(db, clock)
    tasks = [asyncio.create_task(run()) for run in (found.registrations.run, found.services.probe.run)]
    yield found
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_registration_is_warned_of_what_its_rail_cannot_see(
    bench: ServicesBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings = (
        RailWarning(Rail.DIRECT, "other_tokens_unseen", "no endpoint serves logs of other tokens"),
        RailWarning(Rail.PROXY, "proxy_unseen", "no endpoint serves logs"),
    )
    monkeypatch.setattr(bench.chain, "condition", lambda: Condition(warnings=warnings))
    await bench.worker.poll()

    for rail, expected in ((Rail.DIRECT, warnings[0]), (Rail.PROXY, warnings[1])):
        intent = await bench.services.register(a_request(intent_id=f"order-{rail}", rail=rail))
        assert bench.services.warnings(intent) == [expected]


def a_request(**fields: Any) -> CreateIntent:
    values: dict[str, Any] = {
        "intent_id": "order-1",
        "chain_id": CHAIN,
        "token": "USDT",
        "destination": MERCHANT,
        "amount": 1000,
        "callback_url": "http://127.0.0.1:9/hook",
        "callback_secret": "s",
    }
    return CreateIntent.model_construct(**(values | fields))


@pytest.mark.parametrize(("asked", "required"), [(None, 5), (1, 5), (5, 5), (6, 6), (100, 100)])
async def test_confirmations_are_raised_to_the_chains_floor_and_never_below(
    bench: ServicesBench, asked: int | None, required: int
) -> None:
    intent = await bench.services.register(a_request(confirmations=asked))

    assert intent.confirmations_required == required


async def test_an_intent_says_what_was_asked_in_the_callers_words_and_in_the_canonical_form(
    bench: ServicesBench,
) -> None:
    shown = "0x" + "BB" * 20
    intent = await bench.services.register(
        a_request(destination=shown, events=[EventType.LATE, EventType.DETECTED, EventType.LATE])
    )

    assert (intent.destination, intent.destination_key) == (shown, MERCHANT)
    assert (intent.token_address, intent.token_key, intent.token_symbol, intent.decimals) == (TOKEN, TOKEN, "USDT", 18)
    assert (intent.rail, intent.chain_type, intent.fee_address) == (Rail.PROXY, "evm", "0x" + "0" * 40)
    assert intent.events == (EventType.DETECTED, EventType.LATE)


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"chain_id": 5}, "chainId", "unsupported_chain"),
        ({"chain_id": 98}, "chainId", "unsupported_chain"),
        ({"destination": "nowhere"}, "destination", "invalid_request"),
        ({"fee_amount": 1}, "feeAddress", "invalid_request"),
        ({"fee_amount": 1, "fee_address": "nowhere"}, "feeAddress", "invalid_request"),
        ({"token": "DOGE"}, "token", "unsupported_token"),
        ({"callback_url": "http://forbidden/"}, "callbackUrl", "forbidden_callback"),
        ({"expires_at": NOW}, "expiresAt", "invalid_request"),
    ],
)
async def test_what_cannot_be_served_is_refused_by_its_field_and_nothing_is_stored(
    bench: ServicesBench, fields: dict[str, Any], field: str, code: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await bench.services.register(a_request(**fields))

    assert (refusal.value.field, refusal.value.code) == (field, code)
    assert (await bench.services.list_intents(limit=10)).intents == []


async def test_a_rail_the_family_does_not_serve_is_refused(bench: ServicesBench) -> None:
    bench.chain.rails = (Rail.DIRECT,)
    assert (await bench.services.register(a_request())).rail is Rail.DIRECT

    with pytest.raises(InvalidRequest, match="rail proxy is not available on chainId 97"):
        await bench.services.register(a_request(intent_id="order-2", rail=Rail.PROXY))


async def test_a_fee_goes_to_its_address(bench: ServicesBench) -> None:
    intent = await bench.services.register(a_request(fee_amount=7, fee_address=ISSUER.upper().replace("0X", "0x")))

    assert (intent.fee_amount, intent.fee_address) == (7, ISSUER)


async def test_a_pending_intent_is_cancelled_once(bench: ServicesBench) -> None:
    await bench.store(an_intent())
    bench.clock.advance(1)

    cancelled = await bench.services.cancel("order-1")

    assert (cancelled.status, cancelled.cancelled_at) == (IntentStatus.EXPIRED, NOW + 1000)
    assert (await bench.services.intent("order-1")).intent == cancelled
    bench.clock.advance(1)
    assert await bench.services.cancel("order-1") == cancelled


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (IntentStatus.CONFIRMING, {}),
        (IntentStatus.EXPIRED, {"expired_at": NOW}),
        (IntentStatus.CONFIRMED, {"tx_hash": a_hash("tx"), "confirmed_at": NOW}),
        (IntentStatus.WEBHOOK_FAILED, {"tx_hash": a_hash("tx"), "confirmed_at": NOW}),
    ],
)
async def test_what_is_past_pending_cannot_be_cancelled(
    bench: ServicesBench, status: IntentStatus, fields: dict[str, Any]
) -> None:
    intent = an_intent(status=status, **fields)
    await bench.store(intent)

    with pytest.raises(Conflict, match=f"is {status} and cannot be cancelled"):
        await bench.services.cancel("order-1")

    assert (await bench.services.intent("order-1")).intent == intent


async def test_nobodys_intent_is_not_found(bench: ServicesBench) -> None:
    for call in (bench.services.intent, bench.services.cancel):
        with pytest.raises(NotFound, match="intent nobody does not exist"):
            await call("nobody")


async def test_intents_are_listed_in_the_order_of_creation_page_by_page(bench: ServicesBench) -> None:
    times = {"b": NOW, "a": NOW, "c": NOW - 1, "d": NOW + 1}  # the clock may be set back
    await bench.store(*(an_intent(name, created_at=at) for name, at in times.items()))
    await bench.store(an_intent("other", chain_id=98), an_intent("done", status=IntentStatus.EXPIRED, created_at=0))

    found: list[str] = []
    after: str | None = None
    wanted = IntentFilter(status=IntentStatus.PENDING, chain_id=CHAIN)
    while True:
        page = await bench.services.list_intents(wanted, after=after, limit=3)
        found += [intent.intent_id for intent in page.intents]
        if (after := page.after) is None:
            break

    assert found == ["b", "a", "c", "d"]


async def test_a_recheck_of_a_transaction_finds_a_payment_the_scan_did_not_see(bench: ServicesBench) -> None:
    intent = an_intent()
    await bench.store(intent)
    await bench.worker.poll()
    below = bench.chain.put(a_transfer(intent), at=50)
    await bench.worker.poll()
    assert (await bench.services.intent("order-1")).transfers == []

    view, seen = await bench.services.recheck("order-1", below.tx_hash)

    assert view.intent.status is IntentStatus.CONFIRMED
    assert [(s.tx_hash, s.amount, s.counts, s.reason) for s in seen] == [(below.tx_hash, 1000, True, None)]
    assert bench.wakeups > 0


async def test_a_recheck_tells_also_what_in_that_transaction_is_somebody_elses(bench: ServicesBench) -> None:
    mine, theirs = an_intent(), an_intent("order-2")
    await bench.store(mine, theirs)
    await bench.worker.poll()
    bench.chain.extend()
    bench.chain.put(a_transfer(mine, token=OTHER_TOKEN))
    paid = bench.chain.put(a_transfer(theirs))

    _, seen = await bench.services.recheck("order-1", paid.tx_hash)

    assert [(s.event_key, s.counts, s.reason) for s in seen] == [
        ("0", False, Reason.WRONG_TOKEN),
        ("1", False, Reason.UNKNOWN_REFERENCE),
    ]


async def test_a_recheck_of_one_transaction_tells_nothing_of_another(bench: ServicesBench) -> None:
    intent = an_intent()
    await bench.store(intent)
    await bench.worker.poll()
    bench.chain.extend()
    for number in (1, 2):
        bench.chain.put(a_transfer(intent, amount=100, tx_hash=a_hash("tx", number)))

    assert len((await bench.services.recheck("order-1", None))[1]) == 2
    _, seen = await bench.services.recheck("order-1", a_hash("tx", 2))
    assert [s.tx_hash for s in seen] == [a_hash("tx", 2)]
    assert (await bench.services.recheck("order-1", a_hash("nothing")))[1] == []


async def test_a_recheck_of_a_chain_that_hangs_ends(bench: ServicesBench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.store(an_intent())

    async def hangs() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(bench.worker, "poll", hangs)
    monkeypatch.setattr("scanner.services.RECHECK_S", 0.01)

    with pytest.raises(ChainUnavailable, match="in time"):
        await bench.services.recheck("order-1", None)


async def test_readiness_waits_for_the_first_poll_and_for_the_store(
    bench: ServicesBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(await bench.services.not_ready()) == ["chain 97 has not been polled yet: syncing"]
    await bench.worker.poll()
    assert list(await bench.services.not_ready()) == []

    async def fails(*_: Any) -> None:
        raise StoreError("disk gone")

    monkeypatch.setattr("scanner.services.intents.get", fails)
    assert list(await bench.services.not_ready()) == ["disk gone"]


async def test_the_gauges_say_what_the_store_holds(bench: ServicesBench) -> None:
    await bench.worker.poll()
    await bench.store(an_intent("a"), an_intent("b"), an_intent("c", status=IntentStatus.CONFIRMING))
    bench.clock.advance(30)

    assert await bench.sample("intents", chain="97", status="pending") == 2
    assert await bench.sample("intents", chain="97", status="confirming") == 1
    assert await bench.sample("intents", chain="97", status="expired") == 0
    assert await bench.sample("chain_last_success_age_seconds", chain="97") == 30
    assert await bench.sample("webhook_oldest_age_seconds") == 0


async def test_a_clock_that_is_set_back_hides_no_chain_that_is_not_read(bench: ServicesBench) -> None:
    await bench.worker.poll()
    bench.clock.follow(-1_200_000)
    bench.clock.advance(130)

    assert await bench.sample("chain_last_success_age_seconds", chain="97") == 130


async def test_the_status_counts_what_still_waits(bench: ServicesBench) -> None:
    await bench.store(
        an_intent("a"), an_intent("b", status=IntentStatus.CONFIRMING), an_intent("c", status=IntentStatus.EXPIRED)
    )

    (status,) = (await bench.services.status()).chains

    assert (status.pending_intents, status.active_watches, status.backlog) == (2, 0, None)


async def test_unmatched_transfers_come_in_the_order_seen_by_chain_and_reason(bench: ServicesBench) -> None:
    await bench.store(an_intent(), an_intent("paid"))
    await bench.worker.poll()
    bench.chain.extend()
    bench.chain.put(a_transfer(an_intent(), token=OTHER_TOKEN, tx_hash=a_hash("tx", 1)))
    bench.chain.put(a_transfer(an_intent("nobody"), tx_hash=a_hash("tx", 2)))
    bench.chain.put(a_transfer(an_intent(), amount=1500, tx_hash=a_hash("tx", 3)))
    bench.chain.put(a_transfer(an_intent(), amount=1500, tx_hash=a_hash("tx", 4)))
    bench.chain.put(a_transfer(an_intent("paid"), tx_hash=a_hash("tx", 5)))
    await bench.worker.poll()

    async def reasons(**query: Any) -> list[Reason | None]:
        asked = {"chain_id": None, "reason": None, "after": 0, "limit": 10, **query}
        return [view.stored.reason for view in await bench.services.unmatched(**asked)]

    # Of one page what is nobody's comes last.
    every = [Reason.WRONG_TOKEN, Reason.OVERPAID_SURPLUS, Reason.DUPLICATE, Reason.UNKNOWN_REFERENCE]
    assert await reasons() == every
    assert await reasons(limit=2) == every[:2]
    assert await reasons(after=2) == every[2:]
    assert await reasons(reason=Reason.DUPLICATE) == [Reason.DUPLICATE]
    assert await reasons(chain_id=98) == []


async def test_unused_hours_do_not_matter(bench: ServicesBench) -> None:
    assert bench.services.now_ms() == NOW
    bench.clock.advance(HOUR_MS / 1000)
    assert bench.services.now_ms() == NOW + HOUR_MS


CONFIRMING = {"status": IntentStatus.CONFIRMING, "tx_hash": "0xaa", "block_number": 100, "confirmations_required": 12}


async def depths(bench: ServicesBench) -> tuple[int, list[int]]:
    """Return what one answer says of order-1, and what the list does of everybody."""
    listed = (await bench.services.list_intents(limit=50)).intents
    return (await bench.services.intent("order-1")).intent.confirmations, [intent.confirmations for intent in listed]


async def test_confirmations_are_counted_from_the_head_when_somebody_asks(bench: ServicesBench) -> None:
    waiting = an_intent("order-2")
    await bench.store(an_intent(**CONFIRMING), waiting, an_intent("order-3", **CONFIRMING | {"block_number": 104}))
    for head, deep in ((99, 0), (100, 1), (105, 6), (111, 12), (500, 12)):
        bench.worker.health.head = a_head(head)
        assert await depths(bench) == (deep, [deep, 0, max(0, min(12, head - 103))])


async def test_until_the_first_poll_they_are_counted_from_where_the_chain_was_read_to(bench: ServicesBench) -> None:
    await bench.store(an_intent(**CONFIRMING))
    assert await depths(bench) == (0, [0])
    async with bench.db.write() as tx:
        await checkpoints.put(tx, CHAIN, Rail.PROXY, Cursor(106), time=None, now=NOW, keep_from=-1)
    assert await depths(bench) == (7, [7])


async def test_where_positions_are_no_blocks_no_depth_is_counted(bench: ServicesBench) -> None:
    await bench.store(an_intent(**CONFIRMING))
    bench.chain.counts_blocks = False
    bench.worker.health.head = a_head(500)
    assert await depths(bench) == (0, [0])


async def test_the_metrics_say_whether_this_process_reads_a_chain(bench: ServicesBench) -> None:
    assert await bench.sample("chain_leads", chain=str(CHAIN)) == 1


async def test_operators_see_webhooks_watches_and_notes_on_either_engine(bench: ServicesBench) -> None:
    await bench.store(an_intent())
    async with bench.db.write() as tx:
        await outbox.add(tx, [events.expired(an_intent(), NOW)])
        await ingest.record_page(tx, CHAIN, [a_transfer(an_intent("nobody"))], now=NOW, late_ms=1, moment=NOW)

    page = await bench.services.deliveries.page(status=DeliveryStatus.PENDING, receiver=None, after=0, limit=9)
    (row,) = await bench.services.unmatched(chain_id=None, reason=None, after=0, limit=9)
    await bench.services.handle_unmatched(str(row.stored.id), "first", by="1")
    noted = await bench.services.handle_unmatched(str(row.stored.id), "second", by="2")
    token = await bench.services.sessions.open("key", "1")

    assert [each.subject_id for each in page.events] == ["order-1"]
    assert (await bench.services.deliveries.redeliver(page.events[0].event_id)).event.status == DeliveryStatus.PENDING
    assert await bench.services.unmatched(chain_id=None, reason=None, after=0, limit=9) == [noted]
    assert await bench.services.watches.active(after=None, limit=9) == []
    assert await bench.services.sessions.of(token, ["key"]) is not None
    assert [each.intent_id for each in (await bench.services.list_intents(named=MERCHANT, limit=9)).intents] == [
        "order-1"
    ]


@pytest.mark.parametrize(("proven", "code"), [([1], None), ([0, 1], None), ([0], "no_proof"), ([], "no_proof")])
async def test_what_pays_the_price_proves_it_whatever_dust_came_beside_it(
    bench: ServicesBench, proven: list[int], code: str | None
) -> None:
    """One unit in a transaction whose proof is too large to be kept once took the payment's proof away."""
    intent = an_intent("order-1", rail=Rail.DIRECT)
    await bench.store(intent)
    parts = [a_transfer(intent, amount=amount, event_key=str(amount), block_time=NOW // 1000) for amount in (1, 1000)]
    async with bench.db.write() as tx:
        await ingest.record_page(tx, CHAIN, parts, now=NOW, late_ms=LATE_MS)
        rows = [each.id for each in (await transfers.of_intents(tx, ["order-1"]))["order-1"]]
        proof = TransferProof(100, a_hash("block", 100), b"header", 3, b"receipt", (b"node",), 0)
        await proofs.keep(tx, {rows[place]: proof for place in proven})

    if code is None:
        assert len((await bench.services.proof("order-1")).transfers) == len(proven)
        return
    with pytest.raises(InvalidRequest) as refused:
        await bench.services.proof("order-1")
    assert refused.value.code == code
