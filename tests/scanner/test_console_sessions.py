"""Sessions of the console over the store: they end, and there are not too many."""

from __future__ import annotations

from kernel.store.database import Database
from scanner.console_sessions import ConsoleSessions
from scanner.store import console_sessions as stored
from scanner.store.console_sessions import MAX_SESSIONS, StoredSession
from tests.harness import FakeClock
from tests.scanner.facts import NOW


def a_session(name: str, expires_at: int = NOW + 1) -> StoredSession:
    return StoredSession(token_hash=name, key_mark="mark", name=name, expires_at=expires_at)


async def test_sessions_have_a_bound(db: Database) -> None:
    """Whoever has a key decides how often to sign in."""
    async with db.write() as tx:
        for n in range(MAX_SESSIONS + 5):
            await stored.add(tx, a_session(f"{n}", NOW + 1 + n), now=NOW)

    async with db.read() as tx:
        kept = [await stored.get(tx, f"{n}", now=NOW) is not None for n in range(MAX_SESSIONS + 5)]

    assert sum(kept) == MAX_SESSIONS
    assert kept[-1]
    assert not kept[0]


async def test_a_session_that_is_over_or_closed_is_none(db: Database) -> None:
    async with db.write() as tx:
        await stored.add(tx, a_session("first"), now=NOW)
        await stored.add(tx, a_session("second"), now=NOW)
        await stored.close(tx, "second")

    async with db.read() as tx:
        assert await stored.get(tx, "first", now=NOW) == a_session("first")
        assert await stored.get(tx, "first", now=NOW + 1) is None
        assert await stored.get(tx, "second", now=NOW) is None


async def test_any_process_on_the_store_serves_any_browser(db: Database, clock: FakeClock) -> None:
    one, other = ConsoleSessions(db, clock), ConsoleSessions(db, clock)

    token = await one.open("key", "1")

    found = await other.of(token, ["another", "key"])
    assert found is not None
    assert found.name.startswith("console-1-")
    assert await other.of(token, ["another"]) is None
    await other.close(token)
    assert await one.of(token, ["key"]) is None
