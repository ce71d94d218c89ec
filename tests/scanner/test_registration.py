"""Registering: idempotent, in one durable transaction for many, and never two intents under one reference."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chains.types import Rail
from kernel.store.database import Database
from scanner.errors import InvalidRequest
from scanner.model import EventType, Intent, IntentStatus
from scanner.registration import intents as registration
from scanner.registration.intents import REDRAWS, Draft, Registrations
from scanner.registration.reference import new_salt, payment_reference, topic_ref
from scanner.registration.requests import CreateIntent
from scanner.registration.tokens import ResolvedToken
from scanner.store import intents
from scanner.store.errors import Conflict, StoreError
from tests.harness import FakeClock
from tests.scanner.facts import CHAIN, HOUR_MS, MERCHANT, NOW, OTHER_TOKEN, STRANGER, TOKEN

OTHER = ResolvedToken(OTHER_TOKEN, OTHER_TOKEN, "USDC", 6)


def a_draft(intent_id: str = "order-1", **fields: Any) -> Draft:
    asked: dict[str, Any] = {
        "intent_id": intent_id,
        "chain_id": CHAIN,
        "token_address": TOKEN,
        "destination": MERCHANT,
        "amount": 1000,
        "callback_url": "http://127.0.0.1:9/hook",
        "callback_secret": "s",
    }
    meant: dict[str, Any] = {
        "chain_type": "evm",
        "rail": Rail.PROXY,
        "token": ResolvedToken(TOKEN, TOKEN, "USDT", 18),
        "destination_key": MERCHANT,
        "fee_address": "0x" + "0" * 40,
        "receiver": "http://127.0.0.1:9",
        "confirmations_required": 5,
    }
    said = {name: value for name, value in fields.items() if name not in meant}
    found = {name: value for name, value in fields.items() if name in meant}
    return Draft(CreateIntent.model_construct(**(asked | said)), **(meant | found))


@asynccontextmanager
async def registering(db: Database, clock: FakeClock, *, ttl_hours: float = 24) -> AsyncIterator[Registrations]:
    registrations = Registrations(db, clock, ttl_hours=ttl_hours)
    task = asyncio.create_task(registrations.run())
    try:
        yield registrations
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def registrations(db: Database, clock: FakeClock) -> AsyncIterator[Registrations]:
    async with registering(db, clock) as found:
        yield found


async def stored(db: Database, *ids: str) -> dict[str, Intent]:
    async with db.read() as tx:
        return await intents.get_many(tx, ids)


def salts(monkeypatch: pytest.MonkeyPatch, draw: Callable[[], str]) -> None:
    monkeypatch.setattr(registration, "new_salt", draw)


def test_a_reference_is_the_tail_of_the_hash_of_the_lower_cased_text() -> None:
    assert payment_reference("01847474747474", "8d03ea7", "0x000001") == "0xa0098add01acc736"
    assert payment_reference("ABC", "8d03ea7", "0xFF") == payment_reference("abc", "8d03EA7", "0xff")


def test_the_topic_is_the_hash_of_the_eight_bytes() -> None:
    assert topic_ref("0xa0098add01acc736") != topic_ref("0xa0098add01acc737")
    assert len(topic_ref("0xa0098add01acc736")) == 66


def test_a_salt_is_32_random_bytes() -> None:
    assert len({new_salt() for _ in range(50)}) == 50
    assert all(len(bytes.fromhex(new_salt())) == 32 for _ in range(5))


async def test_a_new_intent_waits_with_a_reference_of_its_own(registrations: Registrations, db: Database) -> None:
    intent = await registrations.register(a_draft())

    assert (intent.status, intent.amount_received, intent.expires_at) == (IntentStatus.PENDING, 0, NOW + 24 * HOUR_MS)
    assert intent.payment_reference == payment_reference("order-1", intent.salt, MERCHANT)
    assert intent.topic_ref == topic_ref(intent.payment_reference)
    assert await stored(db, "order-1") == {"order-1": intent}


async def test_a_reference_that_is_taken_is_drawn_again(
    registrations: Registrations, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter(["00", "00", "00", "01"])
    salts(monkeypatch, lambda: next(drawn))
    first = await registrations.register(a_draft("a"))
    monkeypatch.setattr(registration, "payment_reference", lambda _, salt, __: payment_reference("", salt, ""))
    taken = first._replace(intent_id="b", pay_token="b", payment_reference=payment_reference("", "00", ""))
    taken = taken._replace(topic_ref=topic_ref(taken.payment_reference))
    async with db.write() as tx:
        await intents.add_many(tx, [taken])

    second = await registrations.register(a_draft("c"))

    assert second.salt == "01"
    assert second.payment_reference == payment_reference("", "01", "")
    assert second.topic_ref == topic_ref(second.payment_reference)
    assert (await stored(db, "c"))["c"] == second


async def test_two_of_one_batch_never_share_a_reference(
    registrations: Registrations, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "payment_reference", lambda _, salt, __: payment_reference("", salt, ""))
    salts(monkeypatch, _each_twice())

    answers = await asyncio.gather(
        *(registrations.register(a_draft(f"order-{i}")) for i in range(4)), return_exceptions=True
    )

    assert all(isinstance(answer, Intent) for answer in answers), answers
    found = await stored(db, *(f"order-{i}" for i in range(4)))
    assert len({intent.topic_ref for intent in found.values()}) == 4


def _each_twice() -> Callable[[], str]:
    def draw() -> Iterator[str]:
        for number in range(1000):
            yield f"{number:02x}"
            yield f"{number:02x}"

    drawn = draw()
    return lambda: next(drawn)


async def test_the_same_reference_on_another_chain_is_no_collision(
    registrations: Registrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    salts(monkeypatch, lambda: "00")
    monkeypatch.setattr(registration, "payment_reference", lambda _, salt, __: payment_reference("", salt, ""))

    first = await registrations.register(a_draft("a"))
    second = await registrations.register(a_draft("b", chain_id=CHAIN + 1))

    assert first.topic_ref == second.topic_ref


async def test_when_no_reference_is_free_it_says_so_and_stores_nothing(
    registrations: Registrations, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = 0

    def same() -> str:
        nonlocal draws
        draws += 1
        return "00"

    salts(monkeypatch, same)
    monkeypatch.setattr(registration, "payment_reference", lambda _, salt, __: payment_reference("", salt, ""))
    await registrations.register(a_draft("a"))

    with pytest.raises(StoreError, match="no free payment reference"):
        await registrations.register(a_draft("b"))

    assert draws == 3 + REDRAWS  # each once as if it were free
    assert await stored(db, "b") == {}


async def test_about_new_intents_the_store_is_asked_nothing(
    registrations: Registrations, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("its indexes tell whether they are new")

    with monkeypatch.context() as patched:
        for question in ("get_many", "taken_references", "reserved"):
            patched.setattr(intents, question, refuse)
        answers = await asyncio.gather(*(registrations.register(a_draft(f"order-{i}")) for i in range(50)))

    assert await stored(db, *(f"order-{i}" for i in range(50))) == {each.intent_id: each for each in answers}


async def test_one_that_is_known_among_new_ones_changes_nothing_for_them(
    registrations: Registrations, db: Database
) -> None:
    first = await registrations.register(a_draft("order-3"))

    answers = await asyncio.gather(*(registrations.register(a_draft(f"order-{i}")) for i in range(6)))

    assert answers[3] == first
    assert await stored(db, *(f"order-{i}" for i in range(6))) == {each.intent_id: each for each in answers}


async def test_the_same_request_again_is_the_stored_intent(registrations: Registrations, clock: FakeClock) -> None:
    first = await registrations.register(a_draft())
    clock.advance(3600)

    assert await registrations.register(a_draft()) == first


@pytest.mark.parametrize("status", ["confirmed", "webhook_failed"])
async def test_a_replay_after_the_payment_is_answered(registrations: Registrations, db: Database, status: str) -> None:
    """The store's trigger for settled intents refuses the row before the unique index does."""
    first = await registrations.register(a_draft())
    async with db.write() as tx:
        await tx.exec_driver_sql(f"UPDATE intents SET status = '{status}', tx_hash = 'x', confirmed_at = 1")  # noqa: S608 - a name of ours
    again = await registrations.register(a_draft())
    assert (again.payment_reference, again.status) == (first.payment_reference, status)
    with pytest.raises(Conflict):
        await registrations.register(a_draft(amount=1))


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("chainId", {"chain_id": CHAIN + 1}),
        ("rail", {"rail": Rail.DIRECT}),
        ("token", {"token": OTHER}),
        ("destination", {"destination_key": STRANGER}),
        ("amount", {"amount": 1001}),
        ("feeAmount", {"fee_amount": 1}),
        ("feeAddress", {"fee_address": STRANGER}),
        ("confirmations", {"confirmations": 9}),
        ("expiresAt", {"expires_at": NOW + HOUR_MS}),
        ("events", {"events": [EventType.LATE]}),
        ("callbackUrl", {"callback_url": "http://127.0.0.1:9/other"}),
        ("callbackSecret", {"callback_secret": "t"}),
    ],
)
async def test_another_parameter_under_the_same_id_is_a_conflict_that_names_it(
    registrations: Registrations, db: Database, field: str, changed: dict[str, Any]
) -> None:
    first = await registrations.register(a_draft())

    with pytest.raises(Conflict) as refusal:
        await registrations.register(a_draft(**changed))

    assert refusal.value.field == field
    assert await stored(db, "order-1") == {"order-1": first}


