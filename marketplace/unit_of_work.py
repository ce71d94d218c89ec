"""One transaction with everything it decides: rows, notifications, commands; nobody is woken before it is committed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

from kernel.clock import Clock
from kernel.tasks.wakeup import Wakeup
from marketplace.errors import Refused
from marketplace.model import Channel, Notification, Payment, Role
from marketplace.notifications.stream_buffer import StreamBuffer
from marketplace.store import announcements, locks, messages, notifications, seldom, users
from marketplace.store.database import Database, Tx
from marketplace.store.locks import Subject

MAX_STREAMS = 20  # of one user: each holds a connection and up to 256 notifications
MAX_ALL_STREAMS = 1000
STREAM_RETRY_S = 5


def new_id() -> str:
    """Return a fresh identity."""
    return str(uuid.uuid4())


class Subscribers:
    """Who listens to their notifications right now; one buffer for each open stream."""

    def __init__(self) -> None:
        self._buffers: dict[str, set[StreamBuffer]] = {}
        self.closing = asyncio.Event()

    @contextmanager
    def listening(self, user_id: str) -> Iterator[StreamBuffer]:
        """Hand out a buffer that what comes for this user is put into."""
        mine = self._buffers.get(user_id, ())
        if len(mine) >= MAX_STREAMS or sum(len(each) for each in self._buffers.values()) >= MAX_ALL_STREAMS:
            raise Refused("rate_limited", "too many streams are open: close one", retryAfter=STREAM_RETRY_S)
        buffer = StreamBuffer()
        self._buffers.setdefault(user_id, set()).add(buffer)
        try:
            yield buffer
        finally:
            self._buffers[user_id].discard(buffer)
            if not self._buffers[user_id]:
                del self._buffers[user_id]

    @property
    def count(self) -> int:
        """Return how many streams are open."""
        return sum(map(len, self._buffers.values()))

    @property
    def user_ids(self) -> list[str]:
        """Return who listens."""
        return list(self._buffers)

    def tell(self, told: Iterable[Notification]) -> None:
        """Tell those who listen what was committed: each their own, and nobody else."""
        for note in told:
            for buffer in self._buffers.get(note.user_id, ()):
                buffer.put(note)

    def close(self) -> None:
        """Let every stream end, so that a stop does not wait for them."""
        self.closing.set()
        for buffers in self._buffers.values():
            for buffer in buffers:
                buffer.wake()


def counted(title: str, more: int) -> str:
    """Say in a title how often it happened besides."""
    return f"{title} (and {more} more)" if more > 0 else title


class UnitOfWork:
    """What one transaction collects."""

    def __init__(self, tx: Tx, now: int, channels: frozenset[Channel] = frozenset()) -> None:
        self.tx = tx
        self.now = now
        self.messages = False
        self._channels = channels
        self.told: list[Notification] = []
        self.commands = False
        self.announced = False
        self._notes: list[dict[str, object]] = []

    def notify(
        self,
        user_ids: Iterable[str],
        category: str,
        kind: str,
        title: str,
        *,
        about: str,
        url: str | None = None,
        at: int | None = None,
    ) -> None:
        """Tell each of these people once; `at` is when it happened, now unless said (unix milliseconds)."""
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
                    "created_at": self.now if at is None else at,
                }
            )

    async def announce(
        self, audience: Role, category: str, kind: str, title: str, *, about: str, url: str | None = None
    ) -> None:
        """Tell everybody of a role soon after this is committed: however many they are, one row now."""
        await announcements.add(self.tx, audience, category, kind, title, about=about, url=url, now=self.now)
        self.announced = True

    async def notify_seldom(
        self, user_ids: Iterable[str], category: str, kind: str, title: str, *, about: str, url: str, key: str
    ) -> None:
        """
        Tell each of these people of `key` once, and then at most hourly how often it happened.

        Whoever knows an address can send to it: each grain of dust would otherwise reach every admin.
        """
        for user_id in dict.fromkeys(user_ids):
            missed = await seldom.may_tell(
                self.tx, about=about, kind=key, user_id=user_id, title=title, url=url, now=self.now
            )
            if missed is not None:
                self.notify([user_id], category, kind, counted(title, missed), about=about, url=url)

    def notify_of_payment(self, user_ids: Iterable[str], payment: Payment, kind: str, title: str) -> None:
        """Tell each of these people about a payment once."""
        self.notify(user_ids, "payment", kind, title, about=payment.id, url=f"/payments/{payment.id}")

    async def notify_of_payment_seldom(
        self, user_ids: Iterable[str], payment: Payment, kind: str, title: str, *, key: str | None = None
    ) -> None:
        """Tell people about a payment what may happen to it any number of times: once, then hourly with a count."""
        url = f"/payments/{payment.id}"
        await self.notify_seldom(user_ids, "payment", kind, title, about=payment.id, url=url, key=key or kind)

    async def tell_held_back(self, limit: int) -> int:
        """Tell what was held back for an hour; return how much of it there was."""
        found = await seldom.due(self.tx, self.now, limit)
        for held in found:
            await seldom.told(self.tx, held, self.now)
            kind, title = held.type.split(":", 1)[0], counted(held.title, held.held_back - 1)
            self.notify([held.audience], "payment", kind, title, about=held.about, url=held.url)
        return len(found)

    async def people(self, *roles: Role) -> list[str]:
        """Return the ids of everybody with one of these roles."""
        return await users.ids_with(self.tx, roles)

    async def finish(self) -> None:
        self.told = await notifications.add(self.tx, self._notes)
        if self.told and self._channels:
            ids = [note.id for note in self.told]
            self.messages = bool(await messages.add(self.tx, ids, self._channels, self.now))


class UnitOfWorkFactory:
    """Begins transactions, and wakes whom they concern once they are on disk."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self.db = db
        self.clock = clock
        self.subscribers = Subscribers()
        self.commands = Wakeup()  # something waits in the scanner's outbox
        self.announcements = Wakeup()  # everybody of a role is to be told something
        self.channels: frozenset[Channel] = frozenset()  # over which people may be told elsewhere as well
        self.messages = Wakeup()  # something is to be sent over one of them
        self.news = Wakeup()  # somebody was told something, where it is followed in the store

    @asynccontextmanager
    async def begin(self, about: Subject) -> AsyncIterator[UnitOfWork]:
        """
        Run one write transaction; what it told is told after the commit, and not at all when it raises.

        `about` is locked first: what the block decides about. None: each of its statements decides by itself.
        """
        async with self.db.write() as tx:
            await locks.hold(self.db, tx, about)
            work = UnitOfWork(tx, self.clock.now_ms(), self.channels)
            yield work
            await work.finish()
        if self.db.shared:  # the others commit as well, and only the store knows in which order
            self.news.wake()
        else:  # nothing is awaited between the commit and this: what is told keeps the order of the commits
            self.subscribers.tell(work.told)
        if work.commands:
            self.commands.wake()
        if work.messages:
            self.messages.wake()
        if work.announced:
            self.announcements.wake()
