"""What was told by any process, handed to the streams of this one, in the order in which it is read from the store."""

from __future__ import annotations

from kernel.store.horizon import Horizon
from kernel.tasks.periodic import PeriodicTask
from marketplace.store import notifications
from marketplace.unit_of_work import UnitOfWorkFactory

LOOK_S = 0.5
BATCH = 500


class NotificationFollower:
    """
    Follows the notifications in the store, up to where no earlier one can appear any more.

    Their numbers are taken before they are committed: whoever read past a number that is still missing would never
    tell it. Where one process writes alone there is nothing to follow.
    """

    def __init__(self, units: UnitOfWorkFactory) -> None:
        self._units = units
        self._horizon = Horizon(units.db, "notifications", "seq")
        self._told = 0
        self.upto = 0  # nothing will appear before this any more

    async def run(self) -> None:
        """Tell what is new, for ever."""
        chore = PeriodicTask("notifications", self.once)
        while True:
            await chore.once()
            await self._units.news.wait(LOOK_S)

    async def once(self) -> None:
        """Tell the streams what came since the last time."""
        await self.settle(patience_s=0)
        user_ids = self._units.subscribers.user_ids
        upto = self.upto
        while user_ids and self._told < upto:
            async with self._units.db.read() as tx:
                found = await notifications.after(tx, user_ids, self._told, upto, BATCH)
            self._units.subscribers.tell(found)
            if len(found) < BATCH:
                break
            self._told = found[-1].seq
        self._told = upto

    async def settle(self, **patience: float) -> int:
        """Return the number up to which everything is there now."""
        self.upto = max(self.upto, await self._horizon.settled(**patience))
        return self.upto
