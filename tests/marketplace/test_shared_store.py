"""Several backends on one PostgreSQL: what one of them does the others show, count and go on with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import orjson
import pytest

from kernel.errors import UnknownOutcome
from marketplace.errors import ConfigError
from marketplace.model import CommandKind
from marketplace.scheduler import SWEEP
from marketplace.settings import load_settings
from marketplace.store import outbox, payments
from marketplace.store.migrate import SCHEMA, migrate_postgresql, postgres_settings
from tests import postgres
from tests.harness import FakeClock
from tests.marketplace.accepted_purchase import accept_purchase
from tests.marketplace.conftest import OwnClock
from tests.marketplace.fake_scanner import FakeScanner
from tests.marketplace.harness import (
    MARKET,
    Api,
    Running,
    empty_database,
    environment,
    new_request,
    notes,
    on_postgresql,
    request_body,
    running,
)

URL = "postgresql://us:a-password@host.test/db"


@pytest.fixture
def clock() -> FakeClock:
    return OwnClock()


@pytest.fixture
async def place(postgresql: postgres.Server) -> AsyncIterator[Mapping[str, str]]:
    async with empty_database(postgresql) as url:
        yield on_postgresql(url)


@asynccontextmanager
async def two(
    folder: Path, place: Mapping[str, str], clock: FakeClock, scanner_url: str = "http://127.0.0.1:9", **more: str
) -> AsyncIterator[tuple[Running, Running]]:
    """Run two backends on one store."""
    env = environment(folder, scanner_url, **place, **more)
    async with running(env, clock=clock) as one, running(env, clock=clock) as other:
        yield one, other


def there(backend: Running, api: Api) -> Api:
    return Api(backend.nobody.url, api.session, api.token, api.user_id)


# -- notifications -------------------------------------------------------------------------------------


class Stream:
    """An open stream of notifications."""

    def __init__(self, content: Any) -> None:
        self._content = content

    async def next(self) -> tuple[int, str]:
        """Return the number and the title of what is told next."""
        number = 0
        while True:
            async with asyncio.timeout(20):
                line = (await self._content.readline()).decode()
            assert line, "the stream ended"
            if line.startswith("id:"):
                number = int(line[3:])
            if line.startswith("data:"):
                return number, orjson.loads(line[5:])["title"]


@asynccontextmanager
async def streaming(api: Api, *, after: int | None = None) -> AsyncIterator[Stream]:
    headers = {"Authorization": f"Bearer {api.token}", **({} if after is None else {"Last-Event-ID": str(after)})}
    async with api.session.get(f"{api.url}/api/events", headers=headers) as response:
        assert await response.content.readline() == b": hello\n"
        yield Stream(response.content)


async def test_what_one_process_tells_another_one_streams(
    tmp_path: Path, place: Mapping[str, str], clock: FakeClock
) -> None:
    async with two(tmp_path, place, clock) as (one, other):
        buyer, seller = await one.user("buyer"), await one.user("seller")
        await new_request(buyer, title="before")
        async with streaming(there(other, seller)) as far, streaming(seller) as near:
            for number in range(3):
                await new_request(buyer if number % 2 else there(other, buyer), title=f"request {number}")

            told = [[await stream.next() for _ in range(3)] for stream in (far, near)]

        assert [title for _, title in told[0]] == [f"New request: request {number}" for number in range(3)]
        assert told[0] == told[1]


async def test_a_notification_that_is_committed_late_is_streamed_all_the_same(
    tmp_path: Path, place: Mapping[str, str], clock: FakeClock
) -> None:
    insert = (
        "INSERT INTO notifications (id, user_id, category, type, title, created_at)"
        " VALUES ('slow', $1, 'request', 'request_created', 'slow', 1)"
    )
    async with two(tmp_path, place, clock) as (one, other):
        buyer, seller = await one.user("buyer"), await one.user("seller")
        async with streaming(there(other, seller)) as stream:
            slow = await asyncpg.connect(place["MARKETPLACE_DATABASE_URL"], server_settings={"search_path": SCHEMA})
            try:
                transaction = slow.transaction()
                await transaction.start()
                await slow.execute(insert, seller.user_id)  # has its number, and is seen by nobody
                await new_request(buyer, title="fast")
                for _ in range(3):
                    await other.marketplace.sharing.news.once()  # type: ignore[union-attr]  # it is shared
                await transaction.commit()
            finally:
                await slow.close()

            told = [await stream.next(), await stream.next()]

    assert [title for _, title in told] == ["slow", "New request: fast"]


async def test_a_stream_that_cannot_go_on_is_broken_off_so_that_its_reader_comes_again(
    tmp_path: Path, place: Mapping[str, str], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left open it would be silent: whoever reads it would take that for no news."""
    async with running(environment(tmp_path, **place), clock=clock) as one:
        buyer, seller = await one.user("buyer"), await one.user("seller")
        with monkeypatch.context() as broken:
            broken.setattr("marketplace.store.notifications.after", _lost)
            async with streaming(seller) as stream:
                with pytest.raises(aiohttp.ClientError):
                    await stream.next()
        await new_request(buyer, title="told all the same")
        async with streaming(seller, after=0) as stream:
            assert (await stream.next())[1] == "New request: told all the same"