async def test_a_replay_of_what_an_older_release_stored_is_recognised(
    registrations: Registrations, db: Database
) -> None:
    asked = a_draft(expires_at=NOW + HOUR_MS, events=[EventType.LATE, EventType.DETECTED], confirmations=7)
    first = await registrations.register(asked)
    as_before = {
        "chainId": CHAIN,
        "rail": "proxy",
        "token": TOKEN,
        "destination": MERCHANT,
        "amount": "1000",
        "feeAmount": "0",
        "feeAddress": "0x" + "0" * 40,
        "confirmations": 7,
        "expiresAt": NOW + HOUR_MS,
        "events": ["payment.detected", "payment.late"],
        "callbackUrl": "http://127.0.0.1:9/hook",
    }
    assert json.loads(first.request) == as_before | {"checkout": None}  # which it did not know

    again = a_draft(expires_at=NOW + HOUR_MS, events=[EventType.DETECTED, EventType.LATE], confirmations=7)
    assert await registrations.register(again) == first


def test_whatever_a_body_says_is_kept_under_the_same_name() -> None:
    assert CreateIntent.model_fields.keys() - set(Intent._fields) == {
        "token",
        "checkout",
    }  # a name of `token_address`; kept in `request`


def test_a_draft_shows_no_secret() -> None:
    assert "hush" not in repr(a_draft(callback_secret="hush"))


