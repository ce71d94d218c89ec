"""Whether somebody's sessions still hold: asked with each request, since a token does not know that it was ended."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from marketplace.store import users
from marketplace.unit_of_work import UnitOfWorkFactory

MAX_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class Standing:
    """How an account stands now."""

    generation: int
    suspended: bool
    second_factor: bool

    def holds(self, generation: int) -> bool:
        """Say whether sessions of a generation are not over."""
        return not self.suspended and self.generation == generation


class Standings:
    """
    Tells how accounts stand.

    Where one process writes alone it remembers, and forgets what it changes; else the store is asked each time.
    """

    def __init__(self, units: UnitOfWorkFactory) -> None:
        self._units = units
        self._known: OrderedDict[str, Standing] = OrderedDict()
        self._changes = 0

    async def of(self, user_id: str) -> Standing | None:
        """Return how somebody's account stands; None when there is none."""
        known = self._known.get(user_id)
        if known is not None:
            self._known.move_to_end(user_id)
            return known
        seen = self._changes
        async with self._units.db.read() as tx:
            user = await users.by_id(tx, user_id)
            if user is None:
                return None
            factors = await users.with_second_factor(tx, [user_id])
        found = Standing(user.generation, user.suspended_at is not None, bool(factors))
        if seen == self._changes and not self._units.db.shared:  # else it may have been read before a change
            self._known[user_id] = found
            while len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return found

    def forget(self, user_id: str) -> None:
        """Read somebody's account again the next time: it was changed."""
        self._changes += 1
        self._known.pop(user_id, None)