# -- limits --------------------------------------------------------------------------------------------


async def test_a_client_is_limited_by_what_all_processes_let_through(
    tmp_path: Path, place: Mapping[str, str], clock: FakeClock
) -> None:
    limits = "login=off,payment=off,all=9/900"
    async with two(tmp_path, place, clock, MARKETPLACE_RATE_LIMITS=limits) as (one, other):
        near, far = one.nobody, other.nobody  # each has logged in an admin: two requests so far
        for api in (*[near] * 5, far):
            assert (await api.call("GET", "/api/version"))[0] == 200
        for each in (one, other):
            await each.marketplace.sharing.rates.exchange()  # type: ignore[union-attr]  # it is shared

        assert (await far.call("GET", "/api/version"))[0] == 200  # the ninth
        status, answer = await far.call("GET", "/api/version")
        assert (status, answer["error"]["code"]) == (429, "rate_limited")
        assert 0 < answer["error"]["details"]["retryAfter"] <= 915

        clock.advance(930)
        assert (await far.call("GET", "/api/version"))[0] == 200


async def test_counts_that_could_not_be_told_are_told_later(
    tmp_path: Path, place: Mapping[str, str], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(
        environment(tmp_path, **place, MARKETPLACE_RATE_LIMITS="login=off,payment=off,all=100/900,account=off"),
        clock=clock,
    ) as one:
        rates = one.marketplace.sharing.rates  # type: ignore[union-attr]
        with monkeypatch.context() as broken:
            broken.setattr("kernel.store.rates.add", _lost)
            with pytest.raises(UnknownOutcome):
                await rates.exchange()
        await rates.exchange()
        with one.opened() as store:
            assert store.execute("SELECT sum(count)::bigint FROM rate_counts").fetchall() == [(1,)]  # the login


async def _lost(*_: object) -> None:
    raise UnknownOutcome("lost")


# -- what is done once ---------------------------------------------------------------------------------


def leading(*backends: Running) -> list[bool]:
    return [each.marketplace.sharing.leases.term(SWEEP) is not None for each in backends]  # type: ignore[union-attr]


async def until_led(*backends: Running) -> None:
    async with asyncio.timeout(20):
        while not any(leading(*backends)):
            for each in backends:
                await each.marketplace.sharing.leases.beat()  # type: ignore[union-attr]
            await asyncio.sleep(0.05)


async def test_one_process_sweeps_and_another_one_takes_over(
    tmp_path: Path, place: Mapping[str, str], clock: FakeClock, fake_scanner: FakeScanner
) -> None:
    env = environment(tmp_path, fake_scanner.url, **place, MARKETPLACE_SWEEP_SEC="0.05")
    async with running(env, clock=clock) as second:
        async with running(env, clock=clock) as first:
            await until_led(first, second)
            assert sorted(leading(first, second)) == [False, True]
            for each in (first, second):
                if leading(each) == [True]:
                    await each.marketplace.sharing.leases.release(SWEEP)  # type: ignore[union-attr]
            await first.marketplace.sharing.leases.beat()  # type: ignore[union-attr]
            assert leading(first, second) == [True, False]
            purchase = await accept_purchase(second, fake_scanner, clock)
            await purchase.open()
        await until_led(second)

        clock.advance(24 * 3600 + 1)
        async with asyncio.timeout(20):
            while fake_scanner.intents[purchase.payment_id]["status"] != "expired":  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.02)


