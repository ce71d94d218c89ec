"""Limits that several processes keep together: what passes, what is kept, and what holds without the database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from kernel.errors import StoreError
from kernel.store.postgresql import PostgresDatabase
from kernel.web import shared_rates
from kernel.web.rate_limiter import Limit, RateLimiter
from kernel.web.shared_rates import FORGET_MS, SharedRates
from tests import postgres
from tests.harness import FakeClock, empty_database

LIMITS = {"quick": Limit(4, 60), "slow": Limit(4, 900)}


@pytest.fixture
async def pg(postgresql: postgres.Server) -> AsyncIterator[PostgresDatabase]:
    async with empty_database(postgresql) as opened:
        yield opened


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_800_000_000_000)


def process(pg: PostgresDatabase, clock: FakeClock, name: str) -> tuple[RateLimiter, SharedRates]:
    limiter = RateLimiter(LIMITS, clock.elapsed_ms)
    return limiter, SharedRates(pg, [limiter], clock, name)


async def rows(pg: PostgresDatabase) -> int:
    async with pg.read() as tx:
        return int((await tx.exec_driver_sql("SELECT count(*) FROM rate_counts")).scalar_one())


async def test_what_one_lets_through_counts_at_the_other_until_it_is_over(
    pg: PostgresDatabase, clock: FakeClock
) -> None:
    (near, one), (far, other) = process(pg, clock, "one"), process(pg, clock, "other")
    assert [near.take("quick", "1.1.1.1") for _ in range(3)] == [0, 0, 0]
    await one.exchange()
    assert far.take("quick", "1.1.1.1") == 0  # the fourth of both
    await other.exchange()

    assert 60 <= far.take("quick", "1.1.1.1") <= 61
    assert far.take("quick", "2.2.2.2") == far.take("slow", "1.1.1.1") == 0
    clock.advance(61)
    assert far.take("quick", "1.1.1.1") == 0


async def test_whoever_has_many_addresses_does_not_fill_the_table(
    pg: PostgresDatabase, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_rates, "MAX_ROWS", 50)
    limiter, rates = process(pg, clock, "one")
    for round_ in range(3):
        for client in range(200):
            assert limiter.take("quick", f"10.{round_}.0.{client}") == 0
        await rates.exchange()
        clock.advance(1)
    assert await rows(pg) == 50

    # Each process goes on counting for itself what it tells nobody of.
    assert [limiter.take("quick", "10.2.0.199") for _ in range(4)][-1] > 0
    clock.advance(61 + FORGET_MS / 1000)
    await rates.exchange()
    assert await rows(pg) == 0
    assert limiter.take("quick", "1.1.1.1") == 0
    await rates.exchange()
    assert await rows(pg) == 1


async def test_one_limit_that_is_full_leaves_room_for_the_others(
    pg: PostgresDatabase, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_rates, "MAX_ROWS", 50)
    (near, one), (far, other) = process(pg, clock, "one"), process(pg, clock, "other")
    for client in range(200):
        near.take("quick", f"10.0.0.{client}")
    assert [near.take("slow", "1.1.1.1") for _ in range(4)] == [0] * 4
    await one.exchange()

    far.take("slow", "1.1.1.1")
    await other.exchange()
    assert far.take("slow", "1.1.1.1") > 0


async def test_without_the_database_each_process_refuses_by_what_it_counted_itself(
    pg: PostgresDatabase, clock: FakeClock, postgresql: postgres.Server
) -> None:
    (near, one), (far, other) = process(pg, clock, "one"), process(pg, clock, "other")
    name = urlsplit(pg.settings.url).path.strip("/")
    await postgresql.run(
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",  # noqa: S608 - a name of ours
    )
    for _ in range(4):
        assert near.take("slow", "1.1.1.1") == 0
        with pytest.raises(StoreError):
            await one.exchange()
    assert near.take("slow", "1.1.1.1") > 0

    await postgresql.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await one.exchange()  # and the others are told what they could not be told before
    far.take("slow", "1.1.1.1")
    await other.exchange()
    assert far.take("slow", "1.1.1.1") > 0


async def test_what_is_over_is_not_told_any_more(
    pg: PostgresDatabase, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_rates, "MAX_ROWS", 50)
    limiter, rates = process(pg, clock, "one")
    for client in range(50):
        limiter.take("quick", f"10.0.0.{client}")
    clock.advance(62)

    await rates.exchange()

    assert await rows(pg) == 0


async def test_the_table_is_written_without_a_log(pg: PostgresDatabase) -> None:
    async with pg.read() as tx:
        kind = await tx.exec_driver_sql("SELECT relpersistence FROM pg_class WHERE oid = 'rate_counts'::regclass")
        assert kind.scalar_one() in ("u", b"u")


def test_two_limits_of_one_name_are_refused(clock: FakeClock) -> None:
    limiters = [RateLimiter({"same": Limit(1, 60)}, clock.elapsed_ms) for _ in range(2)]

    with pytest.raises(ValueError, match="same name"):
        SharedRates(None, limiters, clock, "one")  # type: ignore[arg-type]
