"""One transaction with everything it decides: rows, notifications, errands; nobody is woken before it is committed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

from marketplace.bell import Bell
from marketplace.clock import Clock
from marketplace.mailbox import Mailbox
from marketplace.model import Notification, Role
from marketplace.store import notes, users
from marketplace.store.database import Database, Tx


def new_id() -> str:
    """Return a fresh identity."""
    return str(uuid.uuid4())


class Listeners:
    """Who listens to their notifications right now; one mailbox an open stream."""

    def __init__(self) -> None:
        self._mailboxes: dict[str, set[Mailbox]] = {}
        self.closing = asyncio.Event()

    @contextmanager
    def listening(self, user_id: str) -> Iterator[Mailbox]:
        """Hand out a mailbox that what comes for this user is put into."""
        mailbox = Mailbox()
        self._mailboxes.setdefault(user_id, set()).add(mailbox)
        try:
            yield mailbox
        finally:
            self._mailboxes[user_id].discard(mailbox)
            if not self._mailboxes[user_id]:
                del self._mailboxes[user_id]

    def tell(self, told: Iterable[Notification]) -> None:
        """Tell those who listen what was committed: each their own, and nobody else."""
        for note in told:
            for mailbox in self._mailboxes.get(note.user_id, ()):
                mailbox.put(note)

    def close(self) -> None:
        """Let every stream end, so that a stop does not wait for them."""
        self.closing.set()
        for mailboxes in self._mailboxes.values():
            for mailbox in mailboxes:
                mailbox.ring()


class Work:
    """What one transaction collects."""

    def __init__(self, tx: Tx, now: int) -> None:
        self.tx = tx
        self.now = now
        self.told: list[Notification] = []
        self.errands = False
        self._notes: list[dict[str, object]] = []

    def notify(
        self, user_ids: Iterable[str], category: str, kind: str, title: str, *, about: str, url: str | None = None
    ) -> None:
        """Tell each of these people once."""
        for user_id in dict.fromkeys(user_ids):
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
        self.told = await notes.add(self.tx, self._notes)


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
        # Nothing is awaited between the commit and this: what is told keeps the order of the commits.
        self.listeners.tell(work.told)
        if work.errands:
            self.errands.ring()