async def test_a_command_of_a_process_that_is_gone_is_done_by_another(
    tmp_path: Path, place: Mapping[str, str], clock: FakeClock, fake_scanner: FakeScanner
) -> None:
    async with running(environment(tmp_path, fake_scanner.url, **place), clock=clock) as market:
        fake_scanner.down = True
        purchase = await accept_purchase(market, fake_scanner, clock)
        await purchase.open()
        clock.advance(600)
        units = market.marketplace.services.units
        async with units.begin(None) as work:
            later = work.now + 3600_000  # the backend of this test must not be faster
            [gone] = await outbox.claim_due(work.tx, "gone", work.now, later, 10)
        fake_scanner.down = False
        assert await market.marketplace.commands.run_due() == 0
        assert fake_scanner.intents == {}

        clock.advance(3601)
        await market.settled_down()

        assert list(fake_scanner.intents) == [purchase.payment_id]
        async with units.begin(None) as work:  # and what was gone is back
            assert await outbox.finish(work.tx, gone, work.now, refused="too late") is False
        with market.opened() as store:
            assert store.execute("SELECT status, last_error FROM scanner_outbox").fetchall()[0][0] == "done"


def told_to_forget(market: Running) -> bool:
    done = "SELECT 1 FROM scanner_outbox WHERE kind = 'cancel_intent' AND status = 'done'"
    with market.opened() as store:
        return bool(store.execute(done).fetchall())


async def test_what_a_process_registered_before_it_was_gone_is_taken_back_when_the_payment_is_over(
    tmp_path: Path, place: Mapping[str, str], clock: FakeClock, fake_scanner: FakeScanner
) -> None:
    async with running(environment(tmp_path, fake_scanner.url, **place), clock=clock) as market:
        fake_scanner.down = True
        purchase = await accept_purchase(market, fake_scanner, clock)
        await purchase.open()
        units, commands = market.marketplace.services.units, market.marketplace.commands
        async with units.begin(None) as work:
            mine = (CommandKind.REGISTER, purchase.payment_id, "gone", work.now, work.now + 3600_000)
            assert await outbox.claim_of_payment(work.tx, *mine) is not None
            payment = await payments.get(work.tx, purchase.payment_id)
        assert payment is not None
        fake_scanner.down = False
        await purchase.buyer.ok("POST", f"/api/payment/{purchase.payment_id}/cancel")
        async with asyncio.timeout(20):
            while not told_to_forget(market):  # noqa: ASYNC110 - seen in the store
                await asyncio.sleep(0.02)
        # Its request arrives; it does not live to write that down.
        await commands._providers.of(payment).create(payment)
        assert fake_scanner.intents[purchase.payment_id]["status"] == "pending"

        clock.advance(3601)
        async with asyncio.timeout(20):
            while fake_scanner.intents[purchase.payment_id]["status"] != "expired":  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.02)


async def test_what_is_asked_for_again_while_it_is_done_is_done_again(
    tmp_path: Path, place: Mapping[str, str], clock: FakeClock, fake_scanner: FakeScanner
) -> None:
    async with running(environment(tmp_path, fake_scanner.url, **place), clock=clock) as market:
        fake_scanner.down = True
        purchase = await accept_purchase(market, fake_scanner, clock)
        await purchase.open()
        clock.advance(600)
        async with market.marketplace.services.units.begin(None) as work:
            [claimed] = await outbox.claim_due(work.tx, "mine", work.now, work.now + 60_000, 10)
            await outbox.add(work.tx, claimed.kind, claimed.payment_id, now=work.now, due=work.now + 9_000_000)

            assert await outbox.finish(work.tx, claimed, work.now) is False


