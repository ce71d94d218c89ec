"""What people were told: read, counted, marked, and followed live."""

from __future__ import annotations

from kernel.store.horizon import EVERYTHING
from marketplace.errors import not_found
from marketplace.model import Actor, Notification, Page
from marketplace.notifications.follower import NotificationFollower
from marketplace.store import notifications
from marketplace.unit_of_work import UnitOfWorkFactory


class Notifications:
    """Use cases of notifications; everybody's own and nobody else's."""

    def __init__(self, units: UnitOfWorkFactory, follower: NotificationFollower) -> None:
        self._units = units
        self._follower = follower

    async def page(self, actor: Actor, page: Page) -> tuple[list[Notification], int]:
        async with self._units.db.read() as tx:
            return await notifications.page_of(tx, actor.user_id, page)

    async def unread(self, actor: Actor) -> int:
        async with self._units.db.read() as tx:
            return await notifications.unread(tx, actor.user_id)

    async def read(self, actor: Actor, note_id: str) -> Notification:
        """Mark one as read; somebody else's does not exist."""
        async with self._units.begin(None) as work:
            note = await notifications.mark_read(work.tx, actor.user_id, note_id, work.now)
        if note is None:
            raise not_found("notification")
        return note

    async def read_all(self, actor: Actor) -> int:
        """Mark everything the actor was told so far as read; return how many that was."""
        async with self._units.begin(None) as work:
            return await notifications.mark_all_read(work.tx, actor.user_id, work.now)

    async def latest(self, actor: Actor) -> int:
        """Return where a stream that starts now starts."""
        if self._units.db.shared:  # a number before the newest one may still appear
            return await self._follower.settle()
        async with self._units.db.read() as tx:
            return await notifications.latest_seq(tx, actor.user_id)

    async def since(self, actor: Actor, seq: int) -> list[Notification]:
        """Return what came after `seq`, oldest first."""
        upto = self._follower.upto if self._units.db.shared else EVERYTHING
        async with self._units.db.read() as tx:
            return await notifications.after(tx, [actor.user_id], seq, upto)