async def test_of_conflicting_requests_in_one_batch_the_first_wins(registrations: Registrations, db: Database) -> None:
    answers = await asyncio.gather(
        *(registrations.register(a_draft(amount=amount)) for amount in (1, 2, 1, 3)), return_exceptions=True
    )

    assert [getattr(answer, "amount", None) for answer in answers] == [1, None, 1, None]
    assert (await stored(db, "order-1"))["order-1"].amount == 1


@pytest.mark.parametrize(("expires_at", "accepted"), [(NOW - 1, False), (NOW, False), (NOW + 1, True)])
async def test_an_expiry_lies_ahead(
    registrations: Registrations, db: Database, expires_at: int, accepted: bool
) -> None:
    if not accepted:
        with pytest.raises(InvalidRequest, match="expiresAt"):
            await registrations.register(a_draft(expires_at=expires_at))
        assert await stored(db, "order-1") == {}
        return

    assert (await registrations.register(a_draft(expires_at=expires_at))).expires_at == expires_at


async def test_a_replay_after_the_expiry_is_answered(registrations: Registrations, clock: FakeClock) -> None:
    first = await registrations.register(a_draft(expires_at=NOW + 1000))
    clock.advance(10)

    assert await registrations.register(a_draft(expires_at=NOW + 1000)) == first


async def test_without_a_time_to_live_intents_wait_for_ever(db: Database, clock: FakeClock) -> None:
    async with registering(db, clock, ttl_hours=0) as registrations:
        assert (await registrations.register(a_draft())).expires_at is None


async def test_a_direct_destination_is_held_by_one_live_intent_a_token(
    registrations: Registrations, db: Database
) -> None:
    await registrations.register(a_draft("a", rail=Rail.DIRECT))
    await registrations.register(a_draft("b", rail=Rail.DIRECT, token=OTHER))
    await registrations.register(a_draft("c"))  # the proxy rail needs no address of its own

    with pytest.raises(Conflict, match="live intent a") as refusal:
        await registrations.register(a_draft("d", rail=Rail.DIRECT))
    assert refusal.value.field == "destination"

    async with db.write() as tx:
        await intents.change(tx, "a", [IntentStatus.PENDING], NOW, status=IntentStatus.EXPIRED, expired_at=NOW)
    assert (await registrations.register(a_draft("d", rail=Rail.DIRECT))).intent_id == "d"


async def test_within_a_batch_the_first_takes_the_destination(registrations: Registrations) -> None:
    answers = await asyncio.gather(
        *(registrations.register(a_draft(name, rail=Rail.DIRECT)) for name in ("a", "b", "c")), return_exceptions=True
    )

    assert [isinstance(answer, Conflict) for answer in answers] == [False, True, True]


async def test_a_proxy_intent_needs_no_address_of_its_own_whoever_registers_beside_it(
    registrations: Registrations,
) -> None:
    answers = await asyncio.gather(
        registrations.register(a_draft("plain", rail=Rail.DIRECT)),
        registrations.register(a_draft("through")),
        return_exceptions=True,
    )

    assert [getattr(answer, "rail", answer) for answer in answers] == [Rail.DIRECT, Rail.PROXY]