async def test_three_processes_that_start_at_once_make_one_schema(postgresql: postgres.Server, tmp_path: Path) -> None:
    async with postgresql.database() as url:
        settings = postgres_settings(url, "tests")
        reached = await asyncio.gather(*(migrate_postgresql(settings) for _ in range(3)))
        assert len(set(reached)) == 1
        env = environment(tmp_path, **on_postgresql(url))
        async with running(env) as one, running(env) as other:  # and one first admin
            assert one.admin.user_id == other.admin.user_id


# -- without the database ------------------------------------------------------------------------------


async def test_a_commit_whose_answer_is_lost_is_told_as_not_known(
    tmp_path: Path, place: Mapping[str, str], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def commit_and_lose(tx: Any, driver: Any, begin: str) -> None:
        await driver.execute("COMMIT")
        if begin.startswith("BEGIN ISOLATION LEVEL READ COMMITTED"):
            raise UnknownOutcome("lost")

    async with running(environment(tmp_path, **place), clock=clock) as shop:
        seller, buyer = await shop.user("seller"), await shop.user("buyer")
        monkeypatch.setattr("kernel.store.postgresql._commit", commit_and_lose)
        status, answer = await buyer.call("POST", f"{MARKET}/purchase-requests", request_body())
        monkeypatch.undo()

        assert (status, answer["error"]["code"]) == (503, "unknown_outcome")
        assert "not known" in answer["error"]["message"]
        await shop.all_told()
        assert len(await notes(seller)) == 1  # it was stored


async def test_without_the_database_it_answers_503_and_is_back_by_itself(
    tmp_path: Path, place: Mapping[str, str], clock: FakeClock, postgresql: postgres.Server
) -> None:
    name = urlsplit(place["MARKETPLACE_DATABASE_URL"]).path.strip("/")
    async with running(environment(tmp_path, **place), clock=clock) as shop:
        buyer = await shop.user("buyer")
        await postgresql.run(
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",  # noqa: S608 - a name of ours
        )
        for _ in range(3):
            assert await buyer.refused("GET", "/api/notifications") == (503, "store_unavailable")
        assert (await shop.nobody.session.get(f"{shop.nobody.url}/health")).status == 200

        await postgresql.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert await new_request(buyer)


# -- settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"MARKETPLACE_DB_PATH": "x.db"}, "MARKETPLACE_DB_PATH: is set beside MARKETPLACE_DATABASE_URL"),
        ({"MARKETPLACE_SECRET_KEY": ""}, "MARKETPLACE_SECRET_KEY: must be set with"),
        ({"MARKETPLACE_JWT_SECRET": ""}, "MARKETPLACE_JWT_SECRET: must be set with"),
        ({"MARKETPLACE_DATABASE_URL": "mysql://us:a-password@host.test/db"}, "MARKETPLACE_DATABASE_URL: must be a URL"),
    ],
)
def test_settings_that_do_not_go_together_are_named_and_no_password_is(
    tmp_path: Path, given: dict[str, str], named: str
) -> None:
    env = {**environment(tmp_path, **on_postgresql(URL)), **given}

    with pytest.raises(ConfigError, match=named) as told:
        load_settings(env)
    assert "a-password" not in str(told.value)


def test_the_settings_do_not_show_the_url(tmp_path: Path) -> None:
    settings = load_settings(environment(tmp_path, **on_postgresql(URL)))

    assert settings.database_url == URL
    assert "a-password" not in repr(settings)


@pytest.mark.parametrize("url", ["postgresql://host:notaport/x", "postgres://[::1/db"])
async def test_a_url_that_is_none_is_named(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="MARKETPLACE_DATABASE_URL"):
        async with running(environment(tmp_path, **on_postgresql(url))):
            pass
