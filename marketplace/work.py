"""One transaction with everything it decides: rows, notifications, errands; nobody is woken before it is committed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

from marketplace.bell import Bell
from marketplace.clock import Clock
from marketplace.model import Role
from marketplace.store import notes, users
from marketplace.store.database import Database, Tx


def new_id() -> str:
    """Return a fresh identity."""
    return str(uuid.uuid4())


class Listeners:
    """Who listens to their notifications right now; one bell an open stream."""

    def __init__(self) -> None:
        self._bells: dict[str, set[Bell]] = {}
        self.closing = asyncio.Event()

    @contextmanager
    def listening(self, user_id: str) -> Iterator[Bell]:
        """Hand out a bell that rings when something came for this user."""
        bell = Bell()
        self._bells.setdefault(user_id, set()).add(bell)
        try:
            yield bell
        finally:
            self._bells[user_id].discard(bell)
            if not self._bells[user_id]:
                del self._bells[user_id]

    def wake(self, user_ids: Iterable[str]) -> None:
        """Ring for these users and nobody else."""
        for user_id in user_ids:
            for bell in self._bells.get(user_id, ()):
                bell.ring()

    def close(self) -> None:
        """Let every stream end, so that a stop does not wait for them."""
        self.closing.set()
        self.wake(list(self._bells))


class Work:
    """What one transaction collects."""

    def __init__(self, tx: Tx, now: int) -> None:
        self.tx = tx
        self.now = now
        self.told: set[str] = set()
        self.errands = False
        self._notes: list[dict[str, object]] = []

    def notify(
        self, user_ids: Iterable[str], category: str, kind: str, title: str, *, about: str, url: str | None = None
    ) -> None:
        """Tell each of these people once."""
        for user_id in dict.fromkeys(user_ids):
            self.told.add(user_id)
            self._notes.append(
                {
                    "id": new_id(),
                    "user_id": user_id,
                    "category": category,
                    "type": kind,
                    "title": title,
                    "related_id": about,
                    "action_url": url,
                    "created_at": self.now,
                }
            )

    async def people(self, *roles: Role) -> list[str]:
        """Return the ids of everybody with one of these roles."""
        return await users.ids_with(self.tx, roles)

    async def finish(self) -> None:
        await notes.add(self.tx, self._notes)


class Works:
    """Begins transactions, and wakes whom they concern once they are on disk."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self.db = db
        self.clock = clock
        self.listeners = Listeners()
        self.errands = Bell()  # something waits in the scanner's outbox

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Work]:
        """Run one write transaction; what it told is told after the commit, and not at all when it raises."""
        async with self.db.write() as tx:
            work = Work(tx, self.clock.now_ms())
            yield work
            await work.finish()
        self.listeners.wake(work.told)
        if work.errands:
            self.errands.ring()
